"""The meter finds what was injected, names the line, and tells waiting from computing."""

import time
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from helpers.lab.stall_meter import BlockedStep, StallMeter, Stretch


def wait(seconds: float) -> None:
    time.sleep(seconds)  # the line that is guilty of waiting


def compute(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:  # the line that is guilty of computing
        pass


def metered(backend: str, body: Callable[[], Any]) -> list[BlockedStep | Stretch]:
    found: list[BlockedStep | Stretch] = []

    async def main() -> None:
        await anyio.sleep(0.01)
        await body()
        await anyio.sleep(0.01)

    with StallMeter(found.append) as meter:
        options: dict[str, Any] = {"loop_factory": meter.new_event_loop}
        if backend == "trio":
            options = {"instruments": [meter.trio_instrument()]}
        anyio.run(main, backend=backend, backend_options=options)
    return found


BACKENDS = pytest.mark.parametrize("backend", ["asyncio", "trio"])


@BACKENDS
@pytest.mark.parametrize(("act", "waits"), [(wait, True), (compute, False)])
def test_a_blocked_step_is_reported_with_its_line(
    backend: str, act: Callable[[float], None], waits: bool
) -> None:
    async def body() -> None:
        act(0.1)

    steps = [s for s in metered(backend, body) if isinstance(s, BlockedStep) and s.seconds >= 0.09]
    assert len(steps) == 1
    assert steps[0].frame is not None
    file, line, function = steps[0].frame
    assert (file, function) == (__file__, act.__name__)
    assert "guilty" in open(__file__).read().splitlines()[line - 1] or act is compute
    assert steps[0].cpu_share is not None
    assert (steps[0].cpu_share < 0.5) == waits


@BACKENDS
def test_busy_is_not_blocked(backend: str) -> None:
    """Many short steps make one long stretch and no blocked step as long."""

    async def short_step() -> None:
        compute(0.001)

    async def body() -> None:
        async with anyio.create_task_group() as tasks:
            for _ in range(60):
                tasks.start_soon(short_step)

    found = metered(backend, body)
    stretch = max((s for s in found if isinstance(s, Stretch)), key=lambda s: s.seconds)
    assert stretch.seconds >= 0.06
    assert stretch.steps >= 60
    assert not [s for s in found if isinstance(s, BlockedStep) and s.seconds >= 0.05]


@BACKENDS
def test_a_stretch_holds_its_steps(backend: str) -> None:
    async def body() -> None:
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(one)

    async def one() -> None:
        wait(0.03)

    found = metered(backend, body)
    steps = [s for s in found if isinstance(s, BlockedStep) and s.seconds >= 0.025]
    stretch = max((s for s in found if isinstance(s, Stretch)), key=lambda s: s.seconds)
    assert len(steps) == 3
    assert all(stretch.start <= step.start for step in steps)
    assert stretch.seconds >= sum(step.seconds for step in steps) - 1e-6


def test_a_free_loop_reports_no_block() -> None:
    async def body() -> None:
        await anyio.sleep(0.1)

    assert not [s for s in metered("asyncio", body) if isinstance(s, BlockedStep) and s.frame]


def test_the_step_that_blocks_now_is_overdue() -> None:
    seen: list[BlockedStep | None] = []

    async def body() -> None:
        await anyio.sleep(0.01)
        with anyio.fail_after(5):
            await anyio.to_thread.run_sync(watcher_started.wait)
        wait(0.15)

    import threading

    watcher_started = threading.Event()
    found: list[BlockedStep | Stretch] = []
    with StallMeter(found.append) as meter:

        def watch() -> None:
            watcher_started.set()
            deadline = time.monotonic() + 5
            while time.monotonic() < deadline and not any(s and s.frame for s in seen):
                time.sleep(0.01)
                seen.append(meter.overdue())

        thread = threading.Thread(target=watch)
        thread.start()
        anyio.run(body, backend_options={"loop_factory": meter.new_event_loop})
        thread.join()
    named = [s for s in seen if s and s.frame]
    assert named
    assert named[0].frame is not None
    assert named[0].frame[2] == "wait"


def test_two_loops_do_not_disturb_each_other() -> None:
    """Only the metered loop's steps count, and the hook is taken off at the end."""
    import asyncio

    before = asyncio.events.Handle._run
    metered("asyncio", lambda: anyio.sleep(0))
    assert asyncio.events.Handle._run is before
