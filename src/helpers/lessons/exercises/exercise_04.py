"""Lesson 04: a moderator, a large model and a small model share one time budget."""

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
from helpers.lessons.exercises.criteria import MODERATOR, is_text
from helpers.mock_llm import MockLLM, Profile, Request

# Seconds for the whole answer.
_BUDGET = 2.0
# Seconds of the budget that are reserved for the small model.
RESERVE = 0.8
# Seconds by which something may be late on a busy machine; the mistakes cost 0.8 s or more.
_SLACK = 0.45
# Seconds: more than a third of the budget, and less than the large model may take.
_SLOW = 0.8
_LARGE, _SMALL = "gpt-4o", "gpt-4o-mini"
_PROFILE = Profile(base=0.05, prefill_rate=100_000, decode_rate=1_000)


@dataclass(frozen=True, slots=True)
class _Case:
    name: str
    trouble: Mapping[str, str | float]
    """Model → the fault that its requests meet, or the seconds by which they are delayed."""
    answering: str | None
    """The model whose answer is expected; None if there can be no answer."""


_CASES = (
    _Case("nothing goes wrong", {}, _LARGE),
    _Case("the large model is slow", {_LARGE: _SLOW}, _LARGE),
    _Case("the large model hangs", {_LARGE: "hang"}, _SMALL),
    _Case("the large model drips", {_LARGE: "drip; interval=0.1"}, _SMALL),
    _Case(
        "the moderator is slow, the large model hangs", {MODERATOR: _SLOW, _LARGE: "hang"}, _SMALL
    ),
    _Case("both models hang", {_LARGE: "hang", _SMALL: "hang"}, None),
    _Case("the moderator hangs", {MODERATOR: "hang"}, None),
)


@dataclass(frozen=True, slots=True)
class _Result:
    """What a caller got, and when."""

    seconds: float
    answer: Any = None
    raised: str | None = None
    """Name of the exception; None if something was returned or the check stopped waiting."""


@dataclass(frozen=True, slots=True)
class _Outcome:
    case: _Case
    result: _Result
    requests: list[Request]
    start: float
    """On the clock of the requests. All cases start together."""

    def of(self, model: str) -> list[Request]:
        return [request for request in self.requests if request.model == model]

    def answered_by(self, model: str) -> bool:
        return any(request.last_byte is not None for request in self.of(model))


async def _ask_in_all_cases(url: str, handle: Solution) -> list[_Result]:
    """All cases at once: each has a client, and an API key that marks its requests."""
    results = [_Result(2 * _BUDGET)] * len(_CASES)

    async def one(number: int, client: httpx.AsyncClient) -> None:
        start = perf_counter()
        with anyio.move_on_after(2 * _BUDGET):
            try:
                answer = await handle(client, url, f"Question {number}?", _BUDGET)
                results[number] = _Result(perf_counter() - start, answer=answer)
            except Exception as error:  # noqa: BLE001 - its type is what is graded
                results[number] = _Result(perf_counter() - start, raised=type(error).__name__)

    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(_client(n)) for n in range(len(_CASES))]
        async with anyio.create_task_group() as tasks:
            for number, client in enumerate(clients):
                tasks.start_soon(one, number, client)
    return results


def _client(number: int) -> httpx.AsyncClient:
    """A client for one case; it adds the case's trouble to the requests."""

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
        run = await run_arm(_ask_in_all_cases, llm, handle, name="handle", limit=6 * _BUDGET)
    if run.outcome != "returned":
        return [ended(run)]
    outcomes = list(_outcomes(run))
    judged = [_judge(outcome) for outcome in outcomes]
    return [ended(run), *judged, _moderated(outcomes), _ended_calls(outcomes)]


def _outcomes(run: Run) -> Iterator[_Outcome]:
    start = min((request.arrival for request in run.requests), default=0.0)
    for number, (case, result) in enumerate(zip(_CASES, run.result, strict=True)):
        mine = [r for r in run.requests if r.key and r.key.endswith(f"{number:04}")]
        yield _Outcome(case, result, mine, start)


def _judge(outcome: _Outcome) -> Criterion:
    wanted = {
        _LARGE: "the large model's answer, and no request to the small one",
        _SMALL: "the small model's answer, within the budget",
        None: "NoAnswerError, within the budget",
    }[outcome.case.answering]
    found = _wrong_requests(outcome) or _wrong_result(outcome)
    return Criterion(f"{outcome.case.name}: {wanted}", not found, found)


def _wrong_requests(outcome: _Outcome) -> str:
    large, small = outcome.of(_LARGE), outcome.of(_SMALL)
    if MODERATOR in outcome.case.trouble and not outcome.answered_by(MODERATOR):
        return "a model was called without the moderator's answer" if large or small else ""
    if not large:
        return "the large model was never called"
    if outcome.case.answering == _LARGE:
        return "the small model was called too" if small else ""
    latest = outcome.start + _BUDGET - RESERVE + _SLACK
    if small and small[0].arrival > latest:
        return "the small model was called after its reserve had begun to run out"
    fails = isinstance(outcome.case.trouble.get(_LARGE), str)
    return "the small model was never called" if fails and not small else ""


def _wrong_result(outcome: _Outcome) -> str:
    result, wanted = outcome.result, outcome.case.answering
    if result.seconds > _BUDGET + _SLACK:
        return "the caller waited for longer than the budget"
    if wanted is None:
        if result.raised != "NoAnswerError":
            return f"it raised {result.raised}" if result.raised else "it returned something"
        early = result.seconds < _BUDGET - RESERVE / 2
        return "it gave up long before the budget was used up" if early else ""
    if result.raised:
        return f"it raised {result.raised}"
    if not outcome.answered_by(wanted):
        return f"{wanted} did not answer"
    answer = result.answer
    return "" if is_text(answer) else f"it returned a {type(answer).__name__}, not a text"


def _moderated(outcomes: list[_Outcome]) -> Criterion:
    what = "the moderator answers before a model is called"
    unmoderated = [outcome.case.name for outcome in outcomes if not _is_moderated(outcome)]
    return Criterion(what, not unmoderated, f"it did not where {' and '.join(unmoderated)}")


def _is_moderated(outcome: _Outcome) -> bool:
    moderations = outcome.of(MODERATOR)
    ends = [r.last_byte for r in moderations if r.last_byte is not None]
    asked = outcome.of(_LARGE) + outcome.of(_SMALL)
    return bool(moderations) and all(ends and min(ends) <= r.arrival for r in asked)


def _ended_calls(outcomes: list[_Outcome]) -> Criterion:
    """Merely not waiting leaves the provider at work, and a connection in use."""
    what = "a call that times out is canceled before the next call is made"
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
        "Three calls that may each take the whole budget can take three times the budget. How much "
        "is left when the second call begins? And which kind of limit ends a drip?",
        "Note when the budget ends, `end = anyio.current_time() + budget`; the time left is then "
        "`end - anyio.current_time()`. The large model may use all of it except `RESERVE`, the "
        "other two all of it. Let `ask` limit the whole call with `anyio.fail_after`, not each "
        "read.",
        "In `ask`: `with anyio.fail_after(limit): reply = await client.post(…, timeout=limit)`, "
        "and `except (TimeoutError, httpx.TimeoutException)` raises `NoAnswerError`. In `handle`: "
        "pass `end - anyio.current_time() - RESERVE` to the large model, and without `- RESERVE` "
        "to the moderator and the small model.",
    ),
)
