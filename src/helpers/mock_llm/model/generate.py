"""What the model answers, before a route puts it into its provider's format.

It answers in text, in JSON if a schema is given, or with calls of the tools it was given. With
``tool_choice`` "auto" it calls a tool when the last message is the user's, and answers once it has
a result: an agent's loop always runs, and always ends.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from helpers.mock_llm.model.conversation import Conversation
from helpers.mock_llm.model.json_schema import Budget, instance
from helpers.mock_llm.model.logprobs import token_logprobs
from helpers.mock_llm.model.prefix_cache import Marks
from helpers.mock_llm.model.tokens import pieces
from helpers.mock_llm.model.words import answer, prompt_digest

# Tools called at once, if a request allows several.
_MAX_CALLS = 3
# Tokens of the text for a tool that takes text.
_INPUT_LENGTHS = range(4, 13)
_USUAL_LENGTH = 64
# Tokens of a request's answers, and of the alternatives to them, in all.
_MAX_TOKENS = 400_000
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
    longest_prompt: int | None = None
    """Tokens of the longest prompt, where the request has several."""
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
    top_logprobs: int | None = None
    """Alternatives to each token of a text; None for no log probabilities at all."""
    marks: Marks | None = None
    """What the client wants cached; None where the provider decides."""
    conversation: Callable[[], Conversation] | None = None
    """Reads what was said, for those who ask; None where the prompt is no conversation."""

    @property
    def takes_long(self) -> bool:
        """Whether writing the answers may take more than a few milliseconds."""
        many = self.choices > 8 or self.top_logprobs is not None
        return many or self.schema is not None or self.calls_tools

    @property
    def calls_tools(self) -> bool:
        if not self.tools or self.tool_choice == "none":
            return False
        return self.tool_choice != "auto" or not self.called


@dataclass(slots=True)
class Text:
    tokens: list[str]
    logprobs: list[str] = field(default_factory=list)
    """For each token the JSON of its log probability, if they are asked for."""


@dataclass(slots=True)
class ToolCall:
    """Only its arguments count as tokens: what a call's frame costs is not published."""

    id: str
    """24 letters and digits; a route puts its provider's prefix before it."""
    name: str
    tokens: list[str]
    """The arguments' JSON, or the text for a tool that takes one, token by token."""


class TooLongError(ValueError):
    """An answer with more tokens than the server can be asked to write at once."""


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
    fits, and TooLongError.
    """
    _check_size(generation, min(length or _USUAL_LENGTH, room) * generation.choices)
    budget = Budget(values=20_000, characters=400_000, steps=1_000_000)
    choices = [
        _choice(
            generation,
            room,
            prompt_digest(generation.prompt, seed + generation.seed, index),
            length,
            budget,
        )
        for index in range(generation.choices)
    ]
    if generation.top_logprobs is not None:
        _check_size(generation, sum(choice.length for choice in choices))
        for part in (part for choice in choices for part in choice.parts):
            if isinstance(part, Text):
                part.logprobs = token_logprobs(part.tokens, generation.top_logprobs)
    return choices


def _check_size(generation: GenerationRequest, tokens: int) -> None:
    if tokens * (2 + (generation.top_logprobs or 0)) > _MAX_TOKENS:
        raise TooLongError


def _choice(
    generation: GenerationRequest, room: int, digest: bytes, length: int | None, budget: Budget
) -> Choice:
    if generation.calls_tools:
        return _calls(generation, room, digest, budget)
    if generation.schema is None:
        tokens = answer(digest, length, room)
    else:
        rng = random.Random(digest)  # noqa: S311
        tokens = _json(generation.schema or _ANY_OBJECT, rng, budget)
    finish: Literal["stop", "length"] = "stop" if len(tokens) <= room else "length"
    text, stop_sequence = _stopped(generation.stop, tokens[:room])
    if stop_sequence is not None:
        finish = "stop"
    return Choice([Text(text)], finish, stop_sequence)


def _stopped(stop: tuple[str, ...], tokens: list[str]) -> tuple[list[str], str | None]:
    """The text up to the sequence that is complete first, and that sequence."""
    if not stop:
        return tokens, None
    text = "".join(tokens)
    found = [(at + len(end), at, end) for end in stop if end and (at := text.find(end)) >= 0]
    if not found:
        return tokens, None
    _, at, end = min(found)
    return pieces(text[:at]), end


def _calls(generation: GenerationRequest, room: int, digest: bytes, budget: Budget) -> Choice:
    rng = random.Random(digest)  # noqa: S311
    parts: list[Text | ToolCall] = []
    for tool in _chosen(generation, rng):
        id, tokens = f"{rng.getrandbits(96):024x}", _arguments(tool, rng, budget)
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


def _arguments(tool: Tool, rng: random.Random, budget: Budget) -> list[str]:
    if tool.parameters is None:
        return answer(rng.randbytes(16), rng.choice(_INPUT_LENGTHS))
    return _json({"type": "object", **tool.parameters}, rng, budget)


def _json(schema: dict[str, Any], rng: random.Random, budget: Budget) -> list[str]:
    value = instance(schema, rng, budget)
    return pieces(json.dumps(value, separators=(",", ":"), ensure_ascii=False))
