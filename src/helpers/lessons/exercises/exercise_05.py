"""Lesson 05: a call that waits as long as the server asks, and gives up if waiting is no use."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Any, Literal, TypeAlias

import anyio
import httpx

from helpers.lab import Run, run_arm
from helpers.lessons.exercise import Criterion, Exercise, Solution, ended
from helpers.mock_llm import Fault, Limits, MockLLM, Request

ATTEMPTS = 4
_Form: TypeAlias = Literal["seconds", "date", "ms"]
# Seconds that the server asks for in each form of the header.
_RETRY_AFTER: dict[_Form, float] = {"seconds": 1.0, "date": 1.0, "ms": 0.7}
# Seconds by which a coarse clock may fire early.
_EARLY = 0.01
# Number of calls that are refused once, without a header, and the seconds from one to the next: if
# they met at the server, each would also wait its turn there, and that differs from call to call.
_SILENT = 20
_APART = 0.05
# Seconds by which their waits must differ, without the three shortest and three longest: a busy
# machine delays some calls, but not that many. Random waits of up to 0.5 s differ by more than this
# in all but one in 100,000 runs.
_SPREAD = 0.1
_EXTREMES = 3
# Seconds after which a call that still waits is canceled; a good call takes at most 4 s.
_PATIENCE = 12
# Tokens per minute.
_LIMIT = 1000

_SOON = "mock-wait-then-answer"
_DOWN = "mock-down"
_LATER = "mock-wait-an-hour"
_LARGE = "mock-too-large"
_ONCE = {
    "mock-bad-request": "a bad request (400)",
    "mock-spent-quota": "a spent quota (insufficient_quota)",
    _LARGE: "a prompt larger than the limit",
    _LATER: "a call that would have to wait for an hour",
}
_SILENTS = [f"mock-silent-{number}" for number in range(_SILENT)]
_FAULTS = [
    Fault(kind="503", model=_DOWN),
    Fault(kind="rate_limit_exceeded", model=_LATER, retry_after=3600),
    Fault(kind="400", model="mock-bad-request"),
    Fault(kind="insufficient_quota", model="mock-spent-quota", retry_after=0.2),
    *(Fault(kind="503", model=model, first=1) for model in _SILENTS),
]


async def _all_at_once(url: str, call: Solution, models: list[str]) -> dict[str, Any]:
    """The status of each model's reply, or "HTTPStatusError"; nothing for a canceled call."""
    outcomes: dict[str, Any] = {}

    async def one(model: str) -> None:
        text = "Hello? " * (2 * _LIMIT if model == _LARGE else 1)
        body = {"model": model, "messages": [{"role": "user", "content": text}]}
        with anyio.move_on_after(_PATIENCE):
            try:
                reply = await call(client, url, body)
                outcomes[model] = getattr(reply, "status_code", None)
            except httpx.HTTPStatusError:
                outcomes[model] = "HTTPStatusError"

    limits = httpx.Limits(max_keepalive_connections=len(models))
    async with (
        httpx.AsyncClient(timeout=30, limits=limits) as client,
        anyio.create_task_group() as tasks,
    ):
        for model in models:
            tasks.start_soon(one, model)
            if model in _SILENTS:
                await anyio.sleep(_APART)
    return outcomes


async def _grade(call: Solution) -> list[Criterion]:
    models = [_DOWN, *_ONCE, *_SILENTS]
    async with MockLLM() as llm:
        waited = [await _refused_once(llm, call, form) for form in _RETRY_AFTER]
        llm.configure(limits=Limits(tokens_per_minute=_LIMIT), faults=_FAULTS)
        run = await run_arm(_all_at_once, llm, call, models, name="call", limit=20)
    finish = next((run for run in waited if run.outcome != "returned"), run)
    return [
        ended(finish),
        _answers([*waited, run]),
        *(_patience(run, form) for run, form in zip(waited, _RETRY_AFTER, strict=True)),
        _spread(run),
        *(_asked_once(run, model, what) for model, what in _ONCE.items()),
        _bounded(run),
        _raises(run),
    ]


async def _refused_once(llm: MockLLM, call: Solution, form: _Form) -> Run:
    refusal = Fault(kind="rate_limit_exceeded", first=1, retry_after=_RETRY_AFTER[form])
    llm.configure(limits=Limits(retry_after=form), faults=[refusal])
    return await run_arm(_all_at_once, llm, call, [_SOON], name="call", limit=20)


def _of(run: Run, model: str) -> list[Request]:
    return [request for request in run.requests if request.model == model]


def _answers(runs: Iterable[Run]) -> Criterion:
    outcomes = [(run.result or {}) for run in runs]
    wanted = [*(outcome.get(_SOON) for outcome in outcomes[:-1])]
    wanted += [outcomes[-1].get(model) for model in _SILENTS]
    good = sum(status == 200 for status in wanted)
    found = f"{good} of {len(wanted)} calls returned a reply with status 200"
    return Criterion("a call that is refused once gets an answer", good == len(wanted), found)


def _patience(run: Run, form: _Form) -> Criterion:
    """Not earlier than asked. Later is not judged: a busy machine is late too."""
    name = {"seconds": "Retry-After in seconds", "date": "Retry-After as a date"}
    what = f"it waits as long as {name.get(form, 'retry-after-ms')} asks"
    requests = _of(run, _SOON)
    if len(requests) < 2:
        return Criterion(what, False, "it did not try again")
    # Counted from the arrival of the refused request, which is before the server answered it.
    gap = min(b.arrival - a.arrival for a, b in pairwise(requests))
    return Criterion(what, gap >= _RETRY_AFTER[form] - _EARLY, "it came back too early")


def _spread(run: Run) -> Criterion:
    what = "without a header the waits are random: clients do not come back all at once"
    waits = []
    for model in _SILENTS:
        match _of(run, model):
            case [first, second, *_] if first.last_byte is not None:
                waits.append(second.arrival - first.last_byte)
            case _:
                return Criterion(what, False, "not every call tried again")
    middle = sorted(waits)[_EXTREMES:-_EXTREMES]
    met = middle[-1] - middle[0] >= _SPREAD
    return Criterion(what, met, f"all {len(waits)} waited for about the same time")


def _asked_once(run: Run, model: str, what: str) -> Criterion:
    made = len(_of(run, model))
    return Criterion(f"{what} is sent once", made == 1, f"the server saw {made} requests")


def _bounded(run: Run) -> Criterion:
    made = len(_of(run, _DOWN))
    what = f"a server that stays down gets {ATTEMPTS} requests"
    return Criterion(what, made == ATTEMPTS, f"it saw {made}")


def _raises(run: Run) -> Criterion:
    wanted = [_DOWN, *_ONCE]
    outcomes = run.result or {}
    missing = [model for model in wanted if outcomes.get(model) != "HTTPStatusError"]
    found = f"it did not for {', '.join(missing)}"
    return Criterion("it raises HTTPStatusError when it gives up", not missing, found)


EXERCISE = Exercise(
    function="call",
    grade=_grade,
    hints=(
        "Decide first, then wait. A reply is a success, or a permanent error, or a transient error "
        "that may succeed later: look at its status, at `error.code` in its body, and at its "
        "headers. Raise permanent errors at once: `reply.raise_for_status()`.",
        "`told` in this lesson reads all three forms of the header. If there is no header, sleep "
        "for `random.uniform(0, BASE * 2**attempt)` with `await anyio.sleep`, counting attempts "
        "from 0. Do not sleep after the last attempt.",
        "Permanent errors are: a status below 500 other than 429; the code `insufficient_quota`; "
        "`told(reply.headers) > LONGEST`; and a 429 if `count_prompt_tokens(body['messages'])` is "
        "greater than the header `x-ratelimit-limit-tokens`, if there is one.",
    ),
)
