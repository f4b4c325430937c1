"""What a learner predicted before the arms were run, for figures to show."""

from __future__ import annotations

from dataclasses import dataclass

from helpers.report.formatting import quantity


@dataclass(frozen=True, slots=True)
class Prediction:
    """``arm`` will reach ``value``.

    With ``unit="s"`` it is the time from the arm's first request to its last answer, in seconds.
    """

    arm: str
    value: float
    unit: str = "s"

    def __str__(self) -> str:
        return f"you predicted {quantity(self.value, self.unit)}"
