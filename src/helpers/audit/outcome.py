"""What an audit found: plain data, which the checks make and the reports show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from helpers.mock_llm.records.ledger import Ledger

VERSION = 1
"""The ids of checks and the fields of the JSON report change only together with this number."""
Verdict = Literal["pass", "fail", "not seen"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """One check's verdict, with the numbers that prove it."""

    id: str
    """Such as ``LAP04.hang``."""
    lesson: str
    """Two digits."""
    scenario: str
    verdict: Verdict
    evidence: str
    """One sentence, with numbers; if the check was not seen, what was missing."""
    counted: Mapping[str, float | int | str | bool | None] = field(default_factory=dict)
    """What the verdict rests on, by name."""


@dataclass(frozen=True, slots=True)
class ScenarioRecord:
    """What was recorded while one scenario ran."""

    name: str
    description: str
    """How the provider behaved and what the driver did, in one sentence."""
    ledger: Ledger
    started: float
    """On the system-wide monotonic clock, in seconds, as all times in the ledger."""
    ended: float
    waited: float = 0.0
    """The seconds that were spent waiting for the application."""
    remark: str = ""
    """What went wrong outside the provider, such as the program's exit status."""


@dataclass(frozen=True, slots=True)
class AuditReport:
    """A whole audit."""

    checks: tuple[Outcome, ...]
    scenarios: tuple[ScenarioRecord, ...]
    expected: Mapping[str, str] = field(default_factory=dict)
    """The checks that are expected to fail, by id, with the reason."""

    @property
    def stale(self) -> tuple[str, ...]:
        """Ids that are expected to fail and have passed."""
        return tuple(
            check.id
            for check in self.checks
            if check.id in self.expected and check.verdict == "pass"
        )

    @property
    def failures(self) -> tuple[Outcome, ...]:
        """Checks that failed and were not expected to."""
        return tuple(
            check
            for check in self.checks
            if check.verdict == "fail" and check.id not in self.expected
        )

    @property
    def verdict(self) -> Literal["pass", "fail"]:
        return "fail" if self.failures or self.stale else "pass"
