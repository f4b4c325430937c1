"""A server of our own kind with a tiny app, in a thread: for what no route of the model does."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

from helpers.mock_llm.asgi import ABORT, CONNECTION, Headers, Receive, Scope, Send
from helpers.mock_llm.http.certificates import make_context
from helpers.mock_llm.http.connection import HttpOptions
from helpers.mock_llm.http.server import HttpServer
from helpers.mock_llm.records.recorder import Recorder
from helpers.processes import TemporaryFolder

from .conftest import eventually

PIECE = b"0123456789" * 10


@dataclass
class TinyServer:
    recorder: Recorder
    port: int = 0
    tls_port: int | None = None
    ca_file: str | None = None
    left: dict[str, float] = field(default_factory=dict)
    """When the app heard that the client had left, by query string."""
    scopes: list[Scope] = field(default_factory=list)
    failures: list[BaseException] = field(default_factory=list)

    def clear(self) -> None:
        self.left.clear()
        self.scopes.clear()
        self.failures.clear()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scopes.append(scope)
        connection = scope["extensions"][CONNECTION]
        connection.in_progress += 1
        try:
            await getattr(self, f"on_{scope['path'].rpartition('/')[2]}")(scope, receive, send)
        except Exception as error:
            self.failures.append(error)
            raise
        finally:
            connection.in_progress -= 1
            connection.idle_since = perf_counter()

    async def on_echo(self, scope: Scope, receive: Receive, send: Send) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message["body"]
            more = message["more_body"]
        await _start(send)
        await send({"type": "http.response.body", "body": body})

    async def on_cut(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._break_off("cut", scope, receive, send)

    async def on_reset(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._break_off("reset", scope, receive, send)

    async def _break_off(self, how: str, scope: Scope, receive: Receive, send: Send) -> None:
        """After two pieces of the answer, or before it with ?silent, or within its content-length
        with ?sized."""
        query = scope["query_string"].decode()
        await receive()
        if query != "silent":
            await _start(send, [(b"content-length", b"1000")] if query == "sized" else [])
            for _ in range(2):
                await send({"type": "http.response.body", "body": PIECE, "more_body": True})
            await asyncio.sleep(0.1)  # so that a reset does not overtake them
        getattr(scope["extensions"][ABORT], how)()
        assert (await receive())["type"] == "http.disconnect"
        self.left[how] = perf_counter()
        await send({"type": "http.response.body", "body": b"never", "more_body": False})

    async def on_wait(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Never answers."""
        while (await receive())["type"] != "http.disconnect":
            pass
        self.left[scope["query_string"].decode()] = perf_counter()

    async def on_pour(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers as many bytes as the query says, in one piece."""
        await _start(send)
        await send({"type": "http.response.body", "body": b"x" * int(scope["query_string"])})

    async def on_deaf(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Does not read the request's body before half a second has passed."""
        await asyncio.sleep(0.5)
        await self.on_echo(scope, receive, send)

    async def on_early(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers without having read the request's body."""
        await _start(send, status=413)
        await send({"type": "http.response.body", "body": b"too much"})

    async def on_broken(self, scope: Scope, receive: Receive, send: Send) -> None:
        raise ArithmeticError

    async def on_half(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Returns in mid-answer."""
        await _start(send)
        await send({"type": "http.response.body", "body": PIECE, "more_body": True})

    async def on_nothing(self, scope: Scope, receive: Receive, send: Send) -> None:
        await _start(send, status=204)
        await send({"type": "http.response.body"})


async def _start(send: Send, headers: Any = (), status: int = 200) -> None:
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})


def error_body(status: int, message: str, path: str, headers: Headers) -> bytes:
    names = sorted(name.decode() for name, _ in headers)
    return json.dumps({"error": {"message": message, "path": path, "headers": names}}).encode()


@contextmanager
def tiny_server(
    loop: str = "auto", *, tls: bool = False, recorder: Recorder | None = None, **options: Any
) -> Iterator[TinyServer]:
    """``options`` are those of `HttpOptions`."""
    tiny = TinyServer(recorder or Recorder())
    context, folder = None, TemporaryFolder() if tls else None
    if folder:
        path = folder.folder / "ca.pem"
        context = make_context(path)
        tiny.ca_file = str(path)
    server = HttpServer(
        tiny, HttpOptions(tiny.recorder, error_body, **options), tls=context, loop=loop
    )
    tiny.port, tiny.tls_port = server.port, server.tls_port
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        eventually(lambda: server.started)
        yield tiny
    finally:
        server.should_exit = True
        server.force_exit = True
        thread.join(10)
        if folder:
            folder.stop()
    assert not thread.is_alive()
