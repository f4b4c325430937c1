"""The child's side: run one arm on a fresh event loop and tell the lab what happens.

The arm has the main thread. A second thread sends what was noted every 50 ms, so that the arm's
loop never waits for the pipe; when the pipe breaks, the lab is gone, and so is this process.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import inspect
import io
import os
import signal
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from time import perf_counter
from typing import Any, Literal, TypeAlias

import anyio

# Imported so that the forkserver has them: the first AsyncClient() of a process would otherwise
# spend 0.2 s on these, on the arm's loop.
import anyio._backends._asyncio
import cloudpickle
import h11  # noqa: F401
import httpcore  # noqa: F401
import httpx  # noqa: F401

from helpers.lab.stall_meter import (
    BlockedStep,
    Frame,
    StallMeter,
    Stretch,
    learners_traceback,
)

BEAT = 0.02
"""Seconds between two beats of the heartbeat."""
_SEND_EVERY = 0.05
_PR_SET_PDEATHSIG = 1  # prctl(2)

Backend: TypeAlias = Literal["asyncio", "trio", "none"]


@dataclass(frozen=True, slots=True)
class Started:
    """The arm begins now: 0 on the run's time axis."""

    at: float
    backend: Backend


@dataclass(frozen=True, slots=True)
class Beat:
    at: float


@dataclass(frozen=True, slots=True)
class Printed:
    text: str


@dataclass(frozen=True, slots=True)
class Returned:
    at: float
    value: bytes
    """Pickled."""


@dataclass(frozen=True, slots=True)
class Raised:
    at: float
    type: str
    message: str
    frame: Frame | None
    traceback: str


@dataclass(frozen=True, slots=True)
class Unsendable:
    """The arm's argument or result cannot cross the process boundary."""

    reason: str


Event: TypeAlias = Started | Beat | Printed | BlockedStep | Stretch | Returned | Raised | Unsendable


@dataclass(frozen=True, slots=True)
class Batch:
    """What happened since the last batch, and what the loop is stuck in now."""

    events: list[Event]
    overdue: BlockedStep | None


class Outbox:
    """Events on their way to the lab. `put` never blocks."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._events: deque[Event] = deque()
        self._halt = threading.Event()
        self._thread = threading.Thread(target=self._pump, name="outbox", daemon=True)
        self.overdue: Callable[[], BlockedStep | None] = lambda: None

    def __enter__(self) -> Outbox:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._halt.set()
        self._thread.join()
        self._send()

    def put(self, event: Event) -> None:
        self._events.append(event)

    def _pump(self) -> None:
        while not self._halt.wait(_SEND_EVERY):
            self._send()

    def _send(self) -> None:
        events = [self._events.popleft() for _ in range(len(self._events))]
        try:
            self._pipe.send(Batch(events, self.overdue()))
        except OSError:
            os._exit(1)


class _Printer(io.TextIOBase):
    """Stands in for stdout and stderr."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox

    def write(self, text: str) -> int:
        self._outbox.put(Printed(text))
        return len(text)

    def writable(self) -> bool:
        return True


def main(pipe: Connection, payload: bytes, backend: Backend) -> None:
    """Run the pickled ``(arm, args)``; the last event is Returned, Raised or Unsendable."""
    _die_with_the_lab()
    # Jupyter interrupts a kernel's whole process group. The lab hears it too and ends the arm.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with Outbox(pipe) as outbox:
        printer = _Printer(outbox)
        with contextlib.redirect_stdout(printer), contextlib.redirect_stderr(printer):
            outbox.put(_outcome(payload, backend, outbox))


def _die_with_the_lab() -> None:
    # The outbox notices a dead lab, but not while the arm sits in C code that holds the GIL.
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _outcome(payload: bytes, backend: Backend, outbox: Outbox) -> Event:
    try:
        arm, args = cloudpickle.loads(payload)
    except Exception as error:  # noqa: BLE001 - unpickling runs anybody's code
        return Unsendable(f"could not be rebuilt in its own process: {error}")
    try:
        value = _run(arm, args, backend, outbox)
    except BaseException as error:  # noqa: BLE001 - whatever it raises is the result
        return _raised(error)
    try:
        return Returned(perf_counter(), cloudpickle.dumps(value))
    except Exception as error:  # noqa: BLE001 - pickling runs anybody's code
        return Unsendable(f"returned a {type(value).__name__}, which cannot be sent back: {error}")


def _run(arm: Callable[..., Any], args: tuple[Any, ...], backend: Backend, outbox: Outbox) -> Any:
    if not inspect.iscoroutinefunction(arm):
        outbox.put(Started(perf_counter(), "none"))
        return arm(*args)
    with StallMeter(outbox.put) as meter:
        outbox.overdue = meter.overdue
        options: dict[str, Any] = (
            {"instruments": [meter.trio_instrument()]}
            if backend == "trio"
            else {"loop_factory": meter.new_event_loop}
        )
        outcome = anyio.run(
            _beside_a_heartbeat,
            *(arm, args, backend, outbox),
            backend=backend,
            backend_options=options,
        )
    outbox.overdue = lambda: None
    if isinstance(outcome, _Error):
        raise outcome.error
    return outcome


@dataclass(frozen=True, slots=True)
class _Error:
    """Carries an exception past the task group, which would wrap it in a group."""

    error: BaseException


async def _beside_a_heartbeat(
    arm: Callable[..., Any], args: tuple[Any, ...], backend: Backend, outbox: Outbox
) -> Any:
    async with anyio.create_task_group() as tasks:
        await tasks.start(_heartbeat, outbox)
        outbox.put(Started(perf_counter(), backend))
        try:
            return await arm(*args)
        except Exception as error:  # noqa: BLE001 - carried on, not swallowed
            return _Error(error)
        finally:
            if backend == "asyncio":
                _forget_cancellations()
            tasks.cancel_scope.cancel()


def _forget_cancellations() -> None:
    """Those that the arm has dealt with: with one on its count, a task takes the end of the
    heartbeat's scope for a cancellation from outside. Python 3.11's `asyncio.TaskGroup` leaves one
    there when a task of its own raises; so does an ``except`` that swallows."""
    task = asyncio.current_task()
    while task is not None and task.cancelling():
        task.uncancel()


async def _heartbeat(outbox: Outbox, *, task_status: anyio.abc.TaskStatus[None]) -> None:
    task_status.started()
    due = anyio.current_time()
    while True:
        due = max(due, anyio.current_time()) + BEAT
        await anyio.sleep_until(due)
        outbox.put(Beat(perf_counter()))


def _raised(error: BaseException) -> Raised:
    leaves = list(_leaves(error))
    first = leaves[0]
    more = f" (and {len(leaves) - 1} more)" if len(leaves) > 1 else ""
    frame = learners_traceback(first.__traceback__) or learners_traceback(error.__traceback__)
    text = "".join(traceback.format_exception(error))
    return Raised(perf_counter(), type(first).__name__, f"{first}{more}", frame, text)


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error
