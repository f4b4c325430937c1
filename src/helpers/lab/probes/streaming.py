"""Readers of streamed answers: what they see and when, that they leave, that an answer breaks off.

``answer(client, url, question, show)`` is the code under test; ``await show(text)`` brings text to
its reader. Each probe is an arm: `arms` makes one for each answer.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable, Coroutine
from functools import partial
from time import perf_counter
from typing import Any, TypeAlias

import anyio
import anyio.lowlevel
import httpx

from helpers.lab.run import Run

Show: TypeAlias = Callable[[str], Coroutine[Any, Any, None]]
Answer: TypeAlias = Callable[[httpx.AsyncClient, str, str, Show], Coroutine[Any, Any, Any]]
Seen: TypeAlias = list[tuple[float, int]]
"""Of one reader: ``perf_counter()`` and the number of characters of each piece."""

_QUESTIONS = tuple(f"Tell reader {number} about the sea." for number in range(1, 5))
_TIMEOUT = 30.0
BREAKS = ("cut", "no_finish", "error_event", "error_then_done")
"""Faults that end an answer after its first tokens."""


def arms(probe: Callable[..., Any], **answers: Answer) -> dict[str, Any]:
    """An arm for each answer: ``arms(watch, wrong=wrong, right=right)``."""
    return {name: partial(probe, answer=answer) for name, answer in answers.items()}


async def watch(url: str, answer: Answer) -> list[Seen]:
    """Four readers ask at once. What each of them saw."""

    async def read(question: str, seen: Seen) -> None:
        async def show(text: str) -> None:
            # Like a write to a socket, it takes a turn of the event loop.
            await anyio.lowlevel.checkpoint()
            seen.append((perf_counter(), len(text)))

        await answer(client, url, question, show)

    readers: list[Seen] = [[] for _ in _QUESTIONS]
    async with httpx.AsyncClient(timeout=_TIMEOUT) as client, anyio.create_task_group() as tasks:
        for question, seen in zip(_QUESTIONS, readers, strict=True):
            tasks.start_soon(read, question, seen)
    return readers


async def leave(
    url: str, answer: Answer, after: int = 5, stay: float = 1.2, **client_options: Any
) -> None:
    """A reader leaves after so many pieces; the service, and its client, live on for ``stay`` s."""

    shown = 0

    async def show(text: str) -> None:
        nonlocal shown
        shown += 1
        if shown == after:
            reader.cancel()

    async with httpx.AsyncClient(timeout=_TIMEOUT, **client_options) as client:
        with anyio.CancelScope() as reader:
            await answer(client, url, _QUESTIONS[0], show)
        await anyio.sleep(stay)


async def break_off(url: str, answer: Answer) -> dict[str, str]:
    """The result for each kind of broken answer: an exception's name, or "complete".

    The client's headers carry the fault.
    """

    async def show(text: str) -> None:
        pass

    seen = {}
    for kind in BREAKS:
        headers = {"x-mock-fault": kind}
        async with httpx.AsyncClient(headers=headers, timeout=_TIMEOUT) as client:
            try:
                await answer(client, url, _QUESTIONS[0], show)
                seen[kind] = "complete"
            except Exception as error:  # noqa: BLE001 - the exception is the result
                seen[kind] = type(error).__name__
    return seen


def first_words(run: Run) -> list[float]:
    """Of a run of `watch`: seconds from its start until each reader saw something."""
    return [float(seen[0][0] - run.start) for seen in run.result]


def sent(run: Run, moment: float) -> float:
    """Percent of the pieces of all answers that the server had sent ``moment`` s after the start.

    NaN if it sent none.
    """
    pieces = [at for request in run.requests for at in request.chunks]
    return 100 * sum(at <= moment for at in pieces) / len(pieces) if pieces else float("nan")


def sent_before(run: Run) -> float:
    """`sent`, when the last reader saw a first word."""
    return sent(run, max(first_words(run)))


def lag(run: Run) -> float:
    """Mean seconds from the first piece that the server sent to the first word that was seen."""
    first_bytes = [request.first_byte for request in run.requests if request.first_byte is not None]
    return statistics.fmean(first_words(run)) - statistics.fmean(first_bytes)


def empty_share(run: Run) -> float:
    """Percent of the whole time in which the last reader saw nothing: TTFT ÷ total."""
    start = min(request.arrival for request in run.requests)
    end: float = max(seen[-1][0] for seen in run.result) - run.start
    return 100.0 * (max(first_words(run)) - start) / (end - start)


def gap(run: Run) -> float:
    """Median seconds between two pieces that a reader saw: the inter-chunk latency.

    Raises `statistics.StatisticsError` if no reader saw two.
    """
    gaps: list[float] = [
        later - earlier
        for seen in run.result
        for (earlier, _), (later, _) in itertools.pairwise(seen)
    ]
    return statistics.median(gaps)


def visible(run: Run) -> list[tuple[float, float]]:
    """Percent of all answers seen so far, over the seconds since the start: a staircase."""
    shown = sorted((at - run.start, size) for seen in run.result for at, size in seen)
    total, so_far = sum(size for _, size in shown), 0
    steps = [(0.0, 0.0)]
    for at, size in shown:
        steps.append((at, 100 * so_far / total))
        so_far += size
        steps.append((at, 100 * so_far / total))
    return steps


def asked_together(run: Run) -> int:
    """Requests that had arrived when the first answer began."""
    began = min(request.first_byte for request in run.requests if request.first_byte is not None)
    return sum(request.arrival < began for request in run.requests)
