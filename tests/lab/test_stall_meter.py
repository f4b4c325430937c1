"""The meter finds what was injected, names the line, distinguishes waiting from computing, and
excuses a loop that had no core.

All of it must hold on a machine that is busy with something else. So stalls are found by where
they lie, not by how long they took; what a thread may be excused for is read from the scheduler's
statistics; and the tests that need a busy machine make one.
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
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import anyio
import pytest

from helpers.lab.guilty_line import learners_traceback
from helpers.lab.stall_meter import FLOOR, BlockedStep, StallMeter, Stretch
from helpers.lab.thread_times import ThreadTimes

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


def starved(thread: threading.Thread) -> float:
    """Seconds in which the thread was ready to run, but without a core; 0 if nobody knows."""
    with suppress(OSError):
        text = Path(f"/proc/self/task/{thread.native_id}/schedstat").read_text(encoding="utf-8")
        return int(text.split()[1]) / 1e9
    return 0.0


def watchdog() -> threading.Thread:
    (thread,) = (each for each in threading.enumerate() if each.name == "stall-watch")
    return thread


@dataclass(frozen=True)
class Span:
    """From when to when something ran on the loop."""

    act: Callable[[Any], object]
    start: float
    end: float
    starved: float
    """Seconds of it in which the loop's thread had no core."""
    watchdog_starved: float

    @property
    def seconds(self) -> float:
        return self.end - self.start

    @property
    def excusable(self) -> bool:
        """Whether the watchdog was without a core nearly all the time that the loop's thread slept
        with the GIL: nobody can tell that from waiting for the watchdog."""
        waited = self.seconds - self.starved - self.watchdog_starved
        return self.act is sleep_with_the_gil and waited < 2 * FLOOR

    def meets(self, step: BlockedStep) -> bool:
        return step.start < self.end and self.start < step.start + step.seconds

    def lies_in(self, step: BlockedStep) -> bool:
        return step.start <= self.start and self.end <= step.start + step.seconds


class Injector:
    """Blocks the loop and notes from when to when."""

    def __init__(self) -> None:
        self.spans: list[Span] = []

    async def __call__(self, act: Callable[[Any], object], argument: Any) -> None:
        await anyio.sleep(0.001)
        await self.at_once(act, argument)

    async def at_once(self, act: Callable[[Any], object], argument: Any) -> None:
        own, other = starved(threading.current_thread()), starved(watchdog())
        start = perf_counter()
        act(argument)
        end = perf_counter()
        own, other = starved(threading.current_thread()) - own, starved(watchdog()) - other
        self.spans.append(Span(act, start, end, own, other))

    def matched(self, found: list[BlockedStep | Stretch]) -> list[tuple[Span, BlockedStep]]:
        """Each injected stall with the one step that holds it."""
        matched = []
        for span in self.spans:
            holding = [step for step in steps(found) if span.lies_in(step)]
            if holding or not span.excusable:
                (step,) = holding
                matched.append((span, step))
        return matched


@BACKENDS
@pytest.mark.parametrize(("act", "waits"), ACTS)
def test_a_blocked_step_is_reported_with_its_line(
    backend: str, act: Callable[[float], None], waits: bool
) -> None:
    inject = Injector()

    async def body() -> None:
        for _ in range(3):
            await inject(act, LONG)

    for span, step in inject.matched(metered(backend, body)):
        # Without a core, the watchdog can miss the line, but it never names another one.
        if step.frame or span.watchdog_starved < span.seconds / 4:
            assert step.frame is not None
            assert step.frame[:2] == (__file__, guilty_line(act))
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
    """It is the operator's line, a few lines with that, the caller's line, or none."""
    inject = Injector()

    def run(operand: Any) -> None:
        act(operand)

    caller = {run.__code__.co_firstlineno, run.__code__.co_firstlineno + 1}
    named = 0

    async def body() -> None:
        for _ in range(3):
            await inject(run, operand)

    for _ in range(20):
        for step in steps(metered(backend, body)):
            if step.frame is None or not any(span.meets(step) for span in inject.spans):
                continue
            file, first, _ = step.frame
            lines = range(first, (step.last_line or first) + 1)
            assert file == __file__
            assert len(lines) <= 5
            # What the operator's function drops as it returns is dropped in its caller's line.
            assert guilty_line(act) in lines or caller.issuperset(lines)
            named += guilty_line(act) in lines
        if named:
            return
    pytest.fail("the operator's line was never named")


@BACKENDS
def test_a_stretch_holds_its_steps_and_follows_them(backend: str) -> None:
    inject = Injector()
    acts = [(compute, LONG), (sleep, LONG / 4), (sleep, LONG / 4)]

    async def body() -> None:
        async with anyio.create_task_group() as tasks:
            for act, seconds in acts:
                tasks.start_soon(inject.at_once, act, seconds)

    found = metered(backend, body)
    matched = [step for _, step in inject.matched(found)]
    stretch = max(stretches(found), key=lambda each: each.seconds)
    assert stretch.steps >= len(acts)
    assert stretch.start <= min(step.start for step in matched)
    assert stretch.seconds >= sum(step.seconds for step in matched)
    assert max(found.index(step) for step in matched) < found.index(stretch)
    shares = sorted(step.cpu_share for step in matched if step.cpu_share is not None)
    assert [share >= 0.5 for share in shares] == [False, False, True]


@BACKENDS
def test_busy_is_not_blocked(backend: str) -> None:
    """Many short steps make one long stretch and no blocked step."""
    inject = Injector()

    async def body() -> None:
        async with anyio.create_task_group() as tasks:
            for _ in range(100):
                tasks.start_soon(inject.at_once, compute, 0.001)

    found = metered(backend, body)
    stretch = max(stretches(found), key=lambda each: each.seconds)
    assert stretch.seconds >= 0.1
    assert stretch.steps >= 100
    assert not [step for step in steps(found) if any(span.meets(step) for span in inject.spans)]


@BACKENDS
def test_what_is_shorter_than_the_floor_is_not_reported(backend: str) -> None:
    inject = Injector()

    async def body() -> None:
        for _ in range(50):
            await inject(sleep, FLOOR / 5)

    found = steps(metered(backend, body))
    # A sleep may really have been longer.
    short = [span for span in inject.spans if span.seconds - span.starved < FLOOR / 2]
    assert short
    assert not [step for step in found if any(span.meets(step) for span in short)]


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
    for thread in threading.enumerate():
        if thread.name == "stall-watch":
            thread.join(30)
    assert threading.active_count() <= before[1]


def test_a_traceback_is_blamed_on_the_learners_line() -> None:
    def parse(_: float) -> None:
        json.loads("{")  # guilty: parse

    with pytest.raises(json.JSONDecodeError) as caught:
        parse(0)
    assert learners_traceback(caught.tb) == (__file__, guilty_line(parse), "parse")
    assert learners_traceback(None) is None


BURN = [sys.executable, "-c", "while True: pass"]


@contextmanager
def burners(cores: set[int]) -> Iterator[None]:
    """Six processes burn these cores. The caller's thread may use them only meanwhile, as may the
    threads that it starts."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)  # inherited by the processes
    burning = [subprocess.Popen(BURN) for _ in range(6)]
    try:
        yield
    finally:
        for burner in burning:
            burner.kill()
            burner.wait()
        os.sched_setaffinity(0, before)


def one_core() -> set[int]:
    return {min(os.sched_getaffinity(0))}


crowded = pytest.mark.skipif(
    not Path("/proc/self/schedstat").exists(), reason="this system keeps no scheduler statistics"
)


@crowded
@BACKENDS
def test_a_loop_without_a_core_is_excused(backend: str) -> None:
    inject = Injector()

    def without_a_core() -> int:
        return sum(span.starved >= 2 * FLOOR for span in inject.spans)

    async def body() -> None:
        # A thread that computes loses its core after a few milliseconds, so these are enough.
        for _ in range(2_000):
            await anyio.sleep(0)
            await inject.at_once(compute, FLOOR / 10)
            if without_a_core() == 20:
                return

    with burners(one_core()):
        found = metered(backend, body)
    assert without_a_core() == 20
    assert steps(found) == []
    assert stretches(found) == []


@contextmanager
def another_thread_that_computes_with_the_gil() -> Iterator[None]:
    done = threading.Event()

    def run() -> None:
        while not done.wait(0.001):
            compute_with_the_gil(LONG / 4)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


@crowded
@BACKENDS
def test_waiting_for_a_thread_of_the_lab_is_excused(backend: str) -> None:
    """Threads that were there before the meter are the lab's, or Jupyter's."""
    inject = Injector()

    async def body() -> None:
        for _ in range(10):
            await inject(time.sleep, 0)

    with another_thread_that_computes_with_the_gil():
        found = metered(backend, body)
    assert sum(span.seconds - span.starved > 2 * FLOOR for span in inject.spans) >= 1
    assert steps(found) == []


@crowded
def test_waiting_for_the_watchdog_is_withheld() -> None:
    times = ThreadTimes()
    done, release = threading.Event(), threading.Event()

    def watch() -> None:
        times.start_watchdog()
        times.nap(0.001)
        compute_with_the_gil(LONG)
        done.set()
        release.wait()

    before = times.read()
    thread = threading.Thread(target=watch)
    thread.start()
    while not done.is_set():
        time.sleep(0)  # gives up the GIL
    after = times.read()
    release.set()
    thread.join()
    times.close()
    withheld = after.withheld - before.withheld
    assert withheld > LONG / 4
    assert after.idle_since(before) - withheld < LONG / 4


@crowded
@BACKENDS
def test_a_loop_without_a_core_is_not_excused_for_its_own_stalls(backend: str) -> None:
    inject = Injector()
    acts = [sleep, sleep_in_a_library, sleep_with_the_gil, compute] * 2

    async def body() -> None:
        for act in acts:
            await inject(act, LONG)

    with burners(one_core()):
        found = metered(backend, body)
    for span, step in inject.matched(found):
        assert step.cpu_share is not None
        assert (step.cpu_share >= 0.5) == (span.act is compute)
        assert any(
            each.start <= span.start < each.start + each.seconds for each in stretches(found)
        )
