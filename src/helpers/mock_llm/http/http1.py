"""HTTP/1.1 for uvicorn, on the httptools parser, with limits and refusals in the provider's shape.

uvicorn's own would do but for the limits, and for its price: a timer, an event, two writes and a
dozen checks of what is our own, together half of the time that a short answer takes.
"""

from __future__ import annotations

import asyncio
from collections import deque
from functools import lru_cache
from typing import Any
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from helpers.mock_llm.asgi import Headers, Message, Scope
from helpers.mock_llm.http import connection as wire
from helpers.mock_llm.http.connection import (
    MAX_HEAD,
    Answering,
    HttpConnection,
    oversized,
    refusal,
)

_MAX_UNREAD = 64 * 1024
"""Bytes of a request's body that may wait for the app."""
_HEAD = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"


class Http1(HttpConnection):
    """One connection. Its requests are answered one after the other, each on a `Cycle`."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._parser = httptools.HttpRequestParser(self)
        # What comes after the last request is ignored, and must not cost it its answer.
        self._parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self._url = b""
        self._headers: Headers = []
        self._messages = 0
        self._head_bytes = 0
        self._in_head = True
        self._asked = False
        self._cycle: Cycle | None = None
        """Whose body is being read."""
        self._unanswered: deque[Cycle] = deque()
        """The first of them runs."""
        self._reading = True
        self.paused = False
        """The client reads more slowly than it is written to."""
        self._writable = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        if self.leaving:
            self.ignore(data)
            return
        messages = self._messages
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # answered as if it had not asked for another protocol
        except httptools.HttpParserError:
            self._refuse(400, "Invalid HTTP request received.")
        if self._in_head and self._messages == messages:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD:
                self._refuse(431, f"The request's head is larger than {MAX_HEAD} bytes.")

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._disconnect_all()

    def pause_writing(self) -> None:
        super().pause_writing()
        self.paused = True
        self._writable.clear()

    def resume_writing(self) -> None:
        super().resume_writing()
        self.paused = False
        self._writable.set()

    def shutdown(self) -> None:
        """Close as soon as the requests that are being answered have been."""
        if self._unanswered:
            self._unanswered[-1].keep_alive = False
        else:
            self.transport.close()

    def leave(self, last_words: bytes = b"") -> None:
        self._disconnect_all()
        super().leave(last_words)

    # What the parser finds.

    def on_message_begin(self) -> None:
        self._url = b""
        self._headers = []

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._head_bytes = 0
        self._cycle = None
        first, self._asked = not self._asked, True
        if self._gone:
            return
        if problem := oversized(self._headers, self._url):
            self._refuse(431, problem)
        elif first and self.must_refuse(self._url.decode("latin-1")):
            self.leave()
        else:
            self._begin()

    def on_body(self, body: bytes) -> None:
        if self._cycle is not None:
            self._cycle.body_received(body)

    def on_message_complete(self) -> None:
        self._in_head = True
        self._messages += 1
        if self._cycle is not None:
            self._cycle.body_ended()

    # What cycles ask of their connection.

    async def until_writable(self) -> None:
        await self._writable.wait()

    def reset(self) -> None:
        self.leaving = True
        self._disconnect_all()
        wire.reset(self.transport)

    def pause_reading(self) -> None:
        if self._reading:
            self._reading = False
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        if not self._reading:
            self._reading = True
            self.transport.resume_reading()

    def answered(self, cycle: Cycle) -> None:
        self._server_state.total_requests += 1
        self._unanswered.popleft()
        if not cycle.keep_alive:
            self.transport.close()
        if self.transport.is_closing():
            return
        self.resume_reading()
        if self._unanswered:
            self._run(self._unanswered[0])

    @property
    def _gone(self) -> bool:
        return self.leaving or self.transport.is_closing()

    def _begin(self) -> None:
        version = self._parser.get_http_version()
        path, raw_path, query = _target(self._url)
        method = self._parser.get_method().decode("ascii")
        scope = self.scope(version, method, path, raw_path, query, self._headers)
        keep_alive = version != "1.0" and self._parser.should_keep_alive()
        self._cycle = cycle = Cycle(self, scope, keep_alive)
        self._unanswered.append(cycle)
        if len(self._unanswered) == 1:
            self._run(cycle)
        else:  # it has been sent before the answer to another one, and waits for its turn
            self.pause_reading()

    def _run(self, cycle: Cycle) -> None:
        cycle.task = self._loop.create_task(cycle.run(self._app))

    def _refuse(self, status: int, message: str) -> None:
        if self._gone:
            return
        if self._unanswered:
            self.leave()  # a refusal would stand in the middle of another answer
        else:
            body = refusal(status, message)
            self.leave(STATUS_LINE[status] + _HEAD % len(body) + body)

    def _disconnect_all(self) -> None:
        for cycle in self._unanswered:
            cycle.disconnect()
        self._unanswered.clear()
        self._writable.set()


class Cycle(Answering):
    """The head of an answer leaves with the first piece of its body: ASGI wants it so, and a short
    answer costs half the system calls."""

    def __init__(self, connection: Http1, scope: Scope, keep_alive: bool) -> None:
        super().__init__(scope)
        self.keep_alive = keep_alive
        self.task: asyncio.Task[None] | None = None
        """Kept, since the event loop does not; uvicorn's set of tasks costs a callback for each."""
        self._connection = connection
        self._news = False
        self._waiting: asyncio.Future[None] | None = None
        # The request.
        self._body: list[bytes] = []
        self._unread = 0
        self._more_body = True
        self._asked = False
        # The answer.
        self._head = b""
        self._chunked = False

    # ASGI.

    async def receive(self) -> Message:
        self._connection.resume_reading()
        if not self._news:
            if self._more_body and not self._started:
                self._ask_for_body()
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting
        self._news = False
        if self._left or self._answered:
            self._news = True  # and for ever
            return {"type": "http.disconnect"}
        body, self._body = b"".join(self._body), []
        self._unread = 0
        return {"type": "http.request", "body": body, "more_body": self._more_body}

    async def send(self, message: Message) -> None:
        if self._connection.paused:
            await self._connection.until_writable()
        if self._left:
            return
        if message["type"] == "http.response.start" and not self._started:
            self._start(message["status"], message.get("headers", ()))
        elif message["type"] == "http.response.body" and self._started and not self._answered:
            self._write(message.get("body", b""), message.get("more_body", False))
        else:
            raise RuntimeError(f"Unexpected ASGI message {message['type']!r}")

    # Wire.

    def cut(self) -> None:
        if not self._answered and not self._left:
            self._connection.leave()

    def reset(self) -> None:
        self._connection.reset()

    # What the client does.

    def body_received(self, body: bytes) -> None:
        if self._answered:
            return
        self._body.append(body)
        self._unread += len(body)
        if self._unread > _MAX_UNREAD:
            self._connection.pause_reading()
        self._tell()

    def body_ended(self) -> None:
        self._more_body = False
        self._tell()

    def disconnect(self) -> None:
        self._left = True
        self._tell()

    def _tell(self) -> None:
        self._news = True
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def _ask_for_body(self) -> None:
        """Tell a client that waits for leave to send it."""
        if not self._asked and any(name == b"expect" for name, _ in self._scope["headers"]):
            self._connection.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._asked = True

    def _start(self, status: int, headers: Headers) -> None:
        self._started = True
        every = (*self._connection.default_headers(), *headers)
        lines = b"".join([b"%b: %b\r\n" % header for header in every])
        if (
            b"content-length: " not in lines
            and status not in (204, 304)
            and self._scope["method"] != "HEAD"
        ):
            self._chunked = True
            lines += b"transfer-encoding: chunked\r\n"
        if not self.keep_alive:
            lines += b"connection: close\r\n"
        self._head = STATUS_LINE[status] + lines + b"\r\n"

    def _write(self, body: bytes, more: bool) -> None:
        if self._chunked:
            body = (b"%x\r\n%b\r\n" % (len(body), body)) if body else b""
            if not more:
                body += b"0\r\n\r\n"
        elif self._scope["method"] == "HEAD":
            body = b""
        self._connection.transport.write(self._head + body)
        self._head = b""
        if not more:
            self._answered = True
            self._tell()
            self._connection.answered(self)


@lru_cache(maxsize=1024)
def _target(url: bytes) -> tuple[str, bytes, bytes]:
    """Its path, that as it was sent, and its query. Raises HttpParserError."""
    parsed = httptools.parse_url(url)
    path = parsed.path.decode("ascii")
    return unquote(path) if "%" in path else path, parsed.path, parsed.query or b""
