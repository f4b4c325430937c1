"""Batches of calls: what a batch saves, what it reports, and what goes on when it has ended.

``batch(client, url, jobs, save)`` is the code under test: ``jobs`` maps a number to what is asked,
``await save(number, text)`` writes an answer into the store. `process` is an arm; `arms` makes one
for each batch.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from time import perf_counter
from typing import Any, TypeAlias

import anyio
import anyio.lowlevel
import httpx

from helpers.lab.run import DROPPING, Run

Save: TypeAlias = Callable[[int, str], Awaitable[None]]
Jobs: TypeAlias = Mapping[int, Any]
Ask: TypeAlias = Callable[[httpx.AsyncClient, str, str], Awaitable[Any]]
"""``ask(client, url, question)``"""
Batch: TypeAlias = Callable[[httpx.AsyncClient, str, Jobs, Save], Awaitable[Any]]

_TIMEOUT = 10.0
# Seconds, at most, that the service lives on for tasks that the batch left behind.
_AFTERWARDS = 10.0


@dataclass(slots=True)
class Processed:
    """What came of a batch."""

    saved: dict[int, str] = field(default_factory=dict)
    """The store: an answer by the number of its job."""
    report: Any = None
    """What the batch returned."""
    raised: str = ""
    """Name of the exception with which it ended, if it did."""
    ended: float = 0.0
    """``perf_counter()`` when it returned or raised."""
    left: int = 0
    """Tasks that it left behind: they went on when it had ended."""


def arms(**batches: Batch) -> dict[str, Any]:
    """An arm for each batch, to be called with the jobs: ``arms(wrong=wrong, right=right)``."""
    return {name: partial(process, batch=batch) for name, batch in batches.items()}


async def process(url: str, jobs: Jobs, batch: Batch) -> Processed:
    """Run a batch in a service that lives on until the tasks that it left behind are done too."""
    done = Processed()

    async def save(number: int, text: str) -> None:
        # Like a write to a database, it takes a turn of the event loop.
        await anyio.lowlevel.checkpoint()
        done.saved[number] = text

    others = asyncio.all_tasks()
    async with httpx.AsyncClient(timeout=_TIMEOUT) as client:
        try:
            done.report = await batch(client, url, jobs, save)
        except Exception as error:  # noqa: BLE001 - a batch that raises is what is looked at
            done.raised = type(error).__name__
        done.ended = perf_counter()
        left = asyncio.all_tasks() - others
        done.left = len(left)
        if left:
            await asyncio.wait(left, timeout=_AFTERWARDS)
    return done


async def in_turn(url: str, ask: Ask, users: int = 8) -> list[float]:
    """Users ask one after another; an arm. Seconds until each of them had an answer."""
    waits = []
    async with httpx.AsyncClient(timeout=_TIMEOUT) as client:
        for number in range(1, users + 1):
            start = perf_counter()
            await ask(client, url, f"Question {number}?")
            waits.append(perf_counter() - start)
    return waits


def kept(run: Run, good: Callable[[str], bool]) -> int:
    """Of a run of `process`: answers in the store that are good."""
    return sum(map(good, run.result.saved.values()))


def broken(run: Run, good: Callable[[str], bool]) -> int:
    """Bad answers in the store."""
    return len(run.result.saved) - kept(run, good)


def ended(run: Run) -> float:
    """Seconds from the run's start until the batch returned or raised."""
    return float(run.result.ended - run.start)


def orphaned(run: Run) -> int:
    """Answers that the server finished after the batch had ended, for no one."""
    finished = (r for r in run.requests if r.status == 200 and r.fault not in DROPPING)
    return sum(r.last_byte is not None and r.last_byte > ended(run) for r in finished)
