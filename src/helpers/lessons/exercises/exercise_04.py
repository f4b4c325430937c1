"""Lesson 04: a moderator, a large model and a small model share one time budget."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import anyio
import httpx

from helpers.lab import Run, run_arm
from helpers.lab.arm.events import text_of
from helpers.lab.cells import locate
from helpers.lab.stall_meter import Frame, learners_traceback
from helpers.lessons.exercise import Criterion, Exercise, Solution, ended
from helpers.lessons.exercises.criteria import (
    MODERATOR,
    MODERATOR_IS_BRIEF,
    is_same,
    lateness,
    loop_is_free,
    model_answers,
    questions,
    undisturbed,
    wrong_text,
)
from helpers.mock_llm import MockLLM, Profile, Request

# Seconds for the whole answer, in most cases and in one.
_BUDGET, _LARGER_BUDGET = 2.0, 2.6
# Seconds of the budget that are reserved for the small model.
RESERVE = 0.8
# Seconds by which something may be late on a busy machine; the mistakes cost 0.8 s or more.
_SLACK = 0.45
# Seconds: less than the large model may take, and more than a third of either budget.
_SLOW_MODERATOR = 0.8
# The same of the larger budget; and more than the large model could take of the other one.
_SLOW_LARGE = 1.3
# Seconds: less than the reserve.
_SLOW_SMALL = 0.25
_LARGE, _SMALL = "gpt-5", "gpt-5-mini"
_PROFILE = Profile(base=0.05, prefill_rate=100_000, decode_rate=1_000)


@dataclass(frozen=True, slots=True)
class _Case:
    name: str
    trouble: Mapping[str, str | float]
    """Model → the fault that its requests meet, or the seconds by which they are delayed."""
    answering: str | None
    """The model whose answer is expected; None if there can be no answer."""
    budget: float = _BUDGET


_CASES = (
    _Case("nothing goes wrong", {}, _LARGE),
    _Case("the large model is slow", {_LARGE: _SLOW_LARGE}, _LARGE, _LARGER_BUDGET),
    _Case("the large model hangs", {_LARGE: "hang", _SMALL: _SLOW_SMALL}, _SMALL),
    _Case("the large model drips", {_LARGE: "drip; interval=0.1"}, _SMALL),
    _Case(
        "the moderator is slow, the large model hangs",
        {MODERATOR: _SLOW_MODERATOR, _LARGE: "hang"},
        _SMALL,
    ),
    _Case("both models hang", {_LARGE: "hang", _SMALL: "hang"}, None),
    _Case("the moderator hangs", {MODERATOR: "hang"}, None),
)
_QUESTIONS = questions(len(_CASES))


@dataclass(slots=True)
class _Result:
    """What a caller got, and when. Times are ``perf_counter`` seconds."""

    seconds: float
    answer: Any = None
    raised: str | None = None
    """Name of the exception; None if something was returned or the check stopped waiting."""
    message: str = ""
    """Of the exception."""
    frame: Frame | None = None
    """Where it was raised."""
    calls: list[tuple[str, float]] = field(default_factory=list)
    """Model and time of each call, also of those that the server never saw."""


@dataclass(frozen=True, slots=True)
class _Outcome:
    case: _Case
    result: _Result
    requests: list[Request]
    run: Run
    expected: str
    """The answer of a model."""
    slack: float
    """Seconds by which something may be late."""

    def of(self, model: str) -> list[Request]:
        return [request for request in self.requests if _role(request.model or "") == model]

    def calls(self, model: str) -> list[float]:
        """When it was called, on the clock of the requests."""
        return [at - self.run.start for name, at in self.result.calls if name == model]

    def answered_by(self, model: str) -> bool:
        return any(request.last_byte is not None for request in self.of(model))


async def _ask_in_all_cases(url: str, handle: Solution) -> list[_Result]:
    """All cases at once: each has a client, and an API key that marks its requests."""
    results = [_Result(2 * case.budget) for case in _CASES]

    async def one(number: int, client: httpx.AsyncClient) -> None:
        start, budget, result = perf_counter(), _CASES[number].budget, results[number]
        with anyio.move_on_after(2 * budget):
            try:
                result.answer = await handle(client, url, _QUESTIONS[number], budget)
            except Exception as error:  # noqa: BLE001 - its type is what is graded
                result.raised, result.message = type(error).__name__, text_of(error)
                result.frame = learners_traceback(error.__traceback__)
            result.seconds = perf_counter() - start

    async with AsyncExitStack() as stack:
        stack.enter_context(undisturbed())
        clients = [
            await stack.enter_async_context(_client(number, result.calls))
            for number, result in enumerate(results)
        ]
        async with anyio.create_task_group() as tasks:
            for number, client in enumerate(clients):
                tasks.start_soon(one, number, client)
    return results


def _client(number: int, calls: list[tuple[str, float]]) -> httpx.AsyncClient:
    """A client for one case; it notes and marks the calls, and adds the case's trouble."""

    async def trouble(request: httpx.Request) -> None:
        # Here, since an SDK that is given this client sets its own.
        request.headers["authorization"] = f"Bearer {_key(number)}"
        model = _role(str(json.loads(request.content).get("model")))
        calls.append((model, perf_counter()))
        found = _CASES[number].trouble.get(model, 0.0)
        if isinstance(found, str):
            request.headers["x-mock-fault"] = found
        else:
            await anyio.sleep(found)

    return httpx.AsyncClient(event_hooks={"request": [trouble]}, timeout=60)


def _role(model: str) -> str:
    """Solutions name models of any generation: what is called mini is the small one."""
    if model == MODERATOR:
        return model
    return _SMALL if "mini" in model else _LARGE


def _key(number: int) -> str:
    return f"sk-lesson-04-case-{number:04}"


def _is_from(request: Request, number: int) -> bool:
    return request.key is not None and request.key.endswith(_key(number)[-4:])


async def _grade(handle: Solution) -> list[Criterion]:
    async with MockLLM(_PROFILE, answer_tokens=16, faults=[MODERATOR_IS_BRIEF]) as llm:
        run = await run_arm(_ask_in_all_cases, llm, handle, name="handle", limit=6 * _BUDGET)
        if run.outcome != "returned":
            return [ended(run)]
        expected = await model_answers(llm, _QUESTIONS, _LARGE)
    client = _client_passed_in(run)
    if not client.met:
        return [ended(run), client]
    outcomes = list(_outcomes(run, expected))
    if outcomes[0].result.raised:
        return [Criterion(ended(run).what, False, _raised(outcomes[0].result))]
    judged = [_judge(outcome) for outcome in outcomes]
    return [
        ended(run),
        client,
        *judged,
        _moderated(outcomes),
        _ended_calls(outcomes),
        loop_is_free(run),
    ]


def _client_passed_in(run: Run) -> Criterion:
    """The trouble comes with the client: another one would never meet it."""
    cases = range(len(_CASES))
    others = sum(not any(_is_from(r, number) for number in cases) for r in run.requests)
    found = f"{others} requests came through another one; an SDK takes it as `http_client`"
    return Criterion("every request goes through the client that is passed in", not others, found)


def _outcomes(run: Run, expected: Mapping[str, str]) -> Iterator[_Outcome]:
    slack = _SLACK + lateness(run)
    for number, (case, result) in enumerate(zip(_CASES, run.result, strict=True)):
        mine = [request for request in run.requests if _is_from(request, number)]
        yield _Outcome(case, result, mine, run, expected[_QUESTIONS[number]], slack)


def _judge(outcome: _Outcome) -> Criterion:
    wanted = {
        _LARGE: "the large model's answer, and no request to the small one",
        _SMALL: "the small model's answer, within the budget",
        None: "NoAnswerError, within the budget",
    }[outcome.case.answering]
    found = _wrong_requests(outcome) or _wrong_result(outcome)
    return Criterion(f"{outcome.case.name}: {wanted}", not found, found)


def _wrong_requests(outcome: _Outcome) -> str:
    large, small = outcome.calls(_LARGE), outcome.calls(_SMALL)
    if MODERATOR in outcome.case.trouble and not outcome.answered_by(MODERATOR):
        return "a model was called without the moderator's answer" if large or small else ""
    if not large:
        return "the large model was never called"
    if outcome.case.answering == _LARGE:
        return "the small model was called too" if small else ""
    budget, until = outcome.case.budget, outcome.case.budget - RESERVE
    if small and small[0] > until + outcome.slack:
        begins = f"its reserve begins at {until:g} s of the {budget:g} s"
        return f"the small model was called too late: {begins}"
    fails = isinstance(outcome.case.trouble.get(_LARGE), str)
    if fails and not small:
        return f"the small model was never called: the large one should be given up at {until:g} s"
    return ""


def _wrong_result(outcome: _Outcome) -> str:
    result, wanted = outcome.result, outcome.case.answering
    if result.seconds > outcome.case.budget + outcome.slack:
        return "the caller waited for longer than the budget"
    if wanted is None:
        if result.raised != "NoAnswerError":
            return _raised(result) if result.raised else "it returned something"
        early = result.seconds < outcome.case.budget - RESERVE / 2
        return "it gave up long before the budget was used up" if early else ""
    if result.raised:
        return _raised(result)
    if not outcome.answered_by(wanted):
        return f"{wanted} did not answer"
    if is_same(result.answer, outcome.expected):
        return ""
    return f"it returned {wrong_text(result.answer, [outcome.expected])}"


def _raised(result: _Result) -> str:
    where = locate(result.frame)
    message = f": {result.message}" if result.message else ""
    return f"it raised {result.raised}{f' at {where}' if where else ''}{message}"


def _moderated(outcomes: list[_Outcome]) -> Criterion:
    what = "the moderator answers before a model is called"
    unmoderated = [outcome.case.name for outcome in outcomes if not _is_moderated(outcome)]
    return Criterion(what, not unmoderated, f"it did not where {' and '.join(unmoderated)}")


def _is_moderated(outcome: _Outcome) -> bool:
    ends = [r.last_byte for r in outcome.of(MODERATOR) if r.last_byte is not None]
    asked = outcome.calls(_LARGE) + outcome.calls(_SMALL)
    if not outcome.calls(MODERATOR):
        return False
    return all(ends and min(ends) <= at for at in asked)


def _ended_calls(outcomes: list[_Outcome]) -> Criterion:
    """Merely not waiting leaves the provider at work, and a connection in use."""
    what = "a call that times out is canceled before the next call is made"
    left_open = [
        outcome.case.name
        for outcome in outcomes
        for small in outcome.of(_SMALL)
        for large in outcome.of(_LARGE)
        if large.last_byte is None and not _left_by(large, small.arrival + outcome.slack)
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
    explanation=(
        "The user waits for the whole answer, so what is limited is the whole. `end` is computed "
        "once; each call gets what is left of it when that call begins, and the large model leaves "
        "`RESERVE` for the small one. A limit for each read would never end a drip."
    ),
)
