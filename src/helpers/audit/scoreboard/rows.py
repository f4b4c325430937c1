"""The eight rows, made from the outcomes of the checks that there are so far."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from helpers.audit.outcome import Outcome

State: TypeAlias = Literal["repaired", "mistake", "not seen", "measuring"]


@dataclass(frozen=True, slots=True)
class Row:
    """One mistake."""

    lesson: str
    state: State
    evidence: str = ""
    is_broken: bool = False
    """It was repaired when the scoreboard last measured it."""


def rows_of(
    chosen: Sequence[str], outcomes: Iterable[Outcome], repaired_before: Collection[str]
) -> tuple[Row, ...]:
    """A row per lesson. ``chosen``: the lesson of each check that is to be judged."""
    found = list(outcomes)
    rows = []
    for lesson in sorted(set(chosen)):
        own = [outcome for outcome in found if outcome.lesson == lesson]
        rows.append(_row(lesson, own, chosen.count(lesson), lesson in repaired_before))
    return tuple(rows)


def _row(lesson: str, own: list[Outcome], checks: int, was_repaired: bool) -> Row:
    by_verdict = {
        verdict: [each for each in own if each.verdict == verdict]
        for verdict in ("fail", "pass", "not seen")
    }
    # One failed check is enough; all must be there before a row is repaired.
    if failed := by_verdict["fail"]:
        return Row(lesson, "mistake", _evidence(failed), was_repaired)
    if len(own) < checks:
        return Row(lesson, "measuring")
    if passed := by_verdict["pass"]:
        return Row(lesson, "repaired", _evidence(passed))
    return Row(lesson, "not seen", _evidence(by_verdict["not seen"]))


def _evidence(checks: list[Outcome]) -> str:
    first, *others = sorted(checks, key=lambda each: each.id)
    more = f" (and {len(others)} more)" if others else ""
    return f"{first.evidence}{more}"
