"""Which prompt beginnings the provider has seen: they are cheaper and read at once."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

_STEP = 128
_LEAST = 1024
"""The provider's prompt caching guide: prefixes from 1,024 tokens, in steps of 128."""
_CAPACITY = 200_000
"""Steps remembered: 25 million prompt tokens."""
_LOOK_BACK = 20
"""Blocks before a mark at which Anthropic looks for a prefix that it has."""


@dataclass(slots=True)
class Marks:
    """Where a client asks for its prompt to be cached, as Anthropic's has to."""

    ends: list[int] = field(default_factory=list)
    """How many tokens there are up to the end of each block of the prompt."""
    marked: list[int] = field(default_factory=list)
    """Those of the ends up to which the prompt is to be cached."""


class PrefixCache:
    """The least recently seen prefixes are forgotten first."""

    def __init__(self) -> None:
        self._seen: OrderedDict[int, None] = OrderedDict()

    def cached_tokens(self, model: str, tokens: list[int]) -> int:
        """How many of the prompt's first tokens were seen before; remembers all of them."""
        if len(tokens) < _LEAST:
            return 0
        cached = 0
        unbroken = True
        prefix = hash(model)
        for end in range(_STEP, len(tokens) + 1, _STEP):
            prefix = hash((prefix, *tokens[end - _STEP : end]))
            if end < _LEAST:
                continue
            unbroken = unbroken and prefix in self._seen
            if unbroken:
                cached = end
            self._seen[prefix] = None
            self._seen.move_to_end(prefix)
        self._forget()
        return cached

    def marked_tokens(self, model: str, tokens: list[int], marks: Marks) -> tuple[int, int]:
        """How many of the prompt's first tokens are read from the cache, how many written to it."""
        prefixes: dict[int, int] = {}
        prefix, start = hash((model, "marked")), 0
        for end in marks.ends:
            prefixes[end] = prefix = hash((prefix, *tokens[start:end]))
            start = end
        read = written = 0
        for mark in marks.marked:
            last = marks.ends.index(mark)
            for end in marks.ends[max(0, last - _LOOK_BACK) : last + 1]:
                if end >= _LEAST and prefixes[end] in self._seen:
                    self._seen.move_to_end(prefixes[end])
                    read = max(read, end)
        for mark in marks.marked:
            if mark >= _LEAST:
                self._seen[prefixes[mark]] = None
                written = max(written, mark - read)
        self._forget()
        return read, written

    def _forget(self) -> None:
        while len(self._seen) > _CAPACITY:
            self._seen.popitem(last=False)
