"""Many at once and many in a row: nothing is lost, the books agree with the client, memory flat."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator

import psutil

from helpers.mock_llm import MockLLM, Profile

from .load import Stream, call, post

STREAMS = 2_000
TOKENS = 20
CONNECTIONS = 16
BATCH = 20_000
BATCHES = 5


def port_of(llm: MockLLM) -> int:
    return int(llm.url.removesuffix("/v1").rpartition(":")[2])


def body(prompt: str, **more: object) -> bytes:
    messages = [{"role": "user", "content": prompt}]
    return json.dumps({"model": "gpt-4o", "messages": messages} | more).encode()


def test_two_thousand_paced_streams_at_once() -> None:
    # The first stream lasts for 10 s, in which a busy machine too has begun the last one.
    with MockLLM(Profile(base=3.0, decode_rate=2), answer_tokens=TOKENS) as llm:
        streams = asyncio.run(_stream_all(port_of(llm)))
        ledger = llm.ledger()
    assert all(stream.complete for stream in streams)
    assert {stream.chunks for stream in streams} == {TOKENS}
    assert len(ledger.requests) == STREAMS
    assert ledger.peak_streams == STREAMS
    assert sum(request.completion_tokens or 0 for request in ledger.requests) == STREAMS * TOKENS
    assert all(request.last_byte is not None for request in ledger.requests)
    assert not any(request.client_left or request.fault for request in ledger.requests)


async def _stream_all(port: int) -> list[Stream]:
    loop = asyncio.get_running_loop()
    streams = [
        Stream(post("/chat/completions", body(f"Stream {n}", stream=True))) for n in range(STREAMS)
    ]
    gate = asyncio.Semaphore(100)  # the server's backlog of connections has an end

    async def begin(stream: Stream) -> None:
        async with gate:
            await loop.create_connection(lambda: stream, "127.0.0.1", port)
        await stream.done

    await asyncio.gather(*map(begin, streams))
    return streams


def test_a_hundred_thousand_requests() -> None:
    with MockLLM() as llm:
        memory = psutil.Process(llm.pid).memory_info
        sizes = []
        for batch in range(BATCHES):
            statuses = asyncio.run(call(port_of(llm), list(_requests(batch))))
            ledger = llm.ledger()
            assert len(statuses) == BATCH
            assert Counter(statuses) == Counter(request.status for request in ledger.requests)
            assert sum(connection.requests for connection in ledger.connections) == BATCH
            assert len(ledger.connections) == CONNECTIONS
            llm.reset()
            sizes.append(memory().rss / 2**20)
    assert sizes[-1] - sizes[1] < 20, f"MiB after each batch: {sizes}"


def _requests(batch: int) -> Iterator[Iterator[bytes]]:
    """Good ones, and one in ten of an unknown model."""
    for connection in range(CONNECTIONS):
        numbers = range(BATCH // CONNECTIONS)
        yield (
            post("/chat/completions", body(f"{batch}, {connection}, {number}"))
            if number % 10
            else post("/chat/completions", body("Hello").replace(b"gpt-4o", b"llama"))
            for number in numbers
        )
