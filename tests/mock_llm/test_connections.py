"""What the server makes of connections: two protocols, many clients, garbage, silence."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helpers.mock_llm import MockLLM

from .conftest import Chat, eventually
from .tiny_server import tiny_server


def body(prompt: str = "Hello") -> dict[str, object]:
    return {"model": "gpt-4o", "messages": [{"role": "user", "content": prompt}]}


def connect(llm: MockLLM) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port_of(llm)), timeout=10)


def port_of(llm: MockLLM) -> int:
    port = urlsplit(llm.url).port
    assert port is not None
    return port


def read_all(connection: socket.socket) -> bytes:
    """Until the server closes; a reset is a way of closing."""
    parts = []
    try:
        while part := connection.recv(65536):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


def test_http2_carries_fifty_requests_on_one_connection(llm: MockLLM) -> None:
    with httpx.Client(http1=False, http2=True) as client:
        for _ in range(50):
            response = client.post(f"{llm.url}/chat/completions", json=body())
            assert (response.status_code, response.http_version) == (200, "HTTP/2")
    ledger = llm.ledger()
    [connection] = ledger.connections
    assert (connection.http_version, connection.requests) == ("2", 50)
    assert {request.connection for request in ledger.requests} == {connection.id}


def test_http2_takes_a_large_body_and_streams(llm: MockLLM) -> None:
    long = body("word " * 40_000) | {"stream": True}
    with httpx.Client(http1=False, http2=True) as client:
        response = client.post(f"{llm.url}/chat/completions", json=long)
    assert response.status_code == 200
    assert response.text.endswith("data: [DONE]\n\n")
    assert llm.ledger().requests[0].prompt_tokens == 40_001 + 7


def test_http2_clients_are_told_their_mistakes(llm: MockLLM) -> None:
    with httpx.Client(http1=False, http2=True) as client:
        assert client.get(f"{llm.url}/models/llama").status_code == 404
        foreign = client.get(f"{llm.url}/models", headers={"host": "evil.example"})
        assert foreign.status_code == 403


def test_every_connection_is_counted_also_a_silent_one(llm: MockLLM) -> None:
    with connect(llm):
        for _ in range(3):
            httpx.get(f"{llm.url}/models")
        with httpx.Client() as client:
            for _ in range(3):
                client.get(f"{llm.url}/models")
        connections = llm.ledger().connections
    assert [connection.requests for connection in connections] == [0, 1, 1, 1, 3]
    assert connections[0].http_version is None
    assert connections[0].closed is None
    eventually(lambda: all(connection.closed for connection in llm.ledger().connections))


def test_twelve_calls_at_once_are_in_flight_together(llm: MockLLM) -> None:
    llm.configure(profile="small", answer_tokens=30)
    with httpx.Client(timeout=20) as client, ThreadPoolExecutor(12) as pool:
        statuses = pool.map(
            lambda _: client.post(f"{llm.url}/chat/completions", json=body()).status_code, range(12)
        )
        assert list(statuses) == [200] * 12
    ledger = llm.ledger()
    assert ledger.peak_in_flight == 12
    assert ledger.peak_streams == 0
    assert len(ledger.connections) == 12


def test_streams_at_once_are_counted(llm: MockLLM) -> None:
    llm.configure(profile="small", answer_tokens=50)
    streamed = body() | {"stream": True}
    with httpx.Client(timeout=20) as client, ThreadPoolExecutor(5) as pool:
        list(
            pool.map(lambda _: client.post(f"{llm.url}/chat/completions", json=streamed), range(5))
        )
    assert llm.ledger().peak_streams == 5
    llm.reset()
    assert llm.ledger().peak_streams == 0


def request_bytes(content: bytes, *headers: bytes) -> bytes:
    lines = [b"POST /v1/chat/completions HTTP/1.1", b"host: localhost", *headers]
    return b"\r\n".join([*lines, b"content-length: %d" % len(content), b"", content])


def test_pipelined_requests_are_answered_in_order(llm: MockLLM) -> None:
    first = request_bytes(json.dumps(body() | {"model": "gpt-1"}).encode())
    second = request_bytes(json.dumps(body() | {"model": "gpt-2"}).encode(), b"connection: close")
    with connect(llm) as connection:
        connection.sendall(first + second)
        answers = read_all(connection)
    assert answers.count(b"HTTP/1.1 200 OK") == 2
    assert answers.index(b'"model":"gpt-1"') < answers.index(b'"model":"gpt-2"')


GARBAGE = [
    b"\x00",
    b"\r\n\r\n",
    b"hello\r\n\r\n",
    b"GET\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"GET http://[::1 HTTP/1.1\r\nhost: localhost\r\n\r\n",
    b"GET /\xff\xfe HTTP/1.1\r\nhost: localhost\r\n\r\n",
    b"GET /%ff%fe HTTP/1.1\r\nhost: localhost\r\n\r\n",
    b"GET /v1/models HTTP/1.1\r\n\r\n",
    b"GET /v1/models HTTP/1.1\r\nhost: \xff\xfe\r\n\r\n",
    b"CONNECT example.com:443 HTTP/1.1\r\nhost: localhost\r\n\r\n",
    b"GET / HTTP/1.1\r\nhost: localhost\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
    b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: -1\r\n\r\n",
    b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1e9\r\n\r\n",
    b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n"
    b"transfer-encoding: chunked\r\n\r\nZZ\r\n",
    b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10\r\n\r\n{}",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
    b"PRI * HTTP/2.0\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 100,
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 4, 1, 5, 0, 0, 0, 1]) + b"\xff" * 4,
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0]),
]


def send_garbage(llm: MockLLM, garbage: bytes) -> bytes:
    return throw(port_of(llm), garbage)


def throw(port: int, garbage: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        try:
            connection.sendall(garbage)
            connection.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        return read_all(connection)


@pytest.mark.parametrize("garbage", GARBAGE, ids=lambda garbage: repr(garbage[:40]))
def test_garbage_gets_an_error_or_a_closed_connection(
    llm: MockLLM, chat: Chat, garbage: bytes
) -> None:
    pid = llm.pid
    answer = send_garbage(llm, garbage)
    assert b"HTTP/1.1 200" not in answer
    assert b"HTTP/1.1 500" not in answer
    assert chat().status_code == 200
    assert llm.pid == pid


def test_garbage_prints_nothing() -> None:
    command = [sys.executable, "-c", "from helpers.mock_llm.server import *; serve_forever()"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) as server:
        try:
            assert server.stdout is not None
            port = int(server.stdout.readline().strip().removesuffix("/v1").rpartition(":")[2])
            for garbage in GARBAGE:
                throw(port, garbage)
        finally:
            server.kill()
        assert server.communicate()[1] == ""


def test_a_broken_request_is_refused_in_the_providers_shape(llm: MockLLM) -> None:
    head, _, answer = send_garbage(llm, b"hello there\r\n\r\n").partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400")
    assert json.loads(answer)["error"]["type"] == "invalid_request_error"


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.one_of(
        st.binary(max_size=300),
        st.binary(max_size=100).map(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".__add__),
        st.binary(max_size=100).map(request_bytes),
        st.binary(max_size=50).map(lambda junk: b"GET /v1/" + junk + b" HTTP/1.1\r\n\r\n"),
    )
)
def test_no_bytes_break_the_server(llm: MockLLM, garbage: bytes) -> None:
    answer = send_garbage(llm, garbage)
    assert b"HTTP/1.1 500" not in answer
    assert httpx.get(f"{llm.url}/models").status_code == 200


def test_an_endless_head_is_refused(llm: MockLLM) -> None:
    with connect(llm) as connection:
        try:
            connection.sendall(b"GET /v1/models HTTP/1.1\r\n")
            for _ in range(10_000):
                connection.sendall(b"x-more: " + b"y" * 990 + b"\r\n")
        except OSError:
            pass
        else:
            pytest.fail("10 MB of head were taken")


@pytest.mark.parametrize(
    "headers",
    [b"".join(b"x-%d: y\r\n" % number for number in range(300)), b"x: " + b"y" * 70_000 + b"\r\n"],
    ids=["many", "large"],
)
def test_a_head_that_is_too_large_is_refused_with_431(llm: MockLLM, headers: bytes) -> None:
    with connect(llm) as connection:
        connection.sendall(b"GET /v1/models HTTP/1.1\r\nhost: localhost\r\n" + headers + b"\r\n")
        head, _, answer = read_all(connection).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 431")
    assert json.loads(answer)["error"]["type"] == "invalid_request_error"
    assert llm.ledger().requests == []


def test_garbage_behind_a_request_ends_it_too(llm: MockLLM) -> None:
    llm.configure(profile="small", answer_tokens=5_000)
    request = request_bytes(json.dumps(body() | {"stream": True}).encode())
    with connect(llm) as connection:
        connection.sendall(request)
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        connection.sendall(request + b"garbage\r\n\r\n")
        assert b"HTTP/1.1 400" not in read_all(connection)
    eventually(lambda: llm.ledger().requests[0].client_left)


def test_a_client_that_leaves_the_socket_full_is_dropped() -> None:
    with (
        tiny_server(stuck_seconds=0.3) as tiny,
        socket.create_connection(("127.0.0.1", tiny.port), timeout=10) as connection,
    ):
        connection.sendall(b"GET /pour?100000000 HTTP/1.1\r\nhost: localhost\r\n\r\n")
        eventually(lambda: tiny.scopes)
        eventually(lambda: not tiny.recorder.open)


def test_connections_above_the_limit_are_closed_at_once() -> None:
    with tiny_server(max_connections=3) as tiny:
        address = ("127.0.0.1", tiny.port)
        connections = [socket.create_connection(address, timeout=10) for _ in range(3)]
        eventually(lambda: len(tiny.recorder.open) == 3)
        with socket.create_connection(address, timeout=10) as one_too_many:
            assert read_all(one_too_many) == b""
        connections.pop().close()
        eventually(lambda: len(tiny.recorder.open) == 2)
        assert httpx.get(f"http://127.0.0.1:{tiny.port}/pour?1").text == "x"
        for connection in connections:
            connection.close()


@pytest.mark.skipif(sys.platform == "win32", reason="no limit of open files")
@pytest.mark.parametrize(("soft", "hard", "most"), [(256, 1_000, 900), (256, 256, 156)])
def test_the_limit_fits_the_files_that_may_be_open(soft: int, hard: int, most: int) -> None:
    program = (
        "import resource; from helpers.mock_llm.http.server import most_connections; "
        f"resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard})); "
        "print(most_connections(5_000))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert int(done.stdout) == most


@pytest.mark.parametrize("opening", [b"", b"GET /v1/mod", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"])
def test_connections_that_ask_nothing_are_closed(opening: bytes) -> None:
    """With 0.5 s of patience instead of 75."""
    with (
        tiny_server(idle_seconds=0.5) as tiny,
        socket.create_connection(("127.0.0.1", tiny.port), timeout=10) as connection,
    ):
        connection.sendall(opening)
        read_all(connection)
        eventually(lambda: not tiny.recorder.open)


@pytest.mark.parametrize("http2", [False, True])
def test_connections_that_ask_nothing_more_are_closed(*, http2: bool) -> None:
    with (
        tiny_server(idle_seconds=0.5) as tiny,
        httpx.Client(http1=not http2, http2=http2) as client,
    ):
        assert client.get(f"http://127.0.0.1:{tiny.port}/pour?1").text == "x"
        eventually(lambda: not tiny.recorder.open)
