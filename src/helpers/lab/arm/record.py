"""What is known of an arm, from its batches and the server's ledger, until it is a `Run`."""

from __future__ import annotations

import pickle
import signal
import sys
from dataclasses import replace
from time import perf_counter
from typing import Any, TypeVar

from helpers.lab.arm.events import (
    BEAT,
    Batch,
    Beat,
    Died,
    End,
    Raised,
    Returned,
    Started,
    Unbuildable,
    Unsendable,
    text_of,
)
from helpers.lab.cells import locate
from helpers.lab.run import Block, Failure, Outcome, Run, Snapshot, Stall
from helpers.lab.stall_meter import BlockedStep, Stretch
from helpers.mock_llm import Connection, Ledger, Request

# Seconds an arm's process may take to start; a loaded machine needs a few.
_START_LIMIT = 30.0
_REQUEST_TIMES = ("arrival", "slot", "first_token", "first_byte", "last_byte", "client_left")
_CONNECTION_TIMES = ("opened", "closed")
_R = TypeVar("_R", Request, Connection)


class Record:
    """What is known of an arm so far."""

    def __init__(self, name: str, limit: float) -> None:
        self._name, self._limit = name, limit
        self._created = perf_counter()
        self.started: Started | None = None
        self._end: End | None = None
        self._result: Any = None
        self._printed: list[str] = []
        self._beats: list[float] = []
        self._stalls: list[Stall] = []
        # Of the stretch that is not over yet.
        self._open_blocks: list[BlockedStep] = []
        self._overdue: BlockedStep | None = None

    @property
    def over(self) -> bool:
        return self._end is not None

    def time_left(self) -> float:
        """Seconds until the lab gives up."""
        if self.started is None:
            return self._created + _START_LIMIT - perf_counter()
        return self.started.at + self._limit - perf_counter()

    def take(self, batch: Batch) -> None:
        self._overdue = batch.overdue
        if batch.printed:
            self._printed.append(batch.printed)
            sys.stdout.write(batch.printed)
        for event in batch.events:
            match event:
                case Started():
                    self.started = event
                case Beat(at):
                    self._beats.append(self._since_start(at))
                case BlockedStep():
                    self._open_blocks.append(event)
                case Stretch():
                    self._stretch(event)
                case Returned():
                    self._returned(event)
                case Raised() | Unsendable():
                    self._end = event
                case Unbuildable(reason):
                    raise TypeError(f"{self._name} {reason}")

    def _returned(self, event: Returned) -> None:
        self._end = event
        try:
            self._result = pickle.loads(event.value)  # noqa: S301 - written by our own child
        except (Exception, SystemExit) as error:  # noqa: BLE001 - unpickling runs anybody's code
            reason = f"{type(error).__name__}: {text_of(error)}"
            self._end = Unsendable(
                event.at, f"returned something that cannot be rebuilt in the lab: {reason}"
            )

    def died(self, exit_code: int | None) -> None:
        """The process is gone. Raises `RuntimeError` if the arm had not started."""
        if self.started is None:
            raise RuntimeError(f"{self._name} {_died(exit_code)}, before it began.")
        self._end = Died(perf_counter(), exit_code)

    def _stretch(self, stretch: Stretch) -> None:
        blocks, self._open_blocks = self._open_blocks, []
        if self.started and stretch.start + stretch.seconds > self.started.at:
            start = self._since_start(stretch.start)
            inside = tuple(self._block(block) for block in blocks)
            self._stalls.append(Stall(start, stretch.seconds, stretch.steps, inside))

    def _block(self, step: BlockedStep) -> Block:
        where = locate(step.frame, step.last_line)
        return Block(self._since_start(step.start), step.seconds, where, step.cpu_share)

    def _since_start(self, at: float) -> float:
        return at - self.started.at if self.started else 0.0

    def _stalls_so_far(self) -> tuple[Stall, ...]:
        steps = [*self._open_blocks, *([self._overdue] if self._overdue else [])]
        if not steps or not self.started:
            return tuple(self._stalls)
        blocks = tuple(self._block(step) for step in steps)
        start = blocks[0].start
        end = blocks[-1].start + blocks[-1].seconds
        return (*self._stalls, Stall(start, end - start, None, blocks))

    def snapshot(self, ledger: Ledger) -> Snapshot:
        """The run so far, for a live view."""
        elapsed = self._since_start(perf_counter())
        overdue = self._block(self._overdue) if self._overdue else None
        return Snapshot(
            elapsed=elapsed,
            requests=self._requests(ledger),
            stalls=self._stalls_so_far(),
            beats=tuple(self._beats),
            blocked_since=overdue.start if overdue else None,
            blocked_where=overdue.where if overdue else None,
        )

    def _requests(self, ledger: Ledger) -> tuple[Request, ...]:
        zero = self.started.at if self.started else 0.0
        return tuple(
            replace(
                _shifted(request, zero, _REQUEST_TIMES),
                chunks=tuple(at - zero for at in request.chunks),
            )
            for request in ledger.requests
        )

    def run(self, ledger: Ledger) -> Run:
        """The finished run; without an end, the lab gave up."""
        if self.started is None:
            raise RuntimeError(
                f"{self._name} did not start within {_START_LIMIT:.0f} s: either what it imports "
                "takes so long, or the machine is overloaded. Close other programs and try again."
            )
        end, zero = self._end, self.started.at
        return Run(
            arm=self._name,
            outcome=_outcome(end),
            seconds=self._since_start(end.at) if end else self._limit,
            limit=self._limit,
            backend=self.started.backend,
            result=self._result,
            failure=_failure(end),
            printed="".join(self._printed),
            stalls=self._stalls_so_far(),
            beats=tuple(self._beats),
            beat_interval=BEAT,
            requests=self._requests(ledger),
            connections=tuple(_shifted(c, zero, _CONNECTION_TIMES) for c in ledger.connections),
            peak_in_flight=ledger.peak_in_flight,
            start=zero,
        )


def _outcome(end: End | None) -> Outcome:
    match end:
        case Returned():
            return "returned"
        case Raised() | Unsendable():
            return "raised"
        case Died():
            return "died"
        case None:
            return "gave up"


def _failure(end: End | None) -> Failure | None:
    match end:
        case Raised():
            stack = tuple(where for frame in end.stack if (where := locate(frame)))
            where = stack[-1] if stack else None
            return Failure(end.type, end.message, where, end.traceback, stack)
        case Unsendable(_, reason):
            return Failure("", reason)
        case Died(_, exit_code):
            return Failure("", _died(exit_code))
    return None


def _died(exit_code: int | None) -> str:
    if exit_code is None:
        return "lost its process, because the one that starts arms was killed"
    if exit_code >= 0:
        return f"ended its own process with exit status {exit_code}, as os._exit does"
    number = signal.Signals(-exit_code)
    match number.name:
        case "SIGKILL":
            return "was killed (SIGKILL), as the system does when memory runs out"
        case "SIGSEGV":
            return "crashed in C code (SIGSEGV, a segmentation fault)"
        case name:
            return f"was ended by a signal ({name})"


def _shifted(record: _R, zero: float, times: tuple[str, ...]) -> _R:
    """The same record with its times counted from ``zero``."""
    values = {name: getattr(record, name) for name in times}
    return replace(record, **{name: at - zero for name, at in values.items() if at is not None})
