"""What an arm's process tells the lab. Times are ``perf_counter`` seconds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from helpers.lab.stall_meter import BlockedStep, Frame, Stretch

BEAT = 0.02
"""Seconds between two beats of the heartbeat."""

Backend: TypeAlias = Literal["asyncio", "trio", "none"]


@dataclass(frozen=True, slots=True)
class Setup:
    """From the lab: what to run, and the surroundings that the lab's process has."""

    code: bytes
    """``(arm, args)``, pickled by value."""
    backend: Backend
    path: list[str]
    arguments: list[str]
    folder: str
    environment: dict[str, str]


@dataclass(frozen=True, slots=True)
class Started:
    """The arm begins now: 0 on the run's time axis."""

    at: float
    backend: Backend


@dataclass(frozen=True, slots=True)
class Beat:
    at: float


@dataclass(frozen=True, slots=True)
class Returned:
    at: float
    value: bytes
    """Pickled."""


@dataclass(frozen=True, slots=True)
class Raised:
    at: float
    type: str
    message: str
    stack: tuple[Frame, ...]
    """The learner's part of the traceback, the most recent call last."""
    traceback: str


@dataclass(frozen=True, slots=True)
class Unbuildable:
    """The arm or an argument could not be unpickled."""

    reason: str


@dataclass(frozen=True, slots=True)
class Unsendable:
    """The arm returned something that cannot be pickled, or not be unpickled."""

    at: float
    reason: str


@dataclass(frozen=True, slots=True)
class Died:
    """The process ended without any of these. Noted by the lab itself."""

    at: float
    exit_code: int | None
    """As `subprocess` has it, negative for a signal; None if it is unknown."""


End: TypeAlias = Returned | Raised | Unsendable | Died
Event: TypeAlias = (
    Started | Beat | BlockedStep | Stretch | Unbuildable | Returned | Raised | Unsendable
)


@dataclass(frozen=True, slots=True)
class Batch:
    """What happened since the last batch, and what the loop is stuck in now."""

    events: list[Event]
    printed: str
    overdue: BlockedStep | None


def text_of(error: BaseException) -> str:
    """``str(error)``, also if that raises."""
    try:
        return str(error)
    except BaseException as broken:  # noqa: BLE001 - the learner's own __str__
        return f"(its __str__ raised {type(broken).__name__})"
