"""Times an event loop from inside: how long it was unresponsive, in which step, on which line.

The loop's own ``select()`` and every step are timed, so nothing is estimated: a *stretch* runs
from one return of ``select()`` to its next call (the loop sees no event in all that time), a *step*
is one callback, or one task from one ``await`` to the next. Pinging the loop from outside would
miss what happens between two pings; asyncio's debug mode would slow down what it measures.

A watchdog thread samples the loop's stack while a step is overdue: that names the line. Scheduler
statistics of the loop's thread and of the watchdog distinguish waiting from computing, and both
from a machine that had no core to spare.

A thread that computes gives up the GIL only at certain bytecodes: at the start of a function, after
a call, and at a jump backward. A sample that had to wait for the GIL therefore shows the first of
these after the computation, which may be on a later line. What ran before it is read from the
bytecode; where that is more than one line, a range of lines is reported, or none.
"""

from __future__ import annotations

import asyncio
import ctypes
import dis
import platform
import re
import selectors
import sys
import sysconfig
import threading
import time
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache, lru_cache
from io import FileIO
from pathlib import Path
from time import perf_counter
from types import CodeType, FrameType, TracebackType
from typing import Any, NamedTuple, TypeAlias

Frame: TypeAlias = tuple[str, int, str]
"""File name, line number, function."""

FLOOR = 0.005
"""Seconds. Shorter steps and stretches are not reported: on a shared machine the scheduler alone
makes gaps of this size."""
_SAMPLE_EVERY = 0.002
# A thread that computes gives up the GIL 5 ms after the first request. With requests from here on,
# the watchdog samples every computation of 10 ms.
_SAMPLE_AFTER = 0.0025
_READ_EVERY = 0.001
# Waking up and taking a free GIL takes less, and so does a reading.
_PROMPT = 0.0005
_TRIES = 5
# Number of the system call in which a thread waits for the GIL, and for other locks.
_FUTEX = {"x86_64": b"202", "aarch64": b"98"}.get(platform.machine())
# The GIL is part of this structure of CPython, which is smaller than that.
_RUNTIME, _RUNTIME_SIZE = "_PyRuntime", 1 << 20
# The share of a step for which there must be evidence that its line was running.
_EVIDENCE = 1 / 8
_MOST_LINES = 5

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
    """The learner's line that most of the step was spent on; None when there is no evidence."""
    cpu_share: float | None
    """Share of the step in which its thread computed; None where the system does not say."""
    last_line: int | None = None
    """Where the evidence does not decide between several lines: `frame` has the first, this is the
    last."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """An unresponsive stretch longer than the floor. Times are ``perf_counter`` seconds."""

    start: float
    seconds: float
    steps: int


class _Reading(NamedTuple):
    """What the operating system says of the loop's thread and the watchdog. Times are seconds."""

    at: float
    cpu: float | None
    starved: float
    """How long the loop's thread was ready to run, but without a core; 0 where the system does not
    say."""
    withheld: float
    """How long it waited for the GIL while the watchdog, which had it, was without a core."""

    def computed_since(self, before: _Reading) -> float:
        """Seconds of computing since ``before``, and of waiting for a core."""
        computed = (self.cpu or 0.0) - (before.cpu or 0.0)
        return computed + self.starved - before.starved

    def blocked_since(self, before: _Reading) -> float:
        """Seconds since ``before`` without those that are other processes' doing, or the meter's
        own."""
        # Up to this reading, not up to the end of the step: while it is read, a thread often loses
        # its core or the GIL.
        computed = (self.cpu or 0.0) - (before.cpu or 0.0)
        return computed + self.waited_since(before)

    def waited_since(self, before: _Reading) -> float:
        """Seconds since ``before`` in which it waited for something else than the watchdog."""
        waited = self.at - before.at - self.computed_since(before)
        return max(waited - (self.withheld - before.withheld), 0.0)


class _Thread:
    """The thread that makes this object, as the operating system sees it."""

    def __init__(self) -> None:
        self.id = threading.get_ident()
        self._clock: int | None = None
        if hasattr(time, "pthread_getcpuclockid"):
            self._clock = time.pthread_getcpuclockid(self.id)
        self._schedstat = self._open("schedstat")
        self._syscall = self._open("syscall")

    @staticmethod
    def _open(name: str) -> FileIO | None:
        with suppress(OSError):
            return FileIO(f"/proc/self/task/{threading.get_native_id()}/{name}")
        return None

    def cpu(self) -> float | None:
        if self._clock is not None:
            return time.clock_gettime(self._clock)
        return time.thread_time() if threading.get_ident() == self.id else None

    def starved(self) -> float:
        """Seconds in which it was ready to run, but without a core. Takes about 3 µs."""
        text = _read_now(self._schedstat)
        return int(text.split()[1]) / 1e9 if text else 0.0

    def waits_for_gil(self) -> bool:
        """Whether it waits for the GIL. Takes about 40 µs."""
        number, *arguments = _read_now(self._syscall).split() or [b"unknown"]
        return number == _FUTEX and int(arguments[0], 16) in _gil_addresses()

    def close(self) -> None:
        for file in (self._schedstat, self._syscall):
            if file is not None:
                file.close()

    def frame(self) -> FrameType | None:
        return sys._current_frames().get(self.id)


@cache
def _gil_addresses() -> range:
    """Addresses of memory among which are those of the GIL; none if they are unknown."""
    with suppress(ValueError):
        start = ctypes.addressof(ctypes.c_char.in_dll(ctypes.pythonapi, _RUNTIME))
        return range(start, start + _RUNTIME_SIZE)
    return range(0)


def _read_now(file: FileIO | None) -> bytes:
    """A small file's text. It keeps the GIL, which `os.pread` would give up, and with it perhaps
    the core."""
    if file is None or file.closed:  # the meter ended while another thread was here
        return b""
    text = ctypes.create_string_buffer(200)
    ctypes.pythonapi.pread(file.fileno(), text, 200, 0)
    return text.value


@dataclass(frozen=True, slots=True)
class _Lines:
    """Lines of one function, one of which ran."""

    file: str
    first: int
    last: int
    # A generator expression is a function on the line of another one.
    function: str = field(compare=False)


class _Samples:
    """What the watchdog saw of one step."""

    def __init__(self, start: float, reading: _Reading) -> None:
        self.start = self._at = start
        self._reading = reading
        self._lines: _Lines | None = None
        self._charged: dict[_Lines | None, float] = defaultdict(float)
        """Lines → seconds that ended with a sample of them."""
        self._evident: dict[_Lines | None, float] = defaultdict(float)
        """Lines → seconds in which they were surely running."""

    def due(self, now: float) -> bool:
        """Whether to sample now."""
        # The first sample names the line. Later ones, ever rarer, find out whether it was only the
        # prelude to the line that really takes long.
        passed = self._at - self.start
        return now - self.start >= _SAMPLE_AFTER and now - self._at >= passed / 8

    def add(self, lines: _Lines | None, reading: _Reading, waited: float) -> None:
        """A sample for which the watchdog waited so many seconds for the GIL."""
        seconds = reading.at - self._at
        # All the time since the last sample if that saw the same; what was not computed if it
        # waits now; what passed without a check.
        evident = waited - sys.getswitchinterval()
        if lines == self._lines:
            evident = seconds
        elif waited < _PROMPT:
            evident = seconds - reading.computed_since(self._reading)
        self._charged[lines] += seconds
        self._evident[lines] += min(max(evident, 0.0), seconds)
        self._at, self._reading, self._lines = reading.at, reading, lines

    def verdict(self, reading: _Reading, needed: float) -> _Lines | None:
        """The lines that most of the step was spent on, with ``needed`` seconds of evidence."""
        charged = list(self._charged.items())
        if not charged:
            return None
        lines, _ = max(charged, key=lambda item: item[1])
        evident = self._evident[lines]
        if lines == self._lines:
            starved = reading.starved - self._reading.starved
            evident += max(reading.at - self._at - starved, 0.0)
        return lines if evident >= needed else None


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
        self._withheld = 0.0
        self._withheld_now: Callable[[], float] = lambda: 0.0
        """Seconds that are not in `_withheld` yet, while the watchdog has the GIL."""

    def __enter__(self) -> StallMeter:
        self._thread = _Thread()
        self._before = self._at_wake = self._read()
        self._samples = _Samples(0.0, self._before)
        threading.Thread(target=self._watch, name="stall-watch", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._halted = True
        self._unhook()
        self._stretch_ended(perf_counter())
        self._thread.close()

    def _read(self) -> _Reading:
        for _ in range(_TRIES):
            began = perf_counter()
            cpu, starved = self._thread.cpu(), self._thread.starved()
            withheld = self._withheld + self._withheld_now()
            reading = _Reading(perf_counter(), cpu, starved, withheld)
            # Else the core or the GIL was lost in between: the numbers do not belong together.
            if reading.at - began < _PROMPT:
                break
        return reading

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
            self._before = self._read()
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
        self._before = self._read()
        self.step_start = self._before.at

    def _stretch_ended(self, now: float) -> None:
        woke, self._woke, self.step_start = self._woke, 0.0, 0.0
        blocked, self._blocked = self._blocked, False
        if not woke or now - woke < FLOOR:
            return
        older = woke - self._at_wake.at
        if blocked or self._read().blocked_since(self._at_wake) - older >= FLOOR:
            self._report(Stretch(woke, now - woke, self._steps))

    def _step(self, start: float, now: float) -> BlockedStep | None:
        """The step as it deserves to be reported; None if other processes made it long."""
        before, after = self._before, self._read()
        blocked = after.blocked_since(before)
        # The reading before may be older than the step.
        if blocked - (start - before.at) < FLOOR:
            return None
        share = None
        if before.cpu is not None and after.cpu is not None:
            share = min((after.cpu - before.cpu) / blocked, 1.0)
        samples, lines = self._samples, None
        if samples.start == start:
            lines = samples.verdict(after, blocked * _EVIDENCE)
        if lines is None:
            return BlockedStep(start, now - start, None, share)
        last = lines.last if lines.last > lines.first else None
        frame = lines.file, lines.first, lines.function
        return BlockedStep(start, now - start, frame, share, last)

    def _watch(self) -> None:
        watchdog = _Thread()
        while not self._halted:
            before, asleep = self._read(), watchdog.starved()
            wakes = perf_counter() + _SAMPLE_EVERY
            time.sleep(_SAMPLE_EVERY)
            now, woken = perf_counter(), watchdog.starved()
            delayed = woken - asleep
            waited = now - wakes - delayed
            in_step = self.step_start != 0
            if in_step:
                self._withheld += self._withheld_at_handover(before, delayed, waited)
            if wanted := in_step and self._thread.waits_for_gil():
                # Now the watchdog has the GIL. Once it has been without a core for a while, it is
                # asked to give it up, and the loop reads the statistics before the watchdog does.
                self._withheld_now = lambda woken=woken: watchdog.starved() - woken  # type: ignore[misc]
            self._sample(now, waited)
            if wanted:
                withheld, self._withheld_now = self._withheld_now(), lambda: 0.0
                self._withheld += withheld
        watchdog.close()

    def _withheld_at_handover(self, before: _Reading, delayed: float, waited: float) -> float:
        """How long the loop's thread, asked for the GIL, has surely waited for the watchdog to take
        it: the watchdog was ``delayed``, and otherwise ``waited`` for the GIL."""
        # Only a thread that has had the GIL for an interval is asked. If it has not computed all
        # that time, it has waited with the GIL.
        now = self._read()
        if not sys.getswitchinterval() - _PROMPT < waited < now.computed_since(before) + _PROMPT:
            return 0.0
        # A step that has waited for longer than the watchdog was delayed has waited for something
        # else.
        idle = now.waited_since(self._before)
        return min(idle, delayed) if idle - delayed < _READ_EVERY + _PROMPT else 0.0

    def _sample(self, now: float, waited: float) -> None:
        """A look at the running step by the watchdog, ``waited`` seconds after it asked for the
        GIL."""
        start, samples = self.step_start, self._samples
        if start != samples.start:
            samples = _Samples(start, self._before)
        if not start or not samples.due(now):
            return
        frame = self._thread.frame()
        exact = _exact(waited) and not _begins(frame)
        lines = _exact_lines(frame) if exact else _unchecked_lines(frame)
        if self.step_start != start:  # the stack may belong to the next step
            return
        samples.add(lines, self._read(), waited)
        self._samples = samples


def _exact(waited: float) -> bool:
    """Whether the instruction that a sample shows was running when the GIL was requested, or when
    the thread that holds it was asked to give it up."""
    return waited < _PROMPT or 0 <= waited - sys.getswitchinterval() < _PROMPT


def _begins(frame: FrameType | None) -> bool:
    """Whether it is at the start of its function: until now, its caller's code has run."""
    return frame is not None and frame.f_code.co_code[frame.f_lasti] == dis.opmap["RESUME"]


def _exact_lines(frame: FrameType | None) -> _Lines | None:
    line = learners_frame(frame)
    return line and _Lines(line[0], line[1], line[1], line[2])


def _unchecked_lines(frame: FrameType | None) -> _Lines | None:
    """The learner's lines one of which has run since the last check for GIL requests.

    None if they are unknown, or more than five.
    """
    while frame is not None and _begins(frame):
        frame = frame.f_back
    if frame is None or not _is_learners(frame.f_code.co_filename):
        return _exact_lines(frame)
    code = frame.f_code
    lines = _since_check(code, frame.f_lasti)
    if not lines or max(lines) - min(lines) >= _MOST_LINES:
        return None
    return _Lines(code.co_filename, min(lines), max(lines), code.co_name)


# Bytecodes that cannot take long. A store drops what the variable held: see `_kept_variables`.
_QUICK = re.compile(
    r"CACHE|COPY.*|END_(FOR|SEND)|EXTENDED_ARG|GET_AWAITABLE|IS_OP|KW_NAMES|MAKE_CELL|NO(P|T_TAKEN)"
    r"|LOAD_(CLOSURE|CONST|DEREF|FAST.*|GLOBAL|NAME|SMALL_INT)|POP_(ITER|TOP)|PRECALL|PUSH_NULL"
    r"|RESUME|SWAP|TO_BOOL|(POP_)?JUMP_.*"
)
_CHECKS = ("RESUME", "YIELD_VALUE", "JUMP_BACKWARD", "POP_JUMP_BACKWARD")
_LEAVES = ("RETURN_", "RAISE_VARARGS", "RERAISE", "JUMP_FORWARD", "JUMP_BACKWARD")
_ENDS_A_CALL = ("STORE_", "POP_TOP", "RETURN_VALUE")
# CPython's fast ways to call these skip the check.
_UNCHECKED_CALLS = frozenset({"len", "isinstance", "type", "append"})
_LONGEST_CODE = 4_000
"""Bytes. To read more bytecode would itself block the loop."""


class _Instruction(NamedTuple):
    name: str
    line: int | None
    quick: bool
    call: bool
    """Calls something that checks for GIL requests: a Python function as it begins, all else as it
    ends."""
    before: tuple[int, ...]
    """Indexes of the instructions that may have run just before."""


@lru_cache(maxsize=256)
def _since_check(code: CodeType, offset: int) -> set[int]:
    """The lines that can have run since the last check for GIL requests when ``code`` is at
    ``offset``; none if that is unknown."""
    if len(code.co_code) > _LONGEST_CODE:
        return set()
    offsets, instructions = _instructions(code)
    at = bisect_right(offsets, offset) - 1
    line = instructions[at].line
    # Up to CPython 3.12, past the start of the instruction: in a Python function that it called.
    calls_python = offset > offsets[at]
    lines = {line} if line and not calls_python else set()
    todo, done = list(instructions[at].before), {at}
    while todo:
        index = todo.pop()
        one = instructions[index]
        if index in done or _is_check(one.name):
            continue
        if one.name == "PUSH_EXC_INFO":  # it can have come from anywhere in the try block
            return set()
        done.add(index)
        if one.line and not one.quick:
            lines.add(one.line)
        if not one.call:
            todo.extend(one.before)
    return lines


def _is_check(name: str) -> bool:
    return name.startswith(_CHECKS) and name != "JUMP_BACKWARD_NO_INTERRUPT"


@lru_cache(maxsize=32)
def _instructions(code: CodeType) -> tuple[list[int], list[_Instruction]]:
    """All instructions of ``code``: their offsets, and what they are."""
    raw = list(dis.get_instructions(code))
    offsets = [one.offset for one in raw]
    before: list[list[int]] = [[] for _ in raw]
    for index, one in enumerate(raw):
        if index + 1 < len(raw) and not one.opname.startswith(_LEAVES):
            before[index + 1].append(index)
        if one.opcode in dis.hasjrel or one.opcode in dis.hasjabs:
            before[bisect_left(offsets, one.argval)].append(index)
    kept = _kept_variables(code, raw)
    return offsets, [
        _Instruction(
            one.opname,
            one.positions.lineno if one.positions else None,
            _is_quick(one, kept),
            _is_checked_call(raw, index),
            tuple(before[index]),
        )
        for index, one in enumerate(raw)
    ]


def _kept_variables(code: CodeType, raw: list[dis.Instruction]) -> set[str]:
    """Variables that are set once: setting them drops no other value, however large."""
    stores = Counter(one.argval for one in raw if one.opname == "STORE_FAST")
    arguments = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount + 2]
    return {name for name, count in stores.items() if count == 1 and name not in arguments}


def _is_quick(one: dis.Instruction, kept: set[str]) -> bool:
    if one.opname == "STORE_FAST":
        return one.argval in kept
    return _QUICK.fullmatch(one.opname) is not None


def _is_checked_call(raw: list[dis.Instruction], index: int) -> bool:
    """Whether the instruction calls something that surely checks for GIL requests.

    The function of a coroutine or generator does not: it only makes one. So a call is not trusted
    if another call, ``await`` or ``for`` takes what it returns; the end of an ``await`` is.
    """
    if raw[index].opname == "SEND":
        return index >= 3 and raw[index - 3].opname.startswith("CALL")
    if not raw[index].opname.startswith("CALL") or "INTRINSIC" in raw[index].opname:
        return False
    following = raw[index + 1].opname if index + 1 < len(raw) else ""
    return following.startswith(_ENDS_A_CALL) and _called(raw, index) not in _UNCHECKED_CALLS


def _called(raw: list[dis.Instruction], index: int) -> object:
    """The name of what an instruction calls; None if it is no name."""
    start = _start(raw[index])
    for one in reversed(raw[:index]):
        if _start(one) == start and one.opname.startswith("LOAD_"):
            return one.argval
    return None


def _start(one: dis.Instruction) -> tuple[int | None, int | None] | None:
    return one.positions and (one.positions.lineno, one.positions.col_offset)


def learners_frame(frame: FrameType | None) -> Frame | None:
    """The innermost frame that is neither a library's nor this course's."""
    found = _innermost_of_the_learner(frame)
    return found and (found.f_code.co_filename, found.f_lineno, found.f_code.co_name)


def _innermost_of_the_learner(frame: FrameType | None) -> FrameType | None:
    while frame is not None and not _is_learners(frame.f_code.co_filename):
        frame = frame.f_back
    return frame


def learners_traceback(traceback: TracebackType | None) -> Frame | None:
    """The innermost entry of a traceback that is neither a library's nor this course's."""
    return next(reversed(learners_stack(traceback)), None)


def learners_stack(traceback: TracebackType | None) -> tuple[Frame, ...]:
    """All such entries, the most recent call last."""
    return tuple(
        (frame.f_code.co_filename, line, frame.f_code.co_name)
        for frame, line in _walk(traceback)
        if _is_learners(frame.f_code.co_filename)
    )


def _walk(traceback: TracebackType | None) -> Iterable[tuple[FrameType, int]]:
    while traceback is not None:
        yield traceback.tb_frame, traceback.tb_lineno
        traceback = traceback.tb_next


def _is_learners(file: str) -> bool:
    return not file.startswith((*_LIBRARIES, "<"))
