"""How much each family of models reads and writes, as published."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

# Context window of a model that is in no list, such as those called ``mock-…``.
_UNKNOWN = 128_000


@dataclass(frozen=True, slots=True)
class Window:
    """In tokens."""

    context: int
    """Prompt and answer together."""
    answer: int | None = None
    """The longest answer; None: as long as there is room."""
    prompt: int | None = None
    """The longest prompt; None: as long as there is room."""


# Sources: litellm's model map (model_prices_and_context_window.json) and the model pages it was
# made from, as of 2026-11-27. The first that matches counts.
_FAMILIES = [
    (re.compile(pattern), window)
    for pattern, window in (
        (r"gpt-3\.5-turbo-instruct", Window(4_096, 4_096)),
        (r"gpt-3\.5", Window(16_385, 4_096)),
        (r"gpt-4o-2024-05-13", Window(128_000, 4_096)),
        (r"(gpt-4o|chatgpt-4o|gpt-4\.5)", Window(128_000, 16_384)),
        (r"gpt-4\.1", Window(1_047_576, 32_768)),
        (r"gpt-4-(turbo|1106|0125|vision)", Window(128_000, 4_096)),
        (r"gpt-4-32k", Window(32_768, 32_768)),
        (r"gpt-4(-|$)", Window(8_192, 8_192)),
        (r"gpt-5(\.\d)?-chat", Window(128_000, 16_384)),
        (r"gpt-5-pro", Window(400_000, 272_000, 128_000)),
        (r"gpt-5(\.[0-3])?(-|$)", Window(400_000, 128_000, 272_000)),
        (r"gpt-[5-9]", Window(1_050_000, 128_000, 922_000)),
        (r"o1-mini", Window(128_000, 65_536)),
        (r"o1-preview", Window(128_000, 32_768)),
        (r"o\d", Window(200_000, 100_000)),
        (r"(davinci|babbage)-002", Window(16_384, 4_096)),
        (r"claude-([a-z]+-[5-9]|(opus|sonnet)-4-[6-9]|mythos)", Window(1_000_000, 128_000)),
        (r"claude-opus-4(-1|-2025|$)", Window(200_000, 32_000)),
        (r"claude-3-[a-z]", Window(200_000, 4_096)),
        (r"claude-3-5", Window(200_000, 8_192)),
        (r"claude-", Window(200_000, 64_000)),
    )
]


@lru_cache(maxsize=1024)
def window_of(model: str, lowered_to: int | None = None) -> Window:
    """``lowered_to``: the context window that the server is configured to have at most."""
    found = next(
        (window for pattern, window in _FAMILIES if pattern.match(model.removeprefix("ft:"))), None
    )
    if found is None:
        return Window(lowered_to or _UNKNOWN)
    if lowered_to is None or lowered_to >= found.context:
        return found
    return Window(lowered_to, found.answer, found.prompt)
