"""ASGI's types, and what handlers and connections have to agree on beyond them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from time import perf_counter
from typing import Any, Protocol

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

JSON = (b"content-type", b"application/json")
ABORT = "mock.abort"
"""The key of a request's `AbortHandle` in ``scope["extensions"]``."""
CONNECTION = "mock.connection"
"""The key of the recorder's `OpenConnection` in ``scope["extensions"]``."""


class AbortHandle(Protocol):
    """Ends an answer before it is complete. Afterwards the app's ``receive`` returns
    ``http.disconnect``, and what it sends is dropped."""

    def cut(self) -> None:
        """End the answer after what was sent of it.

        Over HTTP/1.1 the connection is closed; over HTTP/2 only the stream is reset.
        """

    def reset(self) -> None:
        """End the whole connection at once, with a TCP RST."""


async def respond(
    send: Send, status: int, body: bytes, headers: Headers, kind: tuple[bytes, bytes] = JSON
) -> None:
    await send(head(status, body, headers, kind))
    await send({"type": "http.response.body", "body": body})


def head(status: int, body: bytes, headers: Headers, kind: tuple[bytes, bytes] = JSON) -> Message:
    """The head of an answer whose body is to follow."""
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
        """Wait until ``time.perf_counter()`` says ``due``.

        Raises ClientDisconnectError as soon as the client leaves.
        """
        loop = asyncio.get_running_loop()
        waiting: asyncio.Future[None] = loop.create_future()
        timer = loop.call_later(due - perf_counter(), _wake, waiting)
        try:
            await self.wait_for(waiting)
        finally:
            timer.cancel()

    async def wait_for(self, waiting: asyncio.Future[None]) -> None:
        """Wait for a future.

        Raises ClientDisconnectError as soon as the client leaves; the future is then cancelled.
        """
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
