"""Lesson 01: a handler with two blocking calls, one of them inside a helper function."""

from __future__ import annotations

from typing import Any

import anyio
import httpx

from helpers.lab import Run, run_arm
from helpers.lessons.exercise import Criterion, Exercise, Solution, ended
from helpers.lessons.exercises.criteria import (
    AT_ONCE,
    MODERATOR_IS_BRIEF,
    all_answered,
    loop_is_free,
    model_answers,
    moderated_then_asked,
    questions,
    served_at_once,
    undisturbed,
)
from helpers.mock_llm import MockLLM, Profile

# Seconds between the moderator's answer and the next request.
PAUSE = 0.1
_MODEL = "gpt-5-mini"
_QUESTIONS = questions(8)
# Long enough for requests to overlap even on a busy machine. A longer question takes longer, so
# that a guessed pause does not stand for waiting for the moderator.
_PROFILE = Profile(base=0.15, prefill_rate=100, decode_rate=1_000, slots=64, jitter=0.0)


async def _eight_at_once(url: str, handle: Solution) -> dict[str, Any]:
    """Question → what `handle` returned."""
    answers: dict[str, Any] = {}

    async def one(question: str) -> None:
        answers[question] = await handle(client, url, question)

    with undisturbed():
        async with httpx.AsyncClient(timeout=10) as client, anyio.create_task_group() as tasks:
            for question in _QUESTIONS:
                tasks.start_soon(one, question)
    return answers


async def _grade(handle: Solution) -> list[Criterion]:
    async with MockLLM(_PROFILE, answer_tokens=16, faults=[MODERATOR_IS_BRIEF]) as llm:
        run = await run_arm(_eight_at_once, llm, handle, name="handle", limit=12)
        if run.outcome != "returned":
            return [ended(run)]
        expected = await model_answers(llm, _QUESTIONS, _MODEL)
    return [
        ended(run),
        all_answered(run.result, expected),
        moderated_then_asked(run, len(_QUESTIONS), PAUSE),
        _at_once(run),
        loop_is_free(run, "nothing blocks the event loop for long"),
    ]


def _at_once(run: Run) -> Criterion:
    return served_at_once(
        run, f"the questions do not wait for each other: {AT_ONCE} or more are handled at once"
    )


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
    explanation=(
        "An `await` on a client or a timer lets the event loop run other tasks until the answer "
        "or the time has come. A synchronous call does not, however deep in a helper it is. Where "
        "only a synchronous client exists, `asyncio.to_thread` moves the call off the loop."
    ),
)
