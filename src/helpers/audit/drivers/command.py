"""Runs a program that calls the model by itself, once for each scenario."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from time import perf_counter

from helpers.audit.drivers.application import Applications
from helpers.audit.errors import AuditError
from helpers.audit.interrupts import results
from helpers.audit.provider import Provider
from helpers.audit.recording import Recording, Visit
from helpers.audit.scenarios import Scenario

_START_SECONDS = 30.0
# Seconds. A program that keeps calling the model is then killed.
_LONGEST = 120.0
_POLL = 0.02
# Runs of one scenario at the same time, where they need a processor.
_AT_ONCE = 3

HOW_TO_POINT = (
    "point it at the audit with OPENAI_BASE_URL, ANTHROPIC_BASE_URL or AZURE_OPENAI_ENDPOINT, "
    "which are set in its environment"
)


@dataclass(frozen=True, slots=True)
class Program:
    """The command under audit."""

    command: list[str]
    deadline: float
    applications: Applications = field(default_factory=Applications)

    def record(self, scenario: Scenario, provider: Provider) -> Recording:
        """Run it once for each user of the scenario. Raises AuditError."""
        started = perf_counter()
        with provider.playing(scenario):
            at_once = len(scenario.users) if scenario.waits else _AT_ONCE
            with ThreadPoolExecutor(at_once) as pool:
                try:
                    runs = [pool.submit(self._run, user, provider) for user in scenario.users]
                    visits = tuple(results(runs))
                except BaseException:
                    pool.shutdown(wait=False, cancel_futures=True)
                    self.applications.end_all()
                    raise
            ledger = provider.ledger()
            calls = provider.calls(ledger)
            refusal = provider.refusal()
        return Recording(
            scenario=scenario.name,
            description=scenario.description,
            ledger=ledger,
            calls=calls,
            visits=visits,
            started=started,
            ended=perf_counter(),
            deadline=self.deadline,
            refusal=refusal,
            is_program=True,
            remark="; ".join(_exit(visit) for visit in visits if not visit.succeeded),
        )

    def _run(self, user: str, provider: Provider) -> Visit:
        application = self.applications.start(self.command, provider.environment(user))
        started = perf_counter()
        try:
            while (status := application.exit_status) is None and not self._is_late(
                started, provider.last_call(user)
            ):
                time.sleep(_POLL)
            ended = None if status is None else perf_counter()
        finally:
            application.kill()
        return Visit(
            user=user,
            started=started,
            ended=ended,
            status=status,
            succeeded=status == 0,
            text=application.output,
            errors=application.errors,
            last_words=application.last_words,
        )

    def _is_late(self, started: float, last_call: float | None) -> bool:
        now = perf_counter()
        if last_call is None:
            return now > started + _START_SECONDS
        return now > last_call + self.deadline + 1 or now > started + max(
            _LONGEST, 2 * self.deadline
        )


def check_steady(recording: Recording) -> None:
    """Whether the program works while the provider is healthy. Raises AuditError if not."""
    (visit,) = recording.visits
    said = f" ({visit.last_words})" if visit.last_words else ""
    if not recording.ledger.requests:
        end = (
            f"did not end within {recording.ended - visit.started:.0f} s"
            if visit.status is None
            else f"ended with status {visit.status}{said}"
        )
        raise AuditError(f"The program sent no request and {end}: {HOW_TO_POINT}.")
    if not recording.calls:
        paths = ", ".join(sorted({r.path[:100] for r in recording.ledger.requests})[:3])
        raise AuditError(f"The program asked no model: its requests were for {paths}.")
    must_be_answered(recording)
    if visit.ended is None:
        raise AuditError(
            "The program did not end although every answer came at once: audit a service with "
            "--start, --app and --chat."
        )
    if visit.status != 0:
        raise AuditError(
            f"The program ended with status {visit.status} although the provider was healthy{said}."
        )


def must_be_answered(recording: Recording) -> None:
    """Raises AuditError if the provider, though healthy, refused every call."""
    if recording.was_answered or not recording.refused:
        return
    statuses = ", ".join(sorted({str(request.status) for request in recording.refused}))
    message = " ".join(recording.refusal.split())[:300] or "it gave no reason."
    raise AuditError(f"The provider refused every request as invalid ({statuses}): {message}")


def _exit(visit: Visit) -> str:
    if visit.status is None:
        return f"{visit.user}: killed, still running"
    return f"{visit.user}: exit status {visit.status}"
