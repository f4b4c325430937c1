"""Lesson 08: a batch that loses good answers, saves bad ones, and misses its deadline."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Any

import anyio
import anyio.lowlevel
import httpx

from helpers.lab import Run, run_arm
from helpers.lessons.exercise import Criterion, Exercise, Solution, ended
from helpers.lessons.exercises.criteria import loop_is_free, undisturbed
from helpers.mock_llm import Fault, MockLLM, Request, Rule

# Seconds: of the batch with all kinds of failures, and of the one with slow answers. Half-way
# between the two is late for the first.
_DEADLINE, _LONG_DEADLINE = 1.5, 3.0
_LATE = 1.0
# Seconds, about, that a slow answer takes: longer than the one deadline, shorter than the other.
_SLOW = 2.0
# The client's own timeout in seconds: well after the deadlines.
_TIMEOUT = 6.0
# Seconds after which a batch is canceled that has not saved its good answers, and within which it
# must then end.
_PATIENCE = 3.0
# Seconds in which the tasks of calls that were canceled end.
_SETTLE = 0.1
_LIMIT = 20
_STARS = {"type": "integer", "minimum": 1, "maximum": 5}
_REASON = {"type": "string"}


def _job(number: int, model: str = "gpt-4o-mini", **options: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": f"Rate this review. It is number {number}."}]
    form = {"response_format": _form(stars=_STARS, reason=_REASON)}
    return {"model": model, "messages": messages} | form | options


def _form(**properties: Any) -> dict[str, Any]:
    schema = {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
    return {"type": "json_schema", "json_schema": {"name": "rating", "schema": schema}}


# What happens to a call → the cause that a batch reports.
_CAUSES = {
    "400": "status 400",
    "503": "status 503",
    "reset": "no answer",
    "cut": "no answer",
    "malformed_json": "not valid",
    "empty_choices": "not valid",
    "broken_answer": "not valid",
    "no_finish": "not valid",
    "error_event": "not valid",
    "hang": "deadline",
    "hang_mid_stream": "deadline",
}
_FAULTS = [
    *(Fault(kind=kind, model=f"mock-{kind}") for kind in _CAUSES),
    # An answer has about 600 bytes.
    Fault(kind="drip", model="mock-slow", interval=_SLOW / 600),
]
# An answer that comes as asked, but is not a rating.
_NOT_RATINGS: dict[str, dict[str, Any]] = {
    "prose": {"response_format": {"type": "text"}},
    "four tokens of an answer": {"max_tokens": 4},
    "six stars or more": {
        "response_format": _form(stars=_STARS | {"minimum": 6, "maximum": 9}, reason=_REASON)
    },
    "a key that a rating does not have": {
        "response_format": _form(stars=_STARS, reason=_REASON, language=_REASON)
    },
    "no reason": {"response_format": _form(stars=_STARS)},
}
# JSON as some models write it. To save the content unchanged is to save its spaces too.
_SPACED = Rule(last_message="It is number 4.", text='{ "stars": 4,  "reason": "It works." }')
_GOOD = {number: _job(number) for number in range(2, 22, 2)}
_SLOW_ONES = {number: _job(number, "mock-slow") for number in range(202, 206)}
_SILENT = 105
# Number of a job that fails → what comes.
_KINDS = dict(enumerate((*_CAUSES, *_NOT_RATINGS), 31))
_FAILING = {
    number: _job(number, **_NOT_RATINGS[kind])
    if kind in _NOT_RATINGS
    else _job(number, f"mock-{kind}")
    for number, kind in _KINDS.items()
}
# … and its cause.
_EXPECTED = {number: _CAUSES.get(kind, "not valid") for number, kind in _KINDS.items()}


@dataclass(slots=True)
class Batch:
    """A batch, and what came of it."""

    jobs: Mapping[int, Any]
    deadline: float
    key: str
    """The API key of its requests."""
    saved: dict[int, str] = field(default_factory=dict)
    twice: list[int] = field(default_factory=list)
    """The jobs that were saved more than once."""
    report: Any = None
    """What it returned."""
    started: float = 0.0
    ended: float = 0.0
    """``perf_counter()`` when it returned or was canceled; until then, 0."""
    went_on: bool = False
    """It did not end when it was canceled."""
    disk_full: bool = False
    """Its `save` raises."""
    said_so: bool = False
    """It raised what `save` had raised."""

    async def save(self, number: int, text: str) -> None:
        # Like a write to a database, it takes a turn of the event loop.
        await anyio.lowlevel.checkpoint()
        if self.disk_full:
            raise OSError(errno.ENOSPC, "No space left on device")
        if self.ended:
            return
        if number in self.saved:
            self.twice.append(number)
        self.saved[number] = text

    def client(self) -> httpx.AsyncClient:
        headers = {"authorization": f"Bearer {self.key}"}
        return httpx.AsyncClient(timeout=_TIMEOUT, headers=headers)


@dataclass(frozen=True, slots=True)
class Batches:
    whole: Batch
    """With all kinds of failures."""
    slow: Batch
    """With more time, and answers that need it."""
    canceled: Batch
    """Canceled once it has saved its good answers, or after a while."""
    unsaved: Batch
    """Its `save` raises."""
    left: int = 0
    """Tasks that they left behind."""


async def _process(url: str, pipeline: Solution) -> Batches:
    """All batches at once, in a service that lives on."""
    batches = Batches(
        Batch(_FAILING | _GOOD, _DEADLINE, "sk-lesson-08-0001"),
        Batch(
            _SLOW_ONES | {_SILENT: _job(_SILENT, "mock-hang")}, _LONG_DEADLINE, "sk-lesson-08-0002"
        ),
        Batch(_GOOD | {_SILENT: _job(_SILENT, "mock-hang")}, 60.0, "sk-lesson-08-0003"),
        Batch(_GOOD, _DEADLINE, "sk-lesson-08-0004", disk_full=True),
    )
    others = asyncio.all_tasks()
    async with AsyncExitStack() as stack:
        stack.enter_context(undisturbed())
        starts = {batches.canceled.key: _cancel, batches.unsaved.key: _run_unsaved}
        everything = batches.whole, batches.slow, batches.canceled, batches.unsaved
        clients = [await stack.enter_async_context(batch.client()) for batch in everything]
        async with anyio.create_task_group() as tasks:
            for batch, client in zip(everything, clients, strict=True):
                tasks.start_soon(starts.get(batch.key, _run), batch, pipeline, client, url)
        await anyio.sleep(_SETTLE)
        left = asyncio.all_tasks() - others
        for task in left:
            task.cancel()
    return replace(batches, left=len(left))


async def _run(batch: Batch, pipeline: Solution, client: httpx.AsyncClient, url: str) -> None:
    batch.started = perf_counter()
    batch.report = await pipeline(client, url, batch.jobs, batch.save, batch.deadline)
    batch.ended = perf_counter()


async def _run_unsaved(
    batch: Batch, pipeline: Solution, client: httpx.AsyncClient, url: str
) -> None:
    try:
        await _run(batch, pipeline, client, url)
    except* OSError:
        batch.said_so = True


async def _cancel(batch: Batch, pipeline: Solution, client: httpx.AsyncClient, url: str) -> None:
    call = asyncio.create_task(_run(batch, pipeline, client, url))
    with anyio.move_on_after(_PATIENCE):
        while not call.done() and batch.saved.keys() < _GOOD.keys():  # noqa: ASYNC110 - of two things
            await anyio.sleep(0.01)
    call.cancel()
    await asyncio.wait([call], timeout=_PATIENCE)
    batch.went_on = not call.done()
    batch.ended = perf_counter()
    if call.done() and not call.cancelled():
        call.result()  # raises what it raised


async def _grade(pipeline: Solution) -> list[Criterion]:
    async with MockLLM(faults=_FAULTS, script=[_SPACED]) as llm:
        run = await run_arm(_process, llm, pipeline, name="pipeline", limit=_LIMIT)
        if run.outcome != "returned":
            return [ended(run)]
        llm.configure(faults=[])
        truth = await _answers(llm)
    batches: Batches = run.result
    whole = batches.whole
    report = whole.report if isinstance(whole.report, dict) else {}
    return [
        ended(run),
        _good_answers_saved(whole, truth),
        _nothing_else(whole),
        _failures_reported(whole, report),
        *(_cause(cause, report) for cause in dict.fromkeys(_EXPECTED.values())),
        loop_is_free(run),
        _in_time(whole),
        _has_time(batches.slow),
        _nothing_left(run, batches),
        _saved_immediately(batches.canceled),
        _raises_what_save_raises(batches.unsaved),
    ]


async def _answers(llm: MockLLM) -> dict[int, str]:
    """The content of each good answer: the same job always gets the same."""
    answers = {}
    async with httpx.AsyncClient(timeout=10) as client:
        for number, job in _GOOD.items():
            reply = await client.post(f"{llm.url}/chat/completions", json=job)
            answers[number] = reply.json()["choices"][0]["message"]["content"]
    return answers


def _good_answers_saved(batch: Batch, truth: dict[int, str]) -> Criterion:
    what = "every good answer is saved once, unchanged"
    same = sum(batch.saved.get(number) == text for number, text in truth.items())
    if same < len(_GOOD):
        return Criterion(what, False, f"{same} of {len(_GOOD)} are")
    return Criterion(what, not batch.twice, f"{len(batch.twice)} were saved more than once")


def _nothing_else(batch: Batch) -> Criterion:
    others = [number for number in _FAILING if number in batch.saved]
    found = f"{len(others)} failed jobs were saved too: {_listed(others)}"
    return Criterion("nothing else is saved", not others, found)


def _listed(numbers: Iterable[int]) -> str:
    """What came for these jobs, or for the first few."""
    kinds = [_KINDS[number] for number in numbers]
    more = [f"{len(kinds) - 3} more"] if len(kinds) > 4 else kinds[3:]
    return ", ".join([*kinds[:3], *more])


def _failures_reported(batch: Batch, report: dict[int, Any]) -> Criterion:
    what = "it returns a dict of the jobs that failed, and no others"
    if not isinstance(batch.report, dict):
        return Criterion(what, False, f"it returned {type(batch.report).__name__}")
    missing = [number for number in _FAILING if number not in report]
    more = len(report.keys() - _FAILING.keys())
    names = f" ({_listed(missing)})" if missing else ""
    found = f"{len(missing)} are missing{names}, {more} are not failures"
    return Criterion(what, not missing and not more, found)


def _cause(cause: str, report: dict[int, Any]) -> Criterion:
    what = f"the cause {cause!r} is reported for the right jobs"
    for number, expected in _EXPECTED.items():
        said = report.get(number)
        if expected == cause and said != cause:
            return Criterion(what, False, f"for {_KINDS[number]} it says {_said(said)}")
    return Criterion(what, True)


def _said(cause: object) -> str:
    return "nothing" if cause is None else str(cause)[:60]


def _in_time(batch: Batch) -> Criterion:
    met = batch.ended - batch.started <= batch.deadline + _LATE
    what = f"it ends within its deadline, here {batch.deadline:g} s"
    return Criterion(what, met, f"it took more than {batch.deadline + _LATE:g} s")


def _has_time(batch: Batch) -> Criterion:
    what = f"a longer deadline gives slow answers time, here {batch.deadline:g} s"
    kept = len(batch.saved.keys() & _SLOW_ONES.keys())
    found = f"{kept} of {len(_SLOW_ONES)} answers that take {_SLOW:g} s were saved"
    if kept == len(_SLOW_ONES):
        found = f"it took more than {batch.deadline + _LATE:g} s"
    met = batch.ended - batch.started <= batch.deadline + _LATE
    return Criterion(what, kept == len(_SLOW_ONES) and met, found)


def _nothing_left(run: Run, batches: Batches) -> Criterion:
    what = "no call goes on after the batch has ended or was canceled"
    if batches.canceled.went_on:
        return Criterion(what, False, "it went on although it was canceled")
    if batches.left:
        return Criterion(what, False, f"{batches.left} tasks did")
    open_ = sum(len(_open(run, batch)) for batch in (batches.whole, batches.canceled))
    found = f"{open_} requests were still open {_LATE:g} s after that"
    return Criterion(what, not open_, found)


def _open(run: Run, batch: Batch) -> list[Request]:
    """The requests that the server saw open a while after the batch had ended."""
    late = batch.ended - run.start + _LATE
    ends = [
        (request, request.client_left or request.last_byte)
        for request in run.requests
        if request.key and request.key[-4:] == batch.key[-4:]
    ]
    return [request for request, end in ends if end is None or end > late]


def _saved_immediately(batch: Batch) -> Criterion:
    what = "each answer is saved as soon as it arrives: canceling the batch does not lose it"
    kept = len(batch.saved.keys() & _GOOD.keys())
    return Criterion(what, kept == len(_GOOD), f"{kept} of {len(_GOOD)} were saved")


def _raises_what_save_raises(batch: Batch) -> Criterion:
    what = "an error of `save` ends the batch, and the caller gets it"
    report = batch.report if isinstance(batch.report, dict) else {}
    said = f": for a full disk it reported {_said(next(iter(report.values())))!r}" if report else ""
    return Criterion(what, batch.said_so, f"it returned as if nothing had happened{said}")


EXERCISE = Exercise(
    function="pipeline",
    grade=_grade,
    hints=(
        "Which jobs may `one` save? Only those whose answer passes every check: the status, then "
        "`finish_reason`, then `Rating.model_validate_json(content)`. Save inside `one`, after all "
        "checks have passed, and nowhere else.",
        "Give each kind of failure its own `except`. `httpx.HTTPStatusError` has "
        "`error.response.status_code`; `httpx.TransportError` means no answer; a body that is not "
        "JSON, or has no choices or no rating, raises `ValueError` or `IndexError` (pydantic's "
        "`ValidationError` is a `ValueError`). Never catch `BaseException`.",
        "Begin with `failed = dict.fromkeys(jobs, 'deadline')`, and remove a job or change its "
        "cause when its call ends. Run the calls in `anyio.create_task_group()`, inside "
        "`with anyio.move_on_after(deadline):`. A task group leaves no call running.",
    ),
    explanation=(
        "Each job has a boundary of its own, with one `except` per kind of failure, so that one "
        "failure costs one answer. What is saved has been validated, and is saved at once, so "
        "that a deadline or a cancellation loses only what is not there yet. The task group ends "
        "every call before the batch returns: structured concurrency."
    ),
)
