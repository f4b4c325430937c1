"""Audits of several applications side by side, as lesson 10 shows them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from helpers.audit.outcome import AuditReport
from helpers.audit.reports.wording import STATES, lesson_title, state, tally
from helpers.report.table import Table


def mistakes(report: AuditReport) -> tuple[str, ...]:
    """The numbers of the lessons of which a check failed, such as ``("01", "04")``."""
    return tuple(sorted({check.lesson for check in report.failures}))


def passed(report: AuditReport) -> tuple[str, ...]:
    """The numbers of the lessons of which a check passed and none failed."""
    lessons = {check.lesson for check in report.checks if check.verdict == "pass"}
    return tuple(sorted(lessons.difference(mistakes(report))))


def failed_checks(reports: Mapping[str, AuditReport]) -> dict[str, dict[str, float]]:
    """How many checks of each lesson failed, by application: to be drawn as bars."""
    return {
        lesson: {
            name: sum(check.lesson == lesson for check in report.failures)
            for name, report in reports.items()
        }
        for lesson in _lessons(reports)
    }


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
