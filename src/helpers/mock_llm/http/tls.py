"""TLS on a connection that has begun as a plain one: its first byte said what it wants."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from pathlib import Path
from typing import Any

HANDSHAKE = 0x16
"""RFC 8446, section 5.1: the type of the record that a TLS client sends first."""


def make_context(ca_file: Path) -> ssl.SSLContext:
    """A TLS context for this machine's loopback names; writes its CA's certificate, in PEM.

    The CA is made here and now, and its key is not kept.
    """
    import trustme  # takes 0.1 s

    authority = trustme.CA(organization_name="LLM Anti-Patterns Lab")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["h2", "http/1.1"])
    authority.issue_cert("localhost", "127.0.0.1", "::1").configure_cert(context)
    ca_file.touch(mode=0o600)
    ca_file.write_bytes(authority.cert_pem.bytes())
    return context


class Tls(asyncio.Transport, asyncio.Protocol):
    """A protocol to the socket's transport, and a transport to the protocol above.

    What is written is encrypted and passed on at once, so the flow control of the transport below
    holds for the protocol above too.
    """

    def __init__(
        self, context: ssl.SSLContext, below: asyncio.Transport, above: asyncio.Protocol
    ) -> None:
        super().__init__()
        self._context = context
        self._below = below
        self._above: asyncio.BaseProtocol = above
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._session = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._agreed = False
        self._parted = False
        below.set_protocol(self)

    # The protocol of the transport below.

    def data_received(self, data: bytes) -> None:
        if self._parted:
            return
        self._incoming.write(data)
        try:
            plain, ended = self._decrypt()
        except ssl.SSLError:
            self._flush()  # the alert that says why
            self._below.close()
            return
        self._flush()
        if plain:
            self._above.data_received(plain)  # type: ignore[attr-defined]
        if ended:
            self.close()

    def eof_received(self) -> None:
        self._above.eof_received()  # type: ignore[attr-defined]

    def connection_lost(self, exc: Exception | None) -> None:
        self._above.connection_lost(exc)

    def pause_writing(self) -> None:
        self._above.pause_writing()

    def resume_writing(self) -> None:
        self._above.resume_writing()

    # The transport of the protocol above.

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._below.is_closing():
            return
        rest = memoryview(data)
        while rest:
            rest = rest[self._session.write(rest) :]
        self._flush()

    def close(self) -> None:
        self._part()
        self._below.close()

    def abort(self) -> None:
        self._below.abort()

    def is_closing(self) -> bool:
        return self._below.is_closing()

    def can_write_eof(self) -> bool:
        return self._below.can_write_eof()

    def write_eof(self) -> None:
        """After this nothing is read any more either: what comes is dropped."""
        self._part()
        self._below.write_eof()

    def pause_reading(self) -> None:
        self._below.pause_reading()

    def resume_reading(self) -> None:
        self._below.resume_reading()

    def get_write_buffer_size(self) -> int:
        return self._below.get_write_buffer_size()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._above = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._above

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        own = {"sslcontext": self._context, "ssl_object": self._session}
        return own[name] if name in own else self._below.get_extra_info(name, default)

    def _decrypt(self) -> tuple[bytes, bool]:
        """What the client has said, and whether it has said farewell. Raises ssl.SSLError."""
        parts = []
        try:
            if not self._agreed:
                self._session.do_handshake()
                self._agreed = True
            while part := self._session.read(65536):
                parts.append(part)
        except ssl.SSLWantReadError:
            return b"".join(parts), False
        except ssl.SSLZeroReturnError:
            pass
        return b"".join(parts), True

    def _part(self) -> None:
        """Say farewell, so that the client knows that nothing was cut off behind our back."""
        if self._agreed and not self._parted and not self._below.is_closing():
            with contextlib.suppress(ssl.SSLError):  # it waits for the client's farewell; we do not
                self._session.unwrap()
            self._flush()
        self._parted = True

    def _flush(self) -> None:
        if encrypted := self._outgoing.read():
            self._below.write(encrypted)
