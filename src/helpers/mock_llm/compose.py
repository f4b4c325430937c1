"""What the model says, before any route writes it down in its provider's format."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from helpers.mock_llm.text import answer, digest


@dataclass(slots=True, kw_only=True)
class Wish:
    """What a request wants of the model, whichever route it came by."""

    model: str
    prompt: list[int]
    limit: int | None = None
    """Most tokens of the answer, hidden reasoning included."""
    seed: int = 0
    choices: int = 1


@dataclass(slots=True)
class Text:
    tokens: list[str]


@dataclass(slots=True)
class ToolCall:
    id: str
    name: str
    tokens: list[str]
    """The arguments' JSON, token by token."""


@dataclass(slots=True)
class Choice:
    """One answer: text, or calls of tools."""

    parts: list[Text | ToolCall]
    finish: Literal["stop", "length", "tool_calls"]

    @property
    def length(self) -> int:
        """Tokens."""
        return sum(len(part.tokens) for part in self.parts)


def compose(wish: Wish, *, room: int, seed: int, length: int | None) -> list[Choice]:
    """The answers of a model that may write ``room`` tokens. ``length``: what the server was told.

    The same wish and seed give the same answers.
    """
    return [_text(wish, room, seed + wish.seed, length, index) for index in range(wish.choices)]


def _text(wish: Wish, room: int, seed: int, length: int | None, index: int) -> Choice:
    tokens = answer(digest(wish.prompt, seed, index), length)
    return Choice([Text(tokens[:room])], "stop" if len(tokens) <= room else "length")
