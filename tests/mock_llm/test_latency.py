"""The latency model, by the ledger: bounds from below are exact, those from above are generous."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial

import httpx
import pytest

from helpers.mock_llm import MockLLM, Profile, Request

from .conftest import Chat, eventually, only_request
from .test_connections import body, connect, request_bytes

SLACK = 0.0015
"""Seconds a timer of the event loop may be early: they are rounded to milliseconds."""


def ttft(request: Request) -> float:
    assert request.first_token is not None
    return request.first_token - request.arrival


def answering(request: Request) -> float:
    """Seconds to the last byte. A busy machine stamps a token late and the next, due at a fixed
    time, in time: what lies between the two may be shorter than the profile says."""
    assert request.last_byte is not None
    return request.last_byte - request.arrival


@pytest.mark.parametrize("stream", [False, True])
def test_first_token_and_gaps_follow_the_profile(llm: MockLLM, chat: Chat, stream: bool) -> None:
    llm.configure(profile=Profile(base=0.1, prefill_rate=1000, decode_rate=50), answer_tokens=11)
    chat("word " * 92, stream=stream)
    request = only_request(llm)
    assert request.prompt_tokens == 100
    assert 0.2 - SLACK <= ttft(request) < 1.2
    assert 0.4 - SLACK <= answering(request) < 1.6


def test_speed_divides_every_time(llm: MockLLM, chat: Chat) -> None:
    llm.configure(profile=Profile(base=5, prefill_rate=2, decode_rate=2), answer_tokens=11)
    llm.configure(speed=100)
    chat()
    request = only_request(llm)
    assert 0.09 - SLACK <= ttft(request) < 1
    assert 0.14 - SLACK <= answering(request) < 1.5


def test_a_cached_prefix_is_not_read_again(llm: MockLLM, chat: Chat) -> None:
    llm.configure(profile=Profile(prefill_rate=5000), answer_tokens=1)
    for _ in range(2):
        chat("word " * 2500)
    first, second = llm.ledger().requests
    assert ttft(first) > 0.5 - SLACK
    assert second.cached_tokens == 2432
    assert ttft(second) < ttft(first)


def test_thinking_comes_before_the_first_visible_token(llm: MockLLM, chat: Chat) -> None:
    llm.configure(profile=Profile(decode_rate=100, thinking_tokens=30), answer_tokens=1)
    chat()
    assert ttft(only_request(llm)) >= 0.3 - SLACK


def test_the_instant_profile_does_not_wait(llm: MockLLM, chat: Chat) -> None:
    chat(stream=True)
    request = only_request(llm)
    assert request.slot == pytest.approx(request.arrival, abs=0.5)
    assert answering(request) < 0.5


def test_a_slow_reader_does_not_shift_the_schedule(llm: MockLLM) -> None:
    """50 chunks at 20 ms: a schedule that slept between chunks would drift by tens of ms."""
    llm.configure(profile=Profile(decode_rate=50), answer_tokens=50)
    streamed = body() | {"stream": True}
    with httpx.Client(timeout=20) as client, ThreadPoolExecutor(10) as pool:
        list(
            pool.map(lambda _: client.post(f"{llm.url}/chat/completions", json=streamed), range(10))
        )
    shortest = min(answering(request) for request in llm.ledger().requests)
    assert 0.98 - SLACK <= shortest < 1.3


def test_jitter_is_the_same_after_a_reset(llm: MockLLM, chat: Chat) -> None:
    llm.configure(profile=Profile(base=0.8, jitter=0.9), answer_tokens=1)
    arms = []
    for _ in range(2):
        llm.reset()
        with ThreadPoolExecutor(4) as pool:
            for _ in range(4):
                pool.submit(chat)
        arms.append([ttft(request) for request in llm.ledger().requests])
    assert max(arms[0]) - min(arms[0]) > 0.1
    assert arms[0] == pytest.approx(arms[1], abs=0.4)


def test_past_the_slots_requests_queue_in_order(llm: MockLLM) -> None:
    llm.configure(profile=Profile(base=30, slots=2))
    with ExitStack() as stack:
        clients = []
        for number in range(1, 6):
            clients.append(stack.enter_context(connect(llm)))
            send(clients[-1])
            eventually(partial(has, llm, tokenised, list(range(1, number + 1))))
        for number, client in enumerate(clients[:4], start=1):
            expected = list(range(1, min(number + 1, 5) + 1))
            eventually(partial(has, llm, slotted, expected))
            client.close()


def has(llm: MockLLM, kind: Callable[[MockLLM], list[Request]], ids: list[int]) -> bool:
    return [request.id for request in kind(llm)] == ids


def tokenised(llm: MockLLM) -> list[Request]:
    """The requests that have come as far as the queue."""
    return [request for request in llm.ledger().requests if request.prompt_tokens is not None]


def test_more_slots_let_the_waiting_in(llm: MockLLM) -> None:
    llm.configure(profile=Profile(base=30, slots=1))
    with connect(llm) as first, connect(llm) as second:
        send(first)
        eventually(lambda: len(slotted(llm)) == 1)
        send(second)
        eventually(lambda: len(llm.ledger().requests) == 2)
        assert len(slotted(llm)) == 1
        llm.configure(profile=Profile(base=30, slots=2))
        eventually(lambda: len(slotted(llm)) == 2)


def send(connection: socket.socket, *, stream: bool = False) -> None:
    connection.sendall(request_bytes(json.dumps(body() | {"stream": stream}).encode()))


def slotted(llm: MockLLM) -> list[Request]:
    return [request for request in llm.ledger().requests if request.slot is not None]


def left(llm: MockLLM) -> list[Request]:
    return [request for request in llm.ledger().requests if request.client_left is not None]


@pytest.mark.parametrize(
    ("profile", "stream"),
    [
        (Profile(base=30, slots=1), False),
        (Profile(decode_rate=0.5, slots=1), False),
        (Profile(decode_rate=5, slots=1), True),
    ],
    ids=["before the first token", "while a whole answer is written", "while streaming"],
)
def test_a_client_that_leaves_frees_its_slot(
    llm: MockLLM, chat: Chat, profile: Profile, stream: bool
) -> None:
    llm.configure(profile=profile, answer_tokens=100)
    with connect(llm) as connection:
        send(connection, stream=stream)
        if stream:
            connection.recv(100)
        eventually(lambda: slotted(llm))
        llm.configure(profile=Profile(slots=1))
        waiting = threading.Thread(target=chat)
        waiting.start()
        eventually(lambda: len(llm.ledger().requests) == 2)
        assert len(slotted(llm)) == 1
        gone = time.perf_counter()
    waiting.join(10)
    first, second = llm.ledger().requests
    assert first.client_left is not None
    assert first.client_left >= gone
    assert first.last_byte is None
    assert (first.completion_tokens or 0) < 100
    assert first.tokens_after_client_left == 0
    assert second.status == 200
    assert second.slot is not None
    assert second.slot >= first.client_left - 0.001


def test_a_client_that_leaves_the_queue_is_passed_over(llm: MockLLM) -> None:
    llm.configure(profile=Profile(base=30, slots=1))
    with connect(llm) as first:
        send(first)
        eventually(lambda: slotted(llm))
        with connect(llm) as second, connect(llm) as third:
            send(second)
            eventually(lambda: len(llm.ledger().requests) == 2)
            send(third)
            eventually(lambda: len(llm.ledger().requests) == 3)
            second.close()
            eventually(partial(has, llm, left, [2]))
            first.close()
            eventually(partial(has, llm, slotted, [1, 3]))


def test_an_http2_stream_that_is_reset_frees_its_slot(llm: MockLLM) -> None:
    llm.configure(profile=Profile(base=30, slots=1))
    impatient = httpx.Client(http1=False, http2=True, timeout=0.3)
    with impatient as client, pytest.raises(httpx.ReadTimeout):
        client.post(f"{llm.url}/chat/completions", json=body())
    eventually(lambda: left(llm))
