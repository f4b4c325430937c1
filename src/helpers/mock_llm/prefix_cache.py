"""Which prompt beginnings the provider has seen: they are cheaper and read at once."""

from __future__ import annotations

from collections import OrderedDict

_STEP = 128
_LEAST = 1024
"""The provider's prompt caching guide: prefixes from 1,024 tokens, in steps of 128."""
_CAPACITY = 200_000
"""Steps remembered: 25 million prompt tokens."""


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
        while len(self._seen) > _CAPACITY:
            self._seen.popitem(last=False)
        return cached
