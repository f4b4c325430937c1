"""The summary for a screen."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterator
from itertools import groupby

from helpers.audit.outcome import AuditReport, Outcome
from helpers.audit.reports.wording import (
    STATES,
    State,
    duration,
    evidence,
    in_order,
    lesson_title,
    lesson_to_read,
    tally,
)

_WORDS: dict[State, str] = {
    "fail": "FAIL",
    "stale": "STALE",
    "expected": "expected",
    "not seen": "not seen",
    "pass": "pass",
}
_COLORS: dict[State, str] = {
    "fail": "1;31",
    "stale": "1;31",
    "expected": "33",
    "not seen": "2",
    "pass": "32",
}
_COLUMN = max(map(len, _WORDS.values()))
# With more failures than this, each gets one line instead of two: the summary fits a screen.
_MANY = 15


def render(report: AuditReport, width: int = 100, color: bool = False) -> str:
    """A block per lesson: what failed with its evidence, what was not seen, what passed.

    ``width`` is that of the screen, in characters.
    """
    checks = in_order(report)
    lines = 1 if sum(state in ("fail", "stale") for state, _ in checks) > _MANY else 2
    parts: list[str] = []
    by_lesson = sorted(checks, key=lambda each: each[1].lesson)
    for lesson, group in groupby(by_lesson, key=lambda each: each[1].lesson):
        parts += _lesson(report, lesson, list(group), max(width, 60), lines, color)
    verdict = _painted(report.verdict, report.verdict.upper(), color)
    return "\n".join([*parts, "", f"{verdict}: {tally(report)}.", f"{duration(report)}.", ""])


def _lesson(
    report: AuditReport,
    lesson: str,
    checks: list[tuple[State, Outcome]],
    width: int,
    lines: int,
    color: bool,
) -> Iterator[str]:
    worst = checks[0][0]
    counts = Counter(state for state, _ in checks)
    said = ", ".join(f"{counts[s]} {_WORDS[s].lower()}" for s in STATES if counts[s])
    yield f"{_word(worst, color)}  {lesson_title(lesson)}: {said}"
    for state, check in checks:
        if state != "pass":
            yield from _check(report, state, check, width, lines)
    if worst in ("fail", "stale", "expected"):
        yield f"{' ' * _COLUMN}  Read {lesson_to_read(lesson)}"


def _check(
    report: AuditReport, state: State, check: Outcome, width: int, lines: int
) -> Iterator[str]:
    margin = " " * (_COLUMN + 2)
    label = "" if state == "fail" else f" ({_WORDS[state].lower()})"
    yield from textwrap.wrap(
        f"{check.id}{label}: {evidence(report, check)}",
        width,
        initial_indent=margin,
        subsequent_indent=f"{margin}  ",
        max_lines=lines,
        placeholder=" …",
    )


def _word(state: State, color: bool) -> str:
    return _painted(state, _WORDS[state].ljust(_COLUMN), color)


def _painted(state: State, text: str, color: bool) -> str:
    return f"\x1b[{_COLORS[state]}m{text}\x1b[0m" if color else text
