"""Runs an arm (one implementation, as a function of the server's address) in a process of its own.

A blocked arm cannot freeze the notebook, a hung one can be ended, and drawing cannot disturb it.
"""

from __future__ import annotations

import asyncio
import inspect
import multiprocessing
import pickle
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from time import perf_counter
from typing import Any, Literal, TypeAlias, TypeVar, cast

import cloudpickle

from helpers.lab import arm_process
from helpers.lab.arm_process import Batch, Beat, Printed, Raised, Returned, Started, Unsendable
from helpers.lab.noise import noise_floor
from helpers.lab.run import Block, Comparison, Failure, Run, Snapshot, Stall
from helpers.lab.source import locate
from helpers.lab.stall_meter import BlockedStep, Stretch
from helpers.mock_llm import Connection, Ledger, MockLLM, Request

Arm: TypeAlias = Callable[..., Any]
Watch: TypeAlias = Callable[[Snapshot], None]

_START_LIMIT = 30.0
"""Seconds an arm's process may take to start; a loaded machine needs a few."""
_WATCH_EVERY = 0.125
_SETTLE = 0.5
"""Seconds a server may take to notice that an arm has ended and its connections are closed."""
_REQUEST_TIMES = ("arrival", "slot", "first_token", "first_byte", "last_byte", "client_left")
_CONNECTION_TIMES = ("opened", "closed")
_R = TypeVar("_R", Request, Connection)


class ArmError(Exception):
    """An arm raised. ``run`` is what happened until then."""

    def __init__(self, run: Run, failure: Failure) -> None:
        where = f" at {failure.where}" if failure.where else ""
        super().__init__(f"{run.arm} raised {failure.type}{where}: {failure.message}")
        self.run = run


async def run_arm(
    arm: Arm,
    llm: MockLLM | None,
    *args: Any,
    name: str | None = None,
    limit: float = 20.0,
    backend: Literal["asyncio", "trio"] = "asyncio",
    watch: Watch | None = None,
) -> Run:
    """Call ``arm(llm.url, *args)`` in a fresh process and record what happens.

    Without a server (``llm=None``) the arm is called with ``args`` alone. ``limit`` is in seconds;
    an arm that is still running then is ended, and the run's outcome is "gave up". ``watch`` is
    called with a `Snapshot` about 8 times a second.

    Raises `ArmError` if the arm raises, `TypeError` if the arm, an argument or its result cannot
    be sent from process to process.
    """
    name = name or str(getattr(arm, "__name__", type(arm).__name__))
    payload = _pickled(arm, ((llm.url,) if llm else ()) + args, name)
    async with _one_at_a_time():
        if llm:
            await asyncio.to_thread(llm.reset)
        process = _ArmProcess(payload, backend)
        try:
            record = _Record(name, limit)
            books = await _follow(process, record, llm, watch)
        finally:
            process.end()
    run = record.run(books)
    if run.failure is not None:
        raise ArmError(run, run.failure)
    return run


async def compare_arms(
    arms: dict[str, Arm],
    llm: MockLLM | None,
    *args: Any,
    repeats: int = 3,
    limit: float = 20.0,
    watch: Callable[[str, int], Watch | None] = lambda arm, repeat: None,
    done: Callable[[Run], None] = lambda run: None,
) -> Comparison:
    """Run the arms in turns, ``repeats`` times each, so that both meet the same disturbances.

    ``watch(arm, repeat)`` gives each run its watcher; ``done`` hears of each finished run.
    """
    if repeats < 1:
        raise ValueError(f"repeats must be 1 or more, not {repeats}.")
    noise = await asyncio.to_thread(noise_floor)
    runs: dict[str, list[Run]] = {name: [] for name in arms}
    for repeat in range(repeats):
        for name, arm in arms.items():
            run = await run_arm(arm, llm, *args, name=name, limit=limit, watch=watch(name, repeat))
            runs[name].append(run)
            done(run)
    return Comparison({name: tuple(done) for name, done in runs.items()}, noise)


_turn = threading.Lock()


@asynccontextmanager
async def _one_at_a_time() -> AsyncIterator[None]:
    # Two arms at once would disturb each other and share the server's books: a click in a what-if
    # panel waits for the cell that is running, and the other way round. JupyterLab handles a click
    # in a thread with a loop of its own, so an asyncio lock would not do.
    while not _turn.acquire(blocking=False):  # noqa: ASYNC110 - an Event belongs to one loop
        await asyncio.sleep(_WATCH_EVERY)
    try:
        yield
    finally:
        _turn.release()


def _context() -> Any:
    """A fork server where there is one: a new process then costs 25 ms, not a second."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["helpers.lab.arm_process"])
    return context


class _ArmProcess:
    """The process and a thread that reads its batches."""

    def __init__(self, payload: bytes, backend: str) -> None:
        context = _context()
        self._loop = asyncio.get_running_loop()
        self.inbox: asyncio.Queue[Batch | None] = asyncio.Queue()
        """Batches; None when the process is gone."""
        self._pipe, child_end = context.Pipe(duplex=False)
        self._process = context.Process(
            target=arm_process.main, args=(child_end, payload, backend), daemon=True
        )
        self._process.start()
        child_end.close()
        self._reader = threading.Thread(target=self._read, name="arm-reader", daemon=True)
        self._reader.start()

    def _read(self) -> None:
        with suppress(EOFError, OSError, RuntimeError):  # RuntimeError: the loop is closed
            while True:
                self._tell(self._pipe.recv())
        with suppress(RuntimeError):
            self._tell(None)

    def _tell(self, batch: Batch | None) -> None:
        self._loop.call_soon_threadsafe(self.inbox.put_nowait, batch)

    @property
    def exit_code(self) -> int | None:
        return cast("int | None", self._process.exitcode)

    def end(self) -> None:
        """Kill the process, whatever it is doing, and wait until it is gone."""
        self._process.kill()
        self._process.join()
        self._reader.join()
        self._pipe.close()
        self._process.close()


async def _follow(
    process: _ArmProcess, record: _Record, llm: MockLLM | None, watch: Watch | None
) -> Ledger:
    """Take the arm's batches until it ends or its limit is over; return the server's books."""
    look = 0.0
    while not record.over:
        try:
            # Not wait_for: before Python 3.12 it loses a cancellation (the cell's ■ button) that
            # comes together with a batch.
            async with asyncio.timeout(record.time_left()):
                batch = await process.inbox.get()
        except TimeoutError:
            break
        if batch is None:
            raise record.died(process.exit_code)
        record.take(batch)
        if watch and record.started and perf_counter() >= look:
            watch(record.snapshot(await _books(llm)))
            look = perf_counter() + _WATCH_EVERY
    return await _closed_books(llm) if record.over else await _books(llm)


async def _closed_books(llm: MockLLM | None) -> Ledger:
    """The books when the server has heard of every client that left, or a little later."""
    deadline = perf_counter() + _SETTLE
    while True:
        books = await _books(llm)
        open_requests = [r for r in books.requests if r.last_byte is None and r.client_left is None]
        if not open_requests or perf_counter() > deadline:
            return books
        await asyncio.sleep(0.01)


async def _books(llm: MockLLM | None) -> Ledger:
    return await asyncio.to_thread(llm.ledger) if llm else Ledger()


class _Record:
    """What is known of an arm so far."""

    def __init__(self, name: str, limit: float) -> None:
        self._name, self._limit = name, limit
        self._created = perf_counter()
        self.started: Started | None = None
        self._end: Returned | Raised | None = None
        self._printed: list[str] = []
        self._beats: list[float] = []
        self._stalls: list[Stall] = []
        self._open_blocks: list[BlockedStep] = []
        """Of the stretch that is not over yet."""
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
        for event in batch.events:
            match event:
                case Started():
                    self.started = event
                case Beat(at):
                    self._beats.append(self._since_start(at))
                case Printed(text):
                    self._printed.append(text)
                    sys.stdout.write(text)
                case BlockedStep():
                    self._open_blocks.append(event)
                case Stretch():
                    self._stretch(event)
                case Returned() | Raised():
                    self._end = event
                case Unsendable(reason):
                    raise TypeError(f"{self._name} {reason}")

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

    def snapshot(self, books: Ledger) -> Snapshot:
        """The run so far, for a live view."""
        elapsed = self._since_start(perf_counter())
        overdue = self._block(self._overdue) if self._overdue else None
        return Snapshot(
            elapsed=elapsed,
            requests=self._requests(books),
            stalls=self._stalls_so_far(),
            beats=tuple(self._beats),
            blocked_since=overdue.start if overdue else None,
            blocked_where=overdue.where if overdue else None,
        )

    def _requests(self, books: Ledger) -> tuple[Request, ...]:
        zero = self.started.at if self.started else 0.0
        return tuple(
            replace(
                _shifted(request, zero, _REQUEST_TIMES),
                chunks=tuple(at - zero for at in request.chunks),
            )
            for request in books.requests
        )

    def run(self, books: Ledger) -> Run:
        """The finished run; without an end, the lab gave up."""
        if self.started is None:
            raise RuntimeError(
                f"The process of {self._name} did not start within {_START_LIMIT:.0f} s: "
                "is the machine out of memory? Close something and run the cell again."
            )
        end, zero = self._end, self.started.at
        return Run(
            arm=self._name,
            outcome=_outcome(end),
            seconds=self._since_start(end.at) if end else self._limit,
            limit=self._limit,
            backend=self.started.backend,
            result=_unpickled(end, self._name),
            failure=_failure(end),
            printed="".join(self._printed),
            stalls=self._stalls_so_far(),
            beats=tuple(self._beats),
            beat_interval=arm_process.BEAT,
            requests=self._requests(books),
            connections=tuple(_shifted(c, zero, _CONNECTION_TIMES) for c in books.connections),
            peak_in_flight=books.peak_in_flight,
            start=zero,
        )

    def died(self, exit_code: int | None) -> RuntimeError:
        return RuntimeError(
            f"The process of {self._name} ended without a word (exit status {exit_code}): "
            "it was killed, or it called os._exit. Run the cell again."
        )


def _outcome(end: Returned | Raised | None) -> Literal["returned", "raised", "gave up"]:
    match end:
        case Returned():
            return "returned"
        case Raised():
            return "raised"
        case None:
            return "gave up"


def _failure(end: Returned | Raised | None) -> Failure | None:
    if not isinstance(end, Raised):
        return None
    return Failure(end.type, end.message, locate(end.frame), end.traceback)


def _unpickled(end: Returned | Raised | None, name: str) -> Any:
    if not isinstance(end, Returned):
        return None
    try:
        return pickle.loads(end.value)  # noqa: S301 - written by our own child
    except Exception as error:
        raise TypeError(f"{name} returned something that cannot be sent back: {error}") from error


def _shifted(record: _R, zero: float, times: tuple[str, ...]) -> _R:
    """The same record with its times counted from ``zero``."""
    values = {name: getattr(record, name) for name in times}
    return replace(record, **{name: at - zero for name, at in values.items() if at is not None})


def _pickled(arm: Arm, args: tuple[Any, ...], name: str) -> bytes:
    try:
        return cast(bytes, cloudpickle.dumps((arm, args)))
    except Exception as error:
        culprit = _unpicklable(arm, args)
        raise TypeError(
            f"{name} runs in a process of its own, and {culprit} cannot be sent there ({error}). "
            f"Make it inside {name}."
        ) from error


def _unpicklable(arm: Arm, args: tuple[Any, ...]) -> str:
    """Names the argument or the variable that stops an arm from being sent."""
    used = inspect.getclosurevars(arm) if inspect.isfunction(arm) else None
    suspects = {**used.globals, **used.nonlocals} if used else {}
    suspects |= {f"argument {i}": value for i, value in enumerate(args, 1)}
    for name, value in suspects.items():
        try:
            cloudpickle.dumps(value)
        except Exception:  # noqa: BLE001 - pickling runs anybody's code
            return f"`{name}`, a {type(value).__name__}," if name.isidentifier() else name
    return "something it uses"
