"""uvicorn's HTTP/1.1, with limits, refusals in the provider's shape, and a way to break off."""

from __future__ import annotations

from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from helpers.mock_llm import wire
from helpers.mock_llm.wire import EXTENSION, MAX_HEAD, Impatient, oversized, refusal

_HEAD = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"


class Http1(Impatient, HttpToolsProtocol):
    _messages = 0
    _head_bytes = 0
    _in_head = True
    _asked = False
    _unanswered: tuple[RequestResponseCycle, ...] = ()

    def data_received(self, data: bytes) -> None:
        if self.leaving:
            self.ignore(data)
            return
        messages = self._messages
        super().data_received(data)
        if self._in_head and self._messages == messages:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD:
                self._refuse(431, f"The request's head is larger than {MAX_HEAD} bytes.")

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._head_bytes = 0
        first, self._asked = not self._asked, True
        if self._gone:
            return
        if problem := oversized(self.headers, self.url):
            self._refuse(431, problem)
        elif first and self.must_refuse(self.url.decode("latin-1")):
            self.leave()
        else:
            super().on_headers_complete()
            self._begin(self.cycle)

    def on_body(self, body: bytes) -> None:
        if not self._gone:
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._in_head = True
        self._messages += 1
        if not self._gone:
            super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, msg)

    def leave(self, last_words: bytes = b"") -> None:
        self._disconnect_all()
        super().leave(last_words)

    def connection_lost(self, exc: Exception | None) -> None:
        self.books.connection_closed(self.client)
        self._disconnect_all()
        super().connection_lost(exc)

    @property
    def _gone(self) -> bool:
        return self.leaving or self.transport.is_closing()

    def _begin(self, cycle: RequestResponseCycle) -> None:
        self.scope["extensions"] = {EXTENSION: _Wire(self, cycle)}  # type: ignore[dict-item]
        earlier = (earlier for earlier in self._unanswered if not earlier.response_complete)
        self._unanswered = (*earlier, cycle)

    def _refuse(self, status: int, message: str) -> None:
        if self._gone:
            return
        if all(cycle.response_complete for cycle in self._unanswered):
            body = refusal(status, message)
            self.leave(STATUS_LINE[status] + _HEAD % len(body) + body)
        else:
            self.leave()  # a refusal would stand in the middle of another answer

    def _disconnect_all(self) -> None:
        for cycle in self._unanswered:
            if not cycle.response_complete:
                cycle.disconnected = True
                cycle.waiting_for_100_continue = False
                cycle.message_event.set()


class _Wire:
    def __init__(self, protocol: Http1, cycle: RequestResponseCycle) -> None:
        self._protocol = protocol
        self._cycle = cycle

    def cut(self) -> None:
        if not self._cycle.response_complete and not self._protocol.leaving:
            self._protocol.leave()

    def reset(self) -> None:
        self._protocol.leaving = True
        self._protocol._disconnect_all()
        wire.reset(self._protocol.transport)
