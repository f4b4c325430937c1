"""HTTP/2: any number of requests on one connection, and every way to misuse it."""

from __future__ import annotations

import json
import socket
import statistics
import struct
import time
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import httpx
import psutil
import pytest
from h2.errors import ErrorCodes
from h2.events import InformationalResponseReceived, PingAckReceived, RemoteSettingsChanged
from h2.settings import SettingCodes
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helpers.mock_llm import MockLLM

from .conftest import eventually
from .h2_client import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PING,
    PREFACE,
    PRIORITY,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Client,
    frame,
    head,
    throw,
)
from .tiny_server import TinyServer, tiny_server


@pytest.fixture(scope="module")
def shared_tiny() -> Iterator[TinyServer]:
    with tiny_server() as tiny:
        yield tiny


@pytest.fixture
def tiny(shared_tiny: TinyServer) -> Iterator[TinyServer]:
    shared_tiny.clear()
    yield shared_tiny
    eventually(lambda: not shared_tiny.recorder.open)
    assert shared_tiny.failures == []


@pytest.fixture
def client(tiny: TinyServer) -> Iterator[Client]:
    with Client(tiny.port) as client:
        yield client


def port_of(llm: MockLLM) -> int:
    port = urlsplit(llm.url).port
    assert port is not None
    return port


def u32(number: int) -> bytes:
    return struct.pack(">I", number)


OPENING = END_STREAM | END_HEADERS

# Many requests.


def test_one_connection_carries_fifty_thousand_requests_in_the_same_memory(llm: MockLLM) -> None:
    server = psutil.Process(llm.pid)
    with socket.create_connection(("127.0.0.1", port_of(llm)), timeout=30) as connection:
        connection.sendall(PREFACE + frame(SETTINGS))
        stream = pipeline(connection, "/health", 1, 10_000)
        before = server.memory_info().rss
        stream = pipeline(connection, "/health", stream, 40_000)
        grown = server.memory_info().rss - before
        pipeline(connection, "/v1/models", stream, 1)
        [entry] = llm.ledger().connections
    assert stream == 100_001
    assert entry.requests == 1, "the others were not for the API"
    assert grown < 5 * 1024 * 1024


def pipeline(connection: socket.socket, path: str, first: int, count: int) -> int:
    """Ask so often, a hundred requests ahead of the answers. The next stream's id."""
    block = head(path)
    sent = answered = 0
    received = b""
    while answered < count:
        if sent < count and sent - answered <= 50:
            more = min(50, count - sent)
            ids = range(first + 2 * sent, first + 2 * (sent + more), 2)
            connection.sendall(b"".join(frame(HEADERS, OPENING, id, block) for id in ids))
            sent += more
        received += connection.recv(65536)
        start = data = 0
        while len(received) - start >= 9:
            end = start + 9 + int.from_bytes(received[start : start + 3], "big")
            if end > len(received):
                break
            kind, flags = received[start + 3], received[start + 4]
            assert kind not in (GOAWAY, RST_STREAM)
            if kind == DATA:
                data += end - start - 9
                answered += flags & END_STREAM
            start = end
        received = received[start:]
        if data:
            connection.sendall(frame(WINDOW_UPDATE, 0, 0, u32(data)))
    return first + 2 * count


def test_hundreds_of_requests_are_open_at_once(tiny: TinyServer, client: Client) -> None:
    streams = [client.ask(f"/wait?{number}") for number in range(500)]
    answer = client.ask("/pour?10")
    client.read_until(lambda: client.ended(answer))
    assert len(tiny.scopes) == 501
    assert tiny.left == {}
    for stream in streams:
        client.h2.reset_stream(stream)
    client.flush()
    eventually(lambda: len(tiny.left) == 500)
    again = client.ask("/pour?10")
    client.read_until(lambda: client.ended(again))


def test_more_streams_than_announced_close_the_connection(tiny: TinyServer, client: Client) -> None:
    client.read_until(
        lambda: any(isinstance(event, RemoteSettingsChanged) for event in client.events)
    )
    most = client.h2.remote_settings.max_concurrent_streams
    assert 100 <= most <= 10_000
    asking = [frame(HEADERS, OPENING, 2 * number + 1, head("/wait")) for number in range(most + 1)]
    [goaway] = throw(tiny.port, b"".join(asking))[-1:]
    assert (goaway.kind, goaway.error) == (GOAWAY, ErrorCodes.PROTOCOL_ERROR)


# Flow control.


def test_large_bodies_go_both_ways(tiny: TinyServer) -> None:
    content = bytes(range(256)) * 20_000
    with httpx.Client(http1=False, http2=True, timeout=20) as http:
        response = http.post(f"http://127.0.0.1:{tiny.port}/echo", content=content)
    assert response.content == content


def test_a_request_that_its_app_does_not_read_blocks_no_other(
    tiny: TinyServer, client: Client
) -> None:
    """Thirty full stream windows are more than a connection window of the usual size."""
    window = client.h2.remote_settings.initial_window_size
    deaf = []
    for _ in range(30):
        client.read_until(lambda: client.h2.outbound_flow_control_window >= window)
        deaf.append(client.ask("/deaf", method="POST", end=False))
        for _ in range(window // 13_107):
            client.h2.send_data(deaf[-1], b"x" * 13_107)
        client.flush()
    echo = client.ask("/echo", method="POST", end=False)
    client.h2.send_data(echo, b"hello", end_stream=True)
    client.flush()
    client.read_until(lambda: client.ended(echo))
    assert client.body(echo) == b"hello"
    assert not any(client.ended(stream) for stream in deaf)


def test_a_reader_that_opens_no_window_blocks_only_its_own_stream(
    tiny: TinyServer, client: Client
) -> None:
    client.h2.increment_flow_control_window(1_000_000)
    client.flush()
    stopped = client.ask("/pour?200000")
    client.read_until(lambda: len(client.body(stopped)) == 65_535)
    other = client.ask("/pour?50000")
    client.read_until(lambda: client.ended(other))
    assert len(client.body(other)) == 50_000
    assert len(client.body(stopped)) == 65_535
    client.h2.increment_flow_control_window(200_000, stopped)
    client.flush()
    client.read_until(lambda: client.ended(stopped))
    assert len(client.body(stopped)) == 200_000


def test_a_larger_initial_window_sets_waiting_streams_free(
    tiny: TinyServer, client: Client
) -> None:
    client.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 0})
    client.flush()
    stream = client.ask("/pour?1000")
    client.read_until(lambda: client.status(stream))
    assert client.body(stream) == b""
    client.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 5_000})
    client.flush()
    client.read_until(lambda: client.ended(stream))
    assert len(client.body(stream)) == 1_000


def test_streams_share_the_connections_window(tiny: TinyServer, client: Client) -> None:
    """None of those that come at once gets it all while the others wait."""
    client.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 0})
    client.flush()
    streams = [client.ask("/pour?60000") for _ in range(4)]
    client.read_until(lambda: all(client.status(stream) for stream in streams))
    client.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 60_000})
    client.flush()
    client.read_until(lambda: sum(len(client.body(stream)) for stream in streams) == 65_535)
    assert not any(client.ended(stream) for stream in streams)
    client.h2.increment_flow_control_window(4 * 60_000)
    client.flush()
    client.read_until(lambda: all(client.ended(stream) for stream in streams))


def test_a_client_that_never_reads_loses_the_answer() -> None:
    with tiny_server(stuck_seconds=0.3) as tiny, Client(tiny.port) as client:
        stuck = client.ask("/pour?100000")
        client.read_until(lambda: client.was_reset(stuck) is not None)
        assert len(client.body(stuck)) == 65_535


def test_a_client_that_leaves_the_socket_full_is_dropped() -> None:
    with tiny_server(stuck_seconds=0.3) as tiny, Client(tiny.port) as client:
        client.h2.increment_flow_control_window(2**30)
        client.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 2**30})
        client.ask("/pour?100000000")
        eventually(lambda: tiny.scopes)
        eventually(lambda: not tiny.recorder.open)


# Clients that leave.


def heard(llm: MockLLM, leave: Callable[[Client, int], None]) -> float:
    """Seconds from the client's leaving a stream to the server's hearing of it."""
    llm.reset()
    body = {
        "model": "gpt-4o",
        "stream": True,
        "messages": [{"role": "user", "content": "Hello"}],
    }
    with Client(port_of(llm)) as client:
        stream = client.ask("/v1/chat/completions", method="POST", end=False)
        client.h2.send_data(stream, json.dumps(body).encode(), end_stream=True)
        client.flush()
        client.read_until(lambda: client.body(stream))
        now = time.perf_counter()
        leave(client, stream)
        eventually(lambda: llm.ledger().requests[0].client_left)
    left = llm.ledger().requests[0].client_left
    assert left is not None
    return left - now


def reset_stream(client: Client, stream: int) -> None:
    client.h2.reset_stream(stream, ErrorCodes.CANCEL)
    client.flush()


def close(client: Client, stream: int) -> None:
    client.socket.close()


@pytest.mark.parametrize("leave", [reset_stream, close])
def test_a_client_that_leaves_is_heard_within_50_ms(
    llm: MockLLM, leave: Callable[[Client, int], None]
) -> None:
    llm.configure(profile="small", answer_tokens=5_000)
    delays = [heard(llm, leave) for _ in range(7)]
    assert statistics.median(delays) < 0.05
    assert min(delays) >= 0


def test_only_the_stream_that_was_reset_hears_of_it(tiny: TinyServer, client: Client) -> None:
    first, second = client.ask("/wait?first"), client.ask("/wait?second")
    reset_stream(client, first)
    eventually(lambda: tiny.left)
    assert list(tiny.left) == ["first"]
    reset_stream(client, second)
    eventually(lambda: len(tiny.left) == 2)


def test_who_says_goaway_still_gets_the_answers(tiny: TinyServer, client: Client) -> None:
    stream = client.ask("/deaf", method="POST", end=False)
    client.h2.send_data(stream, b"hello", end_stream=True)
    client.flush()
    client.socket.sendall(frame(GOAWAY, payload=u32(0) + u32(0)))
    client.read_to_the_end()
    assert client.ended(stream)
    assert client.body(stream) == b"hello"
    assert client.goaway() == ErrorCodes.NO_ERROR


# What HTTP asks for.


def test_the_host_is_the_authority(tiny: TinyServer, client: Client) -> None:
    stream = client.ask("/pour?0", ("x-more", "1"))
    client.read_until(lambda: client.ended(stream))
    headers = tiny.scopes[0]["headers"]
    assert headers == [(b"host", b"localhost"), (b"x-more", b"1")]
    assert (tiny.scopes[0]["path"], tiny.scopes[0]["query_string"]) == ("/pour", b"0")
    assert tiny.scopes[0]["http_version"] == "2"


def test_a_host_other_than_the_authority_is_refused(tiny: TinyServer) -> None:
    block = head("/pour?0", "GET", ("host", "evil.example"))
    [goaway] = throw(tiny.port, frame(HEADERS, OPENING, 1, block))[-1:]
    assert (goaway.kind, goaway.error) == (GOAWAY, ErrorCodes.PROTOCOL_ERROR)
    assert tiny.scopes == []


def test_two_hosts_are_refused(tiny: TinyServer) -> None:
    block = head("/pour?0", "GET", ("host", "localhost"), ("host", "localhost"))
    frames = frame(HEADERS, OPENING, 1, block) + frame(GOAWAY, payload=u32(0) + u32(0))
    throw(tiny.port, frames)
    assert tiny.scopes == []


def test_answers_without_a_body(client: Client) -> None:
    head_of_it = client.ask("/pour?100", method="HEAD")
    nothing = client.ask("/nothing")
    client.read_until(lambda: client.ended(head_of_it) and client.ended(nothing))
    assert (client.status(head_of_it), client.body(head_of_it)) == ("200", b"")
    assert (client.status(nothing), client.body(nothing)) == ("204", b"")


def test_trailers_are_ignored(client: Client) -> None:
    stream = client.ask("/echo", method="POST", end=False)
    client.h2.send_data(stream, b"hello")
    client.h2.send_headers(stream, [("x-checksum", "1")], end_stream=True)
    client.flush()
    client.read_until(lambda: client.ended(stream))
    assert client.body(stream) == b"hello"


def test_who_waits_for_100_continue_gets_it(client: Client) -> None:
    stream = client.ask("/echo", ("expect", "100-continue"), method="POST", end=False)
    client.read_until(
        lambda: any(isinstance(event, InformationalResponseReceived) for event in client.events)
    )
    client.h2.send_data(stream, b"hello", end_stream=True)
    client.flush()
    client.read_until(lambda: client.ended(stream))
    assert client.body(stream) == b"hello"


def test_pings_are_answered(client: Client) -> None:
    client.h2.ping(b"12345678")
    client.flush()
    client.read_until(lambda: any(isinstance(event, PingAckReceived) for event in client.events))


def test_an_answer_before_the_end_of_the_body_reaches_the_client(tiny: TinyServer) -> None:
    with httpx.Client(http1=False, http2=True, timeout=20) as http:
        for _ in range(2):
            url = f"http://127.0.0.1:{tiny.port}/early"
            response = http.post(url, content=b"x" * 5_000_000)
            assert (response.status_code, response.text) == (413, "too much")
        assert len(tiny.recorder.open) == 1


def test_a_body_without_end_after_the_answer_is_stopped() -> None:
    with tiny_server(max_ignored_body=1_000_000) as tiny, Client(tiny.port) as client:
        stream = client.ask("/early", method="POST", end=False)
        client.read_until(lambda: client.ended(stream))
        sent = 0
        while client.was_reset(stream) is None:
            if client.h2.local_flow_control_window(stream):
                client.h2.send_data(
                    stream, b"x" * min(16_384, client.h2.local_flow_control_window(stream))
                )
                sent += 1
                client.flush()
            else:
                client.read()
            assert sent < 1_000
        assert client.was_reset(stream) == ErrorCodes.NO_ERROR
        again = client.ask("/pour?10")
        client.read_until(lambda: client.ended(again))


def test_an_app_that_fails_resets_only_its_stream(tiny: TinyServer, client: Client) -> None:
    broken, half = client.ask("/broken"), client.ask("/half")
    client.read_until(lambda: client.ended(broken) and client.was_reset(half) is not None)
    assert client.status(broken) == "500"
    assert json.loads(client.body(broken))["error"]["message"]
    again = client.ask("/pour?10")
    client.read_until(lambda: client.ended(again))
    assert [type(failure) for failure in tiny.failures] == [ArithmeticError]
    tiny.failures.clear()


# Limits.


@pytest.mark.parametrize(
    "headers",
    [[(f"x-{number}", "y") for number in range(300)], [("x-long", "y" * 70_000)]],
    ids=["many", "large"],
)
def test_a_head_that_is_too_large_is_refused_with_431(
    client: Client, headers: list[tuple[str, str]]
) -> None:
    stream = client.ask("/echo", *headers)
    client.read_until(lambda: client.ended(stream))
    assert client.status(stream) == "431"
    assert json.loads(client.body(stream))["error"]["path"] == "/echo"
    again = client.ask("/pour?10")
    client.read_until(lambda: client.ended(again))
    assert client.status(again) == "200"


def test_a_head_without_end_closes_the_connection(tiny: TinyServer) -> None:
    block = head("/", "GET", *((f"x-{number}", "y" * 900) for number in range(500)))
    frames = frame(HEADERS, END_STREAM, 1, block[:16_384])
    for start in range(16_384, len(block), 16_384):
        frames += frame(CONTINUATION, 0, 1, block[start : start + 16_384])
    frames += frame(CONTINUATION, END_HEADERS, 1)
    [goaway] = throw(tiny.port, frames)[-1:]
    assert (goaway.kind, goaway.error) == (GOAWAY, ErrorCodes.ENHANCE_YOUR_CALM)


FLOODS: dict[str, Callable[[int], bytes]] = {
    "ping": lambda _: frame(PING, payload=b"12345678"),
    "settings": lambda _: frame(SETTINGS),
    "priority": lambda number: frame(PRIORITY, 0, 2 * number + 1, u32(0) + b"\x10"),
    "unknown": lambda _: frame(0x99, payload=b"12345678"),
    "window": lambda _: frame(WINDOW_UPDATE, payload=u32(1)),
    "goaway": lambda _: frame(GOAWAY, payload=u32(0) + u32(0)),
    "empty data": lambda number: (
        frame(HEADERS, END_HEADERS, 1, head("/wait", "POST")) if number == 0 else frame(DATA, 0, 1)
    ),
    "rapid reset": lambda number: (
        frame(HEADERS, END_HEADERS | END_STREAM, 2 * number + 1, head("/wait"))
        + frame(RST_STREAM, 0, 2 * number + 1, u32(8))
    ),
}


@pytest.mark.parametrize("flood", FLOODS)
def test_floods_are_stopped(tiny: TinyServer, flood: str) -> None:
    """Ten thousand frames that ask for nothing; the server stays with its other clients."""
    frames = b"".join(FLOODS[flood](number) for number in range(10_000))
    with Client(tiny.port) as bystander:
        answers = throw(tiny.port, frames)
        assert (answers[-1].kind, answers[-1].error) == (GOAWAY, ErrorCodes.ENHANCE_YOUR_CALM)
        stream = bystander.ask("/pour?10")
        bystander.read_until(lambda: bystander.ended(stream))
    assert len(tiny.scopes) <= 1_100


def test_pings_whose_answers_nobody_reads_take_no_memory(tiny: TinyServer) -> None:
    with Client(tiny.port) as client:
        with pytest.raises(OSError, match=r"reset|[Pp]ipe|abort|timed out"):
            client.socket.sendall(frame(PING, payload=b"12345678") * 500_000)
        eventually(lambda: not tiny.recorder.open)


def test_a_client_that_cancels_much_and_reads_more_is_no_flood(client: Client) -> None:
    for _ in range(30):
        waiting = [client.ask("/wait") for _ in range(100)]
        answered = [client.ask("/pour?10") for _ in range(100)]
        client.read_until(lambda: all(client.ended(stream) for stream in answered))  # noqa: B023
        for stream in waiting:
            reset_stream(client, stream)
        client.events.clear()


MALFORMED = {
    "data on stream 0": frame(DATA, 0, 0, b"x"),
    "data on an idle stream": frame(DATA, 0, 1, b"x"),
    "headers on stream 0": frame(HEADERS, END_HEADERS, 0, head("/")),
    "headers on an even stream": frame(HEADERS, END_HEADERS, 2, head("/")),
    "headers that are no HPACK": frame(HEADERS, END_HEADERS, 1, b"\xff" * 50),
    "no method": frame(HEADERS, END_HEADERS, 1, b"\x84\x86"),
    "uppercase header": frame(HEADERS, END_HEADERS, 1, head("/", "GET", ("X-Y", "1"))),
    "connection header": frame(HEADERS, END_HEADERS, 1, head("/", "GET", ("connection", "x"))),
    "empty path": frame(HEADERS, END_HEADERS, 1, head("")),
    "window update of 0": frame(WINDOW_UPDATE, 0, 0, u32(0)),
    "window too large": frame(WINDOW_UPDATE, 0, 0, u32(2**31 - 1)) * 2,
    "settings of 5 bytes": frame(SETTINGS, 0, 0, b"12345"),
    "settings on a stream": frame(SETTINGS, 0, 1),
    "push": frame(SETTINGS, 0, 0, struct.pack(">HI", 2, 7)),
    "ping of 3 bytes": frame(PING, 0, 0, b"123"),
    "push promise": frame(5, END_HEADERS, 1, u32(2) + head("/")),
    "naked continuation": frame(9, END_HEADERS, 1, b""),
    "frame too large": frame(DATA, 0, 1, b"x" * 20_000),
    "padding too long": frame(HEADERS, END_HEADERS | 8, 1, b"\xff" + head("/")),
    "data shorter than content-length": (
        frame(HEADERS, END_HEADERS, 1, head("/echo", "POST", ("content-length", "10")))
        + frame(DATA, END_STREAM, 1, b"123")
    ),
    "data longer than content-length": (
        frame(HEADERS, END_HEADERS, 1, head("/echo", "POST", ("content-length", "2")))
        + frame(DATA, END_STREAM, 1, b"123")
    ),
    "data after the end": (
        frame(HEADERS, END_HEADERS | END_STREAM, 1, head("/wait")) + frame(DATA, 0, 1, b"x")
    ),
}


@pytest.mark.parametrize("malformed", MALFORMED)
def test_malformed_frames_are_refused(tiny: TinyServer, malformed: str) -> None:
    goaway = frame(GOAWAY, payload=u32(0) + u32(0))
    answers = throw(tiny.port, MALFORMED[malformed] + goaway)
    errors = {answer.error for answer in answers if answer.kind in (GOAWAY, RST_STREAM)}
    assert errors - {ErrorCodes.NO_ERROR}
    assert ErrorCodes.INTERNAL_ERROR not in errors
    with Client(tiny.port) as other:
        stream = other.ask("/pour?10")
        other.read_until(lambda: other.ended(stream))


STREAM_IDS = st.integers(0, 9)
ANY_FRAME = st.builds(
    frame, st.integers(0, 11), st.integers(0, 255), STREAM_IDS, st.binary(max_size=40)
)
ANY_REQUEST = st.builds(
    lambda stream, path, flags: frame(HEADERS, flags, stream, head(path, "POST")),
    STREAM_IDS,
    st.sampled_from(["/echo", "/pour?100000", "/wait", "/early", "/cut", "/half", "/nothing"]),
    st.sampled_from([END_HEADERS, OPENING]),
)
ANY_UPDATE = st.builds(
    lambda kind, stream, number: frame(kind, 0, stream, u32(number)),
    st.sampled_from([WINDOW_UPDATE, RST_STREAM]),
    STREAM_IDS,
    st.integers(0, 2**32 - 1),
)
ANY_DATA = st.builds(
    lambda flags, stream, size: frame(DATA, flags, stream, b"x" * size),
    st.integers(0, 1),
    STREAM_IDS,
    st.integers(0, 16_384),
)
ANY_SETTING = st.builds(
    lambda setting, value: frame(SETTINGS, 0, 0, struct.pack(">HI", setting, value)),
    st.integers(0, 9),
    st.one_of(st.integers(0, 2**32 - 1), st.integers(0, 70_000)),
)


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(
        st.one_of(ANY_REQUEST, ANY_REQUEST, ANY_UPDATE, ANY_DATA, ANY_SETTING, ANY_FRAME),
        max_size=20,
    )
)
def test_no_frames_break_the_server(tiny: TinyServer, frames: list[bytes]) -> None:
    answers = throw(tiny.port, b"".join(frames), leave=True)
    assert not [
        answer
        for answer in answers
        if answer.kind == GOAWAY and answer.error == ErrorCodes.INTERNAL_ERROR
    ]
    eventually(lambda: not tiny.recorder.open)
    assert tiny.failures == []


@pytest.mark.parametrize("path", ["no-slash", "*", "/\xff"])
def test_a_path_that_is_none_is_refused_with_400(
    tiny: TinyServer, client: Client, path: str
) -> None:
    stream = client.ask(path)
    client.read_until(lambda: client.ended(stream))
    assert client.status(stream) == "400"
    assert tiny.scopes == []
