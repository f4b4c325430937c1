"""Lesson 05: a call that waits as long as the server asks, and gives up if waiting is no use."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, TypeAlias

import anyio
import httpx

from helpers.lab import Run, run_arm
from helpers.lessons.exercise import Criterion, Exercise, Solution, ended
from helpers.lessons.exercises.criteria import loop_is_free, undisturbed
from helpers.mock_llm import Fault, Limits, MockLLM, Profile, Request
from helpers.mock_llm.tokens import count_prompt_tokens

ATTEMPTS = 4
_Form: TypeAlias = Literal["seconds", "date", "ms"]
_HEADERS: dict[_Form, str] = {
    "seconds": "Retry-After in seconds",
    "date": "Retry-After as a date",
    "ms": "retry-after-ms",
}
# A short and a long wait in seconds, asked for in each form: only a call that reads the header
# waits for each as long as it should. A date has whole seconds: it may ask for up to one more.
_ASKED: dict[_Form, tuple[float, float]] = {
    "seconds": (1, 3),
    "date": (0.1, 2.1),
    "ms": (0.1, 2.1),
}
# Seconds by which a coarse clock may fire early.
_EARLY = 0.01
# Seconds after the time asked for: jitter of up to one second, and a busy machine.
_LATE = 3.0
# Number of the calls that a server without a header always refuses, and the seconds from one to the
# next: if they met at the server, each would also wait its turn there, and that differs from call
# to call.
_SILENT = 20
_APART = 0.05
# Their third waits must differ by this share of the middle one and by so many seconds, without the
# three shortest and three longest: a busy machine delays some calls, but not that many. Random
# waits of up to 2 s, and of 1 to 2 s, differ by more in all but one in 100,000 runs.
_SPREAD, _SPREAD_SECONDS = 0.15, 0.1
_EXTREMES = 3
# Seconds. If half of them are shorter, the calls come back immediately, and only the delays of a
# busy machine differ.
_LEAST = 0.15
# Seconds by which the third wait must be longer than the first, each without the three longest.
# Random waits of up to 0.5 s that double twice differ by less once in 50,000 runs. A difference: a
# busy client is late with each of them.
_GROWTH = 0.35
# Seconds after which a call that still waits is canceled; a good call takes at most 5 s.
_PATIENCE = 8
# Tokens per minute.
_LIMIT = 1000
# Time to the first token: a call that blocks the event loop does so for as long.
_PROFILE = Profile(base=0.3, prefill_rate=100_000, decode_rate=100_000)

_BUSY = "mock-always-busy"
_LARGE = "mock-too-large"
_HOUR = {"mock-wait-an-hour": "rate_limit_exceeded", "mock-down-for-an-hour": "503"}
_ONCE = {
    "a bad request (400, 401 or 404)": {
        "mock-bad-request": "400",
        "mock-wrong-key": "401",
        "mock-no-such-model": "404",
    },
    "a spent quota (insufficient_quota)": {"mock-spent-quota": "insufficient_quota"},
    "a prompt larger than the limit": {_LARGE: ""},
}
_PERMANENT = {model: kind for kinds in _ONCE.values() for model, kind in kinds.items()}
# What a model's server answers, in the words of a message: a learner knows no models of the check.
_ANSWERS = {
    "mock-bad-request": "a bad request (400)",
    "mock-wrong-key": "a wrong key (401)",
    "mock-no-such-model": "a model that does not exist (404)",
    "mock-spent-quota": "a spent quota (429, insufficient_quota)",
    _LARGE: "a prompt larger than the limit (429)",
    "mock-wait-an-hour": "a limit until an hour from now (429)",
    "mock-down-for-an-hour": "a server that is down for an hour (503)",
    _BUSY: "a server that is always busy (429)",
}
_SILENT_ANSWER = "a server that is down and does not say for how long (503)"
_SILENTS = [f"mock-silent-{number}" for number in range(_SILENT)]


def _model(form: _Form, wait: float) -> str:
    """The error's message names the model: the word "quota" in it means nothing."""
    return f"mock-quota-left-{form}-{wait:g}"


def _refused_once(form: _Form) -> list[Fault]:
    """A rate limit, and a server that is down: both say when to come back."""
    kinds = zip(("rate_limit_exceeded", "503"), _ASKED[form], strict=True)
    return [
        Fault(kind=kind, model=_model(form, wait), first=1, retry_after=wait)
        for kind, wait in kinds
    ]


_FAULTS: dict[_Form, list[Fault]] = {
    "seconds": [
        *_refused_once("seconds"),
        *(Fault(kind=kind, model=model, retry_after=3600) for model, kind in _HOUR.items()),
        *(Fault(kind=kind, model=model) for model, kind in _PERMANENT.items() if kind),
        *(Fault(kind="503", model=model) for model in _SILENTS),
    ],
    "date": _refused_once("date"),
    "ms": [
        *_refused_once("ms"),
        Fault(kind="rate_limit_exceeded", model=_BUSY, retry_after=0.05),
    ],
}
# The long waits first: a call that held the others up would do so for as long.
_LONG = len(_ASKED)
_REFUSED_ONCE = [_model(form, _ASKED[form][which]) for which in (1, 0) for form in _ASKED]
_MODELS = [*_REFUSED_ONCE, *_PERMANENT, *_HOUR, _BUSY, *_SILENTS]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a call ended."""

    end: Any
    """The reply's status, "HTTPStatusError", or "canceled"."""
    text: Any = None
    """The model's answer."""


@dataclass(frozen=True, slots=True)
class _Seen:
    run: Run
    requests: Mapping[str, list[Request]]
    """By model, in order of arrival, with times of one clock."""
    texts: Mapping[str, str]
    """The right answers to the calls that get one."""

    @property
    def outcomes(self) -> dict[str, Outcome]:
        return self.run.result or {}

    def end(self, model: str) -> Any:
        return self.outcomes.get(model, Outcome(None)).end

    def made(self, model: str) -> int:
        return len(self.requests.get(model, []))

    def waits(self, model: str) -> list[float]:
        """Seconds from each answer to the next request."""
        pairs = pairwise(self.requests.get(model, []))
        return [b.arrival - a.last_byte for a, b in pairs if a.last_byte is not None]


def _body(model: str) -> dict[str, Any]:
    text = f"Hello, {model}? " * (2 * _LIMIT if model == _LARGE else 1)
    return {"model": model, "messages": [{"role": "user", "content": text}]}


def _text(reply: Any) -> Any:
    try:
        return reply.json()["choices"][0]["message"]["content"]
    except Exception:  # noqa: BLE001 - it may be anything
        return None


async def _all_at_once(url: str, call: Solution, urls: dict[str, str]) -> dict[str, Outcome]:
    """What came of each model's call; ``urls``: those that are not at ``url``."""
    outcomes: dict[str, Outcome] = {}

    async def one(model: str) -> None:
        with anyio.move_on_after(_PATIENCE) as patience:
            try:
                reply = await call(client, urls.get(model, url), _body(model))
                outcomes[model] = Outcome(getattr(reply, "status_code", None), _text(reply))
            except httpx.HTTPStatusError:
                outcomes[model] = Outcome("HTTPStatusError")
        if patience.cancelled_caught:
            outcomes[model] = Outcome("canceled")

    # Loads the vocabulary: no call's first count then blocks the event loop.
    count_prompt_tokens(_body("any")["messages"])
    with undisturbed():
        limits = httpx.Limits(max_keepalive_connections=len(_MODELS))
        async with (
            httpx.AsyncClient(timeout=30, limits=limits) as client,
            anyio.create_task_group() as tasks,
        ):
            for model in _MODELS:
                tasks.start_soon(one, model)
                if model in _SILENTS:
                    await anyio.sleep(_APART)
    return outcomes


async def _grade(call: Solution) -> list[Criterion]:
    seen = await _observe(call)
    if seen.run.outcome != "returned":
        return [ended(seen.run), _together(seen), loop_is_free(seen.run)]
    return [
        ended(seen.run),
        _answers(seen),
        *(_patience(seen, form) for form in _ASKED),
        _spread(seen),
        _growth(seen),
        _together(seen),
        loop_is_free(seen.run),
        *(_asked_once(seen, what) for what in _ONCE),
        _gives_up(seen),
        _bounded(seen),
        _raises(seen),
    ]


async def _observe(call: Solution) -> _Seen:
    async with _servers() as servers:
        urls = {str(fault.model): servers[form].url for form in _ASKED for fault in _FAULTS[form]}
        run = await run_arm(_all_at_once, servers["seconds"], call, urls, name="call", limit=20)
        requests: dict[str, list[Request]] = {}
        for llm in servers.values():
            for request in llm.ledger().requests:
                requests.setdefault(str(request.model), []).append(request)
        return _Seen(run, requests, await _right_texts(servers["ms"]))


@asynccontextmanager
async def _servers() -> AsyncIterator[dict[_Form, MockLLM]]:
    """One for each form of the header, so that all waits are measured at the same time."""
    servers = {
        form: MockLLM(
            _PROFILE,
            limits=Limits(tokens_per_minute=_LIMIT, retry_after=form),
            faults=_FAULTS[form],
        )
        for form in _ASKED
    }
    async with AsyncExitStack() as stack:
        async with anyio.create_task_group() as starts:
            for llm in servers.values():
                starts.start_soon(stack.enter_async_context, llm)
        yield servers


async def _right_texts(llm: MockLLM) -> dict[str, str]:
    llm.configure(faults=[])
    async with httpx.AsyncClient(timeout=10) as client:
        return {
            model: _text(await client.post(f"{llm.url}/chat/completions", json=_body(model)))
            for model in _REFUSED_ONCE
        }


def _answers(seen: _Seen) -> Criterion:
    what = "a call that is refused once returns the reply with the model's answer"
    good = sum(seen.end(model) == 200 for model in _REFUSED_ONCE)
    if good < len(_REFUSED_ONCE):
        found = f"{good} of {len(_REFUSED_ONCE)} calls returned a reply with status 200"
        return Criterion(what, False, found)
    right = sum(seen.outcomes[model].text == text for model, text in seen.texts.items())
    found = f"{right} of {len(_REFUSED_ONCE)} calls returned the answer to their own request"
    return Criterion(what, right == len(_REFUSED_ONCE), found)


def _patience(seen: _Seen, form: _Form) -> Criterion:
    what = f"it waits as long as {_HEADERS[form]} asks"
    waits: dict[float, float] = {}
    for asked in _ASKED[form]:
        match seen.requests.get(_model(form, asked)):
            case [first, second, *_]:
                # From the arrival of the refused request: its answer is sent after that.
                waits[asked] = second.arrival - first.arrival
            case _:
                return Criterion(what, False, "it did not try again")
    short, long = _ASKED[form]
    for asked in (long, short):
        found = f"asked to wait for {asked:g} s, it came back"
        if waits[asked] < asked - _EARLY:
            return Criterion(what, False, f"{found} too early")
        if waits[asked] > asked + (form == "date") + _LATE:
            return Criterion(what, False, f"{found} more than {_LATE:g} s after that")
    # The clock, but as a difference: what delays one of the two delays the other.
    found = f"asked to wait for {short:g} s, it waited about as long as when asked for {long:g} s"
    return Criterion(what, waits[long] - waits[short] > (long - short) / 2, found)


def _spread(seen: _Seen) -> Criterion:
    what = "without a header the waits are random: clients do not come back all at once"
    waits = _silent_waits(seen, 2)
    if len(waits) < _SILENT:
        return Criterion(what, False, "not every call waited three times")
    median = waits[_SILENT // 2]
    spread = waits[-1 - _EXTREMES] - waits[_EXTREMES]
    met = median >= _LEAST and spread >= max(_SPREAD * median, _SPREAD_SECONDS)
    return Criterion(what, met, f"all {len(waits)} waited for about the same time")


def _growth(seen: _Seen) -> Criterion:
    what = "without a header the waits grow: up to twice as long before each further attempt"
    first, third = _silent_waits(seen, 0), _silent_waits(seen, 2)
    if len(third) < _SILENT:
        return Criterion(what, False, "not every call waited three times")
    longer = third[-1 - _EXTREMES] - first[-1 - _EXTREMES]
    met = longer >= _GROWTH and third[_SILENT // 2] >= _LEAST
    found = "the third wait is about as long as the first; up to four times as long is right"
    return Criterion(what, met, found)


def _silent_waits(seen: _Seen, number: int) -> list[float]:
    """The waits of that number, counted from 0, in order of their length."""
    return sorted(wait for model in _SILENTS for wait in seen.waits(model)[number : number + 1])


def _together(seen: _Seen) -> Criterion:
    """The servers see in which order calls begin and end."""
    what = "calls wait at the same time: none holds up the others"
    calls = [seen.requests[model] for model in _REFUSED_ONCE if model in seen.requests]
    ends = [requests[-1].last_byte for requests in calls[:_LONG] if len(requests) > 1]
    end = min((at for at in ends if at is not None), default=None)
    late = sum(end is not None and requests[0].arrival > end for requests in calls)
    found = f"{late} of {len(calls)} calls began only when another one had ended"
    return Criterion(what, not late, found)


def _asked_once(seen: _Seen, what: str) -> Criterion:
    made = {model: seen.made(model) for model in _ONCE[what]}
    wrong = [
        f"{_ANSWERS[model]}: the server saw {n} requests" for model, n in made.items() if n != 1
    ]
    return Criterion(f"{what} is sent once", not wrong, "; ".join(wrong))


def _gives_up(seen: _Seen) -> Criterion:
    what = "a call that would have to wait for an hour is sent once and gives up immediately"
    for model in _HOUR:
        if seen.end(model) == "canceled":
            found = f"{_ANSWERS[model]}: it still waited after {_PATIENCE} s"
            return Criterion(what, False, found)
        if (made := seen.made(model)) != 1:
            return Criterion(what, False, f"{_ANSWERS[model]}: the server saw {made} requests")
    return Criterion(what, True)


def _bounded(seen: _Seen) -> Criterion:
    made = sorted({seen.made(model) for model in (*_SILENTS, _BUSY)} - {ATTEMPTS})
    what = f"a server that stays down or busy gets {ATTEMPTS} requests from a call"
    return Criterion(what, not made, f"it saw {' or '.join(map(str, made))}")


def _raises(seen: _Seen) -> Criterion:
    wanted = [*_PERMANENT, *_HOUR, _BUSY, _SILENTS[0]]
    # One that still waits has not given up; that is judged elsewhere.
    missing = [model for model in wanted if seen.end(model) not in ("HTTPStatusError", "canceled")]
    answers = (_ANSWERS.get(model, _SILENT_ANSWER) for model in missing)
    found = f"it did not for {', '.join(answers)}"
    return Criterion("it raises HTTPStatusError when it gives up", not missing, found)


EXERCISE = Exercise(
    function="call",
    grade=_grade,
    hints=(
        "Decide first, then wait. A reply is a success, or a permanent error, or a transient error "
        "that may succeed later: look at its status, at `error.code` in its body, and at its "
        "headers. Raise permanent errors at once: `reply.raise_for_status()`.",
        "`retry_after` in this lesson reads all three forms of the header. If there is no header, "
        "sleep for `random.uniform(0, BASE * 2**attempt)` with `await anyio.sleep`, counting "
        "attempts from 0. Do not sleep after the last attempt.",
        "Permanent errors are: a status below 500 other than 429; the code `insufficient_quota`; "
        "`retry_after(reply.headers) > LONGEST`; and a 429 if "
        "`count_prompt_tokens(body['messages'])` is greater than the header "
        "`x-ratelimit-limit-tokens`, if there is one.",
    ),
    explanation=(
        "The server knows when it has room, so a wait that it names is not shortened. Where it "
        "names none, exponential back-off with full jitter spreads the calls over a time that "
        "grows, so that they do not all come back at once. Retrying helps only against transient "
        "errors: a permanent one costs a request each time and never an answer. A bound on the "
        "attempts keeps one outage from becoming a retry storm."
    ),
)
