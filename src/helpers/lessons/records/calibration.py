"""How far a learner's predictions are from what was measured."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Any

# A prediction is right within this factor.
_FACTOR = 2
# Up to here a count is one of few possibilities: a factor of two would cover most of them.
_FEW = 4
_MEASURED_UNITS = ("s", "%")
# Of so many predictions that were off, this share in one direction is called a tendency.
_ENOUGH, _MOST = 4, 0.75
RULE = (
    f"Right means within a factor of two; a count up to {_FEW} must be exact. "
    "A prediction counts only if it was made before its answer was shown."
)


@dataclass(frozen=True, slots=True)
class Guess:
    """A prediction and what was measured, both from 0 up."""

    said: float
    was: float
    unit: str

    @property
    def is_choice(self) -> bool:
        """Whether only a few answers were possible, so that nothing but the exact one is right."""
        return self.unit not in _MEASURED_UNITS and self.was <= _FEW and self.was == int(self.was)

    @property
    def right(self) -> bool:
        return self.said == self.was or (not self.is_choice and self.factor <= _FACTOR)

    @property
    def factor(self) -> float:
        """By how much it is off, in either direction: 1 if it is exact; infinite next to a 0."""
        low, high = sorted((self.said, self.was))
        if low == high:
            return 1.0
        return high / low if low else float("inf")


@dataclass(frozen=True, slots=True)
class Calibration:
    guesses: tuple[Guess, ...]

    @property
    def right(self) -> int:
        return sum(guess.right for guess in self.guesses)

    @property
    def sentences(self) -> list[str]:
        """In words; empty if nothing has been compared yet."""
        if not self.guesses:
            return []
        score = f"{self.right} of {len(self.guesses)} predictions right."
        return [" ".join([score, *self._typical(), self._tendency()]), RULE]

    def _typical(self) -> list[str]:
        factors = [guess.factor for guess in self.guesses if not guess.is_choice]
        if not factors:
            return []
        factor = statistics.median_low(factors)
        off = "more than 100" if factor > 100 else f"{factor:.2g}"
        return [f"The median of your numbers is off by a factor of {off}."]

    def _tendency(self) -> str:
        off = [guess for guess in self.guesses if not guess.right]
        low = sum(guess.said < guess.was for guess in off)
        high = len(off) - low
        if len(off) < _ENOUGH:
            return "Too few were off to say whether you tend to guess too low or too high."
        if max(low, high) < _MOST * len(off):
            return f"You guess too low about as often as too high ({low} and {high} times)."
        way = "too low" if low > high else "too high"
        return f"You tend to guess {way}: {max(low, high)} of the {len(off)} that were off."


def guess(noted: Any, unit: str) -> Guess | None:
    """The guess in a note ``{"said": 8, "was": 32}``.

    None if the answer was shown before a prediction was made, or if the note is damaged.
    """
    if not isinstance(noted, dict):
        return None
    said, was = _amount(noted.get("said")), _amount(noted.get("was"))
    return None if said is None or was is None else Guess(said, was, unit)


def _amount(value: object) -> float | None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    return float(value) if 0 <= value < float("inf") else None
