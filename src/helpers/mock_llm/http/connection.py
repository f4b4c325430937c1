"""What HTTP/1.1 and HTTP/2 connections have in common: options, limits, and how they end."""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from helpers.mock_llm.asgi import Headers
from helpers.mock_llm.records.recorder import OpenConnection, Recorder

ErrorBody = Callable[[int, str, str, Headers], bytes]
"""Words a refusal: from its status and message, and the request's path and headers."""
MAX_CONNECTIONS = 5_000
MAX_HEAD = 64 * 1024
MAX_HEADERS = 200
# How long a connection that is being closed still reads what comes, and how many bytes.
LINGER_SECONDS = 1.0
_MAX_LINGER = 1024 * 1024
# ``struct linger``: on, for 0 s.
_CLOSE_BY_RESET = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)


@dataclass(frozen=True, slots=True)
class HttpOptions:
    """What all connections of one server share."""

    recorder: Recorder
    error_body: ErrorBody
    refuses: Callable[[str], bool] = lambda path: False
    """Asked when the first request on a connection has come, with its path: if true, the connection
    is closed without an answer, and no app ever sees the request."""
    max_connections: int = MAX_CONNECTIONS
    """More connections than that are closed at once."""
    idle_seconds: float = 75.0
    """How long a connection may go without a request: a kept-alive one, one that never sent
    anything and one that never finished a request's head. uvicorn's own 5 s would distort
    connection counts; 75 s is nginx's default."""
    stuck_seconds: float = 60.0
    """How long a client may leave its answer unread: its stream would keep a decode slot.
    """
    max_ignored_body: int = 64 * 1024 * 1024
    """Bytes of a request's body that may follow its answer: the rest of one that was too large,
    for example. Over HTTP/2 only; over HTTP/1.1 they can be skipped without telling the client."""


def reset(transport: asyncio.Transport) -> None:
    """Close with a TCP RST."""
    if not transport.is_closing():
        endpoint = transport.get_extra_info("socket")
        endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _CLOSE_BY_RESET)
    transport.abort()


def find_problem(
    headers: Sequence[tuple[bytes, bytes]], target: bytes = b""
) -> tuple[int, str] | None:
    """The status and the message by which a request's head must be refused, if it must."""
    size = len(target) + sum([len(name) + len(value) for name, value in headers])
    if size > MAX_HEAD:
        return 431, f"The request's head is larger than {MAX_HEAD} bytes."
    if len(headers) > MAX_HEADERS:
        return 431, f"The request has more than {MAX_HEADERS} headers."
    if [name for name, _ in headers].count(b"host") > 1:  # RFC 9112, section 3.2
        return 400, "The request has more than one Host header."
    return None


class HttpConnection(asyncio.Protocol):
    """A connection of either version. It aborts when the client does not read, and closes
    gracefully when it refuses to go on."""

    transport: asyncio.Transport

    def __init__(self, options: HttpOptions, connection: OpenConnection, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.options = options
        self.connection = connection
        self.closing = False
        """It serves no more requests, and ignores what still comes."""
        self._stuck: asyncio.TimerHandle | None = None
        self._discarded = 0

    def connection_lost(self, exc: Exception | None) -> None:
        if self._stuck is not None:
            self._stuck.cancel()
        self.options.recorder.connection_closed(self.connection)
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        loop = asyncio.get_running_loop()
        self._stuck = loop.call_later(self.options.stuck_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._stuck is not None:
            self._stuck.cancel()

    def shutdown(self) -> None:
        """Close as soon as the requests that are being answered have been."""
        raise NotImplementedError

    def expire(self) -> None:
        """Close an idle connection."""
        if self.transport.is_closing():  # and still here: the client does not read
            self.transport.abort()
        else:
            self.shutdown()

    def close_gracefully(self, last: bytes = b"") -> None:
        """Send ``last`` and close, so that the client can read all that was written.

        A socket closed with unread data resets the connection, and what was written may be lost. So
        what still comes is read and discarded, for a moment.
        """
        self.closing = True
        if self.transport.is_closing():
            return
        if last:
            self.transport.write(last)
        if self.transport.can_write_eof():
            self.transport.write_eof()
            asyncio.get_running_loop().call_later(LINGER_SECONDS, self.transport.close)
        else:  # TLS, whose close waits for the client as long
            self.transport.close()

    def discard(self, data: bytes) -> None:
        """Ignore input after `close_gracefully`, up to a limit."""
        self._discarded += len(data)
        if self._discarded > _MAX_LINGER:
            self.transport.abort()

    def must_refuse(self, path: str) -> bool:
        """Whether the connection's first request, for this path, is to be dropped unanswered."""
        if not self.options.refuses(path):
            return False
        self.options.recorder.connection_refused()
        return True
