"""The TCP connections: counted, told apart by protocol, and closed when nobody uses them.

ASGI tells an app nothing of connections. uvicorn takes any asyncio protocol class as its ``http=``,
so ours stands at the door: it sees every connection, also one that never sends, and hands it to
uvicorn's own HTTP/1.1 or HTTP/2 protocol as soon as the first bytes say which it is.
"""

from __future__ import annotations

import asyncio
from time import perf_counter
from typing import Any, ClassVar

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.protocols.http.zttp_h2_impl import ZttpH2Protocol
from uvicorn.server import ServerState

from helpers.mock_llm.books import Books, OpenConnection
from helpers.mock_llm.dialect import OPENAI
from helpers.mock_llm.errors import ApiError

_HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""RFC 9113, section 3.4: what an HTTP/2 client sends first."""
_MAX_HEAD = 64 * 1024
IDLE_SECONDS = 75.0
"""How long a connection may go without a request: a kept-alive one, one that never sent anything
and one that never finished a request's head. uvicorn's own 5 s would distort connection counts;
75 s is nginx's default."""
_STUCK_SECONDS = 60.0
"""How long a client may leave the transport's buffer full: a stream to one that never reads would
keep its decode slot for ever."""


class Doorkeeper(asyncio.Protocol):
    """Enters a connection in the books, and finds out which protocol the client speaks."""

    books: ClassVar[Books]

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self._arguments = (config, server_state, app_state, _loop)
        self._received = b""
        self._transport: asyncio.Transport
        self._client: Any

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport
        self._client = transport.get_extra_info("peername")
        self.books.connection_opened(self._client, transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if len(self._received) < len(_HTTP2_PREFACE) and _HTTP2_PREFACE.startswith(self._received):
            return
        http2 = self._received.startswith(_HTTP2_PREFACE)
        connection = self.books.open[self._client]
        connection.entry.http_version = "2" if http2 else "1.1"
        inner = (Http2 if http2 else Http1)(*self._arguments)
        inner.books = self.books
        self._transport.set_protocol(inner)
        inner.connection_made(self._transport)
        inner.data_received(self._received)

    def connection_lost(self, exc: Exception | None) -> None:
        self.books.connection_closed(self._client)


class _Impatient(asyncio.Protocol):
    """Drops a connection whose client does not read what it asked for."""

    transport: asyncio.Transport
    _giving_up: asyncio.TimerHandle | None = None

    def pause_writing(self) -> None:
        super().pause_writing()
        loop = asyncio.get_running_loop()
        self._giving_up = loop.call_later(_STUCK_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._giving_up is not None:
            self._giving_up.cancel()


class Http1(_Impatient, HttpToolsProtocol):
    """uvicorn's HTTP/1.1, with a limit to the head and refusals in the provider's shape."""

    books: Books
    _head_bytes = 0

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._head_bytes = 0
            return
        self._head_bytes += len(data)
        if self._head_bytes > _MAX_HEAD:
            self._refuse(431, f"The request's head is larger than {_MAX_HEAD} bytes.")

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, msg)

    def connection_lost(self, exc: Exception | None) -> None:
        self.books.connection_closed(self.client)
        super().connection_lost(exc)

    def _refuse(self, status: int, message: str) -> None:
        if self.transport.is_closing():
            return
        body = OPENAI.error_body(ApiError(status, message), "")
        head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
        self.transport.write(STATUS_LINE[status] + head % len(body) + body)
        self.transport.close()


class Http2(_Impatient, ZttpH2Protocol):
    """uvicorn's HTTP/2."""

    books: Books

    def data_received(self, data: bytes) -> None:
        try:
            super().data_received(data)
        except Exception:  # noqa: BLE001  # zttp and uvicorn raise various kinds for a bad frame
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self.books.connection_closed(self.client)
        super().connection_lost(exc)


async def close_idle(books: Books) -> None:
    """Close, for ever, the connections on which nothing has been asked for too long."""
    while True:
        await asyncio.sleep(IDLE_SECONDS / 10)
        deadline = perf_counter() - IDLE_SECONDS
        for connection in list(books.open.values()):
            if not _unused_since(connection, deadline):
                continue
            if connection.transport.is_closing():  # and still here: the client does not read
                connection.transport.abort()
            else:
                connection.transport.close()


def _unused_since(connection: OpenConnection, deadline: float) -> bool:
    return connection.in_progress == 0 and connection.idle_since < deadline
