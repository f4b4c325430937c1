"""One HTTP request and its answer, as the handlers see them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from time import perf_counter
from typing import Any

from helpers.mock_llm.serving import errors

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

_MAX_BODY = 32 * 1024 * 1024
_BODY_SECONDS = 60.0
JSON = (b"content-type", b"application/json")


async def read_body(receive: Receive) -> bytes:
    """The request's body. Raises ApiError for one that is too large or never ends."""
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientDisconnectError
    body: bytes = message.get("body", b"")
    if not message.get("more_body"):
        return body
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            return await _read_rest(body, receive)
    except TimeoutError:
        raise errors.body_too_slow(_BODY_SECONDS) from None


async def _read_rest(body: bytes, receive: Receive) -> bytes:
    parts, size, more = [body], len(body), True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnectError
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > _MAX_BODY:
            raise errors.body_too_large(_MAX_BODY)
        more = message.get("more_body", False)
    return b"".join(parts)


async def respond(
    send: Send, status: int, body: bytes, headers: Headers, kind: tuple[bytes, bytes] = JSON
) -> None:
    await send(head(status, body, headers, kind))
    await send({"type": "http.response.body", "body": body})


def head(status: int, body: bytes, headers: Headers, kind: tuple[bytes, bytes] = JSON) -> Message:
    """That of an answer whose body is to follow."""
    length = (b"content-length", b"%d" % len(body))
    return {"type": "http.response.start", "status": status, "headers": [kind, length, *headers]}


class ClientDisconnectError(Exception):
    """The client closed or reset before its answer was complete."""


class AbortedResponseError(Exception):
    """The server itself ended the answer, or the connection, before it was complete."""


class Reader:
    """The client, waiting for its answer. Lets the handler wait too, until the client leaves."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._waiting: asyncio.Future[None] | None = None
        self._watch: asyncio.Task[None] | None = None
        self._left = False

    def stop_watching(self) -> None:
        if self._watch is not None:
            self._watch.cancel()

    async def wait_until(self, due: float) -> None:
        """Wait until ``time.perf_counter()`` says ``due``. Raises ClientLeftError at once."""
        loop = asyncio.get_running_loop()
        waiting: asyncio.Future[None] = loop.create_future()
        timer = loop.call_later(due - perf_counter(), _wake, waiting)
        try:
            await self.wait_for(waiting)
        finally:
            timer.cancel()

    async def wait_for(self, waiting: asyncio.Future[None]) -> None:
        """Wait for a future. Raises ClientLeftError, and leaves the future cancelled, at once."""
        if self._left:
            waiting.cancel()
            raise ClientDisconnectError
        if self._watch is None:
            self._watch = asyncio.create_task(self._notice_departure())
        self._waiting = waiting
        try:
            await waiting
        except asyncio.CancelledError:
            if self._left:
                raise ClientDisconnectError from None
            raise

    async def _notice_departure(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._left = True
        if self._waiting is not None:
            self._waiting.cancel()


def _wake(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)
