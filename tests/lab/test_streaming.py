"""Readers of streamed answers, and the proxy that may stand in their way."""

import asyncio
from collections.abc import Iterator
from typing import Any

import anyio
import httpx
import pytest
from httpx_sse import aconnect_sse

from helpers.lab import Run, buffering_proxy, readers, run_arm
from helpers.lab.probes.streaming import Show
from helpers.mock_llm import MockLLM, Profile

TOKENS = 60


@pytest.fixture(scope="module")
def llm() -> Iterator[MockLLM]:
    profile = Profile(base=0.2, prefill_rate=100_000, decode_rate=100)
    with MockLLM(profile, answer_tokens=TOKENS) as server:
        yield server


async def streams(client: httpx.AsyncClient, url: str, question: str, show: Show) -> None:
    body = {"model": "mock-1", "messages": [{"role": "user", "content": question}], "stream": True}
    async with aconnect_sse(client, "POST", f"{url}/chat/completions", json=body) as source:
        async for event in source.aiter_sse():
            if event.data != "[DONE]":
                for choice in event.json().get("choices", []):
                    if text := choice["delta"].get("content"):
                        await show(text)


async def collects(client: httpx.AsyncClient, url: str, question: str, show: Show) -> None:
    texts: list[str] = []

    async def keep(text: str) -> None:
        texts.append(text)

    await streams(client, url, question, keep)
    await show("".join(texts))


def watched(llm: MockLLM, answer: Any) -> Run:
    return asyncio.run(run_arm(readers.watch, llm, answer))


def test_a_reader_of_collected_answers_sees_nothing_before_all_was_sent(llm: MockLLM) -> None:
    run = watched(llm, collects)
    assert readers.sent_before(run) == 100
    assert readers.empty_share(run) > 95
    assert [len(seen) for seen in run.result] == [1, 1, 1, 1]
    assert readers.visible(run)[-1][1] == 100


def test_a_reader_of_a_stream_sees_it_as_it_is_sent(llm: MockLLM) -> None:
    run = watched(llm, streams)
    assert readers.sent_before(run) < 50
    assert readers.asked_together(run) == run.peak_in_flight == 4
    # One clock: nobody sees a word before the server sent it.
    assert readers.lag(run) > 0
    assert all(
        shown >= sent
        for shown, sent in zip(
            sorted(readers.first_words(run)),
            sorted(request.first_byte or 0.0 for request in run.requests),
            strict=True,
        )
    )


def test_a_reader_leaves_after_five_pieces(llm: MockLLM) -> None:
    run = asyncio.run(run_arm(readers.leave, llm, streams))
    (request,) = run.requests
    assert request.client_left is not None
    assert 5 <= (request.completion_tokens or 0) < TOKENS / 2


def test_broken_answers_are_told_by_what_came_of_them(llm: MockLLM) -> None:
    run = asyncio.run(run_arm(readers.break_off, llm, streams))
    assert run.result == {
        "cut": "RemoteProtocolError",
        "no_finish": "complete",
        "error_event": "complete",
        "error_then_done": "complete",
    }
    assert [request.fault for request in run.requests] == list(readers.BREAKS)


async def through_a_proxy(url: str, hold: int) -> Any:
    async with buffering_proxy(url, hold) as through:
        return await readers.watch(through, streams)


def test_a_proxy_that_holds_answers_back_delays_the_first_word_and_bunches_the_rest(
    llm: MockLLM,
) -> None:
    free = asyncio.run(run_arm(through_a_proxy, llm, 0))
    held = asyncio.run(run_arm(through_a_proxy, llm, 1_000_000))
    assert free.answered == held.answered == 4
    assert readers.sent_before(free) < 50
    assert readers.sent_before(held) == 100
    assert readers.gap(held) < readers.gap(free) / 2


def test_a_proxy_tells_the_server_that_a_reader_left(llm: MockLLM) -> None:
    async def leave(url: str) -> None:
        async with buffering_proxy(url, 0) as through:
            await readers.leave(through, streams)

    run = asyncio.run(run_arm(leave, llm))
    (request,) = run.requests
    assert request.client_left is not None
    assert (request.completion_tokens or 0) < TOKENS / 2


def test_a_proxy_takes_no_port_with_it() -> None:
    async def check() -> None:
        async with buffering_proxy("http://127.0.0.1:9/v1", 0) as through:
            port = int(through.split(":")[2].split("/")[0])
        with pytest.raises(OSError, match="attempts failed"):
            await anyio.connect_tcp("127.0.0.1", port)

    anyio.run(check)
