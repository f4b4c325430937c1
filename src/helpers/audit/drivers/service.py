"""Starts a service, plays its users, and restarts it."""

from __future__ import annotations

import secrets
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from time import perf_counter
from urllib.parse import urlsplit

import anyio
import httpx
from anyio.from_thread import start_blocking_portal

from helpers.audit.drivers.application import Application, Applications
from helpers.audit.drivers.command import HOW_TO_POINT, must_be_answered
from helpers.audit.drivers.options import ServiceOptions
from helpers.audit.drivers.users import Users
from helpers.audit.errors import AuditError
from helpers.audit.interrupts import result
from helpers.audit.provider import Provider
from helpers.audit.recording import Recording, Visit
from helpers.audit.scenarios import Scenario

_START_SECONDS = 30.0
_POLL = 0.05
TURNS = 24
# In each message: more than 40,000 tokens in a conversation, which is above the usual budgets.
_REMARKS = 96
# Prompts are cached from 1,024 tokens on.
_FEW_REMARKS = 20
_TLS_TURNS = 6
_CROWD = 8
# More than the threads or connections of a small pool; fewer than the 40 threads of anyio's.
_HANGING = 24
_HEALTHY = 4
_HEALTH_SECONDS = 0.1
_STAGGER_SECONDS = 0.1
# Seconds within which a canceled call should have left the provider.
_GRACE = 1.5
# Seconds within which the provider has written the answer of a reader who left.
_WRITING_SECONDS = 2.0
# Seconds within which a user's message should have become a request to the model.
_ARRIVAL_SECONDS = 2.0


@dataclass
class _Stage:
    """One scenario while it is played."""

    service: Service
    options: ServiceOptions
    scenario: Scenario
    provider: Provider
    users: Users
    application: Application
    visits: list[Visit] = field(default_factory=list)
    health: list[float] = field(default_factory=list)
    idle_health: list[float] = field(default_factory=list)
    missing: str = ""

    async def chat(self, user: str, turn: int = 1, *, remarks: int = 0) -> Visit:
        visit = await self.users.chat(user, turn, remarks=remarks)
        self.visits.append(visit)
        return visit

    async def all_at_once(self, names: list[str]) -> None:
        async with anyio.create_task_group() as tasks:
            for name in names:
                tasks.start_soon(self.chat, name)


@dataclass(frozen=True)
class Service:
    """The service under audit."""

    options: ServiceOptions
    deadline: float
    name: str = field(default_factory=partial(secrets.token_hex, 4))
    """Of this audit."""
    applications: Applications = field(default_factory=Applications)

    def users(self, options: ServiceOptions) -> Users:
        return Users(options, self.name, self.deadline + 1)

    def record(self, scenario: Scenario, provider: Provider) -> Recording:
        """Play one scenario. Raises AuditError."""
        # In a thread of its own: a notebook's thread already has an event loop.
        with start_blocking_portal() as portal:
            try:
                return result(portal.start_task_soon(self._record, scenario, provider))
            except BaseException:  # an interrupt, too: the portal waits for what starts
                self.applications.end_all()
                raise

    async def _record(self, scenario: Scenario, provider: Provider) -> Recording:
        started = perf_counter()
        play = _PLAYS[scenario.name]
        with provider.playing(scenario):
            async with self._stage(scenario, provider) as stage:
                ready = perf_counter()
                await play(stage)
                ledger = provider.ledger()
                calls = provider.calls(ledger)
                refusal = provider.refusal()
                ended = perf_counter()
        return Recording(
            scenario=scenario.name,
            description=scenario.description,
            ledger=ledger,
            calls=calls,
            visits=tuple(stage.visits),
            started=ready,
            ended=ended,
            deadline=self.deadline,
            refusal=refusal,
            streams=self.options.streams,
            health=tuple(stage.health),
            idle_health=tuple(stage.idle_health),
            missing=stage.missing,
            starting=ready - started,
        )

    @asynccontextmanager
    async def _stage(self, scenario: Scenario, provider: Provider) -> AsyncIterator[_Stage]:
        options = self.options.at_port(free_port())
        environment = provider.environment()
        application = await anyio.to_thread.run_sync(start, self.applications, options, environment)
        stage = None
        try:
            async with self.users(options) as users:
                stage = _Stage(self, options, scenario, provider, users, application)
                yield stage
        finally:
            with anyio.CancelScope(shield=True):
                last = application if stage is None else stage.application
                await anyio.to_thread.run_sync(last.stop)


def start(
    applications: Applications, options: ServiceOptions, environment: dict[str, str]
) -> Application:
    """Start the service and wait until it answers. Raises AuditError."""
    where = _address(options.app)
    if _accepts(*where):
        raise AuditError(
            f"Something already listens at {options.app}: end it, or let $PORT choose a free port."
        )
    application = applications.start(options.command, environment)
    try:
        _wait_until_ready(application, options, where)
    except BaseException:
        application.kill()
        raise
    return application


def _wait_until_ready(
    application: Application, options: ServiceOptions, where: tuple[str, int]
) -> None:
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end:
        if _accepts(*where) and _answers(options.app + (options.health or "/")):
            return
        status = application.exit_status
        if status is not None and not application.ports():
            said = f": {application.last_words}" if application.last_words else "."
            raise AuditError(
                f"The service ended with status {status} before it answered at {options.app}{said}"
            )
        time.sleep(_POLL)
    ports = [port for port in application.ports() if port != where[1]]
    elsewhere = f"; it listens on port {ports[0]}: is --app right?" if ports else "."
    raise AuditError(
        f"The service did not answer at {options.app} within {_START_SECONDS:g} s{elsewhere}"
    )


def _accepts(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True


def _answers(url: str) -> bool:
    """Whether there is any HTTP answer; one from a health route must not say "not ready"."""
    try:
        reply = httpx.get(url, timeout=2, trust_env=False, verify=False)  # noqa: S501
    except httpx.HTTPError:
        return False
    return reply.status_code != 503


def _address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def check_steady(recording: Recording, options: ServiceOptions) -> None:
    """Whether the service works while the provider is healthy. Raises AuditError if not."""
    chat = f"{options.chat.method} {options.chat.path}"
    first = recording.visits[0]
    body = " ".join(first.text.split())[:150]
    must_be_answered(recording)
    if first.status is None:
        why = f": {first.last_words}" if first.last_words else " before the deadline."
        raise AuditError(f"The service did not answer {chat}{why}")
    if first.status >= 500 and not recording.ledger.requests:
        raise AuditError(
            f"The service answers {first.status} to {chat} but sent no request to the "
            f"provider: {HOW_TO_POINT} ({body})."
        )
    if first.status >= 400:
        raise AuditError(
            f"The service answers {first.status} to {chat} although the provider is healthy: {body}"
        )
    if not recording.ledger.requests:
        raise AuditError(
            f"The service answered {chat}, but no request arrived at the provider: {HOW_TO_POINT}."
        )
    if not recording.calls:
        paths = ", ".join(sorted({r.path[:100] for r in recording.ledger.requests})[:3])
        raise AuditError(f"The service called no model: its requests were for {paths}.")
    if first.answer is None:
        raise AuditError(f"--answer {options.answer} finds nothing in the answer: {body}")


async def _converse(stage: _Stage) -> None:
    first = await stage.chat("steady-1")
    if not first.succeeded or stage.scenario.is_brief:
        return
    for remarks in (_REMARKS, _FEW_REMARKS):  # some services limit the length of a message
        if (await stage.chat("steady-1", 2, remarks=remarks)).succeeded:
            for turn in range(3, TURNS + 1):
                await stage.chat("steady-1", turn, remarks=remarks)
            return


async def _ask_in_turn(stage: _Stage) -> None:
    for turn in range(1, _TLS_TURNS + 1):
        await stage.chat("tls-1", turn)


async def _crowd(stage: _Stage) -> None:
    if not stage.options.health:
        await stage.all_at_once(_names("crowd", _CROWD))
        return
    # The first call of a process takes longer: it imports, and makes its client.
    await stage.users.chat("warm-1")
    for _ in range(5):
        stage.idle_health.append(await stage.users.health())
    async with anyio.create_task_group() as probing:
        probing.start_soon(_probe, stage)
        await stage.all_at_once(_names("crowd", _CROWD))
        probing.cancel_scope.cancel()


async def _probe(stage: _Stage) -> None:
    await anyio.sleep(2 * _HEALTH_SECONDS)
    while True:
        started = perf_counter()
        try:
            await stage.users.health()
        finally:  # including a probe that is still waiting when the users have their answers
            stage.health.append(perf_counter() - started)
        await anyio.sleep(_HEALTH_SECONDS)


async def _silence(stage: _Stage) -> None:
    async with anyio.create_task_group() as tasks:
        # One after the other: a service that admits few calls must meet both.
        first, *others = _names("hang", _HANGING)
        for name in (first, "drip-1"):
            tasks.start_soon(stage.chat, name)
            await _until(partial(stage.provider.has_asked, name), _ARRIVAL_SECONDS)
        for name in others:
            tasks.start_soon(stage.chat, name)
        await anyio.sleep(0.5)
        for name in _names("well", _HEALTHY):
            tasks.start_soon(stage.chat, name)
    # The call of a user who has an answer may still be open.
    end = max(visit.started for visit in stage.visits) + stage.service.deadline + _ARRIVAL_SECONDS
    await _until(lambda: not _is_open(stage), end - perf_counter())


def _is_open(stage: _Stage) -> bool:
    return any(call.end is None for call in stage.provider.calls(stage.provider.ledger()))


async def _until(condition: Callable[[], bool], seconds: float) -> None:
    with anyio.move_on_after(seconds):
        while not await anyio.to_thread.run_sync(condition):  # noqa: ASYNC110  # it may be another process's
            await anyio.sleep(0.1)


async def _each_kind_once(stage: _Stage) -> None:
    await stage.all_at_once([f"{kind}-1" for kind in stage.scenario.users])


async def _all_at_once(count: int, stage: _Stage) -> None:
    (kind,) = stage.scenario.users
    await stage.all_at_once(_names(kind, count))


async def _staggered(count: int, stage: _Stage) -> None:
    """At nearly the same moment, but far enough apart that the service's own work adds no delay."""
    (kind,) = stage.scenario.users
    async with anyio.create_task_group() as tasks:
        for name in _names(kind, count):
            tasks.start_soon(stage.chat, name)
            await anyio.sleep(_STAGGER_SECONDS)


async def _one_by_one(count: int, stage: _Stage) -> None:
    (kind,) = stage.scenario.users
    for name in _names(kind, count):
        await stage.chat(name)
    await anyio.sleep(_GRACE)


async def _restart(stage: _Stage) -> None:
    await stage.chat("restart-1", 1)
    await stage.chat("restart-1", 2)
    await anyio.to_thread.run_sync(stage.application.kill)
    environment = stage.provider.environment()
    stage.application = await anyio.to_thread.run_sync(
        start, stage.service.applications, stage.options, environment
    )
    async with stage.service.users(stage.options) as again:
        stage.visits.append(await again.chat("restart-1", 3))


async def _workers(stage: _Stage) -> None:
    if not stage.service.options.takes_a_port:
        stage.missing = "a second process needs $PORT in --start and --app"
        return
    options = stage.service.options.at_port(free_port())
    environment = stage.provider.environment()
    second = await anyio.to_thread.run_sync(start, stage.service.applications, options, environment)
    try:
        async with stage.service.users(options) as there:
            await stage.chat("workers-1", 1)
            stage.visits.append(await there.chat("workers-1", 2))
            await stage.chat("workers-1", 3)
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(second.stop)


async def _stream(stage: _Stage) -> None:
    if not stage.options.streams:
        stage.missing = "the service was audited without --stream"
        return
    await stage.chat("reader-1")
    stage.visits.append(await stage.users.chat("leaver-1", leaves=True))
    # A call that was canceled ends within the first of them, if at all.
    await anyio.sleep(_GRACE)
    await _until(lambda: not _is_open(stage), _WRITING_SECONDS)


async def _sibling(stage: _Stage) -> None:
    await stage.chat("family-1")
    await stage.chat("sibling-1")
    await anyio.sleep(_GRACE)


def _names(kind: str, count: int) -> list[str]:
    return [f"{kind}-{number}" for number in range(1, count + 1)]


_PLAYS: dict[str, Callable[[_Stage], Awaitable[None]]] = {
    "steady": _converse,
    "crowd": _crowd,
    "tls": _ask_in_turn,
    "silence": _silence,
    "limited": partial(_all_at_once, 4),
    "overloaded": partial(_staggered, 10),
    "permanent": _each_kind_once,
    "down": partial(_one_by_one, 6),
    "restart": _restart,
    "workers": _workers,
    "stream": _stream,
    "broken": _each_kind_once,
    "sibling": _sibling,
}


def waiting(scenario: Scenario, deadline: float) -> Scenario:
    """The scenario for a deadline: its drip goes on past that."""
    interval = max(0.25, deadline / 200)
    users = {
        name: replace(treatment, fault=f"drip; interval={interval:g}")
        if treatment.fault.startswith("drip")
        else treatment
        for name, treatment in scenario.users.items()
    }
    return replace(scenario, users=users)
