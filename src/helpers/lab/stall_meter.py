"""Times an event loop from inside: how long it was deaf, which step did it, and on which line.

The loop's own ``select()`` and every step are timed, so nothing is estimated: a *stretch* runs
from one return of ``select()`` to its next call (the loop is deaf all that time), a *step* is one
callback, or one task from one ``await`` to the next. Pinging the loop from outside would miss what
happens between two pings; asyncio's debug mode would slow down what it measures.

A watchdog thread looks at the loop's stack while a step is overdue: that names the line. What the
operating system knows of the loop's thread tells waiting from computing, and both from a machine
that had no core to spare.
"""

from __future__ import annotations

import asyncio
import os
import selectors
import sys
import sysconfig
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from time import perf_counter
from types import FrameType, TracebackType
from typing import Any, NamedTuple, TypeAlias

Frame: TypeAlias = tuple[str, int, str]
"""File name, line number, function."""

FLOOR = 0.005
"""Seconds. Shorter steps and stretches are not reported: on a shared machine the scheduler alone
makes gaps of this size."""
_LOOK_EVERY = 0.002
# A thread that computes gives up the GIL 5 ms after it is asked. Asking from here on, the watchdog
# gets to see every computation of 10 ms.
_LOOK_AFTER = 0.0025
_READ_EVERY = 0.001

_LIBRARIES = tuple(
    {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    | {str(Path(__file__).parents[1])}
)


@dataclass(frozen=True, slots=True)
class BlockedStep:
    """A step longer than the floor. Times are ``perf_counter`` seconds."""

    start: float
    seconds: float
    frame: Frame | None
    """The learner's line that most of the step was spent on; None when it was never seen."""
    cpu_share: float | None
    """Share of the step in which its thread computed; None where the system does not tell."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """A deaf stretch longer than the floor. Times are ``perf_counter`` seconds."""

    start: float
    seconds: float
    steps: int


class _Reading(NamedTuple):
    """What the operating system says of a thread. Times are seconds."""

    at: float
    cpu: float | None
    starved: float
    """Ready to run, but without a core; 0 where nobody tells."""

    def starved_since(self, before: _Reading, now: float) -> float:
        """Seconds between ``before`` and ``now``; this reading was asked for at ``now``."""
        # A system call is where a thread is most likely to lose its core. What the reading itself
        # was delayed by is nobody's excuse.
        return max(self.starved - before.starved - (self.at - now), 0.0)


class _LoopThread:
    """The thread that makes this object, as the operating system sees it."""

    def __init__(self) -> None:
        self.id = threading.get_ident()
        self._clock: int | None = None
        if hasattr(time, "pthread_getcpuclockid"):
            self._clock = time.pthread_getcpuclockid(self.id)
        self._schedstat: FileIO | None = None
        with suppress(OSError):
            self._schedstat = FileIO(f"/proc/self/task/{threading.get_native_id()}/schedstat")

    def read(self) -> _Reading:
        """In about 3 µs, and also from other threads."""
        cpu, starved = None, 0.0
        if self._clock is not None:
            cpu = time.clock_gettime(self._clock)
        elif threading.get_ident() == self.id:
            cpu = time.thread_time()
        if self._schedstat is not None:
            with suppress(OSError, ValueError):  # the meter ended while another thread was here
                starved = int(os.pread(self._schedstat.fileno(), 100, 0).split()[1]) / 1e9
        return _Reading(perf_counter(), cpu, starved)

    def close(self) -> None:
        if self._schedstat is not None:
            self._schedstat.close()

    def frame(self) -> FrameType | None:
        return sys._current_frames().get(self.id)


class StallMeter:
    """Meters one event loop; use as a context manager around it, in the thread that runs it.

    ``report`` is called on the loop's thread with every `BlockedStep` and `Stretch`; it must
    return at once. Steps and stretches that are long only because other processes had all cores
    are not reported.
    """

    def __init__(self, report: Callable[[BlockedStep | Stretch], None]) -> None:
        self._report = report
        self._unhook: Callable[[], None] = lambda: None
        self._halted = False
        self.step_start = 0.0
        """When the running step began; 0 while the loop is in ``select()``."""
        self._woke = 0.0
        self._steps = 0
        self._blocked = False
        self._seen: tuple[float, Frame | None] = (0.0, None)
        """The start of a step and the line that it is on most of the time."""

    def __enter__(self) -> StallMeter:
        self._thread = _LoopThread()
        self._before = self._at_wake = self._thread.read()
        threading.Thread(target=self._watch, name="stall-watch", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._halted = True
        self._unhook()
        self._stretch_ended(perf_counter())
        self._thread.close()

    def overdue(self) -> BlockedStep | None:
        """The step that is blocking the loop now, as far as it has come."""
        start, now = self.step_start, perf_counter()
        return self._step(start, now) if start and now - start >= FLOOR else None

    def new_event_loop(self) -> asyncio.AbstractEventLoop:
        """A metered asyncio loop: pass this method as ``loop_factory``."""
        selector = selectors.DefaultSelector()
        wait, began, ended = selector.select, self._stretch_began, self._stretch_ended

        def select(timeout: float | None = None) -> Any:
            ended(perf_counter())
            ready = wait(timeout)
            began(perf_counter())
            return ready

        selector.select = select  # type: ignore[method-assign]
        loop = asyncio.SelectorEventLoop(selector)
        self._hook_steps(loop)
        return loop

    def _hook_steps(self, loop: asyncio.AbstractEventLoop) -> None:
        run_handle, ended = asyncio.events.Handle._run, self._step_ended

        def _run(self: Any) -> None:
            run_handle(self)
            if self._loop is loop:
                ended(perf_counter())

        asyncio.events.Handle._run = _run  # type: ignore[method-assign]

        def unhook() -> None:
            asyncio.events.Handle._run = run_handle  # type: ignore[method-assign]

        self._unhook = unhook

    def trio_instrument(self) -> Any:
        """A trio ``Instrument`` that meters the run it is passed to."""
        meter = self

        class Instrument:
            def before_io_wait(self, timeout: float) -> None:
                meter._stretch_ended(perf_counter())

            def after_io_wait(self, timeout: float) -> None:
                meter._stretch_began(perf_counter())

            def after_task_step(self, task: Any) -> None:
                meter._step_ended(perf_counter())

        return Instrument()

    def _stretch_began(self, now: float) -> None:
        if now - self._before.at >= _READ_EVERY:
            self._before = self._thread.read()
            now = self._before.at
        self._at_wake = self._before
        self._woke = self.step_start = now
        self._steps = 0

    def _step_ended(self, now: float) -> None:
        start, self.step_start = self.step_start, now
        self._steps += 1
        if now - self._before.at < _READ_EVERY:
            return
        if start and now - start >= FLOOR and (step := self._step(start, now)):
            self._blocked = True
            self._report(step)
        # Not at every step, which would cost more than the step: a reading is at most _READ_EVERY
        # older than the step it is held against.
        self._before = self._thread.read()
        self.step_start = self._before.at

    def _stretch_ended(self, now: float) -> None:
        woke, self._woke, self.step_start = self._woke, 0.0, 0.0
        blocked, self._blocked = self._blocked, False
        if not woke or now - woke < FLOOR:
            return
        starved = self._thread.read().starved_since(self._at_wake, now)
        if blocked or now - woke - starved >= FLOOR:
            self._report(Stretch(woke, now - woke, self._steps))

    def _step(self, start: float, now: float) -> BlockedStep | None:
        """The step as it deserves to be reported; None if other processes made it long."""
        before, after = self._before, self._thread.read()
        starved = after.starved_since(before, now)
        if now - start - starved < FLOOR:
            return None
        share = None
        if before.cpu is not None and after.cpu is not None:
            share = min((after.cpu - before.cpu) / (now - before.at - starved), 1.0)
        seen, frame = self._seen
        return BlockedStep(start, now - start, frame if seen == start else None, share)

    def _watch(self) -> None:
        step = looked = 0.0
        spent: dict[Frame | None, float] = {}
        while not self._halted:
            time.sleep(_LOOK_EVERY)
            start, now = self.step_start, perf_counter()
            if start != step:
                step = looked = start
                spent = defaultdict(float)
            # A first look names the line. Later ones, ever rarer, find out whether it was only
            # the prelude to the line that really takes long.
            if not start or now - start < _LOOK_AFTER or now - looked < (looked - start) / 8:
                continue
            frame = learners_frame(self._thread.frame())
            if self.step_start != start:  # the stack may belong to the next step
                continue
            spent[frame] += now - looked
            looked = now
            self._seen = start, max(spent, key=lambda line: spent[line])


def learners_frame(frame: FrameType | None) -> Frame | None:
    """The innermost frame that is neither a library's nor this course's."""
    while frame is not None:
        code = frame.f_code
        if _is_learners(code.co_filename):
            return code.co_filename, frame.f_lineno, code.co_name
        frame = frame.f_back
    return None


def learners_traceback(traceback: TracebackType | None) -> Frame | None:
    """The innermost entry of a traceback that is neither a library's nor this course's."""
    found = None
    for frame, line in _walk(traceback):
        if _is_learners(frame.f_code.co_filename):
            found = frame.f_code.co_filename, line, frame.f_code.co_name
    return found


def _walk(traceback: TracebackType | None) -> Iterable[tuple[FrameType, int]]:
    while traceback is not None:
        yield traceback.tb_frame, traceback.tb_lineno
        traceback = traceback.tb_next


def _is_learners(file: str) -> bool:
    return not file.startswith((*_LIBRARIES, "<"))
