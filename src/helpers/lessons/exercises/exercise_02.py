"""Lesson 02: a service class that leaks clients in two places."""

from __future__ import annotations

from typing import Any

import anyio

from helpers.lab import Run, run_arm
from helpers.lessons.exercise import Criterion, Exercise, Solution, ended
from helpers.mock_llm import MockLLM, Profile

_USERS = 8
_QUESTIONS = 4
"""Of each user, one after another."""
_ASKED = _USERS * _QUESTIONS
# Long enough that the eight users overlap on a busy machine too.
_PROFILE = Profile(base=0.05, prefill_rate=100_000, decode_rate=1_000, slots=64, jitter=0.0)
_WATCHED = 0.4
"""Seconds after `close` in which the server hears of closed connections. Those that were not closed
stay open until the process ends, which is later."""


async def _one_day(url: str, service: Solution) -> dict[str, Any]:
    answers: list[Any] = []

    async def converse(user: int) -> None:
        for turn in range(_QUESTIONS):
            answers.append(await assistant.ask(f"User {user} asks for the {turn}. time."))

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
    return [ended(run), _answers(run), _moderated(run), _connections(run), _closed(run)]


def _answers(run: Run) -> Criterion:
    answers = run.result["answers"] if run.result else []
    good = sum(isinstance(answer, str) and bool(answer.strip()) for answer in answers)
    found = f"{good} of {_ASKED} questions got a text back"
    return Criterion("every question is answered", good == _ASKED, found)


def _moderated(run: Run) -> Criterion:
    """The lower bound: whoever leaves the moderator out needs fewer connections, and is wrong."""
    done = [r for r in run.requests if r.status == 200 and r.last_byte is not None]
    moderated = sum(r.model == "mock-moderator" for r in done)
    asked = len(done) - moderated
    found = f"the server saw {moderated} moderations and {asked} questions"
    what = "every question is moderated, then asked"
    return Criterion(what, (moderated, asked) == (_ASKED, _ASKED), found)


def _connections(run: Run) -> Criterion:
    what = f"{_USERS} users at once need at most {_USERS} connections"
    found = f"the server counted {run.opened} connections for {len(run.requests)} requests"
    return Criterion(what, 0 < run.opened <= _USERS, found)


def _closed(run: Run) -> Criterion:
    still = sum(each.closed is None or each.closed >= run.seconds for each in run.connections)
    found = "connections stayed open"  # how many depends on the garbage collector
    return Criterion("`close` closes every connection", still == 0 < run.opened, found)


EXERCISE = Exercise(
    function="Assistant",
    grade=_grade,
    hints=(
        "Search for every place where `httpx.AsyncClient(` is called, and count how often each is "
        "reached in the life of one service. Which of these clients does `close` know?",
        "The moderator's client is made for each question and never closed. `renew` throws a "
        "client away without closing it; and the pool notices by itself when a kept connection has "
        "gone stale. Both calls go to the same server: how many clients does the service need?",
        "Make one client in `__init__` and use it for both posts. Delete `renew` and the "
        "moderator's own client; `close` then closes all there is.",
    ),
)
