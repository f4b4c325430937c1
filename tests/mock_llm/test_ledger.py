"""What the ledger says of a request: whose key, when each chunk, how long it waited for a slot."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from helpers.mock_llm import MockLLM, Profile, Request
from helpers.mock_llm.records.recorder import Recorder

from .conftest import Chat, eventually, only_request


@pytest.mark.parametrize(
    ("header", "shown"),
    [
        ("Bearer sk-proj-0123456789abcdef", "sk-…cdef"),
        ("Bearer 0123456789abcde", "…"),
        ("Bearer x", "…"),
        ("Bearer sk-\xe4\xe4\xe4\xe4\xe4\xe4\xe4\xe4\xe4\xe4\xe4\xe4\xe4", "sk-…" + "\ufffd" * 4),
        ("Basic sk-proj-0123456789abcdef", None),
        (None, None),
    ],
)
def test_the_key_is_recorded_but_never_whole(
    llm: MockLLM, http: httpx.Client, header: str | None, shown: str | None
) -> None:
    headers = [] if header is None else [(b"authorization", header.encode("latin-1"))]
    http.get(f"{llm.url}/models", headers=headers)
    assert only_request(llm).key == shown


def test_a_key_that_is_wrong_is_recorded_too() -> None:
    with MockLLM(api_key="sk-right-0123456789") as llm:
        headers = {"authorization": "Bearer sk-wrong-9876543210"}
        assert httpx.get(f"{llm.url}/models", headers=headers).status_code == 401
        assert only_request(llm).key == "sk-…3210"


def test_every_chunk_of_a_stream_has_its_time(llm: MockLLM, chat: Chat) -> None:
    llm.configure(profile=Profile(decode_rate=20), answer_tokens=10)
    chat(stream=True)
    request = only_request(llm)
    assert 1 < len(request.chunks) <= 10  # what is late is sent with what is due
    assert list(request.chunks) == sorted(request.chunks)
    assert (request.chunks[0], request.chunks[-1]) == (request.first_byte, request.last_byte)


def test_a_whole_answer_has_no_chunks(chat: Chat, llm: MockLLM) -> None:
    chat()
    assert only_request(llm).chunks == []


def test_the_books_keep_the_chunks_of_the_newest_streams() -> None:
    recorder = Recorder()
    streams = [Request(k, 2, "1.1", False, "POST", "/", arrival=0.0) for k in range(5)]
    for request in streams:
        recorder.stream_began(request).extend([0.0] * 90_000)
    assert [len(request.chunks) for request in streams] == [90_000] * 5  # none has ended
    for request in streams:
        recorder.stream_over(request)
    assert [len(request.chunks) for request in streams] == [0, 0, 0, 90_000, 90_000]


def test_the_queue_is_the_wait_for_a_slot() -> None:
    waiting = Request(1, 2, "1.1", False, "POST", "/", arrival=5.0)
    assert waiting.queue is None
    waiting.slot = 5.5
    assert waiting.queue == 0.5


def test_a_full_server_makes_a_request_wait(llm: MockLLM, chat: Chat) -> None:
    llm.configure(profile=Profile(base=0.2, slots=1))
    with ThreadPoolExecutor(2) as pool:
        for answer in [pool.submit(chat) for _ in range(2)]:
            answer.result()
    first, second = sorted(llm.ledger().requests, key=lambda request: request.slot or 0.0)
    assert first.last_byte is not None
    assert second.slot is not None
    assert second.slot >= first.last_byte
    assert second.queue == second.slot - second.arrival


def test_a_connection_that_carried_nothing_is_in_the_books(llm: MockLLM) -> None:
    with socket.create_connection(("127.0.0.1", httpx.URL(llm.url).port or 0)) as silent:
        eventually(lambda: llm.ledger().connections)
        [connection] = llm.ledger().connections
        assert connection.id == silent.getsockname()[1]
        assert (connection.requests, connection.closed) == (0, None)
    eventually(lambda: llm.ledger().connections[0].closed)


def test_a_client_that_does_not_trust_the_server_is_in_the_books() -> None:
    """Its handshake fails: a TLS connection that carried nothing."""
    with MockLLM(tls=True) as llm:
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            httpx.get(f"{llm.url}/models")
        eventually(lambda: llm.ledger().connections)
        [connection] = llm.ledger().connections
        assert (connection.tls, connection.requests) == (True, 0)
        eventually(lambda: llm.ledger().connections[0].closed)
        page = httpx.get(f"{llm.http_url.removesuffix('/v1')}/metrics").text
        assert 'mock_llm_connections_total{carried="nothing"} 1.0' in page


def test_messages_are_those_that_the_model_was_given(llm: MockLLM, http: httpx.Client) -> None:
    """What the request carries, and for responses also what is stored."""
    messages = [{"role": "user", "content": f"Turn {number}"} for number in (1, 2, 3)]
    http.post(f"{llm.url}/chat/completions", json={"model": "mock-1", "messages": messages})
    body = {"model": "claude-haiku-4-5", "max_tokens": 9, "messages": messages, "system": "Brief."}
    http.post(f"{llm.url}/messages", json=body, headers={"anthropic-version": "2023-06-01"})
    first = http.post(f"{llm.url}/responses", json={"model": "gpt-4o", "input": "Turn 1"}).json()
    again = {"model": "gpt-4o", "input": "Turn 2", "previous_response_id": first["id"]}
    http.post(f"{llm.url}/responses", json=again)
    http.get(f"{llm.url}/models")
    assert [request.messages for request in llm.ledger().requests] == [3, 3, 1, 3, None]
