"""Every check: its id, the scenarios that it needs, and the function that judges."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from textwrap import shorten

from helpers.audit.checks import (
    blocking,
    boundaries,
    connections,
    history,
    prompting,
    retrying,
    streaming,
    waiting,
)
from helpers.audit.checks.finding import Finding, not_seen, plural
from helpers.audit.outcome import Outcome
from helpers.audit.recording import Recording


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the audit."""

    id: str
    scenario: str
    judge: Callable[[Recording], Finding]
    for_programs: str | None = ""
    """The scenario in which a program is judged: by default the same; None: only a service is."""

    @property
    def lesson(self) -> str:
        return self.id[3:5]

    @property
    def names(self) -> tuple[str, str, str]:
        """What it can be chosen by: its lesson with or without letters, or its id."""
        return self.lesson, f"LAP{self.lesson}", self.id

    def scenario_for(self, is_program: bool) -> str | None:
        return (
            (self.scenario if self.for_programs == "" else self.for_programs)
            if (is_program)
            else self.scenario
        )


CHECKS = (
    Check("LAP01.flight", "crowd", blocking.in_flight, for_programs="steady"),
    Check("LAP01.health", "crowd", blocking.health, for_programs=None),
    Check("LAP02.connections", "steady", connections.connections),
    Check("LAP02.handshakes", "tls", connections.handshakes),
    Check("LAP03.prefix", "steady", prompting.prefix),
    Check("LAP03.cached", "steady", prompting.cached),
    Check("LAP03.growth", "steady", prompting.growth),
    Check("LAP03.clock", "steady", prompting.clock),
    Check("LAP03.limit", "steady", prompting.limit),
    Check("LAP04.hang", "silence", waiting.hang),
    Check("LAP04.drip", "silence", waiting.drip),
    Check("LAP04.starve", "silence", waiting.starve),
    Check("LAP05.early", "limited", retrying.early),
    Check("LAP05.jitter", "overloaded", retrying.jitter),
    Check("LAP05.permanent", "permanent", retrying.permanent),
    Check("LAP05.layers", "overloaded", retrying.layers),
    Check("LAP06.restart", "restart", history.restart, for_programs=None),
    Check("LAP06.workers", "workers", history.workers, for_programs=None),
    Check("LAP06.order", "steady", history.order),
    Check("LAP07.first", "stream", streaming.first, for_programs=None),
    Check("LAP07.leave", "stream", streaming.leave, for_programs=None),
    Check("LAP08.cut", "broken", boundaries.cut),
    Check("LAP08.no_finish", "broken", boundaries.no_finish),
    Check("LAP08.length", "broken", boundaries.length),
    Check("LAP08.error_event", "broken", boundaries.error_event),
    Check("LAP08.json", "broken", boundaries.malformed),
    Check("LAP08.siblings", "sibling", boundaries.siblings),
    Check("LAP08.orphans", "sibling", boundaries.orphans, for_programs=None),
    Check("LAP08.down", "down", boundaries.down),
)
IDS = tuple(check.id for check in CHECKS)


def judge(check: Check, recordings: Mapping[str, Recording], *, is_program: bool) -> Outcome:
    """One check's outcome, from the recordings by the scenario's name."""
    name = check.scenario_for(is_program)
    if name is None:
        name, finding = check.scenario, not_seen("Only a service shows this: use --start.")
    elif recordings[name].missing:
        finding = not_seen(f"The scenario was not played: {recordings[name].missing}.")
    else:
        finding = _judge(check, recordings[name])
    return Outcome(check.id, check.lesson, name, finding.verdict, finding.evidence, finding.counted)


def _judge(check: Check, recording: Recording) -> Finding:
    """Requests that the provider refused as invalid show nothing."""
    refused, requests = len(recording.refused), len(recording.ledger.requests)
    met_a_fault = any(request.fault for request in recording.ledger.requests)
    is_useless = refused and not recording.was_answered and not met_a_fault
    finding = not_seen("") if is_useless else check.judge(recording)
    if finding.verdict != "not seen" or not refused:
        return finding
    said = f": {shorten(recording.refusal, 200)}" if recording.refusal else "."
    return Finding(
        "not seen",
        f"The provider refused {refused} of {plural(requests, 'request')} as invalid{said}",
        finding.counted,
    )
