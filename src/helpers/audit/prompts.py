"""What an application sent to the model, whichever of the providers' formats it used."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

_LIMITS = ("max_completion_tokens", "max_tokens", "max_output_tokens")
_LIMIT_OF = {"/chat/completions": "max_completion_tokens", "/responses": "max_output_tokens"}
_STORED = ("previous_response_id", "conversation")
_MARKER = re.compile(r"\blap-([a-z]+-\d+)-(\d+)\b", re.IGNORECASE)


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
