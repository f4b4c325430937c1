"""The line on which a step spends its time, from samples of its stack.

A thread that computes gives up the GIL only at certain bytecodes: at the start of a function, after
a call, and at a jump backward. A sample that had to wait for the GIL therefore shows the first of
these after the computation, which may be on a later line. What ran before it is read from the
bytecode; where that is more than one line, a range of lines is reported, or none.
"""

from __future__ import annotations

import dis
import re
import sys
import sysconfig
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from types import CodeType, FrameType, TracebackType
from typing import NamedTuple, TypeAlias

from helpers.lab.thread_times import PROMPT, Reading

Frame: TypeAlias = tuple[str, int, str]
"""File name, line number, function."""

# Seconds. A thread that computes gives up the GIL 5 ms after the first request. If requests begin
# here, the watchdog samples every computation of 10 ms.
_SAMPLE_AFTER = 0.0025
# The share of a step for which there must be evidence that its line was running.
_EVIDENCE = 1 / 8
_MOST_LINES = 5

_LIBRARIES = tuple(
    {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    | {str(Path(__file__).parents[1])}
)


@dataclass(frozen=True, slots=True)
class Lines:
    """A range of lines in one function; one of them ran."""

    file: str
    first: int
    last: int
    # A generator expression is a function on the same line as another function.
    function: str = field(compare=False)


class Samples:
    """What the watchdog saw of one step."""

    def __init__(self, start: float, reading: Reading) -> None:
        self.start = self._at = start
        self._reading = reading
        self._lines: Lines | None = None
        self._charged: dict[Lines | None, float] = defaultdict(float)
        """Lines → seconds that ended with a sample of these lines."""
        self._evident: dict[Lines | None, float] = defaultdict(float)
        """Lines → seconds in which these lines were certainly running."""

    def due(self, now: float) -> bool:
        """Whether to sample now."""
        # The first sample names the line. Later ones, ever rarer, show whether it only preceded
        # the line that really takes long.
        passed = self._at - self.start
        return now - self.start >= _SAMPLE_AFTER and now - self._at >= passed / 8

    def add(self, lines: Lines | None, reading: Reading, waited: float) -> None:
        """Add a sample for which the watchdog waited ``waited`` seconds for the GIL."""
        seconds = reading.at - self._at
        # All the time since the last sample if that showed the same lines; the time without
        # computing if the thread waits now; otherwise the time that passed without a check.
        evident = waited - sys.getswitchinterval()
        if lines == self._lines:
            evident = seconds
        elif waited < PROMPT:
            evident = seconds - reading.computed_since(self._reading)
        self._charged[lines] += seconds
        self._evident[lines] += min(max(evident, 0.0), seconds)
        self._at, self._reading, self._lines = reading.at, reading, lines

    def verdict(self, reading: Reading, seconds: float) -> Lines | None:
        """The lines that most of the step was spent on, if there is evidence for that.

        The step ends with the reading, and itself caused ``blocked`` seconds of blocking.
        """
        charged = list(self._charged.items())
        if not charged:
            return None
        lines, _ = max(charged, key=lambda item: item[1])
        evident = self._evident[lines]
        if lines == self._lines:
            starved = reading.starved - self._reading.starved
            evident += max(reading.at - self._at - starved, 0.0)
        return lines if evident >= seconds * _EVIDENCE else None


def guilty_lines(frame: FrameType | None, waited: float) -> Lines | None:
    """A range of the learner's lines, one of which was running in a stack; None if it is unknown.

    ``waited``: seconds for which the sampling thread has waited for the GIL.
    """
    exact = _exact(waited) and not _begins(frame)
    return _exact_lines(frame) if exact else _unchecked_lines(frame)


def _exact(waited: float) -> bool:
    """Whether the instruction that a sample shows was running when the GIL was requested, or when
    the thread that holds it was asked to give it up."""
    return waited < PROMPT or 0 <= waited - sys.getswitchinterval() < PROMPT


def _begins(frame: FrameType | None) -> bool:
    """Whether it is at the start of its function: so far, only its caller's code has run."""
    return frame is not None and frame.f_code.co_code[frame.f_lasti] == dis.opmap["RESUME"]


def _exact_lines(frame: FrameType | None) -> Lines | None:
    line = learners_frame(frame)
    return line and Lines(line[0], line[1], line[1], line[2])


def _unchecked_lines(frame: FrameType | None) -> Lines | None:
    """A range of the learner's lines, one of which has run since the last check for GIL requests.

    None if the range is unknown, or longer than five lines.
    """
    while frame is not None and _begins(frame):
        frame = frame.f_back
    if frame is None or not _is_learners(frame.f_code.co_filename):
        return _exact_lines(frame)
    code = frame.f_code
    lines = _since_check(code, frame.f_lasti)
    if not lines or max(lines) - min(lines) >= _MOST_LINES:
        return None
    return Lines(code.co_filename, min(lines), max(lines), code.co_name)


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
"""Bytes. Reading more bytecode would itself block the loop."""


class _Instruction(NamedTuple):
    name: str
    line: int | None
    quick: bool
    call: bool
    """Calls something that checks for GIL requests: a Python function when it begins, anything else
    when it ends."""
    before: tuple[int, ...]
    """Indexes of the instructions that may have run just before this one."""


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
    """All instructions of ``code``: their offsets, and the instructions."""
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
    """The name of what an instruction calls; None if it has no name."""
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
