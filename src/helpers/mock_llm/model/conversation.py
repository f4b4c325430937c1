"""What a script looks at in a conversation, and the JSON schema that may stand in it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# Characters of a conversation that are searched for a schema, and places in them where one may
# begin: some 10 ms.
_SEARCHED, _PLACES = 200_000, 200
_RESULTS = ("tool", "function")


@dataclass(frozen=True, slots=True)
class Conversation:
    texts: tuple[str, ...]
    """Of every message, in order; "" for one without text."""
    tool_calls: int = 0
    tool_result: str | None = None
    """The last one."""

    @property
    def last_message(self) -> str:
        return self.texts[-1] if self.texts else ""


def of_messages(messages: Iterable[Mapping[str, Any]]) -> Conversation:
    """Of chat messages as OpenAI has them."""
    texts: list[str] = []
    calls, result = 0, None
    for message in messages:
        texts.append(text_of(message.get("content")))
        calls += len(message.get("tool_calls") or ()) + bool(message.get("function_call"))
        if message.get("role") in _RESULTS:
            result = texts[-1]
    return Conversation(tuple(texts), calls, result)


def text_of(content: Any) -> str:
    """Of a message's content: a text, or a list of parts."""
    if isinstance(content, str):
        return content
    parts: Sequence[Any] = content if isinstance(content, list) else ()
    return "\n".join(part["text"] for part in parts if isinstance(part.get("text"), str))


def schema_in(conversation: Conversation) -> dict[str, Any] | None:
    """The last JSON schema of an object that stands in a text which asks for JSON."""
    for text in reversed(conversation.texts):
        if '"properties"' in text and "json" in text[:_SEARCHED].lower():
            found = [each for each in _objects(text[:_SEARCHED]) if "properties" in each]
            if found and isinstance(found[-1]["properties"], dict):
                return found[-1]
    return None


def _objects(text: str) -> Iterable[dict[str, Any]]:
    decoder = json.JSONDecoder()
    at = text.find("{")
    for _ in range(_PLACES):
        if at < 0:
            return
        try:
            value, end = decoder.raw_decode(text, at)
            yield value
        except (ValueError, RecursionError):
            end = at + 1
        at = text.find("{", end)
