"""Times an event loop from inside: how long it was deaf, which step did it, and on which line.

The loop's own ``select()`` and every step are timed, so nothing is estimated: a *stretch* runs
from one return of ``select()`` to its next call (the loop is deaf all that time), a *step* is one
callback, or one task from one ``await`` to the next. Pinging the loop from outside would miss what
happens between two pings; asyncio's debug mode would slow down what it measures.

A watchdog thread looks at the loop's stack while a step is overdue: that names the line.
"""

from __future__ import annotations

import asyncio
import selectors
import sys
import sysconfig
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from types import FrameType, TracebackType
from typing import Any, TypeAlias

Frame: TypeAlias = tuple[str, int, str]
"""File name, line number, function."""

FLOOR = 0.005
"""Seconds. Shorter steps and stretches are not reported: on a shared machine the scheduler alone
makes gaps of this size."""
_LOOK_AFTER = 0.004
_LOOK_EVERY = 0.002

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
    cpu_share: float | None


@dataclass(frozen=True, slots=True)
class Stretch:
    """A deaf stretch longer than the floor. Times are ``perf_counter`` seconds."""

    start: float
    seconds: float
    steps: int


@dataclass(slots=True)
class _Look:
    """What the watchdog saw of an overdue step."""

    step: float
    frame: Frame | None
    wall: float
    cpu: float
    starved: float


class StallMeter:
    """Meters one event loop; use as a context manager around it, in the thread that runs it.

    ``report`` is called on the loop's thread with every `BlockedStep` and `Stretch`; it must
    return at once.
    """

    def __init__(self, report: Callable[[BlockedStep | Stretch], None]) -> None:
        self._report = report
        self._thread = 0
        self._clock: int | None = None
        self._halt = threading.Event()
        self._look: _Look | None = None
        self._unhook: Callable[[], None] = lambda: None
        self.step_start = 0.0
        """When the running step began; 0 while the loop is in ``select()``."""
        self._woke = 0.0
        self._steps = 0

    def __enter__(self) -> StallMeter:
        self._thread = threading.get_ident()
        if hasattr(time, "pthread_getcpuclockid"):
            self._clock = time.pthread_getcpuclockid(self._thread)
        self._tid = threading.get_native_id()
        threading.Thread(target=self._watch, name="stall-watch", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._halt.set()
        self._unhook()
        if self._woke:
            self._stretch_ended(perf_counter())

    def overdue(self) -> BlockedStep | None:
        """The step that is blocking the loop now, as far as it has come."""
        start, now = self.step_start, perf_counter()
        if not start or now - start < _LOOK_AFTER:
            return None
        return self._step(start, now)

    def new_event_loop(self) -> asyncio.AbstractEventLoop:
        """A metered asyncio loop: pass this method as ``loop_factory``."""
        selector = selectors.DefaultSelector()
        wait = selector.select

        def select(timeout: float | None = None) -> Any:
            self._stretch_ended(perf_counter())
            ready = wait(timeout)
            self._stretch_began(perf_counter())
            return ready

        selector.select = select  # type: ignore[method-assign]
        loop = asyncio.SelectorEventLoop(selector)
        self._hook_steps(loop)
        return loop

    def _hook_steps(self, loop: asyncio.AbstractEventLoop) -> None:
        run_handle = asyncio.events.Handle._run
        step_ended = self._step_ended

        def _run(self: Any) -> None:
            run_handle(self)
            if self._loop is loop:
                step_ended(perf_counter())

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
        self._woke = self.step_start = now
        self._steps = 0

    def _step_ended(self, now: float) -> None:
        start = self.step_start
        self._steps += 1
        self.step_start = now
        if start and now - start >= FLOOR and (step := self._step(start, now)):
            self._report(step)

    def _step(self, start: float, now: float) -> BlockedStep | None:
        """The step as it deserves to be reported; None if another process had the core."""
        look = self._look
        if look is None or look.step != start:
            return BlockedStep(start, now - start, None, None)
        starved = self._starved() - look.starved
        if now - start - starved < FLOOR:
            return None
        ran = now - look.wall - starved
        share = (self._cpu() - look.cpu) / ran if self._clock and ran >= _LOOK_EVERY else None
        share = None if share is None else min(max(share, 0.0), 1.0)
        return BlockedStep(start, now - start, look.frame, share)

    def _stretch_ended(self, now: float) -> None:
        woke, self._woke, self.step_start = self._woke, 0.0, 0.0
        if woke and now - woke >= FLOOR:
            self._report(Stretch(woke, now - woke, self._steps))

    def _watch(self) -> None:
        while not self._halt.wait(_LOOK_EVERY):
            start, look = self.step_start, self._look
            if not start or perf_counter() - start < _LOOK_AFTER or (look and look.step == start):
                continue
            frame = learners_frame(sys._current_frames().get(self._thread))
            seen = _Look(start, frame, perf_counter(), self._cpu(), self._starved())
            if self.step_start == start:  # else the stack may belong to the next step
                self._look = seen

    def _cpu(self) -> float:
        return time.clock_gettime(self._clock) if self._clock is not None else 0.0

    def _starved(self) -> float:
        """Seconds the loop's thread was ready to run and had no core; 0 where nobody tells."""
        try:
            text = Path(f"/proc/self/task/{self._tid}/schedstat").read_text()
        except OSError:
            return 0.0
        return int(text.split()[1]) / 1e9


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
