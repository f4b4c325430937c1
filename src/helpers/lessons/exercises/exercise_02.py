"""Lesson 02: a service class that leaks HTTP clients in two places."""

from __future__ import annotations

from typing import Any

import anyio

from helpers.lab import Run, run_arm
from helpers.lessons.exercise import Criterion, Exercise, Solution, ended
from helpers.lessons.exercises.criteria import MODERATOR, all_answered, finished
from helpers.mock_llm import MockLLM, Profile

_USERS = 8
# Per user, one after another.
_QUESTIONS = 4
_ASKED = _USERS * _QUESTIONS
# Long enough for the eight users to overlap even on a busy machine.
_PROFILE = Profile(base=0.05, prefill_rate=100_000, decode_rate=1_000, slots=64, jitter=0.0)
# Seconds after `close` in which the server notices closed connections. Connections that were not
# closed stay open until the process ends, which is later.
_WATCHED = 0.4


async def _one_day(url: str, service: Solution) -> dict[str, Any]:
    answers: list[Any] = []

    async def converse(user: int) -> None:
        for turn in range(_QUESTIONS):
            answers.append(await assistant.ask(f"Question {turn} of user {user}"))

    assistant = service(url)
    async with anyio.create_task_group() as users:
        for user in range(_USERS):
            users.start_soon(converse, user)
    await assistant.close()
    await anyio.sleep(_WATCHED)
    return {"answers": answers}


async def _grade(service: Solution) -> list[Criterion]:
    async with MockLLM(_PROFILE, answer_tokens=16) as llm:
        run = await run_arm(_one_day, llm, service, name="Assistant", limit=15)
    answers = run.result["answers"] if run.result else []
    return [
        ended(run),
        all_answered(answers, _ASKED),
        _moderated(run),
        _connections(run),
        _closed(run),
    ]


def _moderated(run: Run) -> Criterion:
    """The lower bound: without the moderator there are fewer connections, but it is wrong."""
    done = finished(run)
    moderated = sum(r.model == MODERATOR for r in done)
    asked = len(done) - moderated
    found = f"the server saw {moderated} moderations and {asked} questions"
    what = "every question is moderated, then sent to the model"
    return Criterion(what, (moderated, asked) == (_ASKED, _ASKED), found)


def _connections(run: Run) -> Criterion:
    what = f"{_USERS} users at once need at most {_USERS} connections"
    found = f"the server counted {run.opened} connections for {len(run.requests)} requests"
    return Criterion(what, 0 < run.opened <= _USERS, found)


def _closed(run: Run) -> Criterion:
    still = sum(each.closed is None or each.closed >= run.seconds for each in run.connections)
    # How many depends on the garbage collector.
    found = "connections stayed open"
    return Criterion("`close` closes every connection", still == 0 < run.opened, found)


EXERCISE = Exercise(
    function="Assistant",
    grade=_grade,
    hints=(
        "Find every place that calls `httpx.AsyncClient(`, and count how often each is reached in "
        "the lifetime of one service. Which of these clients does `close` know about?",
        "The moderator's client is created for each question and never closed. `renew` drops a "
        "client without closing it, although the pool itself notices when a kept-alive connection "
        "has gone stale. Both calls go to the same server: how many clients does the service need?",
        "Create one client in `__init__` and use it for both posts. Delete `renew` and the "
        "moderator's own client; then `close` closes everything.",
    ),
)
