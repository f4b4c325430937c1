"""Times an event loop from inside: how long it was unresponsive, in which step, on which line.

The loop's own ``select()`` and every step are timed, so nothing is estimated: a *stretch* runs
from one return of ``select()`` to its next call (the loop sees no event in all that time), a *step*
is one callback, or one task from one ``await`` to the next. Pinging the loop from outside would
miss what happens between two pings; asyncio's debug mode would slow down what it measures.

A watchdog thread samples the loop's stack while a step is overdue: that names the line. Scheduler
statistics of the loop's thread and of the watchdog distinguish waiting from computing, and both
from a machine that had no core to spare.
"""

from __future__ import annotations

import asyncio
import selectors
import threading
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from helpers.lab.guilty_line import Frame, Samples, guilty_lines
from helpers.lab.thread_times import Reading, ThreadTimes

FLOOR = 0.005
"""Seconds. Shorter steps and stretches are not reported: on a shared machine the scheduler alone
makes gaps of this size."""
_SAMPLE_EVERY = 0.002
_READ_EVERY = 0.001


@dataclass(frozen=True, slots=True)
class BlockedStep:
    """A step longer than `FLOOR`. Times are ``perf_counter`` seconds."""

    start: float
    seconds: float
    frame: Frame | None
    """The learner's line that most of the step was spent on; None when there is no evidence."""
    cpu_share: float | None
    """Share of the step in which its thread computed; None where the system does not say."""
    last_line: int | None = None
    """Where the evidence does not decide between several lines: `frame` has the first, this is the
    last."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """An unresponsive stretch longer than `FLOOR`. Times are ``perf_counter`` seconds."""

    start: float
    seconds: float
    steps: int


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

    def __enter__(self) -> StallMeter:
        self._times = ThreadTimes()
        self._before = self._at_wake = self._times.read()
        self._samples = Samples(0.0, self._before)
        threading.Thread(target=self._watch, name="stall-watch", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._halted = True
        self._unhook()
        self._stretch_ended(perf_counter())
        self._times.close()

    def overdue(self) -> BlockedStep | None:
        """The step that is blocking the loop now, up to this moment. For other threads."""
        start, now = self.step_start, perf_counter()
        if not start or now - start < FLOOR:
            return None
        return self._step(start, now, self._times.look())

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
            self._before = self._times.read()
            now = self._before.at
        self._at_wake = self._before
        self._woke = self.step_start = now
        self._steps = 0

    def _step_ended(self, now: float) -> None:
        start, self.step_start = self.step_start, now
        self._steps += 1
        if now - self._before.at < _READ_EVERY:
            return
        if start and now - start >= FLOOR and (step := self._step(start, now, self._times.read())):
            self._blocked = True
            self._report(step)
        # Not at every step, which would cost more than the step: a reading is at most _READ_EVERY
        # older than the step it is compared with.
        self._before = self._times.read()
        self.step_start = self._before.at

    def _stretch_ended(self, now: float) -> None:
        woke, self._woke, self.step_start = self._woke, 0.0, 0.0
        blocked, self._blocked = self._blocked, False
        if not woke or now - woke < FLOOR:
            return
        older = woke - self._at_wake.at
        if blocked or self._times.read().blocked_since(self._at_wake) - older >= FLOOR:
            self._report(Stretch(woke, now - woke, self._steps))

    def _step(self, start: float, now: float, after: Reading) -> BlockedStep | None:
        """The step as it is to be reported; None if other processes made it long."""
        before = self._before
        blocked = after.blocked_since(before)
        # The previous reading may be older than the step.
        if blocked - (start - before.at) < FLOOR:
            return None
        share = None
        if before.cpu is not None and after.cpu is not None:
            share = min((after.cpu - before.cpu) / blocked, 1.0)
        samples, lines = self._samples, None
        if samples.start == start:
            lines = samples.verdict(after, blocked)
        if lines is None:
            return BlockedStep(start, now - start, None, share)
        last = lines.last if lines.last > lines.first else None
        frame = lines.file, lines.first, lines.function
        return BlockedStep(start, now - start, frame, share, last)

    def _watch(self) -> None:
        self._times.start_watchdog()
        while not self._halted:
            waited = self._times.nap(_SAMPLE_EVERY)
            if not self.step_start:
                continue
            now = perf_counter()
            self._times.look()
            self._sample(now, waited)
            if perf_counter() - now > _READ_EVERY:
                # Meanwhile the loop may have waited for the GIL.
                self._times.look()

    def _sample(self, now: float, waited: float) -> None:
        """Sample the running step, in the watchdog, ``waited`` seconds after it asked for the
        GIL."""
        start, samples = self.step_start, self._samples
        if start != samples.start:
            samples = Samples(start, self._before)
        if not start or not samples.due(now):
            return
        lines = guilty_lines(self._times.frame(), waited)
        if self.step_start != start:  # the stack may belong to the next step
            return
        samples.add(lines, self._times.look(), waited)
        self._samples = samples
