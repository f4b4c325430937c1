"""The books, live: each entry is told, as it is made, to whoever listens.

``GET /_mock/events`` is a stream of server-sent events, each with an id, one more than the last
one's, and with JSON data. ``MockLLM.events`` says what they are.
"""

from __future__ import annotations

import asyncio
from collections import deque
from time import perf_counter

from pydantic import TypeAdapter

from helpers.mock_llm.asgi import Reader, Send
from helpers.mock_llm.records.ledger import Connection, Request

_WAITING = 1_000
"""Events kept for a listener that reads slowly: some 0.5 MiB."""
_HEARTBEAT_SECONDS = 5.0
_HEARTBEAT = b": the server is still there\n\n"
_STREAM = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store")]
_REQUEST = TypeAdapter(Request)
_CONNECTION = TypeAdapter(Connection)


class Events:
    """Numbers every event, also while nobody listens: whoever comes back learns how many passed."""

    def __init__(self) -> None:
        self._last = 0
        self._listeners: set[_Listener] = set()

    def of_request(self, name: str, request: Request) -> None:
        self._last += 1
        if self._listeners:
            # Without the chunks: there are too many, and the ledger has them.
            self._tell(name, b"request", _REQUEST.dump_json(request, exclude={"chunks"}))

    def of_connection(self, name: str, connection: Connection) -> None:
        self._last += 1
        if self._listeners:
            self._tell(name, b"connection", _CONNECTION.dump_json(connection))

    def of_reset(self) -> None:
        self._last += 1
        if self._listeners:
            self._tell("reset")

    async def stream(self, send: Send, reader: Reader, heard: int | None) -> None:
        """Tell a listener, who may have ``heard`` so many before, until it leaves.

        Raises ClientLeftError.
        """
        listener = _Listener()
        listener.add(_message("listening", self._last))
        if heard is not None:
            listener.missed = max(0, self._last - heard)
        self._listeners.add(listener)
        try:
            await send({"type": "http.response.start", "status": 200, "headers": _STREAM})
            while True:
                body = listener.take() or _HEARTBEAT
                await send({"type": "http.response.body", "body": body, "more_body": True})
                await listener.wait(reader)
        finally:
            self._listeners.discard(listener)

    def _tell(self, name: str, kind: bytes = b"", entry: bytes = b"") -> None:
        message = _message(name, self._last, kind, entry)
        for listener in self._listeners:
            listener.add(message)


class _Listener:
    """What one listener has yet to be sent. The server never waits for it: the oldest are lost."""

    def __init__(self) -> None:
        self.missed = 0
        self._messages: deque[bytes] = deque(maxlen=_WAITING)
        self._news: asyncio.Future[None] | None = None

    def add(self, message: bytes) -> None:
        self.missed += len(self._messages) == _WAITING
        self._messages.append(message)
        self._wake()

    def take(self) -> bytes:
        """All that waits, after word of what was lost before it."""
        messages = [*self._messages]
        self._messages.clear()
        if self.missed:
            messages.insert(0, b'event: missed\ndata: {"count":%d}\n\n' % self.missed)
            self.missed = 0
        return b"".join(messages)

    async def wait(self, reader: Reader) -> None:
        """Until there is news, or it is time for a heartbeat. Raises ClientLeftError."""
        if self._messages:
            return
        loop = asyncio.get_running_loop()
        self._news = loop.create_future()
        timer = loop.call_later(_HEARTBEAT_SECONDS, self._wake)
        try:
            await reader.wait_for(self._news)
        finally:
            timer.cancel()

    def _wake(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)


def _message(name: str, number: int, kind: bytes = b"", entry: bytes = b"") -> bytes:
    more = b',"%s":%s' % (kind, entry) if kind else b""
    return b'id: %d\nevent: %s\ndata: {"time":%.6f%s}\n\n' % (
        number,
        name.encode(),
        perf_counter(),
        more,
    )
