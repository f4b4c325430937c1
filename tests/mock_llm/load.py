"""Raw load: a client cheap enough that the server is what is tested, not the client."""

from __future__ import annotations

import asyncio
import contextlib
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial

import psutil

_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n")


class Server:
    """``llm-antipatterns serve`` as a team would start it; what it prints is kept."""

    def __init__(self, *options: str) -> None:
        command = [sys.executable, "-m", "helpers.cli", "serve", "--port", "0", *options]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True)
        assert self.process.stdout is not None
        first = self.process.stdout.readline().strip()
        self.port, *tls = (int(port) for port in re.findall(r":(\d+)/v1", first))
        self.tls_port = tls[0] if tls else None
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self.token = next(
            line.split()[-1] for line in self.process.stdout if line.startswith("control token")
        )

    def memory(self) -> float:
        """MiB that its process holds."""
        return float(psutil.Process(self.process.pid).memory_info().rss / 2**20)

    def stop(self) -> str:
        """End it; what it wrote to stderr."""
        assert self.process.poll() is None, "the server ended by itself"
        self.process.terminate()
        return self.process.communicate(timeout=20)[1]


@contextlib.contextmanager
def serving(*options: str) -> Iterator[Server]:
    server = Server(*options)
    try:
        yield server
    finally:
        server.process.kill()
        server.process.wait()


def post(path: str, body: bytes, *headers: bytes) -> bytes:
    """The bytes of a request."""
    lines = [b"POST /v1%s HTTP/1.1" % path.encode(), b"host: localhost", *headers]
    return b"\r\n".join([*lines, b"content-length: %d" % len(body), b"", body])


class Caller(asyncio.Protocol):
    """Sends its requests one after another over one connection; notes each answer's status."""

    def __init__(self, requests: Iterator[bytes]) -> None:
        self._requests = requests
        self._buffer = b""
        self._transport: asyncio.Transport
        self.statuses: list[int] = []
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport
        self._next()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head = self._buffer.find(b"\r\n\r\n")
        if head < 0:
            return
        length = _LENGTH.search(self._buffer, 0, head + 2)
        assert length is not None
        if len(self._buffer) >= head + 4 + int(length[1]):
            self.statuses.append(int(self._buffer[9:12]))
            self._buffer = b""
            self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(exc or ConnectionError("the server closed the connection"))

    def _next(self) -> None:
        request = next(self._requests, None)
        if request is not None:
            self._transport.write(request)
        elif not self.done.done():
            self.done.set_result(None)
            self._transport.close()


@dataclass
class Stream(asyncio.Protocol):
    """One streamed answer: counts its chunks of content, and whether it came to its end."""

    request: bytes
    chunks: int = 0
    complete: bool = False
    done: asyncio.Future[None] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )
    _rest: bytes = b""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        whole = self._rest + data
        cut = whole.rfind(b"\n\n") + 2
        events, self._rest = whole[:cut], whole[cut:]
        self.chunks += events.count(b'"delta":{"content":"')
        if b"data: [DONE]" in events:
            self.complete = True
            self.done.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(exc or ConnectionError("the stream was cut"))


async def call(port: int, requests: list[Iterator[bytes]]) -> list[int]:
    """The statuses of all requests; each iterator has a connection of its own."""
    loop = asyncio.get_running_loop()
    callers = [
        (await loop.create_connection(partial(Caller, each), "127.0.0.1", port))[1]
        for each in requests
    ]
    await asyncio.gather(*(caller.done for caller in callers))
    return [status for caller in callers for status in caller.statuses]
