"""One API request and its answer, recorded as it goes."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from functools import partial
from time import perf_counter

from helpers.mock_llm.asgi import (
    AbortHandle,
    Headers,
    Message,
    Reader,
    Receive,
    Send,
    head,
    respond,
)
from helpers.mock_llm.records.ledger import Request
from helpers.mock_llm.records.recorder import Recorder
from helpers.mock_llm.serving.admission import Admission
from helpers.mock_llm.serving.dialect import Dialect
from helpers.mock_llm.serving.errors import ApiError
from helpers.mock_llm.serving.request_body import read_body
from helpers.mock_llm.settings.faults import Fault
from helpers.mock_llm.settings.script import Rule

_STREAM = (b"content-type", b"text/event-stream; charset=utf-8")
_NO_CACHE = (b"cache-control", b"no-cache")


@dataclass(slots=True)
class Exchange:
    record: Request
    recorder: Recorder
    dialect: Dialect
    route: str
    """Its path as the API's documentation writes it, or "other"."""
    request_headers: dict[bytes, bytes]
    path: str
    """The path of the record, as OpenAI itself has it."""
    deployment: str | None
    """The model that a path of Azure's names."""
    query: bytes
    """What follows the question mark."""
    reader: Reader
    abort: AbortHandle
    _receive: Receive
    _send: Send
    streaming: bool = False
    fault: Fault | None = None
    """What the request's header asks to go wrong."""
    rule: Rule | None = None
    """The answer that the request's header asks for."""
    interruption: Callable[[], Awaitable[None]] | None = None
    """What happens in place of the answer's end; in that of a body's second half."""
    admission: Admission = field(default_factory=lambda: Admission(None, b""))
    """Before its key is known to be right, no limit counts it."""
    _body: bytes = b""
    _chunks: list[float] = field(default_factory=list)
    id: str = field(default_factory=lambda: f"{random.getrandbits(128):032x}")

    async def body(self) -> bytes:
        self._body = await read_body(self._receive, self.request_headers)
        return self._body

    def name_key(self, shortened: str) -> None:
        """Record the API key that it carries."""
        self.record.key = shortened

    def name_model(self, model: str) -> str:
        """Record the model that it asks for; returns it."""
        self.record.model = model
        return model

    def count_messages(self, messages: int) -> None:
        """Record how many messages its conversation has."""
        self.record.messages = messages

    def client_left(self, at: float) -> None:
        """Record when its client left, unless that is known already."""
        self.record.client_left = self.record.client_left or at

    def model_in_body(self) -> str:
        """The model that its body asks for, also where the rest of it is wrong; or nothing."""
        try:
            name = json.loads(self._body)["model"]
        except (ValueError, TypeError, KeyError, RecursionError):
            return ""
        return name[:200] if isinstance(name, str) else ""

    async def reply(self, status: int, body: bytes, headers: Headers | None = None) -> None:
        self.record.status = status
        # Before the send: the client may act on the answer before we look at the clock again, and
        # the ledger must never show it act before it was answered.
        self.record.first_byte = now = perf_counter()
        headers = [*self._headers(), *(headers or ())]
        if self.interruption is None:
            self.record.last_byte = now
            await respond(self._send, status, body, headers)
        else:
            await self._send(head(status, body, headers))
            await self._send(_piece(body[: len(body) // 2], more=True))
            await self.interruption()

    async def refuse(self, error: ApiError) -> None:
        if not self.admission.decided:
            self.admission.count_failed(self.record.model or self.model_in_body())
        body = self.dialect.error_body(error, self.id)
        await self.reply(error.status, body, list(error.headers))

    async def write(self, data: bytes, *, more: bool = True) -> None:
        """Send a piece of a streamed answer."""
        now = perf_counter()
        if self.record.first_byte is None:
            self.streaming = True
            self._chunks = self.recorder.stream_began(self.record)
            self.record.status = 200
            self.record.first_byte = now
            headers = [_STREAM, _NO_CACHE, *self._headers()]
            await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        self._chunks.append(now)
        if more or self.interruption is None:
            if not more:
                self.record.last_byte = now
            await self._send(_piece(data, more=more))
        else:
            await self._send(_piece(data, more=True))
            await self.interruption()

    def send_through(self, filter: Callable[[Send, Message], Awaitable[None]]) -> None:
        """Have every message of the answer sent by ``filter``."""
        self._send = partial(filter, self._send)

    def detached(self) -> Exchange:
        """A copy for background work: what it sends is discarded."""
        return replace(
            self,
            record=replace(self.record),
            reader=Reader(_never),
            admission=Admission(None, b""),
            _send=_discard,
        )

    def close(self) -> None:
        """The answer is complete, or its client has left."""
        self.reader.stop_watching()
        if self.streaming:
            self.recorder.stream_over(self.record)
        self.recorder.request_over(self.record, self.route)
        prompt, completion = self.record.prompt_tokens or 0, self.record.completion_tokens or 0
        self.admission.settle(prompt + completion, self.dialect.dues(completion))

    def _headers(self) -> Headers:
        headers = self.dialect.headers(self.id, perf_counter() - self.record.arrival)
        return headers + self.dialect.limits(self.admission.statuses())


async def _never() -> Message:
    waiting: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
    return await waiting


async def _discard(message: Message) -> None:
    """In place of sending it."""


def _piece(data: bytes, *, more: bool) -> Message:
    return {"type": "http.response.body", "body": data, "more_body": more}
