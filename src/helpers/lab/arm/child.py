"""The arm's process: runs one arm on a fresh event loop and tells the lab what happens.

The arm has the main thread. A second thread sends what was noted every 50 ms, so that the arm's
loop never waits for the pipe; when the pipe breaks, the lab is gone, and so is this process.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import io
import os
import pickle
import sys
import threading
import traceback
import types
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import perf_counter
from typing import Any, BinaryIO

import anyio

# Imported so that the fork server has them: the first AsyncClient() of a process would otherwise
# spend 0.2 s on these, on the arm's loop.
import anyio._backends._asyncio
import cloudpickle
import h11  # noqa: F401
import httpcore  # noqa: F401
import httpx  # noqa: F401

from helpers.lab.arm.events import (
    BEAT,
    Backend,
    Batch,
    Beat,
    Event,
    Raised,
    Returned,
    Setup,
    Started,
    Unbuildable,
    Unsendable,
    text_of,
)
from helpers.lab.stall_meter import BlockedStep, StallMeter, learners_stack
from helpers.processes import stay_on_loopback

_SEND_EVERY = 0.05


class Outbox:
    """Events and text on their way to the lab. `put` and `print` never block."""

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe
        self._owner = os.getpid()
        self._events: deque[Event] = deque()
        self._texts: deque[str] = deque()
        self._sending = threading.Lock()
        self._halt = threading.Event()
        self._thread = threading.Thread(target=self._pump, name="outbox", daemon=True)
        self.overdue: Callable[[], BlockedStep | None] = lambda: None

    def __enter__(self) -> Outbox:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._halt.set()
        self._thread.join()
        self.send()

    def put(self, event: Event) -> None:
        self._events.append(event)

    def print(self, text: str) -> None:
        self._texts.append(text)

    def send(self) -> None:
        if os.getpid() != self._owner:  # a fork of the arm
            return
        with self._sending:
            events = [self._events.popleft() for _ in range(len(self._events))]
            printed = "".join([self._texts.popleft() for _ in range(len(self._texts))])
            try:
                self._write(pickle.dumps(Batch(events, printed, self.overdue())))
            except OSError:
                os._exit(1)

    def _write(self, data: bytes) -> None:
        # Not through a buffer, which a fork would have too, and would flush when it ends.
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._pipe, rest) :]

    def _pump(self) -> None:
        while not self._halt.wait(_SEND_EVERY):
            self.send()


class _Printer(io.TextIOBase):
    """Stands in for stdout and stderr."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self._owner = os.getpid()

    def write(self, text: str) -> int:
        if os.getpid() == self._owner:
            self._outbox.print(str(text))
        else:  # a process of a pool
            os.write(1, text.encode(errors="replace"))
        return len(text)

    def writable(self) -> bool:
        return True


def main() -> None:
    """Run one arm; the last event is Returned, Raised, Unbuildable or Unsendable."""
    orders, events = _take_pipes()
    with orders:
        setup: Setup = pickle.load(orders)  # noqa: S301 - written by the lab
    _move_in(setup)
    with Outbox(events) as outbox:
        printer = _Printer(outbox)
        with contextlib.redirect_stdout(printer), contextlib.redirect_stderr(printer):
            outbox.put(_outcome(setup, outbox))


def _take_pipes() -> tuple[BinaryIO, int]:
    """Standard input and output, which are the lab's. What the arm starts inherits neither."""
    orders, events = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return os.fdopen(orders, "rb"), events


def _move_in(setup: Setup) -> None:
    os.environ.clear()
    os.environ.update(setup.environment)
    stay_on_loopback()
    sys.path[:], sys.argv[:] = setup.path, setup.arguments
    with contextlib.suppress(OSError):  # the folder may have been removed
        os.chdir(setup.folder)
    sys.modules["__main__"] = types.ModuleType("__main__")


def _outcome(setup: Setup, outbox: Outbox) -> Event:
    try:
        arm, args = cloudpickle.loads(setup.code)
    except BaseException as error:  # noqa: BLE001 - unpickling runs anybody's code
        return Unbuildable(f"could not be rebuilt in its own process: {_described(error)}")
    for code in (arm, *args):
        _make_importable(code)
    try:
        value = _run(arm, args, setup.backend, outbox)
    except BaseException as error:  # noqa: BLE001 - whatever it raises is the result
        return _raised(error)
    return _result(value)


def _make_importable(code: Any) -> None:
    """Process pools pickle a notebook's functions by name: put them where they are looked up."""
    while isinstance(code, functools.partial):
        for argument in (*code.args, *code.keywords.values()):
            _make_importable(argument)
        code = code.func
    if inspect.isfunction(code) and code.__module__ == "__main__":
        known = vars(sys.modules["__main__"])
        known.update({code.__name__: code} | code.__globals__ | {"__name__": "__main__"})


def _result(value: Any) -> Event:
    at = perf_counter()
    kind = type(value).__name__
    try:
        pickled = cloudpickle.dumps(value)
    except BaseException as error:  # noqa: BLE001 - pickling runs anybody's code
        return Unsendable(at, f"returned a {kind}, which cannot be sent back: {_described(error)}")
    try:
        # Anything that raises or exits when unpickled must do so here.
        pickle.loads(pickled)  # noqa: S301
    except BaseException as error:  # noqa: BLE001 - so does unpickling
        return Unsendable(
            at, f"returned a {kind}, which cannot be rebuilt in the lab: {_described(error)}"
        )
    return Returned(at, pickled)


def _described(error: BaseException) -> str:
    return f"{type(error).__name__}: {text_of(error)}"


def _run(arm: Callable[..., Any], args: tuple[Any, ...], backend: Backend, outbox: Outbox) -> Any:
    if not inspect.iscoroutinefunction(arm):
        _start("none", outbox)
        return arm(*args)
    with StallMeter(outbox.put) as meter:
        outbox.overdue = meter.overdue
        options: dict[str, Any] = (
            {"instruments": [meter.trio_instrument()]}
            if backend == "trio"
            else {"loop_factory": meter.new_event_loop}
        )
        outcome = anyio.run(
            _with_a_heartbeat,
            *(arm, args, backend, outbox),
            backend=backend,
            backend_options=options,
        )
    outbox.overdue = lambda: None
    if isinstance(outcome, _Error):
        raise outcome.error
    return outcome


def _start(backend: Backend, outbox: Outbox) -> None:
    # Sent at once, by this thread: the arm may hold the GIL from its first line on.
    outbox.put(Started(perf_counter(), backend))
    outbox.send()


@dataclass(frozen=True, slots=True)
class _Error:
    """Carries an exception past the task group, which would wrap it in a group."""

    error: BaseException


async def _with_a_heartbeat(
    arm: Callable[..., Any], args: tuple[Any, ...], backend: Backend, outbox: Outbox
) -> Any:
    async with anyio.create_task_group() as tasks:
        await tasks.start(_heartbeat, outbox)
        _start(backend, outbox)
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
    stack = learners_stack(first.__traceback__) or learners_stack(error.__traceback__)
    text = "".join(traceback.format_exception(error))
    return Raised(perf_counter(), type(first).__name__, f"{text_of(first)}{more}", stack, text)


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


if __name__ == "__main__":
    main()
