"""Lesson 01: a handler with two blocking calls, one of them inside a helper function."""

from __future__ import annotations

from typing import Any

import anyio
import httpx

from helpers.lab import Run, run_arm
from helpers.lessons.exercise import Criterion, Exercise, Solution, ended
from helpers.lessons.exercises.criteria import MODERATOR, all_answered, finished
from helpers.mock_llm import MockLLM, Profile

# Seconds between the moderator's answer and the next request.
PAUSE = 0.1
_QUESTIONS = tuple(f"Question {number}: what is an event loop?" for number in range(1, 9))
# Long enough for eight requests to overlap even on a busy machine; in sequence they take 4 s.
_PROFILE = Profile(base=0.25, prefill_rate=100_000, decode_rate=1_000, slots=64, jitter=0.0)
# Seconds. A step that waits this long is a blocking call: the shortest one here takes 0.1 s.
_LONGEST_WAIT = 0.04


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
    return [
        ended(run),
        all_answered(run.result or [], len(_QUESTIONS)),
        _work(run),
        _in_flight(run),
        _loop(run),
    ]


def _work(run: Run) -> Criterion:
    """The lower bound: a handler that skips the moderator or the pause is fast, but wrong."""
    moderated = sorted(r.last_byte or 0.0 for r in finished(run) if r.model == MODERATOR)
    asked = sorted(r.arrival for r in finished(run) if r.model != MODERATOR)
    what = "every question is moderated, and sent to the model after the pause"
    if (len(moderated), len(asked)) != (len(_QUESTIONS), len(_QUESTIONS)):
        found = f"the server saw {len(moderated)} moderations and {len(asked)} questions"
        return Criterion(what, False, found)
    # If every question keeps its pause, then so does each pair of the sorted times. A coarse system
    # timer (16 ms on Windows) may fire slightly early.
    kept = all(b - a >= 0.8 * PAUSE for a, b in zip(moderated, asked, strict=True))
    return Criterion(what, kept, "a question was sent to the model before its pause was over")


def _in_flight(run: Run) -> Criterion:
    what = f"{len(_QUESTIONS)} moderations are in flight at once"
    spans = [(r.arrival, r.last_byte or 0.0) for r in finished(run) if r.model == MODERATOR]
    peak = max((sum(a <= start < b for a, b in spans) for start, _ in spans), default=0)
    return Criterion(what, peak == len(_QUESTIONS), f"the server saw at most {peak}")


def _loop(run: Run) -> Criterion:
    blocks = [block for block in run.blocks if block.waiting and block.seconds >= _LONGEST_WAIT]
    lines = sorted({(b.where.line, b.where.function, b.where.code) for b in blocks if b.where})
    found = "; ".join(f"line {line}, in {name}: {code}" for line, name, code in lines)
    return Criterion("nothing blocks the event loop", not blocks, found or "a call blocks it")


EXERCISE = Exercise(
    function="handle",
    grade=_grade,
    hints=(
        "`async def` does not make the calls inside it asynchronous. Which lines in `handle`, and "
        "in the functions that it calls, take time but have no `await` in front of them?",
        "The check names the line that blocks longest; fix it, and the check names the next one. "
        "One line waits for a server, the other for a clock. `handle` already receives a client "
        "that you can await, and anyio has a sleep that does not block the event loop.",
        "Make `moderate` an `async def` that takes the client and awaits `client.post`; then "
        "await `moderate` in `handle`. Replace `time.sleep` with `await anyio.sleep`.",
    ),
)
