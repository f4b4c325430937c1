"""Stands between the application and the provider: reads each prompt, and says how to treat it.

The provider's ledger has no prompts, and its faults know no users. Each of the
application's connections becomes one connection to the provider, so that its counts stay true.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import httptools

from helpers.audit.prompts import Prompt, identity, read_prompt, with_limit
from helpers.audit.recording import Sent
from helpers.audit.scenarios import Treatment
from helpers.processes import StartStop

_HOST = "127.0.0.1"
_PIECE = 64 * 1024
_MODEL_PATHS = ("/completions", "/responses", "/messages")
_NOT_FORWARDED = {b"content-length", b"transfer-encoding", b"expect", b"connection"}
_HTTP2 = b"PRI * HTTP/2.0"
_REFUSED = re.compile(rb"HTTP/1\.1 4\d\d ")


@dataclass(slots=True)
class _Message:
    """One HTTP request while it is read."""

    url: bytes = b""
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytearray = field(default_factory=bytearray)
    method: bytes = b""
    keeps_alive: bool = True

    @property
    def path(self) -> str:
        return self.url.partition(b"?")[0].decode("latin-1")

    def header(self, name: bytes) -> bytes | None:
        return next((value for key, value in self.headers if key.lower() == name), None)

    def to_bytes(self, extra: list[tuple[bytes, bytes]], body: bytes) -> bytes:
        kept = [pair for pair in self.headers if pair[0].lower() not in _NOT_FORWARDED]
        if not self.keeps_alive:
            kept.append((b"connection", b"close"))
        if body or self.method in (b"POST", b"PUT", b"PATCH"):
            kept.append((b"content-length", str(len(body)).encode()))
        lines = [b"%s: %s\r\n" % pair for pair in (*kept, *extra)]
        return b"".join([b"%s %s HTTP/1.1\r\n" % (self.method, self.url), *lines, b"\r\n", body])


class _Parser:
    """Callbacks of httptools; complete messages are in ``complete``."""

    def __init__(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._message = _Message()
        self.complete: list[_Message] = []
        self.expects = False

    def feed(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        self._message = _Message()

    def on_url(self, url: bytes) -> None:
        self._message.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._message.headers.append((name, value))

    def on_headers_complete(self) -> None:
        self._message.method = self._parser.get_method()
        self._message.keeps_alive = self._parser.should_keep_alive()
        self.expects = self._message.header(b"expect") is not None

    def on_body(self, data: bytes) -> None:
        self._message.body += data

    def on_message_complete(self) -> None:
        self.complete.append(self._message)


class Relay(StartStop):
    """Relays to the provider at ``port``, and treats each user as ``users`` says, by kind.

    ``only``: the one user who makes all requests, where messages carry no user's name.
    """

    def __init__(self, port: int, users: Mapping[str, Treatment], only: str = "") -> None:
        self._upstream = port
        self._users = users
        self._only = only
        self._attempts: dict[str, int] = defaultdict(int)
        self._calls: dict[str, list[str]] = defaultdict(list)
        self._order: list[str] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._tasks: set[asyncio.Task[None] | None] = set()
        self._server: asyncio.Server | None = None
        self.sent: list[Sent] = []
        self.refusals: list[bytearray] = []
        """The provider's answers with status 4xx, as they came."""
        self.last_call: float | None = None
        """When the newest call was first attempted."""
        self.port = 0

    def start(self) -> Relay:
        self._thread.start()
        self._do(self._listen())
        return self

    def stop(self) -> None:
        self._do(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _do(self, work: Any) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, _HOST, 0, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
        tasks = [task for task in self._tasks if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _accept(self, client: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        self._tasks.add(task)
        try:
            provider, forth = await asyncio.open_connection(_HOST, self._upstream)
        except OSError:
            back.transport.abort()
            return
        connection = _Connection(self, forth.get_extra_info("sockname")[1], forth, back)
        try:
            await connection.run(client, provider)
        except asyncio.CancelledError:
            pass  # the relay stops; asyncio reports a handler that ends with it as an error
        finally:
            self._tasks.discard(task)

    def treat(
        self, connection: int, place: int, message: _Message
    ) -> tuple[bytes, Treatment | None]:
        """Record a request; what to send to the provider, and how it was treated."""
        if not message.path.endswith(_MODEL_PATHS) or message.method != b"POST":
            self.sent.append(Sent(connection, place, "", "", 0, None, None))
            return message.to_bytes([], bytes(message.body)), None
        body = bytes(message.body)
        prompt = read_prompt(body)
        user = self._only or _user_of(prompt)
        call = f"{user} {message.path} {identity(body)}"
        self._attempts[call] += 1
        attempt = self._attempts[call]
        if call not in self._calls[user]:
            self._calls[user].append(call)
            self._order.append(call)
            self.last_call = perf_counter()
        retries = message.header(b"x-stainless-retry-count") or b""
        count = int(retries) if retries.isdigit() else None
        kind = user.partition("-")[0]
        treatment = self._users.get(kind)
        if treatment is None:
            self.sent.append(Sent(connection, place, user, call, attempt, prompt, count))
            return message.to_bytes([], body), None
        is_hit = (treatment.attempts is None or attempt <= treatment.attempts) and (
            treatment.calls is None or self._calls[user].index(call) < treatment.calls
        )
        fault = self._fault(treatment, kind, call) if is_hit else ""
        self.sent.append(Sent(connection, place, user, call, attempt, prompt, count, fault))
        if is_hit and treatment.longest is not None and prompt is not None:
            body = with_limit(body, message.path, treatment.longest)
        return message.to_bytes(list(_orders(treatment, fault)), body), (
            treatment if is_hit else None
        )

    def _fault(self, treatment: Treatment, kind: str, call: str) -> str:
        """Of the treatment's two, which calls of the kind meet in turn."""
        of_the_kind = [each for each in self._order if each.startswith((f"{kind} ", f"{kind}-"))]
        is_second = of_the_kind.index(call) % 2 == 1
        return treatment.next_fault if is_second and treatment.next_fault else treatment.fault


def _orders(treatment: Treatment, fault: str) -> Iterator[tuple[bytes, bytes]]:
    if treatment.text:
        yield b"x-mock-script", json.dumps({"text": treatment.text}).encode()
    if fault:
        yield b"x-mock-fault", fault.encode()


def _user_of(prompt: Prompt | None) -> str:
    """The user of the last message that names one."""
    return prompt.markers[-1][0] if prompt is not None and prompt.markers else ""


class _Connection:
    """One of the application's connections, and the one to the provider that belongs to it."""

    def __init__(
        self,
        relay: Relay,
        port: int,
        forth: asyncio.StreamWriter,
        back: asyncio.StreamWriter,
    ) -> None:
        self._relay = relay
        self._port = port
        self._forth = forth
        self._back = back
        self._place = 0
        self._is_final = False

    async def run(self, client: asyncio.StreamReader, provider: asyncio.StreamReader) -> None:
        """Until either end leaves."""
        tasks = [
            asyncio.create_task(self._requests(client)),
            asyncio.create_task(self._answers(provider)),
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for writer in (self._forth, self._back):
                writer.close()

    async def _requests(self, client: asyncio.StreamReader) -> None:
        parser, is_plain = _Parser(), True
        while data := await self._read(client, self._forth):
            is_plain = is_plain and not data.startswith(_HTTP2)
            if is_plain:
                try:
                    parser.feed(data)
                except httptools.HttpParserError:
                    is_plain = False  # the provider says what is wrong with it
            if not is_plain:
                self._forth.write(data)
            if parser.expects:
                parser.expects = False
                self._back.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            for message in parser.complete:
                self._forward(message)
            parser.complete.clear()
            await self._forth.drain()

    def _forward(self, message: _Message) -> None:
        data, treatment = self._relay.treat(self._port, self._place, message)
        self._place += 1
        self._is_final = treatment is not None and treatment.final
        self._forth.write(data)

    async def _answers(self, provider: asyncio.StreamReader) -> None:
        refusal: bytearray | None = None
        while data := await self._read(provider, self._back):
            if data.startswith(b"HTTP/1.1 "):
                refusal = bytearray() if _REFUSED.match(data) else None
                if refusal is not None:
                    self._relay.refusals.append(refusal)
            if refusal is not None:
                refusal += data
            if self._is_final and data.startswith(b"HTTP/1.1 "):
                self._is_final = False
                data = data.replace(b"\r\n", b"\r\nx-should-retry: false\r\n", 1)
            self._back.write(data)
            await self._back.drain()
        with contextlib.suppress(OSError):
            await self._back.drain()

    @staticmethod
    async def _read(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> bytes:
        """Passes a reset on as a reset."""
        try:
            return await source.read(_PIECE)
        except OSError:
            target.transport.abort()
            return b""
