"""Lesson 04: a moderator, a large model and a small one, each with a limit, in one budget."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import anyio
import httpx

from helpers.lab import Run, run_arm
from helpers.lessons.exercise import Criterion, Exercise, Solution, ended
from helpers.mock_llm import MockLLM, Profile, Request

BUDGET = 2.0
"""Seconds for the whole answer."""
RESERVE = 0.8
"""Seconds of the budget that are kept for the small model."""
_SLACK = 0.45
"""Seconds by which something may come late on a busy machine; the mistakes cost 0.8 s and more."""
_SLOW = 0.8
"""Seconds: more than a third of the budget, and less than may pass before the small one's turn."""
_MODERATOR, _LARGE, _SMALL = "mock-moderator", "gpt-4o", "gpt-4o-mini"
_PROFILE = Profile(base=0.05, prefill_rate=100_000, decode_rate=1_000)


@dataclass(frozen=True, slots=True)
class _Case:
    name: str
    trouble: Mapping[str, str | float]
    """Model → the fault that its requests meet, or by how many seconds they are delayed."""
    answering: str | None
    """The model whose answer is wanted; None where there can be none."""


_CASES = (
    _Case("nothing goes wrong", {}, _LARGE),
    _Case("the large model is slow", {_LARGE: _SLOW}, _LARGE),
    _Case("the large model hangs", {_LARGE: "hang"}, _SMALL),
    _Case("the large model drips", {_LARGE: "drip; interval=0.1"}, _SMALL),
    _Case(
        "the moderator is slow, the large model hangs", {_MODERATOR: _SLOW, _LARGE: "hang"}, _SMALL
    ),
    _Case("both models hang", {_LARGE: "hang", _SMALL: "hang"}, None),
    _Case("the moderator hangs", {_MODERATOR: "hang"}, None),
)


@dataclass(frozen=True, slots=True)
class _Told:
    """What a caller was told, and when."""

    seconds: float
    answer: Any = None
    raised: str | None = None
    """Name of the exception; None if something was returned, or if the check stopped waiting."""


@dataclass(frozen=True, slots=True)
class _Outcome:
    case: _Case
    told: _Told
    requests: list[Request]
    start: float
    """On the clock of the requests. All cases start together."""

    def of(self, model: str) -> list[Request]:
        return [request for request in self.requests if request.model == model]

    def answered_by(self, model: str) -> bool:
        return any(request.last_byte is not None for request in self.of(model))


async def _ask_in_all_cases(url: str, handle: Solution) -> list[_Told]:
    """All cases at once: each has a client, and a key by which the books tell its requests."""
    told = [_Told(2 * BUDGET)] * len(_CASES)

    async def one(number: int, client: httpx.AsyncClient) -> None:
        start = perf_counter()
        with anyio.move_on_after(2 * BUDGET):
            try:
                answer = await handle(client, url, f"Question {number}?", BUDGET)
                told[number] = _Told(perf_counter() - start, answer=answer)
            except Exception as error:  # noqa: BLE001 - which one it is, is what is graded
                told[number] = _Told(perf_counter() - start, raised=type(error).__name__)

    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(_client(n)) for n in range(len(_CASES))]
        async with anyio.create_task_group() as tasks:
            for number, client in enumerate(clients):
                tasks.start_soon(one, number, client)
    return told


def _client(number: int) -> httpx.AsyncClient:
    """A client for one case; on its requests' way their trouble is added."""

    async def trouble(request: httpx.Request) -> None:
        found = _CASES[number].trouble.get(json.loads(request.content).get("model"), 0.0)
        if isinstance(found, str):
            request.headers["x-mock-fault"] = found
        else:
            await anyio.sleep(found)

    return httpx.AsyncClient(
        headers={"authorization": f"Bearer sk-lesson-04-case-{number:04}"},
        event_hooks={"request": [trouble]},
        timeout=60,
    )


async def _grade(handle: Solution) -> list[Criterion]:
    async with MockLLM(_PROFILE, answer_tokens=16) as llm:
        run = await run_arm(_ask_in_all_cases, llm, handle, name="handle", limit=6 * BUDGET)
    if run.outcome != "returned":
        return [ended(run)]
    outcomes = list(_outcomes(run))
    judged = [_judge(outcome) for outcome in outcomes]
    return [ended(run), *judged, _moderated(outcomes), _ended_calls(outcomes)]


def _outcomes(run: Run) -> Iterator[_Outcome]:
    start = min((request.arrival for request in run.requests), default=0.0)
    for number, (case, told) in enumerate(zip(_CASES, run.result, strict=True)):
        mine = [r for r in run.requests if r.key and r.key.endswith(f"{number:04}")]
        yield _Outcome(case, told, mine, start)


def _judge(outcome: _Outcome) -> Criterion:
    wanted = {
        _LARGE: "the large model's answer, and no other request",
        _SMALL: "the small model's answer, in the budget",
        None: "NoAnswerError, in the budget",
    }[outcome.case.answering]
    found = _asked_wrongly(outcome) or _told_wrongly(outcome)
    return Criterion(f"{outcome.case.name}: {wanted}", not found, found)


def _asked_wrongly(outcome: _Outcome) -> str:
    large, small = outcome.of(_LARGE), outcome.of(_SMALL)
    if _MODERATOR in outcome.case.trouble and not outcome.answered_by(_MODERATOR):
        return "a model was asked without the moderator's answer" if large or small else ""
    if not large:
        return "the large model was never asked"
    if outcome.case.answering == _LARGE:
        return "the small model was asked too" if small else ""
    latest = outcome.start + BUDGET - RESERVE + _SLACK
    if small and small[0].arrival > latest:
        return "the small model was asked when its reserve had begun to run out"
    fails = isinstance(outcome.case.trouble.get(_LARGE), str)
    return "the small model was never asked" if fails and not small else ""


def _told_wrongly(outcome: _Outcome) -> str:
    told, wanted = outcome.told, outcome.case.answering
    if told.seconds > BUDGET + _SLACK:
        return "the caller was told after the budget was over"
    if wanted is None:
        if told.raised != "NoAnswerError":
            return f"{told.raised} was raised" if told.raised else "something was returned"
        early = told.seconds < BUDGET - RESERVE / 2
        return "it gave up long before the budget was over" if early else ""
    if told.raised:
        return f"{told.raised} was raised"
    if not outcome.answered_by(wanted):
        return f"{wanted} gave no answer"
    good = isinstance(told.answer, str) and told.answer.strip()
    return "" if good else f"a {type(told.answer).__name__} was returned"


def _moderated(outcomes: list[_Outcome]) -> Criterion:
    what = "the moderator answers before a model is asked"
    unmoderated = [o.case.name for o in outcomes if not _is_moderated(o)]
    return Criterion(what, not unmoderated, f"not where {unmoderated[:1]}")


def _is_moderated(outcome: _Outcome) -> bool:
    moderations = outcome.of(_MODERATOR)
    ends = [r.last_byte for r in moderations if r.last_byte is not None]
    asked = outcome.of(_LARGE) + outcome.of(_SMALL)
    return bool(moderations) and all(ends and min(ends) <= r.arrival for r in asked)


def _ended_calls(outcomes: list[_Outcome]) -> Criterion:
    """Whoever only stops waiting leaves the provider at work, and a connection taken."""
    what = "a call that is given up is ended, before the next one is made"
    left_open = [
        outcome.case.name
        for outcome in outcomes
        for small in outcome.of(_SMALL)
        for large in outcome.of(_LARGE)
        if large.last_byte is None and not _left_by(large, small.arrival + _SLACK)
    ]
    return Criterion(what, not left_open, "the large model's call was still open")


def _left_by(request: Request, time: float) -> bool:
    return request.client_left is not None and request.client_left <= time


EXERCISE = Exercise(
    function="handle",
    grade=_grade,
    hints=(
        "Three calls with the whole budget each may take three times the budget. What is left of "
        "it when the second call begins? And which kind of limit ends a drip?",
        "Note when the budget ends, `end = anyio.current_time() + budget`: what is left is "
        "`end - anyio.current_time()`. The large model may use what is left but for `RESERVE`, "
        "the other two all that is left. Let `ask` bound the whole call, with `anyio.fail_after`, "
        "not each read.",
        "In `ask`: `with anyio.fail_after(limit): reply = await client.post(…, timeout=limit)`, "
        "and `except (TimeoutError, httpx.TimeoutException)` raises `NoAnswerError`. In `handle`: "
        "pass `end - anyio.current_time() - RESERVE` to the large model, and without `- RESERVE` "
        "to the moderator and the small model.",
    ),
)
