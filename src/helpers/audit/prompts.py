"""What an application sent to the model, whichever of the providers' formats it used."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any

_LIMITS = ("max_completion_tokens", "max_tokens", "max_output_tokens")
_LIMIT_OF = {"/chat/completions": "max_completion_tokens", "/responses": "max_output_tokens"}
_STORED = ("previous_response_id", "conversation")
_MARKER = re.compile(r"\blap-([a-z]+-\d+)-(\d+)\b", re.IGNORECASE)

# Clocks, counters of seconds, and random ids.
_VOLATILE = re.compile(
    r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|"
    r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d([.,]\d+)?)?(Z|[+-]\d\d:?\d\d)?)?|"
    r"\b\d{1,2}:\d\d(:\d\d([.,]\d+)?)?|\d{9,}(\.\d+)?|\d+\.\d{4,}|"
    r"(?=[a-f]*\d)[0-9a-f]{8,}",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Prompt:
    """A request's conversation."""

    messages: tuple[tuple[str, str], ...]
    """Role and text, the system prompt first."""
    limit: int | None
    """Tokens that the answer may have, if the request says so."""
    continues: bool
    """It continues a conversation that the provider has stored."""

    @cached_property
    def text(self) -> str:
        return "\n".join(f"{role}: {text}" for role, text in self.messages)

    @cached_property
    def markers(self) -> tuple[tuple[str, int], ...]:
        """The user and the turn of each of the audit's messages, in the order of the prompt."""
        return tuple((user.lower(), int(turn)) for user, turn in _MARKER.findall(self.text))


def marker(user: str, turn: int) -> str:
    """What a user's message contains, so that it is recognized when it arrives in a prompt."""
    return f"lap-{user}-{turn}"


def read_prompt(body: bytes) -> Prompt | None:
    """The prompt in a request's body; None if there is none that can be read."""
    try:
        sent = json.loads(body)
        if not isinstance(sent, dict):
            return None
        messages = tuple(_messages(sent))
        limits = [sent[name] for name in _LIMITS if isinstance(sent.get(name), int)]
    except (ValueError, TypeError, AttributeError, RecursionError):
        return None
    if not messages:
        return None
    return Prompt(messages, min(limits, default=None), any(sent.get(name) for name in _STORED))


def with_limit(body: bytes, path: str, tokens: int) -> bytes:
    """The body with another limit of the answer."""
    sent = json.loads(body)
    usual = next((name for end, name in _LIMIT_OF.items() if path.endswith(end)), "max_tokens")
    name = next((name for name in _LIMITS if name in sent), usual)
    return json.dumps({**sent, name: tokens}).encode()


def identity(body: bytes) -> str:
    """Equal for attempts at the same call, whatever clock or random id stands before its question.

    The question, which is the last message of the user's, is taken as it is: a program may ask for
    many things that differ in a number alone.
    """
    question: Any = ""
    rest = body.decode(errors="replace")
    with suppress(ValueError, RecursionError):
        question, others = _apart(json.loads(body))
        rest = json.dumps(others, sort_keys=True)
    return hashlib.sha256(f"{question!r} {_VOLATILE.sub('#', rest)}".encode()).hexdigest()


def _apart(sent: Any) -> tuple[Any, Any]:
    """The last message of the user's, and what is sent with it."""
    if not isinstance(sent, dict):
        return sent, ""
    name = next((name for name in ("messages", "input", "prompt") if sent.get(name)), "")
    conversation = sent.get(name)
    others = {key: value for key, value in sent.items() if key != name}
    if not isinstance(conversation, list):
        return conversation, others
    places = [i for i, each in enumerate(conversation) if _is_of_the_user(each)]
    last = places[-1] if places else len(conversation) - 1
    return conversation[last], [others, conversation[:last], conversation[last + 1 :]]


def _is_of_the_user(message: Any) -> bool:
    return isinstance(message, dict) and message.get("role") == "user"


def _messages(sent: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for name in ("system", "instructions"):
        if sent.get(name):
            yield "system", _text(sent[name])
    conversation = sent.get("messages", sent.get("input", sent.get("prompt")))
    if isinstance(conversation, str):
        yield "user", conversation
        return
    for message in conversation or ():
        if isinstance(message, dict):
            yield str(message.get("role", message.get("type", ""))), _text(message.get("content"))


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        parts = (part.get("text", "") if isinstance(part, dict) else part for part in content)
        return "".join(str(part) for part in parts)
    return ""
