"""How the event loop's thread spent its time: computing, without a core, or waiting.

The operating system counts computing and being without a core. The rest of the time a thread
waits: for what it called, or for the GIL. A thread of the lab that has the GIL, and perhaps loses
its core while it holds it, makes the loop's thread wait. The loop did not cause that wait, and the
system does not count it. So a wait counts as the loop's own only if there is evidence:

- the loop's thread is seen waiting for something other than the GIL, or
- it has waited for longer than the lab's threads were busy.

The rest is *withheld*. So is an apparent wait in which the thread never went to sleep: a hypervisor
had its core.
"""

from __future__ import annotations

import ctypes
import math
import operator
import platform
import sys
import threading
import time
from collections import deque
from contextlib import suppress
from enum import Enum, auto
from functools import cache, partial
from io import FileIO
from time import perf_counter
from types import FrameType
from typing import NamedTuple

if sys.platform == "linux":
    import resource

PROMPT = 0.0005
"""Seconds. Waking up and taking a free GIL takes less, and so does a reading."""
# One of the watchdog's naps, with some margin.
_LOOSE = 0.0035
_TRIES = 10
# Number of the system call in which a thread waits for the GIL, and for other locks.
_FUTEX = {"x86_64": b"202", "aarch64": b"98"}.get(platform.machine())
# The GIL is part of this structure of CPython, which is smaller than that.
_RUNTIME, _RUNTIME_SIZE = "_PyRuntime", 1 << 20
# Reading more guests would cost more time than it is worth.
_MOST_GUESTS = 8
_CALL = operator.methodcaller("__call__")


class Reading(NamedTuple):
    """Times of the loop's thread up to a moment. All are seconds; only differences count."""

    at: float
    cpu: float | None
    """How long it computed; None where the system does not say."""
    starved: float
    """How long it was ready to run, but without a core; 0 where the system does not say."""
    withheld: float
    """How long it waited, but perhaps only for the GIL."""

    def computed_since(self, before: Reading) -> float:
        """Seconds of computing since ``before``, and of waiting for a core."""
        computed = (self.cpu or 0.0) - (before.cpu or 0.0)
        return computed + self.starved - before.starved

    def idle_since(self, before: Reading) -> float:
        """Seconds since ``before`` in which it waited, whatever for."""
        return max(self.at - before.at - self.computed_since(before), 0.0)

    def blocked_since(self, before: Reading) -> float:
        """Seconds since ``before``, without those that other processes or threads caused."""
        # Up to this reading, not up to the end of the step: while it is read, a thread often loses
        # its core or the GIL.
        computed = (self.cpu or 0.0) - (before.cpu or 0.0)
        return computed + max(self.idle_since(before) - (self.withheld - before.withheld), 0.0)


class _WaitsFor(Enum):
    NOTHING = auto()
    """The thread runs, or could run."""
    PERHAPS_THE_GIL = auto()
    """It may wait for the GIL; also where the system does not say."""
    SOMETHING_ELSE = auto()


class _Thread:
    """A thread as the operating system sees it."""

    def __init__(self, thread: threading.Thread) -> None:
        self.id = thread.ident or 0
        self._clock: int | None = None
        if hasattr(time, "pthread_getcpuclockid"):
            self._clock = time.pthread_getcpuclockid(self.id)
        self._schedstat = _open(thread.native_id, "schedstat")
        self._syscall = _open(thread.native_id, "syscall")
        self._busy = 0.0

    def read(self) -> Reading:
        """The thread's times, with nothing withheld. Takes about 5 µs."""
        for _ in range(_TRIES):
            began = perf_counter()
            cpu, starved = self._cpu(), self.starved()
            at = perf_counter()
            # Otherwise the core or the GIL was lost in between: the numbers are not of one moment.
            if at - began < PROMPT:
                break
        return Reading(at, cpu, starved, 0.0)

    def _cpu(self) -> float | None:
        if self._clock is not None:
            return time.clock_gettime(self._clock)
        return time.thread_time() if threading.get_ident() == self.id else None

    def starved(self) -> float:
        text = _read_now(self._schedstat)
        return int(text.split()[1]) / 1e9 if text else 0.0

    def runs(self) -> int:
        """How often it got a core."""
        text = _read_now(self._schedstat)
        return int(text.split()[2]) if text else 0

    def busy(self) -> float:
        """How long it computed or was without a core: it may have had the GIL meanwhile."""
        with suppress(OSError):  # it has ended
            self._busy = max(self._busy, (self._cpu() or 0.0) + self.starved())
        return self._busy

    def waits_for(self) -> _WaitsFor:
        """What it is waiting for now. Takes about 40 µs."""
        call = _read_now(self._syscall).split()
        if call == [b"running"]:
            return _WaitsFor.NOTHING
        if call and (call[0] != _FUTEX or int(call[1], 16) not in _gil_addresses()):
            return _WaitsFor.SOMETHING_ELSE
        return _WaitsFor.PERHAPS_THE_GIL

    def close(self) -> None:
        for file in (self._schedstat, self._syscall):
            if file is not None:
                file.close()


class _Mark(NamedTuple):
    """A moment; what was withheld before it is settled."""

    reading: Reading
    guests: float
    """How long the guests were busy."""
    watchdog: float
    """How long the watchdog was busy."""
    nap: int
    """The number of the watchdog's last nap."""
    napping: bool
    """Whether that nap is still going on. If it is not, the watchdog may have the GIL."""


class ThreadTimes:
    """Follows the thread that makes this object.

    Threads that are already there are *guests*: the lab's, or Jupyter's. While they or the watchdog
    have the GIL, the followed thread is not to blame for waiting.
    """

    def __init__(self) -> None:
        self._thread = _Thread(threading.current_thread())
        others = [one for one in threading.enumerate() if one.ident != self._thread.id]
        self._guests = [_Thread(one) for one in others[:_MOST_GUESTS]]
        self._watchdog: _Thread | None = None
        self._nap = 0
        self._runs, self._busy = 0, 0.0
        """The watchdog's counts when its last nap began."""
        self._asleep: deque[bool | None] = deque([None], maxlen=1)
        self._mark, self._sleeps = self._now(), _sleeps()

    def start_watchdog(self) -> None:
        """Make the calling thread the watchdog."""
        self._watchdog = _Thread(threading.current_thread())

    def nap(self, seconds: float) -> float:
        """Let the watchdog sleep; returns how long it then had a core and waited for the GIL."""
        watchdog = self._watchdog or self._thread
        self._nap += 1
        self._runs, self._busy = watchdog.runs(), watchdog.busy()
        starved, wakes = watchdog.starved(), perf_counter() + seconds
        # While it sleeps, this has True. None replaces it when the watchdog has the GIL again, and
        # before it can be asked to give that up: CPython does so between bytecodes only.
        self._asleep.extend(map(_CALL, (partial(bool, 1), partial(time.sleep, seconds))))
        return perf_counter() - wakes - (watchdog.starved() - starved)

    def frame(self) -> FrameType | None:
        return sys._current_frames().get(self._thread.id)

    def read(self) -> Reading:
        """The times, read by the followed thread itself."""
        for _ in range(_TRIES):
            mark, now, sleeps = self._mark, self._now(), _sleeps()
            # A thread that did not sleep has not waited: the hypervisor had its core.
            lent = self._lent(mark, now) if sleeps != self._sleeps else math.inf
            reading = self._withhold(mark, now, lent)
            # Otherwise another thread has moved the mark in the meantime.
            if self._mark is mark:
                self._mark, self._sleeps = now._replace(reading=reading), sleeps
                break
        return reading

    def look(self) -> Reading:
        """The times, read by another thread while it has the GIL."""
        mark, now, waits_for = self._mark, self._now(), self._thread.waits_for()
        # In the second case, a thread that needed the GIL would be waiting for that instead.
        own = self._just_woke(mark, now) or waits_for is _WaitsFor.SOMETHING_ELSE
        reading = self._withhold(mark, now, 0.0 if own else self._lent(mark, now))
        new = now._replace(reading=reading)
        if waits_for is _WaitsFor.NOTHING:
            # It may be without a core, which is not counted until it has one again.
            reading = self._withhold(mark, now, math.inf)
            new = now._replace(reading=mark.reading) if own else mark
        if self._mark is mark:
            self._mark = new
        return reading

    def _just_woke(self, mark: _Mark, now: _Mark) -> bool:
        """Whether nobody else has had the GIL since the mark, because the watchdog slept.

        Having slept, it got a core, has not lost it since, and has found the GIL free.
        """
        if self._watchdog is None or not (mark.napping or mark.nap < now.nap):
            return False
        others = self._busy - mark.watchdog, now.guests - mark.guests
        return self._watchdog.runs() == self._runs + 1 and max(others) < PROMPT

    def _lent(self, mark: _Mark, now: _Mark) -> float:
        """At most how long others had the GIL while the followed thread waited for it."""
        guests, watchdog = now.guests - mark.guests, now.watchdog - mark.watchdog
        # The watchdog has been asking for the GIL, and waiting for it, for longer than it was busy:
        # the followed thread held the GIL while it waited.
        asked = mark.napping and mark.nap == now.nap
        if asked and now.reading.idle_since(mark.reading) > watchdog + _LOOSE:
            return guests
        return guests + watchdog

    @staticmethod
    def _withhold(mark: _Mark, now: _Mark, lent: float) -> Reading:
        """The reading now, if others had the GIL for at most ``lent`` seconds."""
        withheld = min(now.reading.idle_since(mark.reading), max(lent, 0.0))
        return now.reading._replace(withheld=mark.reading.withheld + withheld)

    def _now(self) -> _Mark:
        reading = self._thread.read()
        guests = sum(guest.busy() for guest in self._guests)
        watchdog = self._watchdog.busy() if self._watchdog else 0.0
        return _Mark(reading, guests, watchdog, self._nap, self._asleep[-1] is not None)

    def close(self) -> None:
        for thread in (self._thread, self._watchdog, *self._guests):
            if thread is not None:
                thread.close()


def _open(native_id: int | None, name: str) -> FileIO | None:
    with suppress(OSError):
        return FileIO(f"/proc/self/task/{native_id}/{name}")
    return None


def _sleeps() -> float:
    """How often this thread gave up its core by itself; NaN where the system does not say."""
    if sys.platform == "linux":
        return resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw
    return math.nan


@cache
def _gil_addresses() -> range:
    """A range of addresses that includes those of the GIL; empty if they are unknown."""
    with suppress(ValueError):
        start = ctypes.addressof(ctypes.c_char.in_dll(ctypes.pythonapi, _RUNTIME))
        return range(start, start + _RUNTIME_SIZE)
    return range(0)


def _read_now(file: FileIO | None) -> bytes:
    """A small file's text. Keeps the GIL: `os.pread` would give it up, and might lose the core,
    too."""
    if file is None or file.closed:  # the meter ended while another thread was here
        return b""
    text = ctypes.create_string_buffer(200)
    ctypes.pythonapi.pread(file.fileno(), text, 200, 0)
    return text.value
