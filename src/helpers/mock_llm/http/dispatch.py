"""The TCP connections: counted, told apart by protocol, and closed when nobody uses them.

ASGI tells an app nothing of connections. uvicorn takes any asyncio protocol class as its ``http=``,
so ours stands at the door: it sees every connection, also one that never sends, and hands it to
HTTP/1.1 or HTTP/2, with or without TLS, as soon as the first bytes say which it is.
"""

from __future__ import annotations

import asyncio
import ssl
import sys
from collections.abc import Callable
from time import perf_counter
from typing import Any, ClassVar

from uvicorn.config import Config
from uvicorn.server import ServerState

from helpers.mock_llm.http.http1 import Http1
from helpers.mock_llm.http.http2 import Http2
from helpers.mock_llm.http.tls import HANDSHAKE, Tls
from helpers.mock_llm.records.recorder import OpenConnection, Recorder

_HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""RFC 9113, section 3.4: what an HTTP/2 client sends first."""
_MAX_CONNECTIONS = 5_000
IDLE_SECONDS = 75.0
"""How long a connection may go without a request: a kept-alive one, one that never sent anything
and one that never finished a request's head. uvicorn's own 5 s would distort connection counts;
75 s is nginx's default."""
_OTHER_FILES = 100
"""Files that the process has open besides connections, and more."""


def _never() -> bool:
    return False


class ProtocolDispatcher(asyncio.Protocol):
    """Enters a connection in the books, and finds out which protocol the client speaks.

    Its class attributes are set once, by whoever starts the server.
    """

    recorder: ClassVar[Recorder]
    tls: ClassVar[ssl.SSLContext | None] = None
    """Clients may open a connection with TLS if there is one."""
    most: ClassVar[int] = _MAX_CONNECTIONS
    """More connections than that are closed at once."""
    refuses: ClassVar[Callable[[], bool]] = _never
    """Asked when the first request on a connection has come, if it is for the API: if true, the
    connection is closed without an answer, and no app ever sees the request."""

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
        self.recorder.connection_opened(self._client, transport)
        if len(self.recorder.open) > self.most:
            transport.abort()

    def data_received(self, data: bytes) -> None:
        connection = self.recorder.open[self._client]
        if self.tls is not None and data[0] == HANDSHAKE and not connection.entry.tls:
            connection.entry.tls = True
            self._transport = connection.transport = Tls(self.tls, self._transport, self)
            connection.transport.data_received(data)
            return
        self._received += data
        if len(self._received) < len(_HTTP2_PREFACE) and _HTTP2_PREFACE.startswith(self._received):
            return
        http2 = self._agreed_on_http2() or self._received.startswith(_HTTP2_PREFACE)
        connection.entry.http_version = "2" if http2 else "1.1"
        inner = (Http2 if http2 else Http1)(*self._arguments)
        inner.recorder = self.recorder
        inner.refuses = ProtocolDispatcher.refuses
        self._transport.set_protocol(inner)
        inner.connection_made(self._transport)
        inner.data_received(self._received)

    def connection_lost(self, exc: Exception | None) -> None:
        self.recorder.connection_closed(self._client)

    def shutdown(self) -> None:
        self._transport.close()

    def _agreed_on_http2(self) -> bool:
        session = self._transport.get_extra_info("ssl_object")
        return session is not None and session.selected_alpn_protocol() == "h2"


def most_connections() -> int:
    """How many connections this process can serve, after having raised its limit of open files."""
    if sys.platform == "win32":
        return _MAX_CONNECTIONS
    import resource

    wanted = _MAX_CONNECTIONS + _OTHER_FILES
    allowed, ceiling = resource.getrlimit(resource.RLIMIT_NOFILE)
    if resource.RLIM_INFINITY != allowed < wanted:
        allowed = wanted if ceiling == resource.RLIM_INFINITY else min(wanted, ceiling)
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, ceiling))
    return (
        _MAX_CONNECTIONS
        if allowed == resource.RLIM_INFINITY
        else min(_MAX_CONNECTIONS, allowed - _OTHER_FILES)
    )


async def close_idle(recorder: Recorder) -> None:
    """Close, for ever, the connections on which nothing has been asked for too long."""
    while True:
        await asyncio.sleep(IDLE_SECONDS / 10)
        deadline = perf_counter() - IDLE_SECONDS
        for connection in list(recorder.open.values()):
            if not _unused_since(connection, deadline):
                continue
            if connection.transport.is_closing():  # and still here: the client does not read
                connection.transport.abort()
            else:
                connection.transport.get_protocol().shutdown()  # type: ignore[attr-defined]


def _unused_since(connection: OpenConnection, deadline: float) -> bool:
    return connection.in_progress == 0 and connection.idle_since < deadline
