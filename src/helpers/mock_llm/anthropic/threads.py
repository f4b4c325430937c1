"""Conversations that Anthropic's server holds, so that a client sends only what is new."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from helpers.mock_llm.anthropic.blocks import TextBlock
from helpers.mock_llm.anthropic.messages_request import CountRequest, Turn
from helpers.mock_llm.anthropic.tools import Tool
from helpers.mock_llm.serving.bounded_store import BoundedStore
from helpers.mock_llm.serving.errors import ApiError


@dataclass(slots=True)
class Thread:
    """A conversation up to an answer, under whose id it is kept."""

    system: str | list[TextBlock] | None
    tools: list[Tool] | None
    turns: list[Turn]
    size: int
    """Bytes, about."""
    state: Literal["open", "in flight", "continued"] = "open"


class Threads(BoundedStore[Thread]):
    def find(self, id: str) -> Thread:
        """The thread that ends with this answer. Raises ApiError (404, or 400 if it goes on)."""
        thread = self.get(id)
        if thread is None:
            raise _error(404, "thread_not_found", f"No thread was found for message {id[:200]}.")
        if thread.state == "in flight":
            raise _error(
                400,
                "thread_continue_in_flight",
                f"Another request is still continuing from message {id[:200]}.",
            )
        if thread.state == "continued":
            raise _error(
                400,
                "thread_already_continued",
                f"Message {id[:200]} has already been continued; each can be only once.",
            )
        return thread


def resume(thread: Thread, request: CountRequest) -> None:
    """Put what the server holds before what the client sent."""
    for name in ("system", "tools"):
        if (held := getattr(thread, name)) is not None:
            setattr(request, name, held)
    request.messages = [*thread.turns, *request.messages]


@contextmanager
def continuing(thread: Thread | None) -> Iterator[None]:
    """A thread can go on again if what happens meanwhile fails."""
    if thread is None:
        yield
        return
    thread.state = "in flight"
    try:
        yield
    except BaseException:
        thread.state = "open"
        raise
    thread.state = "continued"


def _error(status: int, code: str, message: str) -> ApiError:
    return ApiError(status, message, details={"error_code": code})
