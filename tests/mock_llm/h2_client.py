"""A client that says what it likes in HTTP/2, frame by frame."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    ResponseReceived,
    StreamEnded,
    StreamReset,
)
from hpack import Encoder

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    """RFC 9113, section 4.1."""
    head = len(payload).to_bytes(3, "big") + bytes([kind, flags])
    return head + stream.to_bytes(4, "big") + payload


DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS = 0, 1, 2, 3, 4
PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 6, 7, 8, 9
END_STREAM, END_HEADERS = 1, 4


def head(path: str, method: str = "GET", *more: tuple[str, str]) -> bytes:
    """A header block that leaves no trace in the connection's compression state."""
    encoder = Encoder()
    encoder.header_table_size = 0
    fields = [
        (":method", method),
        (":scheme", "http"),
        (":path", path),
        (":authority", "localhost"),
    ]
    return encoder.encode([*fields, *more])


@dataclass(frozen=True)
class Frame:
    kind: int
    stream: int
    payload: bytes

    @property
    def error(self) -> int:
        """The error code of a GOAWAY or RST_STREAM."""
        return int.from_bytes(self.payload[4:8] if self.kind == GOAWAY else self.payload[:4], "big")


def throw(port: int, frames: bytes, *, leave: bool = False) -> list[Frame]:
    """What a server answers to these frames before it closes the connection.

    With ``leave`` nothing more is sent after them, and the server hears of it.
    """
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        sending = threading.Thread(
            target=_send, args=(connection, PREFACE + frame(SETTINGS) + frames, leave)
        )
        sending.start()
        received = b"".join(iter(lambda: _receive(connection), b""))
    sending.join(10)
    answers = []
    while received:
        end = 9 + int.from_bytes(received[:3], "big")
        stream = int.from_bytes(received[5:9], "big")
        answers.append(Frame(received[3], stream, received[9:end]))
        received = received[end:]
    return answers


def _send(connection: socket.socket, data: bytes, leave: bool) -> None:
    with contextlib.suppress(OSError):
        connection.sendall(data)
        if leave:
            connection.shutdown(socket.SHUT_WR)


def _receive(connection: socket.socket) -> bytes:
    try:
        return connection.recv(65536)
    except ConnectionResetError:
        return b""


class Client:
    """One connection. ``events`` are those that have been read so far."""

    def __init__(self, port: int, context: ssl.SSLContext | None = None) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        if context is not None:
            self.socket = context.wrap_socket(self.socket, server_hostname="localhost")
        self.h2 = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self.h2.initiate_connection()
        self.events: list[Event] = []
        self.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self.socket.close()

    def ask(self, path: str, *more: tuple[str, str], method: str = "GET", end: bool = True) -> int:
        """Send a request's head. The stream's id."""
        stream = self.h2.get_next_available_stream_id()
        fields = [(":method", method), (":scheme", "http"), (":path", path)]
        fields += [(":authority", "localhost"), *more]
        self.h2.send_headers(stream, fields, end_stream=end)
        self.flush()
        return stream

    def flush(self) -> None:
        self.socket.sendall(self.h2.data_to_send())

    def read(self) -> bool:
        """Read what has come, at least something. False when the server has closed."""
        data = _receive(self.socket)
        self.events += self.h2.receive_data(data)
        return bool(data)

    def read_until(self, condition: Callable[[], object]) -> None:
        while not condition():
            assert self.read(), "the server closed the connection"

    def read_to_the_end(self) -> None:
        while self.read():
            pass

    def ended(self, stream: int) -> bool:
        return any(isinstance(e, StreamEnded) and e.stream_id == stream for e in self.events)

    def body(self, stream: int) -> bytes:
        data = [
            e.data for e in self.events if isinstance(e, DataReceived) and e.stream_id == stream
        ]
        return b"".join(data)

    def was_reset(self, stream: int) -> int | None:
        codes = [
            e.error_code
            for e in self.events
            if isinstance(e, StreamReset) and e.stream_id == stream
        ]
        return codes[0] if codes else None

    def goaway(self) -> int | None:
        codes = [e.error_code for e in self.events if isinstance(e, ConnectionTerminated)]
        return codes[0] if codes else None

    def status(self, stream: int) -> str | None:
        heads = [
            dict(e.headers)
            for e in self.events
            if isinstance(e, ResponseReceived) and e.stream_id == stream
        ]
        return str(heads[0][":status"]) if heads else None  # type: ignore[index]
