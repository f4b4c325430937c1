"""An audit from Python."""

from __future__ import annotations

import re
import shlex
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Protocol

from helpers.audit.checks.table import CHECKS, IDS, Check, judge
from helpers.audit.drivers import command as command_driver
from helpers.audit.drivers import service as service_driver
from helpers.audit.drivers.application import Applications, split
from helpers.audit.drivers.command import Program
from helpers.audit.drivers.options import ServiceOptions, read_options
from helpers.audit.drivers.service import Service, waiting
from helpers.audit.errors import AuditError
from helpers.audit.interrupts import result, results
from helpers.audit.outcome import AuditReport, Outcome
from helpers.audit.provider import Provider
from helpers.audit.recording import Recording, to_records
from helpers.audit.scenarios import SCENARIOS, STEADY, Scenario

DEADLINE = 30.0
_LONGEST_DEADLINE = 3_600.0
# Scenarios that need a processor and are played at the same time.
_LANES = 2

Progress = Callable[[str], None]
Judged = Callable[[Outcome], None]


def audit_command(
    command: str | Sequence[str],
    *,
    deadline: float = DEADLINE,
    only: str | Sequence[str] = (),
    expected: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> AuditReport:
    """Audit a program that calls the model by itself: it is run once for each scenario.

    ``deadline``: seconds within which it must end or go on when the provider is silent. ``only``:
    lessons or ids of checks, such as ``["04", "LAP05.early"]``. ``expected``: ids of checks that
    may fail, each with the reason. ``progress`` is called with a line for each scenario.

    Raises `AuditError` if it cannot be audited.
    """
    words = split(command) if isinstance(command, str) else [*command]
    if not words:
        raise AuditError("There is no command to audit.")
    audit = _Audit(
        Program(words, _checked(deadline)), choose(only), expected or {}, progress, is_program=True
    )
    return audit.run(command_driver.check_steady, lanes=_LANES)


def audit_service(
    start: str | Sequence[str],
    app: str,
    chat: str,
    *,
    stream: bool = False,
    answer: str = "",
    health: str = "",
    deadline: float = DEADLINE,
    only: str | Sequence[str] = (),
    expected: Mapping[str, str] | None = None,
    progress: Progress | None = None,
    judged: Judged | None = None,
) -> AuditReport:
    """Audit a service: start it, play its users, and restart it.

    ``start``: its command; ``app``: its address. ``$PORT`` in both is a free port. ``chat``: how a
    user asks, such as ``POST /chat {"session": "$SESSION", "message": "$MESSAGE"}``. ``stream``:
    the answer is streamed. ``answer``: dotted keys of the answer in the body, by default the whole
    body. ``health``: the path of a health route. ``deadline``: seconds within which a user must
    have an answer or an error. ``judged`` is called with each check's outcome as soon as there is
    one, from any thread. The other parameters are those of `audit_command`.

    Raises `AuditError` if it cannot be audited.
    """
    started = start if isinstance(start, str) else shlex.join(start)
    options = read_options(
        started, app, chat, stream=stream, answer=answer or "", health=health or ""
    )
    audit = _Audit(
        Service(options, _checked(deadline)),
        choose(only),
        expected or {},
        progress,
        is_program=False,
        judged=judged,
    )
    return _run(audit, options)


def audit_services(
    starts: Mapping[str, str],
    app: str,
    chat: str,
    *,
    stream: bool = False,
    answer: str = "",
    deadline: float = DEADLINE,
    only: str | Sequence[str] = (),
) -> dict[str, AuditReport]:
    """Audit versions of a service at the same time: most of an audit is waiting.

    ``starts``: the command of each, by a name of yours; ``$PORT`` in them and in ``app`` is a free
    port. The reports have the same names. The other parameters are those of `audit_service`.

    Raises `AuditError` if one of them cannot be audited.
    """
    audits: list[tuple[_Audit, ServiceOptions]] = []
    for start in starts.values():
        options = read_options(start, app, chat, stream=stream, answer=answer, health="")
        service = Service(options, _checked(deadline))
        audits.append((_Audit(service, choose(only), {}, None, is_program=False), options))
    with ThreadPoolExecutor() as pool:
        running = [pool.submit(_run, *each) for each in audits]
        try:
            return dict(zip(starts, results(running), strict=True))
        except BaseException:  # an interrupt, too: the others must not go on
            for audit, _ in audits:
                audit.driver.applications.end_all()
            raise


def _run(audit: _Audit, options: ServiceOptions) -> AuditReport:
    return audit.run(
        lambda recording: service_driver.check_steady(recording, options),
        lanes=_LANES if options.takes_a_port else 1,
    )


def choose(only: str | Collection[str]) -> tuple[Check, ...]:
    """The checks of the lessons or ids; all if there are none. Raises AuditError."""
    names = re.split(r"[,\s]+", only.strip(", ")) if isinstance(only, str) else [*only]
    names = [name for name in names if name]
    for name in names:
        if not any(name in check.names for check in CHECKS):
            raise AuditError(
                f"--only takes lessons 01 to 08 and ids such as {IDS[0]}, not {name[:100]!r}."
            )
    return tuple(
        check for check in CHECKS if not names or any(name in check.names for name in names)
    )


def _checked(deadline: float) -> float:
    if not 1 <= deadline <= _LONGEST_DEADLINE:
        raise AuditError(
            f"--deadline must be between 1 and {_LONGEST_DEADLINE:,.0f} seconds, not {deadline:g}."
        )
    return float(deadline)


class _Driver(Protocol):
    @property
    def deadline(self) -> float: ...

    @property
    def applications(self) -> Applications: ...

    def record(self, scenario: Scenario, provider: Provider) -> Recording: ...


@dataclass(frozen=True)
class _Audit:
    driver: _Driver
    checks: tuple[Check, ...]
    expected: Mapping[str, str]
    progress: Progress | None
    is_program: bool
    judged: Judged | None = None

    def run(self, check_steady: Callable[[Recording], None], lanes: int) -> AuditReport:
        """Play the scenarios that the checks need; the first shows whether all is well."""
        names = {check.scenario_for(self.is_program) for check in self.checks}
        rest = [s for s in SCENARIOS.values() if s.name in names and s is not STEADY]
        first = STEADY if STEADY.name in names else replace(STEADY, is_brief=True)
        with Provider() as provider:
            steady = self._play(first, provider)
            check_steady(steady)
            played = self._play_all(rest, provider, lanes)
        recordings = {recording.scenario: recording for recording in (steady, *played)}
        return AuditReport(
            tuple(judge(c, recordings, is_program=self.is_program) for c in self.checks),
            to_records(recordings.values()),
            dict(self.expected),
        )

    def _play_all(
        self, scenarios: list[Scenario], provider: Provider, lanes: int
    ) -> list[Recording]:
        """Play in the order given. Scenarios that only wait go on while the others are played."""
        waiting_ones = [s for s in scenarios if s.waits] if lanes > 1 else []
        others = [s for s in scenarios if s not in waiting_ones]
        if lanes == 1:
            others.sort(key=lambda scenario: scenario.waits)
        with ExitStack() as providers, ThreadPoolExecutor(lanes) as pool:
            second: list[Future[list[Recording]]] = []
            try:
                if waiting_ones:
                    apart = providers.enter_context(Provider())
                    second = [pool.submit(self._play_in_turn, waiting_ones, apart)]
                played = self._play_in_turn(others, provider)
                for future in second:
                    there = result(future)
                    played += there
            except BaseException:  # an interrupt, too: the other lane must not go on
                self.driver.applications.end_all()
                raise
        order = [scenario.name for scenario in scenarios]
        return sorted(played, key=lambda recording: order.index(recording.scenario))

    def _play_in_turn(self, scenarios: list[Scenario], provider: Provider) -> list[Recording]:
        return [self._play(scenario, provider) for scenario in scenarios]

    def _play(self, scenario: Scenario, provider: Provider) -> Recording:
        started = time.monotonic()
        recording = self.driver.record(waiting(scenario, self.driver.deadline), provider)
        if self.progress is not None:
            seconds = time.monotonic() - started
            self.progress(f"{scenario.name:<11} {seconds:5.1f} s  {scenario.description}")
        self._tell(recording)
        return recording

    def _tell(self, recording: Recording) -> None:
        if self.judged is None:
            return
        for check in self.checks:
            if check.scenario_for(self.is_program) == recording.scenario:
                played = {recording.scenario: recording}
                self.judged(judge(check, played, is_program=self.is_program))


def to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
