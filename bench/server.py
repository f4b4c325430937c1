"""How fast is the mock server? Prints ratios, so that two machines can be compared.

    python bench/server.py

Completions a second against a bare app, so that the ratio is the cost of our own code: same
uvicorn, protocol class and settings; the bare app reads the body and answers, with as many headers,
what the mock once answered. Also paced streams against their ideal, start, memory. The clients are
raw sockets in a process of their own: httpx would be measured instead of the server.
"""

from __future__ import annotations

import asyncio
import gc
import json
import multiprocessing
import re
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count, repeat
from typing import Any, NamedTuple

import psutil
import uvicorn

from helpers.mock_llm import MockLLM, Profile
from helpers.mock_llm.asgi import Headers, Receive, Scope, Send, respond
from helpers.mock_llm.http.connection import HttpOptions
from helpers.mock_llm.http.server import HttpServer
from helpers.mock_llm.records.recorder import Recorder
from helpers.mock_llm.serving.request_body import read_body

CONNECTIONS = 32
SECONDS = 1.0
ROUNDS = 7
CHUNKS = 50
GAP = 0.020
_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.IGNORECASE)
_CHUNK = re.compile(rb'"delta": ?\{"content": ?"')


def main() -> None:
    if sys.argv[1:]:
        serve_bare(**json.loads(sys.argv[1]))
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
        request = json_request(f"{llm.url}/chat/completions")
        with urllib.request.urlopen(request) as response:  # noqa: S310
            response.read()
        return time.perf_counter() - began


def print_throughput() -> None:
    """The median of several rounds of both, alternating, so that the machine's mood hits both."""
    with MockLLM() as llm:
        port = int(llm.url.split(":")[2].split("/")[0])
        with BareServer(one_answer(llm.url)) as bare:
            servers = {"mock": (port, llm.pid), "bare": (bare.port, bare.pid)}
            rounds = [
                {name: in_process(measure, *server) for name, server in servers.items()}
                for _ in range(ROUNDS)
            ]
        repeated = in_process(measure, port, llm.pid, repeated=True)
        streamed = in_process(measure, port, llm.pid, stream=True)
        memory = psutil.Process(llm.pid).memory_info().rss / 2**20
    share = statistics.median(r["mock"].rate / r["bare"].rate for r in rounds)
    cpu_share = statistics.median(r["bare"].cpu / r["mock"].cpu for r in rounds)
    print(f"completions            {share:.2f} of a bare app's rate, {cpu_share:.2f} by CPU time")
    for name in servers:
        rates, cpus = zip(*(r[name] for r in rounds), strict=True)
        print(
            f"  {name}                 {Speed(statistics.median(rates), statistics.median(cpus))}"
        )
    print(f"  mock, one prompt     {repeated}")
    print(f"streamed, unpaced      {streamed}")
    print(f"memory after that      {memory:.0f} MiB")


def json_request(url: str) -> urllib.request.Request:
    headers = {"content-type": "application/json"}
    return urllib.request.Request(url, body(), headers)  # noqa: S310


def one_answer(url: str) -> dict[str, Any]:
    request = json_request(f"{url}/chat/completions")
    with urllib.request.urlopen(request) as response:  # noqa: S310
        ours = ("date", "connection", "content-type", "content-length")
        headers = [(name, value) for name, value in response.getheaders() if name not in ours]
        return {"answer": response.read().decode(), "headers": headers}


def print_streams(streams: int) -> None:
    profile = Profile(decode_rate=1 / GAP)
    with MockLLM(profile, answer_tokens=CHUNKS) as llm:
        port = int(llm.url.split(":")[2].split("/")[0])
        ratio, drift = in_process(time_streams, port, streams, raw_request(port, stream=True))
    print(
        f"{streams:>3} streams at {GAP * 1000:.0f} ms   {ratio:.3f} of the ideal time, "
        f"drift {drift * 1000:.1f} ms at most"
    )


class BareServer:
    """An app that reads the request and gives a fixed answer, in a process of its own."""

    def __init__(self, answer: dict[str, Any]) -> None:
        self._answer = json.dumps(answer)

    def __enter__(self) -> BareServer:
        self._process = subprocess.Popen(
            [sys.executable, __file__, self._answer], stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None  # noqa: S101
        self.pid = self._process.pid
        self.port = int(self._process.stdout.readline())
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.wait()


def serve_bare(answer: str, headers: list[tuple[str, str]]) -> None:
    content = answer.encode()
    raw_headers = [(name.encode(), value.encode()) for name, value in headers]

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await read_body(receive, {})
        await respond(send, 200, content, raw_headers)

    def error_body(status: int, message: str, path: str, headers: Headers) -> bytes:
        return b""

    class Announcing(HttpServer):
        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets)
            gc.collect()
            gc.freeze()
            print(self.port, flush=True)

    Announcing(app, HttpOptions(Recorder(), error_body)).run()


def in_process(function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments, options)


def body(*, stream: bool = False) -> bytes:
    messages = [
        {"role": "system", "content": "You are a helpful assistant."},
        {"role": "user", "content": "Explain in one paragraph what an event loop does. 00000000"},
    ]
    return json.dumps({"model": "gpt-4o", "messages": messages, "stream": stream}).encode()


def raw_request(port: int, *, stream: bool = False) -> bytes:
    content = body(stream=stream)
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


def prompts(request: bytes, repeated: bool) -> Iterator[bytes]:
    """The request for ever, each time with a prompt not seen before, or always as it is."""
    before, after = request.split(b"00000000")
    return repeat(request) if repeated else (b"%s%08d%s" % (before, k, after) for k in count(1))


class Caller(asyncio.Protocol):
    """Sends the next request as soon as the last answer is complete."""

    def __init__(self, requests: Iterator[bytes], end: bytes | None) -> None:
        self.requests = requests
        self.end = end
        self.answers = 0
        self.buffer = b""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        transport.write(next(self.requests))

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        if self.complete():
            self.buffer = b""
            self.answers += 1
            self.transport.write(next(self.requests))

    def complete(self) -> bool:
        if self.end is not None:
            return self.buffer.endswith(self.end)
        head = self.buffer.find(b"\r\n\r\n")
        if head < 0:
            return False
        length = _LENGTH.search(self.buffer)
        assert length is not None  # noqa: S101
        return len(self.buffer) >= head + 4 + int(length[1])


class Speed(NamedTuple):
    rate: float
    """Answers per second."""
    cpu: float
    """Seconds of the server's CPU per answer; other work on the machine hardly changes it."""

    def __str__(self) -> str:
        busy = self.rate * self.cpu  # well below 1: the machine was the limit, not the server
        return f"{self.rate:,.0f}/s, {self.cpu * 1e6:.0f} us of CPU each, {busy:.0%} busy"


def measure(port: int, pid: int, *, stream: bool = False, repeated: bool = False) -> Speed:
    """Over CONNECTIONS connections kept alive."""
    speed: Speed = uvicorn_loop(_measure(port, psutil.Process(pid), stream, repeated))
    return speed


async def _measure(port: int, server: psutil.Process, stream: bool, repeated: bool) -> Speed:
    loop = asyncio.get_running_loop()
    requests = prompts(raw_request(port, stream=stream), repeated)
    end = b"0\r\n\r\n" if stream else None
    callers = [
        (await loop.create_connection(lambda: Caller(requests, end), "127.0.0.1", port))[1]
        for _ in range(CONNECTIONS)
    ]
    stay_awake(loop)
    await asyncio.sleep(0.5)
    answers, cpu, began = sum(c.answers for c in callers), cpu_seconds(server), time.perf_counter()
    await asyncio.sleep(SECONDS)
    answers = sum(c.answers for c in callers) - answers
    return Speed(
        answers / (time.perf_counter() - began), (cpu_seconds(server) - cpu) / max(answers, 1)
    )


def stay_awake(loop: asyncio.AbstractEventLoop) -> None:
    """A client that sleeps must be woken by the server's write, which costs the server 20 us and
    more in a virtual machine. The slower server would pay for that and the faster one not.
    """
    loop.call_soon(stay_awake, loop)


def cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


class StreamTimer(asyncio.Protocol):
    """Notes when each content chunk came."""

    def __init__(self, done: asyncio.Future[None]) -> None:
        self.done = done
        self.times: list[float] = []

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.times += [time.perf_counter()] * len(_CHUNK.findall(data))
        if b"[DONE]" in data:
            self.done.set_result(None)


def time_streams(port: int, streams: int, request: bytes) -> tuple[float, float]:
    """Time of all streams as a share of the ideal, and the largest drift in seconds.

    Ideal is a gap between all chunks that came. Drift is how far the last chunk is from where the
    first one and the gaps say it should be.
    """
    ratio, drift = uvicorn_loop(_time_streams(port, streams, request))
    return ratio, drift


async def _time_streams(port: int, streams: int, request: bytes) -> tuple[float, float]:
    loop = asyncio.get_running_loop()
    timers = [StreamTimer(loop.create_future()) for _ in range(streams)]
    for timer in timers:
        await loop.create_connection(partial(same, timer), "127.0.0.1", port)
    began = time.perf_counter()
    for timer in timers:
        timer.transport.write(request)
    await asyncio.gather(*(timer.done for timer in timers))
    took = time.perf_counter() - began
    ideal = (max(len(timer.times) for timer in timers) - 1) * GAP
    drifts = [abs(t.times[-1] - t.times[0] - (len(t.times) - 1) * GAP) for t in timers]
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
