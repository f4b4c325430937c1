"""Which beginnings of prompts the provider has seen: they are cheaper and are read at once."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

_STEP = 128
# The provider's prompt caching guide: prefixes from 1,024 tokens, in steps of 128.
_MIN_TOKENS = 1024
# Prefixes remembered: 25 million prompt tokens.
_CAPACITY = 200_000
# Blocks before a mark in which Anthropic looks for a cached prefix.
_LOOK_BACK = 20


@dataclass(slots=True)
class Marks:
    """Where a client asks for its prompt to be cached, as Anthropic requires."""

    ends: list[int] = field(default_factory=list)
    """How many tokens there are up to the end of each block of the prompt."""
    marked: list[int] = field(default_factory=list)
    """Those of the ends up to which the prompt is to be cached."""


@dataclass(slots=True)
class CacheLookup:
    """What the cache has of a prompt."""

    read: int = 0
    """Tokens at its beginning that are cached."""
    written: int = 0
    """Further tokens that are put into the cache at the client's request."""
    prefixes: list[int] = field(default_factory=list)
    """Hashes to remember, the longest prefix last."""


class PrefixCache:
    """The least recently used prefixes are forgotten first."""

    def __init__(self) -> None:
        self._seen: OrderedDict[int, None] = OrderedDict()

    def look_up(self, model: str, tokens: list[int], marks: Marks | None) -> CacheLookup:
        """``marks``: None where the provider itself decides what to cache."""
        if marks is not None:
            return self._marked(model, tokens, marks)
        lookup = CacheLookup()
        if len(tokens) < _MIN_TOKENS:
            return lookup
        unbroken = True
        prefix = hash(model)
        for end in range(_STEP, len(tokens) + 1, _STEP):
            prefix = hash((prefix, *tokens[end - _STEP : end]))
            if end < _MIN_TOKENS:
                continue
            unbroken = unbroken and prefix in self._seen
            if unbroken:
                lookup.read = end
            lookup.prefixes.append(prefix)
        return lookup

    def _marked(self, model: str, tokens: list[int], marks: Marks) -> CacheLookup:
        prefixes: dict[int, int] = {}
        prefix, start = hash((model, "marked")), 0
        for end in marks.ends:
            prefixes[end] = prefix = hash((prefix, *tokens[start:end]))
            start = end
        lookup = CacheLookup()
        for mark in marks.marked:
            last = marks.ends.index(mark)
            for end in marks.ends[max(0, last - _LOOK_BACK) : last + 1]:
                if end >= _MIN_TOKENS and prefixes[end] in self._seen:
                    lookup.prefixes.append(prefixes[end])
                    lookup.read = max(lookup.read, end)
        for mark in marks.marked:
            if mark >= _MIN_TOKENS:
                lookup.prefixes.append(prefixes[mark])
                lookup.written = max(lookup.written, mark - lookup.read)
        return lookup

    def remember(self, lookup: CacheLookup) -> None:
        for prefix in lookup.prefixes:
            self._seen[prefix] = None
            self._seen.move_to_end(prefix)
        while len(self._seen) > _CAPACITY:
            self._seen.popitem(last=False)
