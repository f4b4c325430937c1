"""Lesson 02: a service class that leaks HTTP clients in two places."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import anyio

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

_MODEL = "gpt-5"
_USERS = 8
# Per user, one after another.
_TURNS = 4
_QUESTIONS = questions(_USERS * _TURNS)
# Long enough for the eight users to overlap even on a busy machine.
_PROFILE = Profile(base=0.1, prefill_rate=100_000, decode_rate=1_000, slots=64, jitter=0.0)
# Seconds after `close` in which the server notices closed connections. Connections that were not
# closed stay open until the process ends, which is later.
_WATCHED = 0.4


async def _one_day(url: str, service: Solution) -> dict[str, Any]:
    answers: dict[str, Any] = {}

    async def converse(user: int) -> None:
        for question in _QUESTIONS[user::_USERS]:
            answers[question] = await assistant.ask(question)

    with undisturbed():
        clients = _counted_clients()
        assistant = service(url)
        async with anyio.create_task_group() as users:
            for user in range(_USERS):
                users.start_soon(converse, user)
        await assistant.close()
        await anyio.sleep(_WATCHED)
    return {"answers": answers, "clients": len(clients)}


def _counted_clients() -> list[object]:
    """Those that are made from now on, with httpx or with httpx2, which the SDKs use."""
    made: list[object] = []
    for name in ("httpx", "httpx2"):
        if module := sys.modules.get(name):
            for kind in (module.Client, module.AsyncClient):
                kind.__init__ = _noting(kind.__init__, made)
    return made


def _noting(init: Callable[..., None], made: list[object]) -> Callable[..., None]:
    def noted(self: object, *args: Any, **options: Any) -> None:
        made.append(self)
        init(self, *args, **options)

    return noted


async def _grade(service: Solution) -> list[Criterion]:
    async with MockLLM(_PROFILE, answer_tokens=16, faults=[MODERATOR_IS_BRIEF]) as llm:
        run = await run_arm(_one_day, llm, service, name="Assistant", limit=15)
        if run.outcome != "returned":
            return [ended(run)]
        expected = await model_answers(llm, _QUESTIONS, _MODEL)
    return [
        ended(run),
        all_answered(run.result["answers"], expected),
        moderated_then_asked(run, len(_QUESTIONS)),
        _at_once(run),
        loop_is_free(run, "nothing blocks the event loop for long"),
        _clients(run),
        _connections(run),
        _closed(run),
    ]


def _at_once(run: Run) -> Criterion:
    return served_at_once(
        run, f"the users do not wait for each other: {AT_ONCE} or more are served at once"
    )


def _clients(run: Run) -> Criterion:
    made = run.result["clients"]
    found = f"{made} clients were made for {len(_QUESTIONS)} questions"
    # A few, such as one for each thread, do no harm.
    return Criterion("all questions share one client, or a few", made <= _USERS, found)


def _connections(run: Run) -> Criterion:
    what = f"{_USERS} users at once need at most {_USERS} connections"
    found = (
        f"the server counted {run.opened} connections for {len(run.requests)} requests "
        "(is a connection kept until the next call?)"
    )
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
    explanation=(
        "A client owns a pool of connections. One that lives as long as the service reuses them, "
        "for both models, and its `aclose` closes them all. A client that is made for a call "
        "opens a connection for it, and one that is dropped leaves it open."
    ),
)
