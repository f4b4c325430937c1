"""Lesson 08: a batch that loses good answers, saves bad ones, and misses its deadline."""

from __future__ import annotations

import asyncio
from typing import Any

import anyio
import httpx

from helpers.lab import Run, batches, run_arm
from helpers.lab.probes.batch import Jobs, Processed, Save
from helpers.lessons.exercise import Criterion, Exercise, Solution, ended
from helpers.mock_llm import Fault, MockLLM

_DEADLINE = 2.0
# Seconds: well after the deadline, and well before the client's own timeout of 10 s.
_LATE = 5.0
# Seconds after which a batch is canceled that has not saved its good answers, and within which it
# must then end.
_PATIENCE = 5.0
_LIMIT = 20
_SCHEMA = {
    "type": "object",
    "properties": {
        "stars": {"type": "integer", "minimum": 1, "maximum": 5},
        "reason": {"type": "string"},
    },
    "required": ["stars", "reason"],
    "additionalProperties": False,
}
_FORM = {"type": "json_schema", "json_schema": {"name": "rating", "schema": _SCHEMA}}


def _job(number: int, model: str = "gpt-4o-mini", **options: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": f"Rate this review. It is number {number}."}]
    return {"model": model, "messages": messages, "response_format": _FORM} | options


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
    "hang": "deadline",
}
_FAULTS = [Fault(kind=kind, model=f"mock-{kind}") for kind in _CAUSES]
_GOOD = {number: _job(number) for number in range(2, 22, 2)}
_PROSE, _SHORT, _SILENT = 101, 103, 105
_FAILING = {
    **{number: _job(number, f"mock-{kind}") for number, kind in enumerate(_CAUSES, 31)},
    _PROSE: _job(_PROSE, response_format={"type": "text"}),
    _SHORT: _job(_SHORT, max_tokens=4),
}
# Number of a job that fails → its cause.
_EXPECTED = {**dict(enumerate(_CAUSES.values(), 31)), _PROSE: "not valid", _SHORT: "not valid"}


async def _all(url: str, pipeline: Solution) -> Processed:
    async def batch(client: httpx.AsyncClient, url: str, jobs: Jobs, save: Save) -> Any:
        return await pipeline(client, url, jobs, save, _DEADLINE)

    return await batches.process(url, _FAILING | _GOOD, batch)


async def _cancelled(url: str, pipeline: Solution) -> Processed:
    """Cancel the batch once it has saved its good answers, or after ``_PATIENCE``."""

    async def batch(client: httpx.AsyncClient, url: str, jobs: Jobs, save: Save) -> Any:
        async def note(number: int, text: str) -> None:
            await save(number, text)
            saved.add(number)
            if saved >= _GOOD.keys():
                enough.set()

        saved: set[int] = set()
        enough = asyncio.Event()
        call = asyncio.create_task(pipeline(client, url, jobs, note, 60.0))
        with anyio.move_on_after(_PATIENCE):
            await enough.wait()
        call.cancel()
        _, pending = await asyncio.wait([call], timeout=_PATIENCE)
        return bool(pending)

    return await batches.process(url, _GOOD | {_SILENT: _job(_SILENT, "mock-hang")}, batch)


async def _grade(pipeline: Solution) -> list[Criterion]:
    async with MockLLM(faults=_FAULTS) as llm:
        run = await run_arm(_all, llm, pipeline, name="pipeline", limit=_LIMIT)
        stopped = await run_arm(_cancelled, llm, pipeline, name="pipeline", limit=_LIMIT)
        truth = await _answers(llm)
    finish = next((each for each in (run, stopped) if each.outcome != "returned"), run)
    if finish.outcome != "returned":
        return [ended(finish)]
    done: Processed = run.result
    report = done.report if isinstance(done.report, dict) else {}
    return [
        _did_not_raise(done),
        _good_answers_saved(done.saved, truth),
        _nothing_else(done.saved),
        _failures_reported(done, report),
        *(_cause(cause, report) for cause in dict.fromkeys(_EXPECTED.values())),
        _in_time(run),
        _nothing_left(done, stopped.result),
        _saved_immediately(stopped.result, truth),
    ]


async def _answers(llm: MockLLM) -> dict[int, str]:
    """The content of each good answer: the same job always gets the same."""
    answers = {}
    async with httpx.AsyncClient(timeout=10) as client:
        for number, job in _GOOD.items():
            reply = await client.post(f"{llm.url}/chat/completions", json=job)
            answers[number] = reply.json()["choices"][0]["message"]["content"]
    return answers


def _did_not_raise(done: Processed) -> Criterion:
    return Criterion("your code runs to its end", not done.raised, f"it raised {done.raised}")


def _good_answers_saved(saved: dict[int, str], truth: dict[int, str]) -> Criterion:
    same = sum(saved.get(number) == text for number, text in truth.items())
    found = f"{same} of {len(truth)} are"
    return Criterion("every good answer is saved unchanged", same == len(truth), found)


def _nothing_else(saved: dict[int, str]) -> Criterion:
    others = len(saved.keys() - _GOOD.keys())
    return Criterion("nothing else is saved", not others, f"{others} failed jobs were saved too")


def _failures_reported(done: Processed, report: dict[int, Any]) -> Criterion:
    what = "it returns a dict of the jobs that failed, and no others"
    if not isinstance(done.report, dict):
        return Criterion(what, False, f"it returned {type(done.report).__name__}")
    missing, more = len(_FAILING.keys() - report.keys()), len(report.keys() - _FAILING.keys())
    return Criterion(
        what, not missing and not more, f"{missing} are missing, {more} are not failures"
    )


def _cause(cause: str, report: dict[int, Any]) -> Criterion:
    wanted = [number for number, expected in _EXPECTED.items() if expected == cause]
    said = {_said(report.get(number)) for number in wanted} - {cause}
    found = f"it says {' and '.join(sorted(said))}"
    return Criterion(f"the cause {cause!r} is reported for the right jobs", not said, found)


def _said(cause: object) -> str:
    return "nothing" if cause is None else str(cause)[:60]


def _in_time(run: Run) -> Criterion:
    took = run.result.ended - run.start
    met = took <= _LATE
    return Criterion(f"it ends within its deadline of {_DEADLINE:g} s", met, "it took much longer")


def _nothing_left(done: Processed, stopped: Processed) -> Criterion:
    what = "no call goes on after the batch has ended or was canceled"
    if stopped.report:
        return Criterion(what, False, "it went on although it was canceled")
    left = done.left or stopped.left
    return Criterion(what, not left, f"{left} tasks did")


def _saved_immediately(stopped: Processed, truth: dict[int, str]) -> Criterion:
    what = "each answer is saved as soon as it arrives: canceling the batch does not lose it"
    kept = sum(stopped.saved.get(number) == text for number, text in truth.items())
    return Criterion(what, kept == len(truth), f"{kept} of {len(truth)} were saved")


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
)
