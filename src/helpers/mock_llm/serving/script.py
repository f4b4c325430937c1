"""Which scripted answer a request gets: by the server's rules, or by the request's own header."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable

from helpers.mock_llm.model.conversation import Conversation
from helpers.mock_llm.model.generate import Choice, GenerationRequest, Text, ToolCall
from helpers.mock_llm.model.tokens import pieces
from helpers.mock_llm.model.words import prompt_digest
from helpers.mock_llm.serving.errors import ApiError
from helpers.mock_llm.settings.script import Rule, pattern

HEADER = b"x-mock-script"
# Seconds: some regular expressions would search for years.
_PATIENCE = 0.05


def read_header(value: bytes) -> Rule:
    """The rule that a request brings: ``{"text": "Hello."}``. Raises ApiError (400)."""
    try:
        return Rule(**json.loads(value))
    except (ValueError, TypeError, RecursionError) as error:
        raise ApiError(
            400, f"Invalid header x-mock-script: {error}.", param="x-mock-script"
        ) from None


def find(rules: Iterable[Rule], generation: GenerationRequest) -> Rule | None:
    """The first rule that holds for a request."""
    rules = tuple(rules)
    if not rules or generation.conversation is None:
        return None
    conversation = generation.conversation()
    return next((rule for rule in rules if _holds(rule, generation, conversation)), None)


def _holds(rule: Rule, generation: GenerationRequest, conversation: Conversation) -> bool:
    if rule.model is not None and rule.model != generation.model:
        return False
    if rule.tool_calls is not None and rule.tool_calls != conversation.tool_calls:
        return False
    if rule.call and not _offered(rule, generation):
        return False
    texts = (
        (rule.last_message, conversation.last_message),
        (rule.tool_result, conversation.tool_result),
    )
    return all(condition is None or _matches(condition, text) for condition, text in texts)


def _matches(condition: str, text: str | None) -> bool:
    try:
        return text is not None and bool(pattern(condition).search(text, timeout=_PATIENCE))
    except TimeoutError:
        return False


def _offered(rule: Rule, generation: GenerationRequest) -> bool:
    """Whether the request offers the tools that the rule calls."""
    names = {tool.name for tool in generation.tools}
    return generation.tool_choice != "none" and all(call.name in names for call in rule.call or ())


def choices(rule: Rule, generation: GenerationRequest, room: int, seed: int) -> list[Choice]:
    """The answers of a rule, cut where the model has no more room."""
    return [_choice(rule, generation, room, seed, index) for index in range(generation.choices)]


def _choice(rule: Rule, generation: GenerationRequest, room: int, seed: int, index: int) -> Choice:
    if rule.call is None:
        tokens = pieces(rule.answer)
        return Choice([Text(tokens[:room])], "stop" if len(tokens) <= room else "length")
    # Ids, like answers, depend on the prompt: a retry gets the same.
    rng = random.Random(prompt_digest(generation.prompt, seed, index))  # noqa: S311
    parts: list[Text | ToolCall] = []
    for call in rule.call:
        arguments = (
            call.arguments if isinstance(call.arguments, str) else json.dumps(call.arguments)
        )
        tokens = pieces(arguments)
        parts.append(ToolCall(f"{rng.getrandbits(96):024x}", call.name, tokens[: max(room, 0)]))
        room -= len(tokens)
    return Choice(parts, "tool_calls" if room >= 0 else "length")
