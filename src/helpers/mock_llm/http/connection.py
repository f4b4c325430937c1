"""What both HTTP protocols share below the app: limits, patience, and how a connection ends."""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from uvicorn.config import Config
from uvicorn.protocols.utils import get_local_addr, get_remote_addr, is_ssl
from uvicorn.server import ServerState

from helpers.mock_llm.asgi import Headers, Message, Receive, Scope, Send, respond
from helpers.mock_llm.openai.dialect import OPENAI
from helpers.mock_llm.records.recorder import Recorder
from helpers.mock_llm.serving.errors import ApiError

App = Callable[[Scope, Receive, Send], Awaitable[None]]
EXTENSION = "mock.wire"
"""Where an app finds its ``Wire``: ``scope["extensions"]["mock.wire"]``."""
MAX_HEAD = 64 * 1024
MAX_HEADERS = 200
STUCK_SECONDS = 60.0
"""How long a client may not read what it asked for: its stream would keep a decode slot for ever.
"""
_LINGER_SECONDS = 1.0
_MAX_LINGER = 1024 * 1024
_CLOSE_BY_RESET = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)
"""``struct linger``: on, for 0 s."""
log = logging.getLogger("uvicorn.error")


class Wire(Protocol):
    """How an app breaks off its answer. Afterwards its ``receive`` says ``http.disconnect``, and
    what it sends is dropped."""

    def cut(self) -> None:
        """The answer ends here, unfinished, after what was sent of it.

        Over HTTP/1.1 the connection is closed; over HTTP/2 only the stream is reset.
        """

    def reset(self) -> None:
        """The whole connection ends at once, with a TCP RST."""


def reset(transport: asyncio.Transport) -> None:
    if not transport.is_closing():
        endpoint = transport.get_extra_info("socket")
        endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _CLOSE_BY_RESET)
    transport.abort()


def oversized(headers: Sequence[tuple[bytes, bytes]], target: bytes = b"") -> str | None:
    """What is wrong with the size of a request's head, if anything."""
    size = len(target) + sum([len(name) + len(value) for name, value in headers])
    if size > MAX_HEAD:
        return f"The request's head is larger than {MAX_HEAD} bytes."
    if len(headers) > MAX_HEADERS:
        return f"The request has more than {MAX_HEADERS} headers."
    return None


def refusal(status: int, message: str) -> bytes:
    """The body that says so, for a request that does not get as far as a route."""
    return OPENAI.error_body(ApiError(status, message), "")


class HttpConnection(asyncio.Protocol):
    """A connection of either protocol, made as uvicorn makes its own. It drops clients which do not
    read, and takes leave of those it gives up."""

    recorder: Recorder
    refuses: Callable[[], bool]
    """Asked at a connection's first request: must it be dropped?"""
    transport: asyncio.Transport
    leaving = False
    _giving_up: asyncio.TimerHandle | None = None
    _ignored = 0

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self._app: App = config.loaded_app
        self._root_path = config.root_path
        self._server_state = server_state
        self._app_state = app_state
        self._loop = _loop or asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.transport = transport
        self._server_state.connections.add(self)  # type: ignore[arg-type]
        self._client = get_remote_addr(transport)
        self._server = get_local_addr(transport)
        self._scheme = "https" if is_ssl(transport) else "http"

    def connection_lost(self, exc: Exception | None) -> None:
        self._server_state.connections.discard(self)
        self.recorder.connection_closed(self._client)

    def default_headers(self) -> Headers:
        return self._server_state.default_headers

    def scope(
        self, version: str, method: str, path: str, raw_path: bytes, query: bytes, headers: Headers
    ) -> Scope:
        """A request's, for the app."""
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": version,
            "server": self._server,
            "client": self._client,
            "scheme": self._scheme,
            "method": method,
            "root_path": self._root_path,
            "path": path,
            "raw_path": raw_path,
            "query_string": query,
            "headers": headers,
            "state": self._app_state.copy(),
        }

    def pause_writing(self) -> None:
        super().pause_writing()
        loop = asyncio.get_running_loop()
        self._giving_up = loop.call_later(STUCK_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._giving_up is not None:
            self._giving_up.cancel()

    def leave(self, last_words: bytes = b"") -> None:
        """Close, and let the client read all that was written.

        A socket closed with unread data resets the connection, and what was written may be lost. So
        what still comes is read and ignored, for a moment.
        """
        self.leaving = True
        if self.transport.is_closing():
            return
        if last_words:
            self.transport.write(last_words)
        if self.transport.can_write_eof():
            self.transport.write_eof()
        asyncio.get_running_loop().call_later(_LINGER_SECONDS, self.transport.close)

    def ignore(self, data: bytes) -> None:
        """What a client sends that was told to go."""
        self._ignored += len(data)
        if self._ignored > _MAX_LINGER:
            self.transport.abort()

    def must_refuse(self, path: str) -> bool:
        """Whether the connection's first request, for this path, is to be dropped unanswered."""
        if not path.startswith("/v1") or not self.refuses():
            return False
        self.recorder.connection_refused()
        return True


class Answering:
    """One request and its answer: what the app receives from and sends to, and its ``Wire``."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        scope["extensions"] = {EXTENSION: self}
        self._left = False
        self._started = False
        self._answered = False

    async def run(self, app: App) -> None:
        try:
            await app(self._scope, self.receive, self.send)
        except Exception:  # a mistake of the app's, which answers for its own
            log.exception("Exception in ASGI application")
        if self._answered or self._left:
            return
        if self._started:
            self.cut()
        else:
            await respond(self.send, 500, refusal(500, "The server did not answer."), [])

    async def receive(self) -> Message:
        raise NotImplementedError

    async def send(self, message: Message) -> None:
        raise NotImplementedError

    def cut(self) -> None:
        raise NotImplementedError
