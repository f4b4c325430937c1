"""What the model answers, before a route puts it into its provider's format.

It answers in text, in JSON if a schema is given, or with calls of the tools it was given. With
``tool_choice`` "auto" it calls a tool when the last message is the user's, and answers once it has
a result: an agent's loop always runs, and always ends.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from typing import Any, Literal

from helpers.mock_llm.model.json_schema import instance
from helpers.mock_llm.model.prefix_cache import Marks
from helpers.mock_llm.model.tokens import pieces
from helpers.mock_llm.model.words import answer, prompt_digest

_MAX_CALLS = 3
"""Tools called at once, if a request allows several."""
_INPUT_LENGTHS = range(4, 13)
"""Tokens of the text for a tool that takes text."""
_ANY_OBJECT: dict[str, Any] = {
    "type": "object",
    "additionalProperties": {"type": ["string", "integer", "boolean"]},
    "minProperties": 3,
}


@dataclass(frozen=True, slots=True)
class Tool:
    name: str
    parameters: dict[str, Any] | None
    """JSON schema of the arguments; None for a tool that takes a text."""


@dataclass(slots=True, kw_only=True)
class GenerationRequest:
    """What a request asks of the model, whichever route it came by."""

    model: str
    prompt: list[int]
    limit: int | None = None
    """Maximum tokens of the answer, hidden reasoning included."""
    seed: int = 0
    choices: int = 1
    stop: tuple[str, ...] = ()
    """The text ends before the first of them. They do not end the arguments of a tool call."""
    schema: dict[str, Any] | None = None
    """JSON schema of the answer; ``{}`` stands for any object (JSON mode), None for text."""
    tools: tuple[Tool, ...] = ()
    tool_choice: str = "auto"
    """"auto", "none", "required", or the name of a tool that must be called."""
    parallel_tool_calls: bool = True
    """The model may call several tools at once."""
    called: bool = False
    """The last message already is a tool's result."""
    thinking_budget: int | None = None
    """Maximum tokens of reasoning, if the request says so; None leaves it to the profile."""
    shows_thinking: bool = False
    marks: Marks | None = None
    """What the client wants cached; None where the provider decides."""

    @property
    def calls_tools(self) -> bool:
        if not self.tools or self.tool_choice == "none":
            return False
        return self.tool_choice != "auto" or not self.called


@dataclass(slots=True)
class Text:
    tokens: list[str]


@dataclass(slots=True)
class ToolCall:
    """Only its arguments count as tokens: what a call's frame costs is not published."""

    id: str
    """24 letters and digits; a route puts its provider's prefix before it."""
    name: str
    tokens: list[str]
    """The arguments' JSON, or the text for a tool that takes one, token by token."""


@dataclass(slots=True)
class Choice:
    """One answer: text, or calls of tools. Never without a part."""

    parts: list[Text | ToolCall]
    finish: Literal["stop", "length", "tool_calls"]
    stop_sequence: str | None = None
    """Which of the request's stop sequences ended the text."""

    @property
    def length(self) -> int:
        """Tokens."""
        return sum([len(part.tokens) for part in self.parts])


def generate(
    generation: GenerationRequest, *, room: int, seed: int, length: int | None
) -> list[Choice]:
    """The answers of a model that may write ``room`` tokens. ``length``: tokens of a text, as the
    server is configured.

    The same request and seed give the same answers. Raises SchemaError for a schema that nothing
    fits.
    """
    return [
        _choice(
            generation,
            room,
            prompt_digest(generation.prompt, seed + generation.seed, index),
            length,
        )
        for index in range(generation.choices)
    ]


def _choice(generation: GenerationRequest, room: int, digest: bytes, length: int | None) -> Choice:
    if generation.calls_tools:
        return _calls(generation, room, digest)
    if generation.schema is None:
        tokens = answer(digest, length)
    else:
        tokens = _json(generation.schema or _ANY_OBJECT, random.Random(digest))  # noqa: S311
    finish: Literal["stop", "length"] = "stop" if len(tokens) <= room else "length"
    tokens = tokens[:room]
    return (
        _stopped(generation.stop, tokens, finish)
        if generation.stop
        else Choice([Text(tokens)], finish)
    )


def _stopped(stop: tuple[str, ...], tokens: list[str], finish: Literal["stop", "length"]) -> Choice:
    """The text up to the sequence that is complete first."""
    text = "".join(tokens)
    found = [(at + len(end), at, end) for end in stop if end and (at := text.find(end)) >= 0]
    if not found:
        return Choice([Text(tokens)], finish)
    _, at, end = min(found)
    return Choice([Text(pieces(text[:at]))], "stop", end)


def _calls(generation: GenerationRequest, room: int, digest: bytes) -> Choice:
    rng = random.Random(digest)  # noqa: S311
    parts: list[Text | ToolCall] = []
    for tool in _chosen(generation, rng):
        id, tokens = f"{rng.getrandbits(96):024x}", _arguments(tool, rng)
        if room > 0:
            parts.append(ToolCall(id, tool.name, tokens[:room]))
        room -= len(tokens)
    return Choice(parts or [Text([])], "tool_calls" if room >= 0 else "length")


def _chosen(generation: GenerationRequest, rng: random.Random) -> list[Tool]:
    tools = generation.tools
    if generation.tool_choice not in ("auto", "required"):
        return [tool for tool in tools if tool.name == generation.tool_choice][:1]
    most = min(len(tools), _MAX_CALLS) if generation.parallel_tool_calls else 1
    return [tools[k] for k in sorted(rng.sample(range(len(tools)), rng.randint(1, most)))]


def _arguments(tool: Tool, rng: random.Random) -> list[str]:
    if tool.parameters is None:
        return answer(rng.randbytes(16), rng.choice(_INPUT_LENGTHS))
    return _json({"type": "object", **tool.parameters}, rng)


def _json(schema: dict[str, Any], rng: random.Random) -> list[str]:
    """ASCII, so that every token is a whole piece of the text."""
    return pieces(json.dumps(instance(schema, rng), separators=(",", ":")))
