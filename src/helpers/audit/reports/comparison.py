"""Audits of several applications side by side, as lesson 10 shows them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from helpers.audit.outcome import AuditReport, Outcome, ScenarioRecord
from helpers.audit.reports.wording import STATES, lesson_title, state, tally
from helpers.lab.run import Comparison, Run
from helpers.mock_llm import Request
from helpers.report.table import Table

_TIMES = ("arrival", "slot", "first_token", "first_byte", "last_byte", "client_left")


def mistakes(report: AuditReport) -> tuple[str, ...]:
    """The numbers of the lessons that have a failed check, such as ``("01", "04")``."""
    return tuple(sorted({check.lesson for check in report.failures}))


def passed(report: AuditReport) -> tuple[str, ...]:
    """The numbers of the lessons that have a passed check and no failed one."""
    lessons = {check.lesson for check in report.checks if check.verdict == "pass"}
    return tuple(sorted(lessons.difference(mistakes(report))))


def unseen(report: AuditReport) -> tuple[Outcome, ...]:
    """The checks that could not judge: what they need did not happen."""
    return tuple(check for check in report.checks if check.verdict == "not seen")


def played(reports: Mapping[str, AuditReport], scenario: str) -> Comparison:
    """One scenario of each audit, to be drawn by `figure`. Raises `KeyError` if it is missing."""
    runs: dict[str, tuple[Run, ...]] = {}
    for name, report in reports.items():
        records = {record.name: record for record in report.scenarios}
        runs[name] = (_as_run(name, records[scenario]),)
    return Comparison(runs)


def side_by_side(reports: Mapping[str, AuditReport]) -> Table:
    """A row per lesson and a column per application: "2 fail, 1 pass"."""
    rows = [
        (lesson_title(lesson), *(_counts(report, lesson) for report in reports.values()))
        for lesson in _lessons(reports)
    ]
    caption = "; ".join(f"{name}: {tally(report)}" for name, report in reports.items())
    return Table(f"{caption}.", ("lesson", *reports), tuple(rows))


def _lessons(reports: Mapping[str, AuditReport]) -> list[str]:
    return sorted({check.lesson for report in reports.values() for check in report.checks})


def _counts(report: AuditReport, lesson: str) -> str:
    states = Counter(state(report, check) for check in report.checks if check.lesson == lesson)
    return ", ".join(f"{states[name]} {name}" for name in STATES if states[name]) or "–"


def _as_run(name: str, record: ScenarioRecord) -> Run:
    seconds = record.ended - record.started
    return Run(
        name,
        "returned",
        seconds,
        limit=seconds,
        backend="unknown",
        requests=tuple(_since(record.started, request) for request in record.ledger.requests),
        peak_in_flight=record.ledger.peak_in_flight,
    )


def _since(start: float, request: Request) -> Request:
    times = {name: getattr(request, name) for name in _TIMES}
    return replace(request, **{n: at - start for n, at in times.items() if at is not None})
