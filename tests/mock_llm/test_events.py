"""The books, live: every entry is told to everybody who listens, and nobody holds the server up."""

from __future__ import annotations

import gc
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

import httpx
import psutil
import pytest
from httpx_sse import connect_sse

from helpers.mock_llm import Fault, MockLLM, Profile

from .conftest import NO_TLS, Chat, eventually, only_request

Event = dict[str, Any]


def until(name: str, events: Iterator[Event]) -> list[Event]:
    """The events up to the first of that name, which is the last of the list."""
    seen = []
    for event in events:
        seen.append(event)
        if event["event"] == name:
            return seen
    raise AssertionError(f"ended before {name}: {[event['event'] for event in seen]}")


def names(events: list[Event]) -> list[str]:
    return [event["event"] for event in events]


def test_a_request_is_told_from_its_connection_to_its_end(llm: MockLLM) -> None:
    with llm.events() as events:
        with httpx.Client(verify=NO_TLS) as client:
            body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]}
            client.post(f"{llm.url}/chat/completions", json=body)
        seen = until("closed", events)
    assert names(seen) == ["opened", "arrived", "slot", "first_token", "finished", "closed"]
    assert [event["id"] - seen[0]["id"] for event in seen] == list(range(6))
    request, finished = asdict(only_request(llm)), seen[4]["request"]
    assert finished == {name: value for name, value in request.items() if name != "chunks"}
    assert seen[1]["request"]["slot"] is None
    assert seen[2]["request"]["slot"] == finished["slot"]
    assert seen[5]["connection"] == asdict(llm.ledger().connections[0])
    times = [event["time"] for event in seen]
    assert times == sorted(times)


def test_a_stream_is_not_told_chunk_by_chunk(llm: MockLLM, chat: Chat) -> None:
    llm.configure(profile=Profile(decode_rate=200), answer_tokens=20)
    with llm.events() as events:
        chat(stream=True)
        seen = until("finished", events)
    assert names(seen) == ["opened", "arrived", "slot", "first_token", "finished"]
    assert seen[-1]["request"]["completion_tokens"] == 20


def test_a_client_that_leaves_is_told(llm: MockLLM) -> None:
    llm.configure(profile=Profile(decode_rate=10), answer_tokens=1_000)
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hi"}], "stream": True}
    with llm.events() as events, httpx.Client(verify=NO_TLS) as client:
        with client.stream("POST", f"{llm.url}/chat/completions", json=body):
            until("first_token", events)
        finished = until("finished", events)[-1]["request"]
    assert finished["client_left"] > finished["first_byte"]
    assert finished["last_byte"] is None


def test_a_connection_that_carries_nothing_is_told_when_it_closes(llm: MockLLM) -> None:
    with llm.events() as events:
        with socket.create_connection(("127.0.0.1", httpx.URL(llm.url).port or 0)) as silent:
            name = silent.getsockname()[1]
        seen = until("closed", events)
    assert names(seen) == ["opened", "closed"]
    assert {event["connection"]["id"] for event in seen} == {name}


def test_control_is_not_told(llm: MockLLM, chat: Chat) -> None:
    with llm.events() as events:
        llm.ledger()
        llm.configure(seed=1)
        llm.reset()
        chat()
        seen = until("finished", events)
    assert names(seen) == ["reset", "opened", "arrived", "slot", "first_token", "finished"]


def test_everybody_who_listens_hears_everything(llm: MockLLM, chat: Chat) -> None:
    with llm.events() as one, llm.events() as other:
        chat()
        assert until("finished", one) == until("finished", other)


def test_it_ends_with_the_server_or_when_closed() -> None:
    with MockLLM() as llm, ThreadPoolExecutor() as pool:
        closed, left = llm.events(), llm.events()
        waiting = [pool.submit(list, closed), pool.submit(list, left)]
        closed.close()
        assert waiting[0].result(10) == []
        assert not waiting[1].done()
        llm.stop()
        assert waiting[1].result(10) == []
        with pytest.raises(RuntimeError, match="not started"):
            llm.events()


def test_a_listener_that_leaves_is_forgotten(llm: MockLLM) -> None:
    """By close() as by garbage collection."""

    def connections() -> int:
        found = psutil.Process(llm.pid).net_connections()
        return sum(connection.status != psutil.CONN_LISTEN for connection in found)

    eventually(lambda: connections() == 0)
    readers = [llm.events() for _ in range(5)]
    assert connections() == 5
    readers[0].close()
    del readers
    gc.collect()
    eventually(lambda: connections() == 0)


def test_a_listener_that_does_not_read_is_told_how_many_it_missed(llm: MockLLM, chat: Chat) -> None:
    """Nobody waits for it. 20,000 events are more than the kernel and the server keep for it."""
    with llm.events() as events:
        chat()
        first = next(events)["id"]
        ask_many(llm, 10_000)
        chat(model="gpt-last")
        told = missed = 0
        for event in events:
            told += event["event"] != "missed"
            missed += event.get("count", 0)
            if event["event"] == "finished" and event["request"]["model"] == "gpt-last":
                break
    assert missed > 0
    assert event["id"] - first == told + missed


def ask_many(llm: MockLLM, count: int) -> None:
    """Requests one behind the other on one connection."""
    url = httpx.URL(llm.url)
    request = f"GET /v1/models/gpt-4o HTTP/1.1\r\nhost: {url.netloc.decode()}\r\n\r\n".encode()
    with socket.create_connection((url.host, url.port or 0), timeout=60) as connection:
        for _ in range(count // 100):
            connection.sendall(request * 100)
            answers = b""
            while answers.count(b"HTTP/1.1 200 OK") < 100:
                answers += connection.recv(1 << 20)


def test_other_clients_read_server_sent_events(llm: MockLLM, chat: Chat) -> None:
    headers = {"x-mock-token": llm.token}
    url = f"{llm.url.removesuffix('/v1')}/_mock/events"
    with (
        httpx.Client(verify=NO_TLS) as client,
        connect_sse(client, "GET", url, headers=headers) as source,
    ):
        events = source.iter_sse()
        listening = next(events)
        assert listening.event == "listening"
        chat()
        opened = next(events)
        assert (opened.event, opened.id) == ("opened", str(int(listening.id) + 1))
        assert opened.json()["connection"]["requests"] == 1
    chat()
    chat()
    with (
        httpx.Client(verify=NO_TLS) as client,
        connect_sse(client, "GET", url, headers=headers | {"last-event-id": opened.id}) as source,
    ):
        events = source.iter_sse()
        missed, listening = next(events), next(events)
        assert missed.event == "missed"
        assert missed.json()["count"] == int(listening.id) - int(opened.id) > 8


@pytest.mark.parametrize("heard", ["", "-1", "1e9", "9" * 5_000, "99999999", "\xb2"])
def test_a_last_event_id_that_makes_no_sense_is_ignored(llm: MockLLM, heard: str) -> None:
    url = f"{llm.url.removesuffix('/v1')}/_mock/events"
    headers = [(b"x-mock-token", llm.token.encode()), (b"last-event-id", heard.encode("latin-1"))]
    with httpx.stream("GET", url, headers=headers, verify=NO_TLS) as response:
        assert response.status_code == 200
        assert b"event: listening" in next(response.iter_bytes())


def test_a_fault_is_told_when_it_strikes(llm: MockLLM, chat: Chat) -> None:
    llm.configure(faults=[Fault(kind="503")])
    with llm.events() as events:
        chat()
        seen = until("finished", events)
    assert names(seen) == ["opened", "arrived", "fault", "finished"]
    assert [event["request"]["fault"] for event in seen[1:]] == [None, "503", "503"]
