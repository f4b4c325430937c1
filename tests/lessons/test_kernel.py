"""A kernel that is interrupted goes on; a kernel that is killed leaves nothing behind."""

import contextlib
import os
import queue
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager, start_new_kernel

from helpers.lessons.catalogue import LESSONS, Lesson
from helpers.lessons.notebook import read_source

SET_UP = """
import time, anyio, httpx
from helpers import MockLLM, run
llm = MockLLM("medium", answer_tokens=16).start()

async def wrong(url):
    body = {"model": "mock-1", "messages": [{"role": "user", "content": "hello"}]}
    while True:
        httpx.post(f"{url}/chat/completions", json=body, timeout=60)

print(llm.url)
"""


STORES = """
from helpers import MockLLM, Scratch, Valkey, Workers, run
llm, scratch, valkey = MockLLM("medium", answer_tokens=16).start(), Scratch(), Valkey().start()

async def handle(ask, session, text):
    return await ask([{"role": "user", "content": text}])

async def talk(url):
    async with Workers(handle, url, 2) as service:
        while True:
            await service.send("s", "hello")

print(scratch.folder, valkey.url.removeprefix("unix://").rpartition("/")[0], end="")
"""


def execute(client: BlockingKernelClient, code: str) -> str:
    """Run code in the kernel; what it printed. Fails if it raises."""
    said: list[str] = []

    def hear(message: Any) -> None:
        said.append(message["content"].get("text", ""))

    reply = client.execute_interactive(code, timeout=120, output_hook=hear)
    assert reply["content"]["status"] == "ok", reply["content"]
    return "".join(said)


def kernel_pid(manager: KernelManager) -> int:
    provisioner: Any = manager.provisioner
    pid: int = provisioner.process.pid
    return pid


def arm_and_workers(kernel: psutil.Process) -> list[psutil.Process]:
    """The arm and the workers that the kernel's fork server has forked."""
    return [each for each in kernel.children(recursive=True) if name(each).startswith("lab.")]


def name(process: psutil.Process) -> str:
    try:
        return str(process.name())
    except psutil.NoSuchProcess:
        return ""


def begin(
    client: BlockingKernelClient, manager: KernelManager, code: str, workers: int = 0
) -> tuple[list[psutil.Process], list[psutil.Process]]:
    """Start code in the kernel; once they run: an arm with its workers, and the whole family.

    They are recognized, not counted: of the processes that a kernel has, some may just be ending.
    """
    kernel = psutil.Process(kernel_pid(manager))
    # Otherwise the kernel aborts what arrives just after this cell is interrupted.
    cell = client.execute(code, stop_on_error=False)
    deadline = time.monotonic() + 120
    while len(started := arm_and_workers(kernel)) < 1 + workers:
        with contextlib.suppress(queue.Empty):
            reply = client.get_shell_msg(timeout=0.02)
            # It ended before an arm was seen: what it raised says why.
            assert reply["parent_header"]["msg_id"] != cell, reply["content"]
        assert time.monotonic() < deadline, "the cell neither starts an arm nor ends"
    return started, [kernel, *kernel.children(recursive=True)]


def mostly_slow(attempts: int, every: int) -> list[Any]:
    """The numbers of attempts, of which few are made in `make test`."""
    return [
        pytest.param(number, marks=[pytest.mark.slow] if number % every else [])
        for number in range(attempts)
    ]


@pytest.fixture
def kernel() -> Iterator[tuple[KernelManager, BlockingKernelClient]]:
    manager, client = start_new_kernel()
    yield manager, client
    client.stop_channels()
    if manager.has_kernel:
        manager.shutdown_kernel(now=True)


def test_an_interrupted_cell_ends_its_arm_and_the_kernel_goes_on(
    kernel: tuple[KernelManager, BlockingKernelClient],
) -> None:
    manager, client = kernel
    url = execute(client, SET_UP).strip()
    (arm,), _ = begin(client, manager, "await run(wrong, llm, limit=60)")
    time.sleep(0.3)
    manager.interrupt_kernel()
    assert client.get_shell_msg(timeout=30)["content"]["status"] == "error"
    assert not arm.is_running()
    assert "42" in execute(client, "print(6 * 7)")
    assert url in execute(client, "import httpx; httpx.get(llm.url + '/models'); print(llm.url)")


@pytest.mark.parametrize("attempt", mostly_slow(20, every=5))
def test_a_killed_kernel_leaves_no_process_and_no_port(
    attempt: int, kernel: tuple[KernelManager, BlockingKernelClient]
) -> None:
    manager, client = kernel
    port = int(execute(client, SET_UP).strip().rsplit(":", 1)[1].split("/")[0])
    _, family = begin(client, manager, "await run(wrong, llm, limit=60)")
    time.sleep(attempt * 0.03)  # another moment of the run each time
    os.kill(family[0].pid, signal.SIGKILL)
    _, alive = psutil.wait_procs(family[1:], timeout=10)
    assert alive == []
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port), 2):
        pass


def up_to_the_first_arm(lesson: Lesson) -> tuple[list[str], str]:
    """A lesson's code before the first cell that runs an arm, and that cell's code."""
    cells = [cell.source for cell in read_source(lesson).cells if cell.cell_type == "code"]
    first = next(i for i, code in enumerate(cells) if "await run(" in code)
    return cells[:first], cells[first]


def ports_of(family: list[psutil.Process]) -> set[int]:
    """On which the processes listen. One that has ended meanwhile listens no more."""
    sockets = []
    for process in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            sockets += process.net_connections("tcp")
    return {each.laddr.port for each in sockets if each.status == psutil.CONN_LISTEN}


@pytest.mark.parametrize(
    "lesson", [each for each in LESSONS if each.name and each.graded], ids=lambda each: each.stem
)
def test_a_lesson_goes_on_when_interrupted_and_leaves_nothing_when_killed(
    lesson: Lesson, kernel: tuple[KernelManager, BlockingKernelClient]
) -> None:
    manager, client = kernel
    before, run_and_look = up_to_the_first_arm(lesson)
    for code in before:
        execute(client, code)
    (arm, *_), _ = begin(client, manager, run_and_look)
    manager.interrupt_kernel()
    assert client.get_shell_msg(timeout=30)["content"]["status"] == "error"
    psutil.wait_procs([arm], timeout=10)
    assert not arm.is_running()

    _, (kernel_process, *others) = begin(client, manager, run_and_look)
    ports = ports_of(others)
    assert ports
    time.sleep(0.1)
    os.kill(kernel_process.pid, signal.SIGKILL)
    _, alive = psutil.wait_procs(others, timeout=10)
    assert alive == []
    for port in ports:
        with (
            pytest.raises(ConnectionRefusedError),
            socket.create_connection(("127.0.0.1", port), 2),
        ):
            pass


@pytest.mark.parametrize("attempt", mostly_slow(6, every=3))
def test_a_killed_kernel_leaves_no_worker_no_store_and_no_folder(
    attempt: int, kernel: tuple[KernelManager, BlockingKernelClient]
) -> None:
    manager, client = kernel
    folders = [Path(word) for word in execute(client, STORES).split()]
    assert [folder.is_dir() for folder in folders] == [True, True]
    _, family = begin(client, manager, "await run(talk, llm, limit=60)", workers=2)
    # The kernel, the mock server, two supervisors, Valkey, fork server, arm, two workers.
    assert len(family) == 9
    time.sleep(attempt * 0.2)  # the workers start, then they talk
    os.kill(family[0].pid, signal.SIGKILL)
    _, alive = psutil.wait_procs(family[1:], timeout=10)
    assert alive == []
    deadline = time.monotonic() + 10
    while any(folder.exists() for folder in folders) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert [folder.exists() for folder in folders] == [False, False]


def test_an_interrupted_cell_ends_the_workers_and_the_stores_go_on(
    kernel: tuple[KernelManager, BlockingKernelClient],
) -> None:
    manager, client = kernel
    execute(client, STORES)
    before = len(psutil.Process(kernel_pid(manager)).children(recursive=True))
    started, _ = begin(client, manager, "await run(talk, llm, limit=60)", workers=2)
    manager.interrupt_kernel()
    assert client.get_shell_msg(timeout=30)["content"]["status"] == "error"
    _, alive = psutil.wait_procs(started, timeout=10)
    assert alive == []
    ping = "import redis; print(redis.Redis.from_url(valkey.url).ping(), scratch.folder.is_dir())"
    assert "True True" in execute(client, ping)
    left = len(psutil.Process(kernel_pid(manager)).children(recursive=True))
    assert left == before
