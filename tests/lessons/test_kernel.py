"""A kernel that is interrupted goes on; a kernel that is killed leaves nothing behind."""

import os
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
    """Run code in the kernel; what it printed, or what it raised."""
    said: list[str] = []

    def hear(message: Any) -> None:
        content = message["content"]
        said.append(content.get("text", "") or content.get("ename", ""))

    client.execute_interactive(code, timeout=60, output_hook=hear)
    return "".join(said)


def kernel_pid(manager: KernelManager) -> int:
    provisioner: Any = manager.provisioner
    pid: int = provisioner.process.pid
    return pid


def begin(
    client: BlockingKernelClient, manager: KernelManager, code: str, workers: int = 0
) -> list[psutil.Process]:
    """Start code in the kernel; the kernel's processes once an arm and its workers run."""
    kernel = psutil.Process(kernel_pid(manager))
    before = len(kernel.children(recursive=True))
    client.execute(code)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        family = kernel.children(recursive=True)
        if len(family) >= before + 3 + workers:  # fork server, resource tracker, arm
            return [kernel, *family]
        time.sleep(0.02)
    raise AssertionError("no arm was started")


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
    family = begin(client, manager, "await run(wrong, llm, limit=60)")
    arm = max(family, key=lambda process: process.create_time())
    time.sleep(0.3)
    manager.interrupt_kernel()
    assert client.get_shell_msg(timeout=30)["content"]["status"] == "error"
    assert not arm.is_running()
    assert "42" in execute(client, "print(6 * 7)")
    assert url in execute(client, "import httpx; httpx.get(llm.url + '/models'); print(llm.url)")


@pytest.mark.parametrize("attempt", range(20))
def test_a_killed_kernel_leaves_no_process_and_no_port(
    attempt: int, kernel: tuple[KernelManager, BlockingKernelClient]
) -> None:
    manager, client = kernel
    port = int(execute(client, SET_UP).strip().rsplit(":", 1)[1].split("/")[0])
    family = begin(client, manager, "await run(wrong, llm, limit=60)")
    time.sleep(attempt * 0.03)  # another moment of the run each time
    os.kill(family[0].pid, signal.SIGKILL)
    _, alive = psutil.wait_procs(family[1:], timeout=10)
    assert alive == []
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port), 2):
        pass


@pytest.mark.parametrize("attempt", range(6))
def test_a_killed_kernel_leaves_no_worker_no_store_and_no_folder(
    attempt: int, kernel: tuple[KernelManager, BlockingKernelClient]
) -> None:
    manager, client = kernel
    folders = [Path(word) for word in execute(client, STORES).split()]
    assert [folder.is_dir() for folder in folders] == [True, True]
    family = begin(client, manager, "await run(talk, llm, limit=60)", workers=2)
    # The kernel, the mock server, two keepers, Valkey, fork server, resource tracker, arm, workers.
    assert len(family) == 10
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
    family = begin(client, manager, "await run(talk, llm, limit=60)", workers=2)
    manager.interrupt_kernel()
    assert client.get_shell_msg(timeout=30)["content"]["status"] == "error"
    started = sorted(family, key=lambda process: process.create_time())[-3:]  # arm and workers
    _, alive = psutil.wait_procs(started, timeout=10)
    assert alive == []
    ping = "import redis; print(redis.Redis.from_url(valkey.url).ping(), scratch.folder.is_dir())"
    assert "True True" in execute(client, ping)
    left = len(psutil.Process(kernel_pid(manager)).children(recursive=True))
    assert left == before + 2  # fork server and resource tracker
