"""Runs an arm (one implementation, as a function of the server's address) in a process of its own.

A blocked arm cannot freeze the notebook, a hung one can be ended, and drawing cannot disturb it.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from time import perf_counter
from typing import Any, Literal, TypeAlias

from helpers.lab.arm.events import Setup
from helpers.lab.arm.pickling import pickled
from helpers.lab.arm.process import ArmProcess
from helpers.lab.arm.record import Record
from helpers.lab.noise import noise_floor
from helpers.lab.run import Comparison, Failure, Run, Snapshot
from helpers.mock_llm import Ledger, MockLLM

Arm: TypeAlias = Callable[..., Any]
Watch: TypeAlias = Callable[[Snapshot], None]

_WATCH_EVERY = 0.125
# Seconds a server may take to notice that an arm has ended and its connections are closed.
_SETTLE = 0.5


class ArmError(Exception):
    """An arm raised, or its process died. ``run`` is what happened until then."""

    def __init__(self, run: Run, failure: Failure) -> None:
        super().__init__(f"{run.arm} {failure}")
        self.run = run

    def _render_traceback_(self) -> list[str]:
        """What IPython shows: the learner's own stack, which the arm's process saw, not ours."""
        stack = self.run.failure.stack if self.run.failure else ()
        lines = [f"{where}, in {where.function}\n    {where.code}" for where in stack]
        title = ["Traceback of your code (most recent call last):"] if lines else []
        return [*title, *lines, f"{type(self).__name__}: {self}"]


class ResultError(ArmError, TypeError):
    """An arm returned something that cannot be sent from its process to the lab."""


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

    Raises `ArmError` if the arm raises, ends its process or returns what cannot be sent back,
    `TypeError` if the arm or an argument cannot be sent to its process.
    """
    name = name or str(getattr(arm, "__name__", type(arm).__name__))
    code = pickled(arm, ((llm.url,) if llm else ()) + args, name)
    async with _one_at_a_time():
        if llm:
            await asyncio.to_thread(llm.reset)
        process = ArmProcess(Setup(code, backend, *_surroundings()))
        try:
            record = Record(name, limit)
            ledger = await _follow(process, record, llm, watch)
            if record.over:
                await process.leave()
        finally:
            process.end()
    run = record.run(ledger)
    if run.failure is None:
        return run
    if run.outcome == "raised" and not run.failure.type:
        raise ResultError(run, run.failure)
    raise ArmError(run, run.failure)


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


def _surroundings() -> tuple[list[str], list[str], str, dict[str, str]]:
    try:
        folder = os.getcwd()
    except FileNotFoundError:  # it has been removed
        folder = ""
    return sys.path, sys.argv, folder, dict(os.environ)


_turn = threading.Lock()


@asynccontextmanager
async def _one_at_a_time() -> AsyncIterator[None]:
    # Two arms at once would disturb each other and share the server's ledger: a click in a what-if
    # panel waits for the cell that is running, and the other way round. JupyterLab handles a click
    # in a thread with a loop of its own, so an asyncio lock would not do.
    while not _turn.acquire(blocking=False):  # noqa: ASYNC110 - an Event belongs to one loop
        await asyncio.sleep(_WATCH_EVERY)
    try:
        yield
    finally:
        _turn.release()


async def _follow(
    process: ArmProcess, record: Record, llm: MockLLM | None, watch: Watch | None
) -> Ledger:
    """Take the arm's batches until it ends or its limit is over; return the server's ledger."""
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
            record.died(process.exit_code)
            break
        record.take(batch)
        if watch and record.started and perf_counter() >= look:
            watch(record.snapshot(await _ledger(llm)))
            look = perf_counter() + _WATCH_EVERY
    return await _closed_ledger(llm) if record.over else await _ledger(llm)


async def _closed_ledger(llm: MockLLM | None) -> Ledger:
    """The ledger when the server has heard of every client that left, or a little later."""
    deadline = perf_counter() + _SETTLE
    while True:
        ledger = await _ledger(llm)
        open_requests = [
            r for r in ledger.requests if r.last_byte is None and r.client_left is None
        ]
        if not open_requests or perf_counter() > deadline:
            return ledger
        await asyncio.sleep(0.01)


async def _ledger(llm: MockLLM | None) -> Ledger:
    return await asyncio.to_thread(llm.ledger) if llm else Ledger()
