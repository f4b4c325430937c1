"""The server's life: it starts, restarts, and never outlives whoever started it."""

from __future__ import annotations

import gc
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import IO
from urllib.parse import urlsplit

import anyio
import httpx
import psutil
import pytest

from helpers.mock_llm import MockLLM, Profile

from .conftest import eventually

posix = pytest.mark.skipif(os.name != "posix", reason="signals and getppid are POSIX")


def alive(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def held() -> set[int]:
    """Ports on which this process or one below it listens.

    A port that is free again may soon be another program's, so it does not help to call it.
    """
    this, found = psutil.Process(), set()
    for process in (this, *this.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            sockets = process.net_connections("tcp")
            found |= {each.laddr.port for each in sockets if each.status == psutil.CONN_LISTEN}
    return found


def listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def port_of(url: str) -> int:
    port = urlsplit(url).port
    assert port is not None
    return port


def test_it_restarts_and_leaves_nothing_behind() -> None:
    llm = MockLLM(seed=5)
    ports = []
    for _ in range(2):
        with llm:
            assert httpx.get(f"{llm.url}/models").status_code == 200
            ports.append(port_of(llm.url))
            pid = llm.pid
        assert not alive(pid)
    assert not held() & set(ports)


def test_fifty_servers_leave_no_process_no_port_and_no_thread() -> None:
    def run(_: int) -> tuple[int, int]:
        with MockLLM() as llm:
            return llm.pid, port_of(llm.url)

    before = psutil.Process().num_fds() if os.name == "posix" else 0
    with ThreadPoolExecutor(4) as pool:
        ended = list(pool.map(run, range(50)))
    assert not [pid for pid, _ in ended if alive(pid)]
    assert not held() & {port for _, port in ended}
    eventually(lambda: threading.active_count() < 20)
    if os.name == "posix":
        assert psutil.Process().num_fds() <= before + 2


def test_start_and_stop_can_be_repeated() -> None:
    llm = MockLLM()
    llm.stop()
    assert llm.start() is llm
    pid = llm.pid
    assert llm.start().pid == pid
    llm.stop()
    llm.stop()
    assert not alive(pid)


def test_before_the_start_the_remedy_is_said() -> None:
    llm = MockLLM()
    for ask in (lambda: llm.url, lambda: llm.pid, llm.ledger, llm.reset):
        with pytest.raises(RuntimeError, match="not started: use it in a with statement"):
            ask()


def test_a_server_that_died_is_noticed() -> None:
    with MockLLM() as llm:
        psutil.Process(llm.pid).kill()
        with pytest.raises(RuntimeError, match=r"call \.stop\(\) and \.start\(\) again"):
            llm.ledger()
        llm.stop()
        llm.start()
        assert llm.ledger().requests == []


def test_a_port_that_is_taken_is_one_clear_sentence() -> None:
    with MockLLM() as first:
        second = MockLLM(port=port_of(first.url))
        with pytest.raises(RuntimeError, match=r"cannot listen on 127\.0\.0\.1:\d+: .* in use"):
            second.start()


@posix
@pytest.mark.anyio
async def test_the_loop_runs_on_while_the_server_starts() -> None:
    beats = 0
    server = fork_server()
    # A blocked loop would never let the start go on.
    rescue = threading.Timer(10.0, server.resume)
    rescue.start()

    async def beat() -> None:
        nonlocal beats
        server.suspend()
        while beats < 5:
            await anyio.sleep(0.01)
            beats += 1
        server.resume()

    try:
        async with anyio.create_task_group() as group:
            group.start_soon(beat)
            await anyio.wait_all_tasks_blocked()
            async with MockLLM() as llm, httpx.AsyncClient() as client:
                seen = beats
                assert (await client.get(f"{llm.url}/models")).status_code == 200
                pid = llm.pid
    finally:
        rescue.cancel()
        server.resume()
    assert seen == 5
    assert not alive(pid)


def fork_server() -> psutil.Process:
    """The process without which no server starts."""
    return next(
        child for child in psutil.Process().children() if "helpers.forking" in child.cmdline()
    )


@pytest.mark.anyio
@pytest.mark.parametrize("after", [0.0, 0.02, 0.2])
async def test_a_start_that_is_cancelled_leaves_nothing(after: float) -> None:
    with anyio.move_on_after(after):
        async with MockLLM():
            await anyio.sleep_forever()
    assert servers_of(os.getpid()) == []


def servers_of(pid: int) -> list[int]:
    return [
        child.pid
        for child in psutil.Process(pid).children(recursive=True)
        if is_fork(child) and child.status() != psutil.STATUS_ZOMBIE and child.pid not in _shared()
    ]


def is_fork(process: psutil.Process) -> bool:
    parent = process.parent()
    return parent is not None and "helpers.forking" in parent.cmdline()


def _shared() -> set[int]:
    """The session's own server."""
    return {pid for pid in SHARED if alive(pid)}


SHARED: set[int] = set()


@pytest.fixture(autouse=True)
def _know_shared(llm: MockLLM) -> None:
    SHARED.add(llm.pid)


def test_garbage_collection_stops_the_server() -> None:
    llm = MockLLM().start()
    pid = llm.pid
    del llm
    gc.collect()
    assert not alive(pid)


def test_the_token_is_nowhere_to_be_seen() -> None:
    with MockLLM(api_key="sk-secret-key") as llm:
        process = psutil.Process(llm.pid)
        seen = " ".join([*process.cmdline(), *process.environ().values()])
        assert llm.token not in seen
        assert "sk-secret-key" not in seen


def test_only_this_machine_can_connect(llm: MockLLM) -> None:
    listeners = psutil.Process(llm.pid).net_connections()
    addresses = {c.laddr.ip for c in listeners if c.status == psutil.CONN_LISTEN}
    assert addresses == {"127.0.0.1"}


def test_a_file_of_the_learner_does_not_shadow_a_module(
    tmp_path: os.PathLike[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("json.py", "uvicorn.py", "random.py"):
        with open(name, "w") as file:
            file.write("raise RuntimeError('shadowed')")
    with MockLLM() as llm:
        assert llm.ledger().requests == []


def test_importing_the_server_does_not_load_the_notebook_side() -> None:
    script = (
        "import sys, helpers.mock_llm, helpers.mock_llm.server;"
        "print([m for m in ('matplotlib', 'IPython', 'httpx', 'helpers.lab') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


WITH_MOCK = """
import sys, time, helpers.mock_llm
llm = helpers.mock_llm.MockLLM().start()
print(llm.pid, llm.url, flush=True)
"""
SERVE = "from helpers.mock_llm.server import serve_forever; serve_forever()"


# A shell's background job, as these tests may be, inherits that it ignores interrupts.
HEARS_INTERRUPTS = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"


@contextmanager
def python(script: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def first_line(process: subprocess.Popen[str]) -> str:
    stdout: IO[str] | None = process.stdout
    assert stdout is not None
    return stdout.readline().strip()


@posix
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_the_server_dies_with_its_parent(how: signal.Signals) -> None:
    with python(HEARS_INTERRUPTS + WITH_MOCK + "time.sleep(60)") as parent:
        pid, url = first_line(parent).split()
        assert alive(int(pid))
        parent.send_signal(how)
        eventually(lambda: not alive(int(pid)))
        eventually(lambda: not listening(port_of(url)))


def test_the_server_ends_with_the_interpreter() -> None:
    with python(WITH_MOCK) as parent:
        pid, _ = first_line(parent).split()
        parent.wait(10)
        eventually(lambda: not alive(int(pid)))


@posix
def test_a_fork_of_the_parent_keeps_no_server_alive_and_stops_none() -> None:
    fork = """
import os
if os.fork() == 0:
    sys.exit()
os.wait()
llm.ledger()
child = os.fork()
if child:
    print(child, flush=True)
time.sleep(60)
"""
    with python(WITH_MOCK + fork) as parent:
        pid, _ = first_line(parent).split()
        child = int(first_line(parent))
        parent.kill()
        eventually(lambda: not alive(int(pid)))
        assert alive(child)
        os.kill(child, signal.SIGKILL)


def test_it_dies_in_the_middle_of_streams() -> None:
    with MockLLM(Profile(decode_rate=1), answer_tokens=100) as llm:
        body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hi"}], "stream": True}
        with httpx.stream("POST", f"{llm.url}/chat/completions", json=body) as response:
            next(response.iter_bytes())
            began = time.monotonic()
            pid = llm.pid
            llm.stop()
            assert time.monotonic() - began < 1.5
            assert not alive(pid)


@posix
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_serving_in_the_foreground_ends_quietly(how: signal.Signals) -> None:
    with python(SERVE) as server:
        words = first_line(server).split()
        assert words[:2] == ["listening", "on"]
        assert words[2].startswith("http://127.0.0.1:")
        assert words[2].endswith("/v1")
        token = first_line(server).removeprefix("control token ")
        root = words[2].removesuffix("/v1")
        assert httpx.get(f"{root}/v1/models").status_code == 200
        assert httpx.get(f"{root}/_mock/ledger", headers={"x-mock-token": token}).is_success
        server.send_signal(how)
        assert server.wait(10) == 0
        assert server.stderr is not None
        assert server.stderr.read() == ""


def test_serving_on_a_taken_port_is_one_sentence_and_status_1(llm: MockLLM) -> None:
    port = port_of(llm.url)
    with python(SERVE.replace("serve_forever()", f"serve_forever(port={port})")) as server:
        assert server.wait(10) == 1
        out, error = server.communicate()
        assert out == ""
        assert error.startswith(f"cannot listen on 127.0.0.1:{port}: ")
        assert len(error.splitlines()) == 1


@posix
def test_serving_in_the_foreground_dies_with_its_parent() -> None:
    script = f"""
import subprocess, sys, time
server = subprocess.Popen([sys.executable, "-c", {SERVE!r}], stdout=subprocess.PIPE, text=True)
print(server.pid, server.stdout.readline().split()[2], flush=True)
time.sleep(60)
"""
    with python(script) as parent:
        pid, url = first_line(parent).split()
        assert alive(int(pid))
        parent.kill()
        eventually(lambda: not alive(int(pid)))
        eventually(lambda: not listening(port_of(url)))
