"""How fast is the mock server? Prints ratios, so that two machines can be compared.

    python bench/server.py

Completions a second against an app that answers a fixed body, on the same uvicorn and the same
protocol class, in the same minute; paced streams against their ideal; start; memory. The clients
are raw sockets in a process of their own: httpx would be measured instead of the server.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from functools import partial
from typing import Any

import psutil
import uvicorn

from helpers.mock_llm import MockLLM, Profile
from helpers.mock_llm.asgi import Receive, Scope, Send, read_body, respond
from helpers.mock_llm.books import Books
from helpers.mock_llm.connections import Doorkeeper

CONNECTIONS = 32
SECONDS = 3.0
CHUNKS = 50
GAP = 0.020


def main() -> None:
    if sys.argv[1:] == ["bare"]:
        serve_bare()
        return
    print_start()
    print_throughput()
    for streams in (1, 20, 200):
        print_streams(streams)


def print_start() -> None:
    times = [start_to_first_200() for _ in range(5)]
    print(f"start to first 200     {statistics.median(times):.2f} s (median of {len(times)})")


def start_to_first_200() -> float:
    began = time.perf_counter()
    with MockLLM() as llm:
        request = urllib.request.Request(  # noqa: S310
            f"{llm.url}/chat/completions", data=body(), method="POST"
        )
        with urllib.request.urlopen(request) as response:  # noqa: S310
            response.read()
        return time.perf_counter() - began


def print_throughput() -> None:
    """Rounds of both, alternating, so that the machine's mood hits both."""
    with MockLLM() as llm, BareServer() as bare:
        llm_port = int(llm.url.split(":")[2].split("/")[0])
        rates: dict[str, list[float]] = {"mock": [], "bare": []}
        for _ in range(3):
            rates["mock"].append(in_process(count_completions, llm_port, False))
            rates["bare"].append(in_process(count_completions, bare.port, False))
        mock, plain = (statistics.median(rates[name]) for name in ("mock", "bare"))
        streamed = in_process(count_completions, llm_port, True)
        memory = psutil.Process(llm.pid).memory_info().rss / 2**20
    print(
        f"completions            {mock:,.0f}/s, {mock / plain:.2f} of a bare app's {plain:,.0f}/s"
    )
    print(f"streamed, unpaced      {streamed:,.0f}/s")
    print(f"memory after that      {memory:.0f} MiB")


def print_streams(streams: int) -> None:
    profile = Profile(decode_rate=1 / GAP)
    with MockLLM(profile, answer_tokens=CHUNKS) as llm:
        port = int(llm.url.split(":")[2].split("/")[0])
        ratio, drift = in_process(time_streams, port, streams)
    print(
        f"{streams:>3} streams at {GAP * 1000:.0f} ms   {ratio:.3f} of the ideal time, "
        f"drift {drift * 1000:.1f} ms at most"
    )


class BareServer:
    """An app that reads the request and answers a fixed body, in a process of its own."""

    def __enter__(self) -> BareServer:
        self._process = subprocess.Popen(
            [sys.executable, __file__, "bare"], stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None  # noqa: S101
        self.port = int(self._process.stdout.readline())
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.wait()


def serve_bare() -> None:
    answer = b"x" * 800

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await read_body(receive)
        await respond(send, 200, answer, [])

    class Announcing(uvicorn.Server):
        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets)
            print(self.servers[0].sockets[0].getsockname()[1], flush=True)

    Doorkeeper.books = Books()
    config = uvicorn.Config(
        app,
        port=0,
        http=Doorkeeper,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
    )
    Announcing(config).run()


def in_process(function: Callable[..., Any], *arguments: Any) -> Any:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def body(*, stream: bool = False) -> bytes:
    messages = [
        {"role": "system", "content": "You are a helpful assistant."},
        {"role": "user", "content": "Explain in one paragraph what an event loop does."},
    ]
    return json.dumps({"model": "gpt-4o", "messages": messages, "stream": stream}).encode()


def raw_request(port: int, *, stream: bool = False) -> bytes:
    content = body(stream=stream)
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


class Caller(asyncio.Protocol):
    """Sends the next request as soon as the last answer is complete."""

    def __init__(self, request: bytes, end: bytes | None) -> None:
        self.request = request
        self.end = end
        self.answers = 0
        self.buffer = b""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        if self.complete():
            self.buffer = b""
            self.answers += 1
            self.transport.write(self.request)

    def complete(self) -> bool:
        if self.end is not None:
            return self.buffer.endswith(self.end)
        head = self.buffer.find(b"\r\n\r\n")
        if head < 0:
            return False
        length = self.buffer.index(b"content-length: ") + 16
        size = int(self.buffer[length : self.buffer.index(b"\r\n", length)])
        return len(self.buffer) >= head + 4 + size


def count_completions(port: int, stream: bool) -> float:
    """Answers per second over CONNECTIONS connections kept alive."""
    rate: float = uvicorn_loop(_count_completions(port, stream))
    return rate


async def _count_completions(port: int, stream: bool) -> float:
    loop = asyncio.get_running_loop()
    request, end = raw_request(port, stream=stream), b"0\r\n\r\n" if stream else None
    callers = [
        (await loop.create_connection(lambda: Caller(request, end), "127.0.0.1", port))[1]
        for _ in range(CONNECTIONS)
    ]
    await asyncio.sleep(0.5)
    before, began = sum(caller.answers for caller in callers), time.perf_counter()
    await asyncio.sleep(SECONDS)
    return (sum(caller.answers for caller in callers) - before) / (time.perf_counter() - began)


class StreamTimer(asyncio.Protocol):
    """Notes when each content chunk came."""

    def __init__(self, done: asyncio.Future[None]) -> None:
        self.done = done
        self.times: list[float] = []

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.times += [time.perf_counter()] * data.count(b'"delta":{"content":')
        if b"[DONE]" in data:
            self.done.set_result(None)


def time_streams(port: int, streams: int) -> tuple[float, float]:
    """Time of all streams as a share of the ideal, and the largest drift in seconds.

    Drift is how far the last chunk is from where the first one and the gap say it should be.
    """
    ratio, drift = uvicorn_loop(_time_streams(port, streams))
    return ratio, drift


async def _time_streams(port: int, streams: int) -> tuple[float, float]:
    loop = asyncio.get_running_loop()
    timers = [StreamTimer(loop.create_future()) for _ in range(streams)]
    for timer in timers:
        await loop.create_connection(partial(same, timer), "127.0.0.1", port)
    request = raw_request(port, stream=True)
    began = time.perf_counter()
    for timer in timers:
        timer.transport.write(request)
    await asyncio.gather(*(timer.done for timer in timers))
    took = time.perf_counter() - began
    ideal = (CHUNKS - 1) * GAP
    drifts = [abs(timer.times[-1] - timer.times[0] - ideal) for timer in timers]
    return took / ideal, max(drifts)


def same(timer: StreamTimer) -> StreamTimer:
    return timer


def uvicorn_loop(coroutine: Any) -> Any:
    """Run on the loop that uvicorn would take: uvloop where there is one."""
    factory = uvicorn.Config("", loop="auto", log_config=None).get_loop_factory()
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(coroutine)


if __name__ == "__main__":
    main()
