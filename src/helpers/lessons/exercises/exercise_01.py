"""Lesson 01: a handler with two calls that block the loop, one of them a helper deep."""

from __future__ import annotations

from typing import Any

import anyio
import httpx

from helpers.lab import Run, run_arm
from helpers.lessons.exercise import Criterion, Exercise, Solution, ended
from helpers.mock_llm import MockLLM, Profile

PAUSE = 0.1
"""Seconds between the moderator's answer and the next request."""
_QUESTIONS = tuple(f"Question {number}: what is an event loop?" for number in range(1, 9))
# Long enough that eight requests overlap on a busy machine too, one after the other 4 s.
_PROFILE = Profile(base=0.25, prefill_rate=100_000, decode_rate=1_000, slots=64, jitter=0.0)
_LONGEST_WAIT = 0.04
"""Seconds. A step that waits this long is a blocking call: the shortest one here takes 0.1 s."""


async def _eight_at_once(url: str, handle: Solution) -> list[Any]:
    answers: list[Any] = [None] * len(_QUESTIONS)

    async def one(index: int) -> None:
        answers[index] = await handle(client, url, _QUESTIONS[index])

    async with httpx.AsyncClient(timeout=10) as client, anyio.create_task_group() as tasks:
        for index in range(len(_QUESTIONS)):
            tasks.start_soon(one, index)
    return answers


async def _grade(handle: Solution) -> list[Criterion]:
    async with MockLLM(_PROFILE, answer_tokens=16) as llm:
        run = await run_arm(_eight_at_once, llm, handle, name="handle", limit=12)
    return [ended(run), _answers(run), _work(run), _in_flight(run), _loop(run)]


def _answers(run: Run) -> Criterion:
    answers = run.result or []
    good = sum(isinstance(answer, str) and bool(answer.strip()) for answer in answers)
    found = f"{good} of {len(_QUESTIONS)} questions got a text back"
    return Criterion("every question is answered", good == len(_QUESTIONS), found)


def _work(run: Run) -> Criterion:
    """The lower bound: whoever skips the moderator or the pause is fast, and wrong."""
    moderated = sorted(r.last_byte for r in _finished(run) if r.model == "mock-moderator")
    asked = sorted(r.arrival for r in _finished(run) if r.model != "mock-moderator")
    what = "every question is moderated, and its answer asked for after the pause"
    if (len(moderated), len(asked)) != (len(_QUESTIONS), len(_QUESTIONS)):
        found = f"the server saw {len(moderated)} moderations and {len(asked)} questions"
        return Criterion(what, False, found)
    # If each question keeps its pause, so do the sorted times, pair by pair. A coarse system timer
    # (Windows: 16 ms) may wake a little early.
    kept = all(b - a >= 0.8 * PAUSE for a, b in zip(moderated, asked, strict=True))
    return Criterion(what, kept, "an answer was asked for before its pause was over")


def _finished(run: Run) -> list[Any]:
    return [r for r in run.requests if r.status == 200 and r.last_byte is not None]


def _in_flight(run: Run) -> Criterion:
    what = f"{len(_QUESTIONS)} moderations are in flight at once"
    spans = [(r.arrival, r.last_byte) for r in _finished(run) if r.model == "mock-moderator"]
    peak = max((sum(a <= start < b for a, b in spans) for start, _ in spans), default=0)
    return Criterion(what, peak == len(_QUESTIONS), f"the server saw {peak} at most")


def _loop(run: Run) -> Criterion:
    blocks = [block for block in run.blocks if block.waiting and block.seconds >= _LONGEST_WAIT]
    lines = sorted({(b.where.line, b.where.function, b.where.code) for b in blocks if b.where})
    found = "; ".join(f"line {line}, in {name}: {code}" for line, name, code in lines)
    return Criterion("nothing blocks the event loop", not blocks, found or "a call blocks it")


EXERCISE = Exercise(
    function="handle",
    grade=_grade,
    hints=(
        "`async def` does not make the calls inside it asynchronous. Which lines of `handle`, or "
        "of what it calls, take time and have no `await` in front of them?",
        "The check names the line that blocks longest; repair it and it names the next. One waits "
        "for a server, the other for a clock. `handle` already receives a client that can be "
        "awaited, and anyio has a sleep that gives the loop back.",
        "Make `moderate` an `async def` that takes the client and awaits `client.post`; then "
        "await `moderate` in `handle`. Replace `time.sleep` by `await anyio.sleep`.",
    ),
)
