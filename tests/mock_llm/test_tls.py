"""TLS, on a port of its own."""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from h2.errors import ErrorCodes

from helpers.mock_llm import MockLLM

from .conftest import eventually
from .h2_client import Client
from .test_connections import throw
from .tiny_server import tiny_server


@pytest.fixture(scope="module")
def shared_tls_llm() -> Iterator[MockLLM]:
    with MockLLM(tls=True) as llm:
        yield llm


@pytest.fixture
def llm(shared_tls_llm: MockLLM) -> MockLLM:
    eventually(lambda: all(connection.closed for connection in shared_tls_llm.ledger().connections))
    shared_tls_llm.reset()
    return shared_tls_llm


@pytest.fixture
def trust(llm: MockLLM) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=llm.ca_file)


def port_of(url: str) -> int:
    return int(url.removesuffix("/v1").rpartition(":")[2])


def test_both_ports_take_both_versions(llm: MockLLM, trust: ssl.SSLContext) -> None:
    assert llm.url.startswith("https://127.0.0.1:")
    assert llm.http_url.startswith("http://127.0.0.1:")
    for http2 in (False, True):
        for url in (llm.url, llm.http_url):
            with httpx.Client(http1=not http2, http2=http2, verify=trust) as client:
                assert client.get(f"{url}/models").status_code == 200
    ledger = llm.ledger()
    seen = [(request.http_version, request.tls) for request in ledger.requests]
    assert seen == [("1.1", True), ("1.1", False), ("2", True), ("2", False)]
    assert [(entry.http_version, entry.tls) for entry in ledger.connections] == seen


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1"])
def test_the_certificate_is_for_this_machine(
    llm: MockLLM, trust: ssl.SSLContext, name: str
) -> None:
    response = httpx.get(f"https://{name}:{port_of(llm.url)}/v1/models", verify=trust)
    assert response.status_code == 200


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        (["h2", "http/1.1"], "h2"),
        (["http/1.1", "h2"], "h2"),
        (["http/1.1"], "http/1.1"),
        (["spdy/3"], None),
        ([], None),
    ],
)
def test_the_version_is_agreed_on(
    llm: MockLLM, trust: ssl.SSLContext, offered: list[str], chosen: str | None
) -> None:
    if offered:
        trust.set_alpn_protocols(offered)
    with (
        socket.create_connection(("127.0.0.1", port_of(llm.url)), timeout=10) as connection,
        trust.wrap_socket(connection, server_hostname="localhost") as secure,
    ):
        assert secure.selected_alpn_protocol() == chosen
    with httpx.Client(http2="h2" in offered, verify=trust) as client:
        version = "HTTP/2" if chosen == "h2" else "HTTP/1.1"
        assert client.get(f"{llm.url}/models").http_version == version


def test_a_client_that_agreed_on_http2_must_speak_it(llm: MockLLM, trust: ssl.SSLContext) -> None:
    trust.set_alpn_protocols(["h2"])
    with (
        socket.create_connection(("127.0.0.1", port_of(llm.url)), timeout=10) as connection,
        trust.wrap_socket(connection, server_hostname="localhost") as secure,
    ):
        secure.sendall(b"GET /v1/models HTTP/1.1\r\nhost: localhost\r\n\r\n")
        received = b"".join(iter(lambda: secure.recv(65536), b""))
    assert b"HTTP/1.1" not in received
    assert llm.ledger().requests == []


def test_large_bodies_and_streams(llm: MockLLM, trust: ssl.SSLContext) -> None:
    body = {
        "model": "gpt-4o",
        "stream": True,
        "messages": [{"role": "user", "content": "word " * 40_000}],
    }
    for http2 in (False, True):
        with httpx.Client(http1=not http2, http2=http2, verify=trust, timeout=20) as client:
            response = client.post(f"{llm.url}/chat/completions", json=body)
        assert response.text.endswith("data: [DONE]\n\n")


def test_a_client_that_does_not_trust_the_authority_carries_nothing(llm: MockLLM) -> None:
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        httpx.get(f"{llm.url}/models")
    eventually(lambda: llm.ledger().connections[0].closed)
    [entry] = llm.ledger().connections
    assert (entry.tls, entry.http_version, entry.requests) == (True, None, 0)


HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16",
        b"\x16" * 1000,
        b"\x16\x03\x01\x00\x05hello",
        b"\x16\x03\x01\xff\xff" + bytes(70_000),
        HELLO,
        HELLO + bytes(600),
        HELLO + b"\xff" * 600,
        b"\x15\x03\x01\x00\x02\x02\x28",
    ],
    ids=lambda garbage: repr(garbage[:12]),
)
def test_garbage_is_refused(llm: MockLLM, trust: ssl.SSLContext, garbage: bytes) -> None:
    answer = throw(port_of(llm.url), garbage)
    assert b" 200 " not in answer
    assert b" 500 " not in answer
    eventually(lambda: llm.ledger().connections[0].closed)
    assert llm.ledger().requests == []
    assert httpx.get(f"{llm.url}/models", verify=trust).status_code == 200


def test_garbage_after_the_handshake_is_refused(llm: MockLLM, trust: ssl.SSLContext) -> None:
    with socket.create_connection(("127.0.0.1", port_of(llm.url)), timeout=10) as connection:
        secure = trust.wrap_socket(connection.dup(), server_hostname="localhost")
        connection.sendall(b"\x17\x03\x03\x00\x20" + bytes(32))
        while connection.recv(65536):
            pass
        secure.detach()
    assert httpx.get(f"{llm.url}/models", verify=trust).status_code == 200


def test_control_works_over_tls(llm: MockLLM, trust: ssl.SSLContext) -> None:
    connection = http.client.HTTPSConnection("127.0.0.1", port_of(llm.url), context=trust)
    connection.request("GET", "/_mock/ledger", headers={"x-mock-token": llm.token})
    response = connection.getresponse()
    assert response.status == 200
    assert b"connections" in response.read()
    connection.close()
    assert llm.ledger().connections == []


def test_a_flood_over_tls_is_stopped(llm: MockLLM, trust: ssl.SSLContext) -> None:
    trust.set_alpn_protocols(["h2"])
    with Client(port_of(llm.url), trust) as client:
        for _ in range(5_000):
            client.h2.ping(b"12345678")
        client.flush()
        client.read_to_the_end()
        assert client.goaway() == ErrorCodes.ENHANCE_YOUR_CALM


def test_without_tls_there_is_none() -> None:
    with MockLLM() as llm:
        assert llm.url == llm.http_url
        with pytest.raises(RuntimeError, match="tls=True"):
            _ = llm.ca_file
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"https://127.0.0.1:{port_of(llm.url)}/v1/models")
        assert llm.ledger().requests == []


# The file with the authority's certificate.


def test_it_is_private_and_goes_with_the_server() -> None:
    with MockLLM(tls=True) as llm:
        path = Path(llm.ca_file)
        assert path.read_text().startswith("-----BEGIN CERTIFICATE-----")
        assert "PRIVATE" not in path.read_text()
        if os.name == "posix":
            assert path.stat().st_mode & 0o77 == 0
    assert not path.exists()


def test_a_killed_server_leaves_none_behind() -> None:
    with MockLLM(tls=True) as llm:
        path = Path(llm.ca_file)
        os.kill(llm.pid, signal.SIGKILL)
    assert not path.exists()


ORPHAN = """
import time
from helpers.mock_llm import MockLLM
with MockLLM(tls=True) as llm:
    print(llm.ca_file, flush=True)
    time.sleep(60)
"""


def test_a_killed_client_leaves_none_behind() -> None:
    command = [sys.executable, "-c", ORPHAN]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as client:
        assert client.stdout is not None
        path = Path(client.stdout.readline().strip())
        assert path.exists()
        client.kill()
    eventually(lambda: not path.exists())


def test_a_port_that_cannot_be_had_leaves_none_behind(tmp_path: Path) -> None:
    command = "from helpers.mock_llm.server import serve_forever; serve_forever(tls=True, port={})"
    with MockLLM() as llm:
        done = subprocess.run(
            [sys.executable, "-c", command.format(port_of(llm.url))],
            env={**os.environ, "TMPDIR": str(tmp_path)},
            capture_output=True,
            check=False,
        )
    assert done.returncode == 1
    assert list(tmp_path.iterdir()) == []


def test_serve_says_where_it_is_and_removes_it() -> None:
    program = "from helpers.cli import app; app()"
    command = [sys.executable, "-c", program, "serve", "--port", "0", "--tls"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        first, second = server.stdout.readline(), server.stdout.readline()
        assert re.fullmatch(
            r"listening on http://127\.0\.0\.1:\d+/v1 and https://127\.0\.0\.1:\d+/v1\n", first
        )
        path = second.strip().removeprefix("CA certificate ")
        trust = ssl.create_default_context(cafile=path)
        url = first.split()[-1]
        assert httpx.get(f"{url}/models", verify=trust).status_code == 200
        server.terminate()
    # Its supervisor, another process, removes it: so it goes after SIGKILL too.
    eventually(lambda: not Path(path).exists())


def test_a_handshake_without_end_is_closed() -> None:
    """With 0.5 s of patience instead of 75."""
    with tiny_server(tls=True, idle_seconds=0.5) as tiny:
        for opening in (b"", HELLO):
            with socket.create_connection(("127.0.0.1", tiny.tls_port), timeout=10) as connection:
                connection.sendall(opening)
                eventually(lambda: tiny.recorder.open)
                assert connection.recv(100) == b""
            eventually(lambda: not tiny.recorder.open)


def test_the_port_that_was_asked_for_takes_tls() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with MockLLM(tls=True, port=port) as llm:
        assert llm.url == f"https://127.0.0.1:{port}/v1"
