"""A lesson's verdict: judges its claims; a lesson whose claims hold counts as run."""

from __future__ import annotations

from helpers.lessons import progress
from helpers.lessons.catalogue import lesson
from helpers.report import Claim
from helpers.report import verdict as judge


def verdict(number: str | int, *claims: Claim) -> None:
    """Print a PASS or FAIL line per claim; if all hold, remember that the lesson was run.

    Raises `VerdictFailed` if a claim does not hold.
    """
    judge(*claims)
    progress.note_now(lesson(number).number, "verdict")
