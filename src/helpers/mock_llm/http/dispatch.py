"""The TCP connections: counted, and handed to the protocol that the client speaks.

ASGI knows nothing of connections. uvicorn takes any asyncio protocol as its ``http=``, so the
dispatcher is the entry point: it sees every connection, also one that never sends, and hands it to
HTTP/1.1 or HTTP/2 as soon as the first bytes say which it is.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.config import Config
from uvicorn.server import ServerState

from helpers.mock_llm.http.connection import HttpOptions
from helpers.mock_llm.http.http1 import Http1
from helpers.mock_llm.http.http2 import Http2
from helpers.mock_llm.records.recorder import OpenConnection

# RFC 9113, section 3.4: what an HTTP/2 client sends first.
_HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


class ProtocolDispatcher(asyncio.Protocol):
    """A connection whose protocol is not yet known."""

    def __init__(
        self,
        options: HttpOptions,
        connection: OpenConnection | None = None,
        *,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        """``connection``: that of a TLS connection, which was counted before its handshake."""
        self._options = options
        self._connection = connection
        self._arguments = (config, server_state, app_state, _loop)
        self._received = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport
        recorder = self._options.recorder
        if self._connection is not None:
            self._connection.expire = transport.abort
            return
        peer = transport.get_extra_info("peername")
        if peer is None:  # the client has reset it before it was accepted
            transport.abort()
            return
        self._connection = recorder.connection_opened(peer[1], transport.abort)
        if len(recorder.open) > self._options.max_connections:
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._connection is not None:
            self._options.recorder.connection_closed(self._connection)

    def data_received(self, data: bytes) -> None:
        preface = _HTTP2_PREFACE
        self._received += data
        if len(self._received) < len(preface) and preface.startswith(self._received):
            return
        if self._connection is None:
            return
        http2 = self._agreed_on_http2() or self._received.startswith(preface)
        self._connection.entry.http_version = "2" if http2 else "1.1"
        protocol = (Http2 if http2 else Http1)(self._options, self._connection, *self._arguments)
        self._connection.expire = protocol.expire
        self._transport.set_protocol(protocol)
        protocol.connection_made(self._transport)
        protocol.data_received(self._received)

    def _agreed_on_http2(self) -> bool:
        session = self._transport.get_extra_info("ssl_object")
        return session is not None and session.selected_alpn_protocol() == "h2"
