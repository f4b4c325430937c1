"""The meter finds what was injected, names the line, distinguishes waiting from computing, and
excuses a loop that had no core.

All of it must hold on a machine that is busy with something else. So stalls are found by where
they lie, not by how long they took, and the tests that need a busy machine make one.
"""

import asyncio
import ctypes
import gc
import itertools
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

import anyio
import pytest

from helpers.lab.stall_meter import FLOOR, BlockedStep, StallMeter, Stretch, learners_traceback

BACKENDS = pytest.mark.parametrize("backend", ["asyncio", "trio"])
LONG = 0.2
"""Seconds: far above everything that a scheduler does to a thread."""


def sleep(seconds: float) -> None:
    time.sleep(seconds)  # guilty: sleep


def sleep_in_a_library(seconds: float) -> None:
    threading.Event().wait(seconds)  # guilty: sleep_in_a_library


def sleep_with_the_gil(seconds: float) -> None:
    ctypes.PyDLL(None).usleep(int(seconds * 1e6))  # guilty: sleep_with_the_gil


def compute(seconds: float) -> None:
    end = time.thread_time() + seconds
    any(time.thread_time() >= end for _ in itertools.count())  # guilty: compute


def compute_with_the_gil(seconds: float) -> None:
    sum(itertools.repeat(1, int(seconds * 1e8)))  # guilty: compute_with_the_gil


def compute_then_sleep(seconds: float) -> None:
    compute(0.02)  # seen first, and on a crowded machine it may take ten times as long
    time.sleep(3 * seconds)  # guilty: compute_then_sleep


posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no usleep")
ACTS = [
    pytest.param(sleep, True, id="sleep"),
    pytest.param(sleep_in_a_library, True, id="sleep-in-a-library"),
    pytest.param(sleep_with_the_gil, True, id="sleep-with-the-gil", marks=posix),
    pytest.param(compute, False, id="compute"),
    pytest.param(compute_with_the_gil, False, id="compute-with-the-gil"),
    pytest.param(compute_then_sleep, True, id="compute-then-sleep"),
]


def guilty_line(act: Callable[[Any], object]) -> int:
    lines = Path(__file__).read_text(encoding="utf-8").splitlines()
    (line,) = (n for n, text in enumerate(lines, 1) if text.endswith(f"# guilty: {act.__name__}"))
    return line


def metered(backend: str, body: Callable[[], Awaitable[Any]]) -> list[BlockedStep | Stretch]:
    found: list[BlockedStep | Stretch] = []

    async def main() -> None:
        await anyio.sleep(0.01)
        await body()
        await anyio.sleep(0.01)

    with StallMeter(found.append) as meter:
        anyio.run(main, backend=backend, backend_options=options(meter, backend))
    return found


def options(meter: StallMeter, backend: str) -> dict[str, Any]:
    if backend == "trio":
        return {"instruments": [meter.trio_instrument()]}
    return {"loop_factory": meter.new_event_loop}


def steps(found: list[BlockedStep | Stretch]) -> list[BlockedStep]:
    return [each for each in found if isinstance(each, BlockedStep)]


def stretches(found: list[BlockedStep | Stretch]) -> list[Stretch]:
    return [each for each in found if isinstance(each, Stretch)]


class Injector:
    """Blocks the loop and notes from when to when."""

    def __init__(self) -> None:
        self.spans: list[tuple[float, float]] = []

    async def __call__(self, act: Callable[[float], None], seconds: float) -> None:
        await anyio.sleep(0.001)
        await self.at_once(act, seconds)

    async def at_once(self, act: Callable[[float], None], seconds: float) -> None:
        start = perf_counter()
        act(seconds)
        self.spans.append((start, perf_counter()))

    def matched(self, found: list[BlockedStep | Stretch]) -> list[BlockedStep]:
        """The one step that holds each injected stall."""
        matched = []
        for start, end in self.spans:
            (step,) = (s for s in steps(found) if s.start <= start and end <= s.start + s.seconds)
            matched.append(step)
        return matched


@BACKENDS
@pytest.mark.parametrize(("act", "waits"), ACTS)
def test_a_blocked_step_is_reported_with_its_line(
    backend: str, act: Callable[[float], None], waits: bool
) -> None:
    inject = Injector()

    async def body() -> None:
        for _ in range(5):
            await inject(act, LONG)

    matched = inject.matched(metered(backend, body))
    lines = [step.frame[:2] for step in matched if step.frame]
    # Without a core, the watchdog can miss some of the lines, but it never names another one.
    assert set(lines) == {(__file__, guilty_line(act))}
    for step in matched:
        assert step.cpu_share is not None
        assert (step.cpu_share < 0.5) == waits


def nothing(*_: object) -> None:
    """Called in the line after the guilty one, where a late sample sees the thread."""


def multiply(number: int) -> None:
    square = number * number  # guilty: multiply
    nothing(square)


def multiply_in_a_callee(number: int) -> int:
    def square() -> int:
        return number * number

    squared = square()  # guilty: multiply_in_a_callee
    nothing(squared)
    return squared


def contains(items: list[int]) -> None:
    if -1 in items:  # guilty: contains
        return
    nothing()


def equal(items: list[int]) -> None:
    same = items == PARTNER  # guilty: equal
    nothing(same)


def reverse(items: list[int]) -> None:
    items[::-1]  # guilty: reverse
    nothing()


def format_string(items: list[int]) -> None:
    text = f"{items}"  # guilty: format_string
    nothing(text)


def repeat(items: list[int]) -> None:
    zeros = [0] * (4 * len(items))  # guilty: repeat
    nothing(zeros)


def unpack(items: list[int]) -> None:
    first, *rest = items  # guilty: unpack
    nothing(first, rest)


def sort_after_a_call(items: list[int]) -> None:
    began = perf_counter()
    ordered = sorted(items, key=str)  # guilty: sort_after_a_call
    nothing(ordered, began)


class Cycle:
    def __init__(self) -> None:
        self.cycle = self

    def __del__(self) -> None:
        nothing()


def collect(items: list[list[int]]) -> None:
    Cycle()
    nothing(items)
    gc.collect()  # guilty: collect
    nothing()


NUMBER = 3**400_000
ITEMS, PARTNER = list(range(3_000_000)), list(range(3_000_000))
OPERATIONS = [
    (multiply, NUMBER),
    (multiply_in_a_callee, NUMBER),
    *((act, ITEMS) for act in (contains, equal, reverse, format_string, repeat, unpack)),
    (sort_after_a_call, ITEMS[:100_000]),
    (collect, [[item] for item in range(300_000)]),
]


@BACKENDS
@pytest.mark.parametrize(
    ("act", "operand"), OPERATIONS, ids=[act.__name__ for act, _ in OPERATIONS]
)
def test_the_line_after_an_operator_is_never_named(
    backend: str, act: Callable[[Any], object], operand: Any
) -> None:
    """It is the operator's line, a few lines with that, or none."""

    async def body() -> None:
        # Long enough in all that no single pause of the machine hides every step from the watchdog.
        for _ in range(10):
            await anyio.sleep(0.001)
            act(operand)

    found = steps(metered(backend, body))
    named = [step for step in found if step.frame and step.frame[2] == act.__name__]
    assert named
    for step in named:
        assert step.frame is not None
        first, last = step.frame[1], step.last_line or step.frame[1]
        assert first <= guilty_line(act) <= last < first + 5


@BACKENDS
def test_a_stretch_holds_its_steps_and_follows_them(backend: str) -> None:
    inject = Injector()
    acts = [(compute, LONG), (sleep, LONG / 4), (sleep, LONG / 4)]

    async def body() -> None:
        async with anyio.create_task_group() as tasks:
            for act, seconds in acts:
                tasks.start_soon(inject.at_once, act, seconds)

    found = metered(backend, body)
    matched = inject.matched(found)
    stretch = max(stretches(found), key=lambda each: each.seconds)
    assert stretch.steps >= len(acts)
    assert stretch.start <= min(step.start for step in matched)
    assert stretch.seconds >= sum(step.seconds for step in matched)
    assert max(found.index(step) for step in matched) < found.index(stretch)
    shares = sorted(step.cpu_share for step in matched if step.cpu_share is not None)
    assert [share >= 0.5 for share in shares] == [False, False, True]


@BACKENDS
def test_busy_is_not_blocked(backend: str) -> None:
    """Many short steps make one long stretch and no blocked step of that length."""

    async def short_step() -> None:
        compute(0.001)

    async def body() -> None:
        async with anyio.create_task_group() as tasks:
            for _ in range(100):
                tasks.start_soon(short_step)

    found = metered(backend, body)
    stretch = max(stretches(found), key=lambda each: each.seconds)
    assert stretch.seconds >= 0.1
    assert stretch.steps >= 100
    assert max((step.seconds for step in steps(found)), default=0) < stretch.seconds / 2


@BACKENDS
def test_what_is_shorter_than_the_floor_is_not_reported(backend: str) -> None:
    async def body() -> None:
        for _ in range(50):
            await anyio.sleep(0.001)
            sleep(FLOOR / 5)

    assert len(steps(metered(backend, body))) <= 5


def test_the_step_that_blocks_now_is_overdue() -> None:
    seen: list[BlockedStep] = []
    release = threading.Event()

    def watch(meter: StallMeter) -> None:
        while not seen and not release.is_set():
            step = meter.overdue()
            if step and step.frame:
                seen.append(step)
            time.sleep(0.01)
        release.set()

    def block(limit: float) -> None:
        release.wait(limit)  # guilty: block

    async def body() -> None:
        await anyio.sleep(0.01)
        block(30)

    with StallMeter(lambda _: None) as meter:
        thread = threading.Thread(target=watch, args=(meter,))
        thread.start()
        anyio.run(body, backend_options=options(meter, "asyncio"))
        release.set()
        thread.join()
        assert meter.overdue() is None
    assert [step.frame for step in seen] == [(__file__, guilty_line(block), "block")]
    assert seen[0].seconds >= FLOOR


def test_another_loop_of_the_process_is_not_metered() -> None:
    inject = Injector()
    done = threading.Event()

    async def chatter() -> None:
        while not done.is_set():
            await asyncio.sleep(0.001)

    async def body() -> None:
        other = threading.Thread(target=asyncio.run, args=(chatter(),))
        other.start()
        await inject(sleep, LONG)
        done.set()
        other.join()

    assert len(inject.matched(metered("asyncio", body))) == 1


def test_the_meter_leaves_nothing_behind() -> None:
    before = asyncio.events.Handle._run, threading.active_count()

    async def fail() -> None:
        raise KeyError

    with pytest.raises(KeyError):
        metered("asyncio", fail)
    assert asyncio.events.Handle._run is before[0]
    deadline = time.monotonic() + 10
    while threading.active_count() > before[1] and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() <= before[1]


def test_a_traceback_is_blamed_on_the_learners_line() -> None:
    def parse(_: float) -> None:
        json.loads("{")  # guilty: parse

    with pytest.raises(json.JSONDecodeError) as caught:
        parse(0)
    assert learners_traceback(caught.tb) == (__file__, guilty_line(parse), "parse")
    assert learners_traceback(None) is None


@contextmanager
def one_crowded_core() -> Iterator[None]:
    """This thread, and those it starts, share one core with six processes that burn it."""
    cores = os.sched_getaffinity(0)
    core = {min(cores)}
    burn = [sys.executable, "-c", "while True: pass"]
    os.sched_setaffinity(0, core)  # inherited by the processes
    burners = [subprocess.Popen(burn) for _ in range(6)]
    try:
        yield
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()
        os.sched_setaffinity(0, cores)


crowded = pytest.mark.skipif(
    not Path("/proc/self/schedstat").exists(), reason="this system keeps no scheduler statistics"
)


@crowded
@BACKENDS
def test_a_loop_without_a_core_is_excused(backend: str) -> None:
    starved = 0

    async def body() -> None:
        nonlocal starved
        deadline = perf_counter() + 60
        while starved < 20 and perf_counter() < deadline:
            await anyio.sleep(0)
            start = perf_counter()
            compute(FLOOR / 10)
            starved += perf_counter() - start >= 2 * FLOOR

    with one_crowded_core():
        found = metered(backend, body)
    assert starved == 20
    assert len(steps(found)) <= 1
    assert len(stretches(found)) <= 1


@crowded
@BACKENDS
def test_a_loop_without_a_core_is_not_excused_for_its_own_stalls(backend: str) -> None:
    inject = Injector()
    acts = [sleep, sleep_in_a_library, sleep_with_the_gil, compute] * 3

    async def body() -> None:
        for act in acts:
            await inject(act, 0.05)

    with one_crowded_core():
        found = metered(backend, body)
    for act, step in zip(acts, inject.matched(found), strict=True):
        assert step.cpu_share is not None
        assert (step.cpu_share >= 0.5) == (act is compute)
    assert len(stretches(found)) >= len(acts)
