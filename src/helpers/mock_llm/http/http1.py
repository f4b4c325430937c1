"""uvicorn's HTTP/1.1, with limits, refusals in the provider's shape, and a way to abort answers."""

from __future__ import annotations

import re
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from helpers.mock_llm.asgi import ABORT, CONNECTION, Application, Message, Receive, Scope, Send
from helpers.mock_llm.http.connection import MAX_HEAD, HttpConnection, find_problem, reset

_HEAD = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
_INVALID = "Invalid HTTP request received."
_OTHER_VERSION = "The HTTP version is not supported. Send HTTP/1.1, HTTP/1.0, or HTTP/2."
# RFC 9112, section 3.2.2: a target such as ``http://localhost/v1/models``, and its host.
_ABSOLUTE = re.compile(rb"[A-Za-z][\w+.-]*://([^/?#]*)")
# IANA's registry of transfer codings, without chunked.
_OTHER_CODINGS = frozenset((b"compress", b"deflate", b"gzip", b"x-compress", b"x-gzip"))


class Http1(HttpConnection, HttpToolsProtocol):
    """One connection. Its requests are answered one after the other."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.url = b""
        self.headers = []
        self._messages = 0
        self._head_bytes = 0
        self._in_head = True
        self._first = True
        # The requests that may not have been answered, in order.
        self._cycles: list[RequestResponseCycle] = []

    def data_received(self, data: bytes) -> None:
        if self.closing:
            self.discard(data)
            return
        self._unset_keepalive_if_required()
        messages = self._messages
        try:
            self._parse(data)
        except httptools.HttpParserError as error:
            known = "HTTP version" not in str(error)
            self._refuse(*((400, _INVALID) if known else (505, _OTHER_VERSION)))
        if self._in_head and self._messages == messages:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD:
                self._refuse(431, f"The request's head is larger than {MAX_HEAD} bytes.")

    def _parse(self, data: bytes) -> None:
        """Raises HttpParserError."""
        while True:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                # The client offers another protocol (curl and Java's HttpClient: HTTP/2). The
                # parser takes the rest for that protocol; it has to see the head without the offer.
                data = self._head_without_upgrade() + data[upgrade.args[0] :]
                self.parser = httptools.HttpRequestParser(self)
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
            else:
                return

    def _head_without_upgrade(self) -> bytes:
        """Raises HttpParserError for CONNECT, which cannot be ignored."""
        method, version = self.parser.get_method(), self.parser.get_http_version().encode()
        if method == b"CONNECT":
            raise httptools.HttpParserError(_INVALID)
        lines = [b"%b %b HTTP/%b" % (method, self.url, version)]
        lines += [b"%b: %b" % header for header in self.headers if header[0] != b"upgrade"]
        return b"\r\n".join([*lines, b"", b""])

    # What the parser finds.

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade():
            return
        self._in_head = False
        self._head_bytes = 0
        first, self._first = self._first, False
        if self._gone:
            return
        problem = (
            find_problem(self.headers, self.url)
            or self._find_version_problem()
            or self._find_coding_problem()
        )
        if problem is not None:
            self._refuse(*problem)
        elif first and self.must_refuse(self._path()):
            self.close_gracefully()
        else:
            if absolute := _ABSOLUTE.match(self.url):  # its host counts, not the header's
                others = [header for header in self.headers if header[0] != b"host"]
                self.headers[:] = [(b"host", absolute[1]), *others]
            super().on_headers_complete()
            extensions: Any = {ABORT: _Abort(self, self.cycle), CONNECTION: self.connection}
            self.scope["extensions"] = extensions
            self._cycles = [*self._unanswered(), self.cycle]

    def on_body(self, body: bytes) -> None:
        if not self._gone:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self.parser.should_upgrade():
            return
        self._in_head = True
        self._messages += 1
        if not self._gone:
            super().on_message_complete()

    def _path(self) -> str:
        """The request target's path; if invalid, all of it."""
        try:
            path: bytes = httptools.parse_url(self.url).path
        except httptools.HttpParserInvalidURLError:
            path = self.url
        return path.decode("latin-1")

    def _find_version_problem(self) -> tuple[int, str] | None:
        version = self.parser.get_http_version()
        if version not in ("1.0", "1.1"):
            return 505, _OTHER_VERSION
        if version == "1.1" and b"host" not in dict(self.headers):  # RFC 9112, section 3.2
            return 400, "The request has no Host header."
        return None

    def _find_coding_problem(self) -> tuple[int, str] | None:
        """RFC 9112, section 6.1: chunked is all that is supported."""
        values = [value for name, value in self.headers if name == b"transfer-encoding"]
        codings = b",".join(values).lower()
        if not values or codings.strip() == b"chunked":
            return None
        known = {coding.strip() for coding in codings.split(b",")} & _OTHER_CODINGS
        text = codings.decode("latin-1")
        return 501 if known else 400, f"The transfer coding '{text}' is not supported."

    # How a connection ends.

    def shutdown(self) -> None:
        HttpToolsProtocol.shutdown(self)

    def close_gracefully(self, last: bytes = b"") -> None:
        self.disconnect_all()
        if not self.transport.is_closing():
            self.flow.resume_reading()
        super().close_gracefully(last)

    def connection_lost(self, exc: Exception | None) -> None:
        self.disconnect_all()
        super().connection_lost(exc)

    def disconnect_all(self) -> None:
        """Let every app know that its client has gone."""
        for cycle in self._unanswered():
            cycle.disconnected = True
            cycle.waiting_for_100_continue = False
            cycle.message_event.set()
        self.flow.resume_writing()

    def _refuse(self, status: int, message: str) -> None:
        if self._gone:
            return
        unanswered = self._unanswered()
        if len(unanswered) > 1 or any(cycle.response_started for cycle in unanswered):
            self.close_gracefully()  # a refusal would be taken for another request's answer
        else:
            body = self.options.error_body(status, message, self._path(), self.headers)
            self.close_gracefully(STATUS_LINE[status] + _HEAD % len(body) + body)

    def _unanswered(self) -> list[RequestResponseCycle]:
        return [cycle for cycle in self._cycles if not cycle.response_complete]

    @property
    def _gone(self) -> bool:
        return self.closing or self.transport.is_closing()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        if cycle.scope["http_version"] == "1.0":
            app = _without_chunks(app, cycle)
        super()._start_asgi_task(cycle, app)


def _without_chunks(app: Application, cycle: RequestResponseCycle) -> Application:
    """RFC 9112, section 6.1: an HTTP/1.0 client knows no chunks; the connection's end is that of a
    body of unknown length."""

    async def unchunked(scope: Scope, receive: Receive, send: Send) -> None:
        has_length = True

        async def send_unchunked(message: Message) -> None:
            nonlocal has_length
            if message["type"] == "http.response.start":
                has_length = b"content-length" in dict(message.get("headers", ()))
                cycle.chunked_encoding = None if has_length else False
            elif not has_length:
                cycle.expected_content_length = len(message.get("body", b""))
            await send(message)

        await app(scope, receive, send_unchunked)

    return unchunked


class _Abort:
    def __init__(self, protocol: Http1, cycle: RequestResponseCycle) -> None:
        self._protocol = protocol
        self._cycle = cycle

    def cut(self) -> None:
        if not self._cycle.response_complete and not self._protocol.closing:
            self._protocol.close_gracefully()

    def reset(self) -> None:
        self._protocol.closing = True
        self._protocol.disconnect_all()
        reset(self._protocol.transport)
