"""Clients that mean harm, or that just do not care, as the attacks on this server were."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Iterator

import httpx
import psutil
import pytest
from h2.settings import SettingCodes

from helpers.mock_llm import MockLLM
from helpers.mock_llm.records.recorder import Recorder

from .conftest import eventually
from .h2_client import Client
from .load import post, serving

CHAT = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]}
RESETS = 3_000


def reset_while_accepting(port: int, count: int) -> None:
    """Connections that are gone again before, or just after, the server accepts them."""
    for number in range(count):
        with contextlib.suppress(OSError), socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.connect(("127.0.0.1", port))
            time.sleep((number % 4) * 0.0002)
            if number % 2:
                connection.send(b"GET /v1/models HTTP/1.1\r\nhost: localhost\r\n\r\n")


@pytest.mark.skipif(sys.platform == "win32", reason="no such resets")
@pytest.mark.parametrize("tls", [False, True])
def test_connections_that_are_reset_at_once_leave_nothing(*, tls: bool) -> None:
    with serving(*(["--tls"] if tls else [])) as server:
        process = psutil.Process(server.process.pid)
        before = process.num_fds()
        reset_while_accepting(server.tls_port or server.port, RESETS)
        eventually(lambda: process.num_fds() <= before + 1)
        metrics = httpx.get(f"{server.url.removesuffix('/v1')}/metrics").text
        assert "\nmock_llm_connections_open 1.0\n" in metrics, "the scraper's own"
        assert server.stop() == ""


@pytest.mark.skipif(sys.platform == "win32", reason="no limit of open files")
def test_too_few_open_files_are_one_sentence() -> None:
    program = (
        "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64)); "
        "from helpers.mock_llm.server import serve_forever; serve_forever()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("cannot serve with at most 64 open files: raise the limit with ")
    assert "`ulimit -n 256`" in done.stderr, "the number that the doctor says"
    assert done.stderr.count("\n") == 1


READERS, TOKENS = 40, 30_000
"""Streams of 11 MB each."""


@pytest.fixture
def long_winded() -> Iterator[MockLLM]:
    with MockLLM(answer_tokens=TOKENS) as llm:
        httpx.post(f"{llm.url}/chat/completions", json=CHAT).raise_for_status()
        yield llm


def memory(llm: MockLLM) -> float:
    """MiB."""
    return float(psutil.Process(llm.pid).memory_info().rss / 2**20)


@pytest.mark.parametrize("version", ["1.1", "2"])
def test_memory_depends_on_what_clients_read_not_on_the_length_of_answers(
    long_winded: MockLLM, version: str
) -> None:
    port = httpx.URL(long_winded.url).port
    assert port is not None
    before = memory(long_winded)
    body = json.dumps(CHAT | {"stream": True}).encode()
    with contextlib.ExitStack() as stack:
        if version == "1.1":
            for _ in range(READERS):
                connection = socket.create_connection(("127.0.0.1", port), timeout=10)
                stack.enter_context(connection).sendall(post("/chat/completions", body))
        else:
            client = stack.enter_context(Client(port))
            client.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 0})
            for _ in range(READERS):
                stream = client.ask("/v1/chat/completions", method="POST", end=False)
                client.h2.send_data(stream, body, end_stream=True)
            client.flush()
        requests = long_winded.ledger
        eventually(lambda: sum(r.first_byte is not None for r in requests().requests) > READERS, 30)
        time.sleep(1.0)  # in which all would be written
        assert memory(long_winded) - before < 60
        assert httpx.get(f"{long_winded.url}/models", timeout=10).is_success
        assert all(request.last_byte is None for request in requests().requests[1:-1])


def test_a_hundred_thousand_records_take_less_than_100_mb() -> None:
    recorder = Recorder()
    connection = recorder.connection_opened(1, lambda: None)
    tracemalloc.start()
    for number in range(100_000):
        path = f"/v1/{number:06}{'é' * 60_000 if number % 2 else ''}"
        scope = {"http_version": "2", "scheme": "http", "method": "X" * 9_000, "path": path}
        request = recorder.request_arrived(connection, scope)
        for field in ("slot", "first_token", "first_byte", "last_byte"):
            setattr(request, field, number + 0.5)
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert taken < 100_000_000
    newest = json.loads(recorder.to_json())["requests"][-1]
    assert newest["path"] == "/v1/099999" + "é" * 1_990


def test_paths_and_methods_are_truncated(llm: MockLLM) -> None:
    """Paths and methods as long as a head may be; over HTTP/2 a method may be anything."""
    port = httpx.URL(llm.url).port
    assert port is not None
    with httpx.Client() as client:
        for number in range(20):
            client.get(f"{llm.url}/{'a' * 60_000}{number}")
    with Client(port) as h2:
        stream = h2.ask(f"/v1/{'b' * 50_000}", method="X" * 5_000)
        h2.read_until(lambda: h2.ended(stream))
    requests = llm.ledger().requests
    assert len(requests) == 21
    assert all(len(request.path) <= 2_000 for request in requests)
    assert all(len(request.method) <= 100 for request in requests)
