"""What was recorded while one scenario ran: the material of the checks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from helpers.audit.outcome import ScenarioRecord
from helpers.audit.prompts import Prompt
from helpers.mock_llm.records.ledger import Ledger, Request


@dataclass(frozen=True, slots=True)
class Sent:
    """One of the application's requests, as it passed the relay."""

    connection: int
    """The ledger's name of its connection."""
    place: int
    """0 for the connection's first request."""
    user: str
    """Whose message it answers; "" if it carries no user's."""
    call: str
    """Equal for attempts at the same call."""
    attempt: int
    """1 for a call's first."""
    prompt: Prompt | None
    sdk_retries: int | None
    """What an official SDK says of itself: which of its own retries this is."""
    fault: str = ""
    """What was ordered for it, as in the header ``x-mock-fault``."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request to the model: what the application sent, and what the server saw of it."""

    sent: Sent
    request: Request

    @property
    def end(self) -> float | None:
        """When it was answered or its client left; None while it is open."""
        ends = [t for t in (self.request.last_byte, self.request.client_left) if t is not None]
        return min(ends, default=None)


@dataclass(frozen=True, slots=True)
class Visit:
    """What a user of the application saw; for a program, one run of it."""

    user: str
    started: float
    ended: float | None
    """None: there was neither an answer nor an error when the audit gave up."""
    status: int | None = None
    """Of HTTP, or a program's exit status. None if there was none."""
    succeeded: bool = False
    text: str = ""
    """The beginning of the answer, or of what the program printed, as it came."""
    answer: str | None = None
    """The model's part of it; None if there is none."""
    broken_off: bool = False
    """The answer ended with a connection error."""
    first_byte: float | None = None
    pieces: int = 0
    turn: int = 1
    left: float | None = None
    """When the user left in mid-answer."""
    first_word: float | None = None
    """When the user saw the model's first word."""
    errors: str = ""
    """The end of what a program printed to standard error."""
    last_words: str = ""


@dataclass(frozen=True, slots=True)
class Recording:
    """One scenario."""

    scenario: str
    description: str
    ledger: Ledger
    calls: tuple[Call, ...]
    visits: tuple[Visit, ...]
    started: float
    ended: float
    deadline: float
    """Seconds within which a user must have an answer or an error."""
    streams: bool = False
    """The users read the answer as it comes."""
    is_program: bool = False
    health: tuple[float, ...] = ()
    """Seconds that each health probe took while the model was thinking."""
    idle_health: tuple[float, ...] = ()
    """And before."""
    missing: str = ""
    """Why the scenario did not take place; then there is nothing else in it."""
    remark: str = ""
    refusal: str = ""
    """What the provider said when it first refused a request."""
    starting: float = 0.0
    """Seconds before that, in which the application started."""

    def of_user(self, *users: str) -> list[Call]:
        """Calls of the users whose names begin with one of these."""
        return [call for call in self.calls if call.sent.user.startswith(users)]

    def visits_of(self, *users: str) -> list[Visit]:
        return [visit for visit in self.visits if visit.user.startswith(users)]

    @property
    def refused(self) -> list[Request]:
        """Requests that the provider refused by itself: they were invalid."""
        return [
            request
            for request in self.ledger.requests
            if request.fault is None and 400 <= (request.status or 0) < 500
        ]

    @property
    def was_answered(self) -> bool:
        return any(request.status == 200 for request in self.ledger.requests)

    def attempts(self) -> list[list[Call]]:
        """The calls' attempts, each call's in the order in which they arrived."""
        return attempts(self.calls)

    @property
    def waited(self) -> float:
        """Seconds in which the provider was not working on an answer."""
        busy, end = 0.0, self.started
        for call in sorted(self.calls, key=lambda call: call.request.arrival):
            if call.request.fault is None:
                begin = max(call.request.arrival, end)
                end = max(end, call.end or self.ended)
                busy += max(0.0, end - begin)
        return self.starting + max(0.0, self.ended - self.started - busy)

    def to_record(self, begin: float) -> ScenarioRecord:
        """``begin``: until then the seconds belong to another scenario."""
        return ScenarioRecord(
            self.scenario,
            self.description,
            self.ledger,
            self.started,
            self.ended,
            max(0.0, min(self.waited, self.ended - begin)),
            self.missing or self.remark,
        )


def to_records(recordings: Iterable[Recording]) -> tuple[ScenarioRecord, ...]:
    """In the order in which they ended. No second is counted twice, though some go on at once."""
    in_turn = sorted(recordings, key=lambda recording: recording.ended)
    begin, records = in_turn[0].started, []
    for recording in in_turn:
        records.append(recording.to_record(begin))
        begin = recording.ended
    return tuple(records)


def attempts(calls: Sequence[Call]) -> list[list[Call]]:
    grouped: dict[str, list[Call]] = defaultdict(list)
    for call in sorted(calls, key=lambda call: call.request.arrival):
        grouped[call.sent.call].append(call)
    return list(grouped.values())


def peak(calls: Sequence[Call], at_the_end: float) -> int:
    """The most calls in flight at once."""
    changes = [(call.request.arrival, 1) for call in calls]
    changes += [(at_the_end if call.end is None else call.end, -1) for call in calls]
    most = now = 0
    for _, change in sorted(changes):
        now += change
        most = max(most, now)
    return most
