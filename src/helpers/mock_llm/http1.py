"""HTTP/1.1 for uvicorn, on the httptools parser, with limits and refusals in the provider's shape.

uvicorn's own would do but for the limits, and for its price: a timer, an event, two writes and a
dozen checks of what is our own, together half of the time that a short answer takes.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from functools import lru_cache
from typing import Any
from urllib.parse import unquote

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE
from uvicorn.protocols.utils import get_local_addr, get_remote_addr, is_ssl
from uvicorn.server import ServerState

from helpers.mock_llm import wire
from helpers.mock_llm.asgi import Headers, Message, Receive, Scope, Send, respond
from helpers.mock_llm.wire import EXTENSION, MAX_HEAD, Impatient, oversized, refusal

_MAX_UNREAD = 64 * 1024
"""Bytes of a request's body that may wait for the app."""
_HEAD = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
_App = Callable[[Scope, Receive, Send], Awaitable[None]]
_log = logging.getLogger("uvicorn.error")


class Http1(Impatient, asyncio.Protocol):
    """One connection. Its requests are answered one after the other, each on a `Cycle`."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self._app: _App = config.loaded_app
        self._root_path = config.root_path
        self._server_state = server_state
        self._app_state = app_state
        self._loop = _loop or asyncio.get_running_loop()
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

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.transport = transport
        self._server_state.connections.add(self)  # type: ignore[arg-type]
        self._client = get_remote_addr(transport)
        self._server = get_local_addr(transport)
        self._scheme = "https" if is_ssl(transport) else "http"

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
        self._server_state.connections.discard(self)
        self.books.connection_closed(self._client)
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

    def default_headers(self) -> Headers:
        return self._server_state.default_headers

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
        scope: Scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": version,
            "server": self._server,
            "client": self._client,
            "scheme": self._scheme,
            "method": self._parser.get_method().decode("ascii"),
            "root_path": self._root_path,
            "path": path,
            "raw_path": raw_path,
            "query_string": query,
            "headers": self._headers,
            "state": self._app_state.copy(),
        }
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


class Cycle:
    """One request and its answer: what the app receives from and sends to, and its ``Wire``.

    The head of an answer leaves with the first piece of its body: ASGI wants it so, and it halves
    the system calls of a short answer.
    """

    def __init__(self, connection: Http1, scope: Scope, keep_alive: bool) -> None:
        self.keep_alive = keep_alive
        self.task: asyncio.Task[None] | None = None
        """Kept, since the event loop does not; uvicorn's set of tasks costs a callback for each."""
        self._connection = connection
        self._scope = scope
        scope["extensions"] = {EXTENSION: self}
        self._left = False
        self._news = False
        self._waiting: asyncio.Future[None] | None = None
        # The request.
        self._body: list[bytes] = []
        self._unread = 0
        self._more_body = True
        self._asked = False
        # The answer.
        self._started = False
        self._answered = False
        self._head = b""
        self._chunked = False

    async def run(self, app: _App) -> None:
        try:
            await app(self._scope, self.receive, self.send)
        except Exception:  # noqa: BLE001  # a mistake of the app's, which answers for its own
            _log.exception("Exception in ASGI application")
        if self._answered or self._left:
            return
        if self._started:
            self.cut()
        else:
            await respond(self.send, 500, refusal(500, "The server did not answer."), [])

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
