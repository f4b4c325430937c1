"""The checked cell of a lesson: one line per claim, and an exception if one of them fails."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


class VerdictFailed(Exception):  # noqa: N818 - a lesson's result, not a programming error
    """Raised by `verdict` if at least one claim does not hold."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A statement about a measurement, and whether it holds."""

    # without the measurement: the same text on every machine
    statement: str
    measured: str
    holds: bool

    def __str__(self) -> str:
        if self.holds:
            return f"PASS {self.statement}"
        return f"FAIL {self.statement} (measured: {self.measured})"


def equals(what: str, measured: object, expected: object) -> Claim:
    """``equals("peak requests in flight, right", run.peak_in_flight, 12)``"""
    return _claim(f"{what}: {_text(expected)}", measured, operator.eq, expected)


def at_least(what: str, measured: object, bound: float) -> Claim:
    """``at_least("makespan, wrong ÷ right", comparison.ratio(…), 4)``"""
    return _claim(f"{what}: at least {_text(bound)}", measured, operator.ge, bound)


def at_most(what: str, measured: object, bound: float) -> Claim:
    """``at_most("requests still open after the deadline, right", still_open, 0)``"""
    return _claim(f"{what}: at most {_text(bound)}", measured, operator.le, bound)


def verdict(*claims: Claim) -> None:
    """Print one PASS or FAIL line per claim.

    Raises `VerdictFailed` if a claim fails, and `ValueError` if there are no claims: such a verdict
    could not fail.
    """
    if not claims:
        raise ValueError("A verdict needs at least one claim: without one it could not fail.")
    for claim in claims:
        print(claim)
    failed = [f"{c.statement} (measured: {c.measured})" for c in claims if not c.holds]
    if failed:
        noun = "claim" if len(claims) == 1 else "claims"
        raise VerdictFailed(f"{len(failed)} of {len(claims)} {noun} failed: {'; '.join(failed)}.")


def _claim(
    statement: str, measured: object, compare: Callable[[Any, Any], Any], bound: object
) -> Claim:
    return Claim(statement, _text(measured), _holds(compare, measured, bound))


def _holds(compare: Callable[[Any, Any], Any], measured: object, bound: object) -> bool:
    if measured is None:
        return False
    try:
        return bool(compare(measured, bound))  # NaN compares false with everything
    except (TypeError, ValueError):
        return False


def _text(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
