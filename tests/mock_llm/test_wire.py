"""Answers that break off, as clients see it: over both versions of HTTP, with and without TLS."""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Callable, Iterator
from itertools import product

import httpx
import pytest
from h2.errors import ErrorCodes

from .conftest import eventually
from .h2_client import Client
from .tiny_server import PIECE, TinyServer, tiny_server


@pytest.fixture(scope="module", params=["uvloop", "asyncio"])
def shared_tiny(request: pytest.FixtureRequest) -> Iterator[TinyServer]:
    with tiny_server(request.param, tls=True) as tiny:
        yield tiny


@pytest.fixture
def tiny(shared_tiny: TinyServer) -> Iterator[TinyServer]:
    shared_tiny.clear()
    yield shared_tiny
    eventually(lambda: not shared_tiny.recorder.open)
    assert shared_tiny.failures == []


@pytest.fixture(params=product(["http", "https"], [1, 2]), ids=lambda param: "{}-{}".format(*param))
def http(request: pytest.FixtureRequest, tiny: TinyServer) -> Iterator[httpx.Client]:
    scheme, version = request.param
    with client(tiny, scheme, http2=version == 2) as http:
        yield http


def client(tiny: TinyServer, scheme: str, *, http2: bool) -> httpx.Client:
    trust = ssl.create_default_context(cafile=tiny.ca_file)
    port = tiny.port if scheme == "http" else tiny.tls_port
    url = f"{scheme}://127.0.0.1:{port}"
    return httpx.Client(base_url=url, verify=trust, http1=not http2, http2=http2, timeout=10)


def connect(tiny: TinyServer, *, tls: bool) -> socket.socket:
    port = tiny.tls_port if tls else tiny.port
    return socket.create_connection(("127.0.0.1", port), timeout=10)


def read(http: httpx.Client, path: str) -> tuple[bytes, type[Exception] | None]:
    """What came of the body, and how it ended."""
    body = b""
    try:
        with http.stream("GET", path) as response:
            assert response.status_code == 200
            for piece in response.iter_raw():
                body += piece
    except httpx.TransportError as error:
        return body, type(error)
    return body, None


def test_a_complete_answer_is_seen_as_complete(http: httpx.Client) -> None:
    assert read(http, "/pour?100000") == (b"x" * 100_000, None)


@pytest.mark.parametrize("path", ["/cut", "/cut?sized"])
def test_a_cut_answer_is_seen_as_incomplete(
    tiny: TinyServer, http: httpx.Client, path: str
) -> None:
    assert read(http, path) == (PIECE * 2, httpx.RemoteProtocolError)
    eventually(lambda: "cut" in tiny.left)


def test_an_answer_cut_before_it_began_is_seen_as_none(
    tiny: TinyServer, http: httpx.Client
) -> None:
    assert read(http, "/cut?silent") == (b"", httpx.RemoteProtocolError)


RESET = (httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError)
"""What httpx makes of one: OpenSSL takes it for an end of file, and a client of HTTP/2 may meet it
when it writes."""


@pytest.mark.parametrize(("path", "sent"), [("/reset", PIECE * 2), ("/reset?silent", b"")])
def test_a_reset_fails_the_answer(
    tiny: TinyServer, http: httpx.Client, path: str, sent: bytes
) -> None:
    body, failure = read(http, path)
    assert body == sent
    assert failure in RESET
    eventually(lambda: "reset" in tiny.left)


@pytest.mark.parametrize("tls", [False, True])
def test_a_reset_is_a_tcp_rst(tiny: TinyServer, *, tls: bool) -> None:
    with connect(tiny, tls=tls) as connection:
        below = connection.dup()
        if tls:
            trust = ssl.create_default_context(cafile=tiny.ca_file)
            connection = trust.wrap_socket(connection, server_hostname="localhost")
        connection.sendall(b"GET /reset?silent HTTP/1.1\r\nhost: localhost\r\n\r\n")
        with below, pytest.raises(ConnectionResetError):
            list(iter(lambda: below.recv(65536), b""))
        connection.close()


def test_a_cut_stream_leaves_its_connection_alone(tiny: TinyServer) -> None:
    with Client(tiny.port) as client:
        waiting = client.ask("/wait?1")
        cut = client.ask("/cut")
        client.read_until(lambda: client.was_reset(cut) is not None)
        assert client.was_reset(cut) == ErrorCodes.INTERNAL_ERROR
        assert client.body(cut) == PIECE * 2
        again = client.ask("/pour?10")
        client.read_until(lambda: client.ended(again))
        assert client.was_reset(waiting) is None
        assert "1" not in tiny.left


def test_a_reset_connection_ends_all_its_streams(tiny: TinyServer) -> None:
    with Client(tiny.port) as client:
        client.ask("/wait?1")
        client.ask("/reset")
        client.read_to_the_end()
        eventually(lambda: tiny.left.keys() == {"1", "reset"})


@pytest.mark.parametrize("http2", [False, True])
@pytest.mark.parametrize("tls", [False, True])
def test_a_refused_connection_ends_before_its_request_is_read(*, tls: bool, http2: bool) -> None:
    paths: list[str] = []

    def refuses(path: str) -> bool:
        paths.append(path)
        return len(paths) == 1

    with (
        tiny_server(tls=tls, refuses=refuses) as tiny,
        client(tiny, "https" if tls else "http", http2=http2) as http,
    ):
        assert read(http, "/v1/pour?10") == (b"", httpx.RemoteProtocolError)
        assert tiny.scopes == []
        assert read(http, "/v1/pour?10") == (b"x" * 10, None)
        assert read(http, "/v1/pour?10") == (b"x" * 10, None)
    assert [path.partition("?")[0] for path in paths] == ["/v1/pour"] * 2, "first requests alone"


LEAVE: dict[str, Callable[[socket.socket], None]] = {
    "close": lambda connection: None,
    "reset": lambda connection: connection.setsockopt(
        socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
    ),
}


@pytest.mark.parametrize("how", LEAVE)
@pytest.mark.parametrize("tls", [False, True])
def test_a_client_that_leaves_is_heard(tiny: TinyServer, how: str, *, tls: bool) -> None:
    trust = ssl.create_default_context(cafile=tiny.ca_file)
    with connect(tiny, tls=tls) as connection:
        if tls:
            connection = trust.wrap_socket(connection, server_hostname="localhost")
        connection.sendall(b"GET /wait?1 HTTP/1.1\r\nhost: localhost\r\n\r\n")
        eventually(lambda: tiny.scopes)
        LEAVE[how](connection)
        connection.close()
    eventually(lambda: tiny.left)
