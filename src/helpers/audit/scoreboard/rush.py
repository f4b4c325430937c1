"""Twenty users at once, while the provider has its usual troubles."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter

import anyio
from anyio.from_thread import start_blocking_portal

from helpers.audit.drivers.application import Applications
from helpers.audit.drivers.options import ServiceOptions
from helpers.audit.drivers.service import free_port, start
from helpers.audit.drivers.users import Users
from helpers.audit.interrupts import result
from helpers.audit.outcome import AuditReport, ScenarioRecord
from helpers.audit.provider import Provider
from helpers.audit.recording import Call, Visit
from helpers.audit.reports.comparison import played
from helpers.audit.scenarios import Scenario, Treatment
from helpers.audit.scoreboard.application import options_for
from helpers.lab.run import Comparison
from helpers.mock_llm.settings.profiles import Profile

USERS = 20
SECONDS = 5.0
# A chatbot that goes on answering gets more time on a busy machine.
_LONGEST = 20.0
_PAUSE = 3.0
_MOST_USERS = 15
_APART = 0.02
# In the order of their first question. Behind the fourth, everybody waits who can be made to.
_NAMES = ["user-1", "limited-1", "user-2", "hang-1", "cut-1", *(f"user-{n}" for n in range(3, 18))]
RUSH = Scenario(
    "rush",
    f"{USERS} users ask again and again for {SECONDS:g} s; of three of them, the provider leaves "
    "one without an answer, cuts one short, and limits one's rate.",
    Profile(base=0.4, decode_rate=150),
    {
        "user": Treatment(),
        "limited": Treatment("rate_limit_exceeded; retry_after=1", attempts=1),
        "hang": Treatment("hang"),
        "cut": Treatment("cut; after_tokens=8"),
    },
)


@dataclass(frozen=True, slots=True)
class Rush:
    """What twenty users got."""

    answers: int
    """Whole ones."""
    users_answered: int
    """Who had at least one."""
    seconds: float
    record: ScenarioRecord
    calls: tuple[Call, ...]

    @property
    def per_minute(self) -> float:
        return self.answers * 60 / self.seconds


def rush_hour(file: str | Path) -> Rush:
    """Let twenty users ask the chatbot in ``file`` again and again for five seconds.

    The provider hangs for one of them, cuts one's answers short, and limits the rate of one.

    Raises `AuditError` if the chatbot does not start.
    """
    applications = Applications()
    # In a thread of its own: a notebook's thread already has an event loop.
    with Provider() as provider, provider.playing(RUSH), start_blocking_portal() as portal:
        try:
            return result(portal.start_task_soon(_rush, options_for(file), provider, applications))
        except BaseException:  # an interrupt, too: the portal waits for what starts
            applications.end_all()
            raise


def side_by_side(**rushes: Rush) -> Comparison:
    """The rushes as the provider saw them: a user is a client, for ``figure(by_client=True)``."""
    reports = {name: AuditReport((), (_by_user(rush),)) for name, rush in rushes.items()}
    return played(reports, RUSH.name)


def _by_user(rush: Rush) -> ScenarioRecord:
    """As if each user had a connection of their own: it is what tells clients apart."""
    requests = [
        replace(call.request, connection=_NAMES.index(call.sent.user)) for call in rush.calls
    ]
    return replace(rush.record, ledger=replace(rush.record.ledger, requests=requests))


async def _rush(options: ServiceOptions, provider: Provider, applications: Applications) -> Rush:
    options = options.at_port(free_port())
    application = await anyio.to_thread.run_sync(
        start, applications, options, provider.environment()
    )
    started = perf_counter()
    visits: list[Visit] = []
    try:
        async with Users(options, "rush", _LONGEST) as users, anyio.create_task_group() as asking:
            for name in _NAMES:
                asking.start_soon(_keep_asking, users, name, visits)
                await anyio.sleep(_APART)
            await anyio.sleep(started + SECONDS - perf_counter())
            while _goes_on(_whole(visits), perf_counter() - started):  # noqa: ASYNC110  # of time
                await anyio.sleep(0.1)
            ended = perf_counter()
            asking.cancel_scope.cancel()
        ledger = provider.ledger()
        calls = provider.calls(ledger)
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(application.kill)
    whole = _whole(visits)
    record = ScenarioRecord(RUSH.name, RUSH.description, ledger, started, ended)
    return Rush(len(whole), len(_users(whole)), ended - started, record, calls)


def _whole(visits: list[Visit]) -> list[Visit]:
    return [v for v in visits if v.succeeded and v.answer and not v.user.startswith("cut")]


def _users(visits: list[Visit]) -> set[str]:
    return {visit.user for visit in visits}


def _goes_on(whole: list[Visit], seconds: float) -> bool:
    """Whether answers still come, and more than a few users have none."""
    latest = max((visit.ended or 0.0 for visit in whole), default=perf_counter())
    is_answering = perf_counter() - latest < _PAUSE
    return is_answering and len(_users(whole)) < _MOST_USERS and seconds < _LONGEST


async def _keep_asking(users: Users, name: str, visits: list[Visit]) -> None:
    turn = 0
    while True:
        turn += 1
        visits.append(await users.chat(name, turn))
        await anyio.sleep(_APART)
