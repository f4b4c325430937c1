"""A kernel that is interrupted goes on; a kernel that is killed leaves nothing behind."""

import os
import signal
import socket
import time
from collections.abc import Iterator
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


def execute(client: BlockingKernelClient, code: str) -> str:
    """Run code in the kernel; what it printed, or what it raised."""
    said: list[str] = []

    def hear(message: Any) -> None:
        content = message["content"]
        said.append(content.get("text", "") or content.get("ename", ""))

    client.execute_interactive(code, timeout=60, output_hook=hear)
    return "".join(said)


def begin(client: BlockingKernelClient, manager: KernelManager, code: str) -> list[psutil.Process]:
    """Start code in the kernel; the kernel's processes once an arm runs among them."""
    provisioner: Any = manager.provisioner
    kernel = psutil.Process(provisioner.process.pid)
    before = len(kernel.children(recursive=True))
    client.execute(code)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        family = kernel.children(recursive=True)
        if len(family) >= before + 3:  # fork server, resource tracker, arm
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
