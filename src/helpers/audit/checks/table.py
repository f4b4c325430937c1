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
    measures: str
    """In words, for a reader who has not run it."""
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
    Check(
        "LAP01.flight",
        "crowd",
        blocking.in_flight,
        "How many of eight users' requests are in flight at once.",
        for_programs="steady",
    ),
    Check(
        "LAP01.health",
        "crowd",
        blocking.health,
        "How long the health route takes while the model is thinking.",
        for_programs=None,
    ),
    Check(
        "LAP02.connections",
        "steady",
        connections.connections,
        "Connections opened, against the number that the requests needed.",
    ),
    Check(
        "LAP02.handshakes",
        "tls",
        connections.handshakes,
        "TLS handshakes, against the number that the requests needed.",
    ),
    Check(
        "LAP03.prefix",
        "steady",
        prompting.prefix,
        "How much of what a prompt repeats is unchanged at its beginning.",
    ),
    Check(
        "LAP03.cached",
        "steady",
        prompting.cached,
        "The share of long prompts' tokens that comes from the provider's cache.",
    ),
    Check(
        "LAP03.growth",
        "steady",
        prompting.growth,
        "Whether the prompt stops growing in a long conversation.",
    ),
    Check(
        "LAP03.clock",
        "steady",
        prompting.clock,
        "Clocks and random ids at the front of prompts.",
    ),
    Check(
        "LAP03.limit",
        "steady",
        prompting.limit,
        "Requests that set no limit on the answer's tokens.",
    ),
    Check(
        "LAP04.hang",
        "silence",
        waiting.hang,
        "Whether users of a provider that never answers get an answer or an error in time.",
    ),
    Check(
        "LAP04.drip",
        "silence",
        waiting.drip,
        "The same for a provider that answers byte by byte.",
    ),
    Check(
        "LAP04.starve",
        "silence",
        waiting.starve,
        "Whether other users are answered while some calls hang.",
    ),
    Check(
        "LAP05.early",
        "limited",
        retrying.early,
        "Retries after 429 that come before `Retry-After` has passed.",
    ),
    Check(
        "LAP05.jitter",
        "overloaded",
        retrying.jitter,
        "Whether calls that met 503 come back at different moments.",
    ),
    Check(
        "LAP05.permanent",
        "permanent",
        retrying.permanent,
        "Retries of errors that no retry fixes.",
    ),
    Check(
        "LAP05.layers",
        "overloaded",
        retrying.layers,
        "How many times one call is sent while it only gets 503.",
    ),
    Check(
        "LAP06.restart",
        "restart",
        history.restart,
        "Turns of a conversation that are recalled after a crash.",
        for_programs=None,
    ),
    Check(
        "LAP06.workers",
        "workers",
        history.workers,
        "Whether two processes know the turns that the other one answered.",
        for_programs=None,
    ),
    Check(
        "LAP06.order",
        "steady",
        history.order,
        "Whether a prompt has the newest turns, oldest first.",
    ),
    Check(
        "LAP07.first",
        "stream",
        streaming.first,
        "How long after it was sent the reader sees the first token.",
        for_programs=None,
    ),
    Check(
        "LAP07.leave",
        "stream",
        streaming.leave,
        "Tokens generated after the reader has left.",
        for_programs=None,
    ),
    Check(
        "LAP08.cut",
        "broken",
        boundaries.cut,
        "Whether an answer that was cut off is marked as incomplete.",
    ),
    Check(
        "LAP08.no_finish",
        "broken",
        boundaries.no_finish,
        "The same for an answer without a finish reason.",
    ),
    Check(
        "LAP08.length",
        "broken",
        boundaries.length,
        "The same for an answer that ended at its limit.",
    ),
    Check(
        "LAP08.error_event",
        "broken",
        boundaries.error_event,
        "The same for an answer with an error event in the stream.",
    ),
    Check(
        "LAP08.json",
        "broken",
        boundaries.malformed,
        "The same for an answer with malformed JSON.",
    ),
    Check(
        "LAP08.siblings",
        "sibling",
        boundaries.siblings,
        "Whether the other answers survive when one call fails.",
    ),
    Check(
        "LAP08.orphans",
        "sibling",
        boundaries.orphans,
        "Calls that go on after the user has an answer or an error.",
        for_programs=None,
    ),
    Check(
        "LAP08.down",
        "down",
        boundaries.down,
        "Requests sent to a provider that is down, and whether users get an error in time.",
    ),
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
