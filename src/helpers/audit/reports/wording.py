"""Wording that all reports share."""

from __future__ import annotations

from collections import Counter
from typing import Literal, TypeAlias

from helpers.audit.outcome import AuditReport, Outcome
from helpers.lessons.catalogue import LESSONS
from helpers.lessons.course.folder import course_folder
from helpers.report.formatting import seconds, shortened

State: TypeAlias = Literal["fail", "stale", "expected", "not seen", "pass"]
"""A verdict given the expected failures: "stale" has passed but was expected to fail."""

STATES: tuple[State, ...] = ("fail", "stale", "expected", "not seen", "pass")
"""In the order in which reports show them."""

_MOST = 600
_COUNTED: dict[State, tuple[str, str]] = {
    "fail": ("failed", "failed"),
    "stale": ("is expected to fail and passed", "are expected to fail and passed"),
    "expected": ("failed as expected", "failed as expected"),
    "not seen": ("was not seen", "were not seen"),
    "pass": ("passed", "passed"),
}


def state(report: AuditReport, check: Outcome) -> State:
    if check.id not in report.expected or check.verdict == "not seen":
        return check.verdict
    return "stale" if check.verdict == "pass" else "expected"


def in_order(report: AuditReport) -> list[tuple[State, Outcome]]:
    """The checks with their states: failures first, otherwise in the order of the lessons."""
    checks = [(state(report, check), check) for check in report.checks]
    return sorted(checks, key=lambda each: (STATES.index(each[0]), each[1].lesson))


def evidence(report: AuditReport, check: Outcome) -> str:
    """The check's sentence, and what the expected failures say about it."""
    reason = clean(report.expected.get(check.id, ""))
    match state(report, check):
        case "stale":
            return (
                f"{clean(check.evidence)} Expected to fail ({reason}): "
                "remove it from the expected failures."
            )
        case "expected":
            return f"{clean(check.evidence)} Expected: {reason}"
    return clean(check.evidence)


def tally(report: AuditReport) -> str:
    """ "3 of 25 checks failed, 20 passed, 2 were not seen"."""
    states = Counter(state(report, check) for check in report.checks)
    counts = {name: states[name] for name in STATES if states[name] or name == "fail"}
    parts = [f"{count} {_COUNTED[name][count != 1]}" for name, count in counts.items()]
    failed, *others = parts
    checks = "check" if len(report.checks) == 1 else "checks"
    first = failed.replace(" ", f" of {len(report.checks)} {checks} ", 1)
    return ", ".join([first, *others])


def duration(report: AuditReport) -> str:
    """ "14 scenarios in 52 s, 12 s of it waiting for the application"."""
    count = len(report.scenarios)
    scenarios = "1 scenario" if count == 1 else f"{count} scenarios"
    waited = sum(each.waited for each in report.scenarios)
    apart = f", {seconds(waited)} of it waiting for the application" if waited else ""
    return f"{scenarios} in {seconds(elapsed(report))}{apart}"


def elapsed(report: AuditReport) -> float:
    """Seconds from the first scenario's start to the last one's end; some run at the same time."""
    if not report.scenarios:
        return 0.0
    return max(s.ended for s in report.scenarios) - min(s.started for s in report.scenarios)


def lesson_title(number: str) -> str:
    """ "04 · Set a deadline"."""
    titles = {lesson.number: lesson.title for lesson in LESSONS}
    return f"{number} · {titles[number]}" if number in titles else f"Lesson {number}"


def lesson_to_read(number: str) -> str:
    """The learner's notebook of the lesson, if there is one; otherwise the notebook's name."""
    lesson = next((lesson for lesson in LESSONS if lesson.number == number and lesson.name), None)
    if lesson is None:
        return ""
    copy = course_folder() / f"{lesson.stem}.ipynb"
    return str(copy) if copy.is_file() else copy.name


def clean(text: object, most: int = _MOST) -> str:
    """One line that can be printed anywhere: an application may have put anything into it."""
    # Cut first: a program may have printed 100 MB.
    characters = str(text)[: 10 * most]
    line = "".join(c if c.isprintable() else " " if c.isspace() else "" for c in characters)
    return shortened(" ".join(line.split()), most)
