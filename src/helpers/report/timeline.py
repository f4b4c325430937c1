"""A run as something to draw: one lane per request, with its phases, and what the loop did."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Literal, TypeAlias

from helpers.lab.run import DROPPING, Block, Culprit, Run, Stall
from helpers.mock_llm import Request

Fate: TypeAlias = Literal["answered", "refused", "dropped", "left", "open"]
"""How a request ended: with an answer, with an error status, with its connection broken off by the
server, abandoned by its client, or not at all."""

# for legends; an answered request needs no mark
FATE_NAMES: dict[Fate, str] = {
    "refused": "error answer",
    "dropped": "broken off",
    "left": "client left",
    "open": "unanswered",
}

# start and length, in seconds
Stretch: TypeAlias = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Lane:
    """One request. Queued until ``slot``, waiting until ``first``, generating until ``end``.

    ``row`` counts from the top: a request has a row of its own, or its client has one.
    """

    arrival: float
    slot: float
    first: float
    end: float
    fate: Fate
    row: int = 0


@dataclass(frozen=True, slots=True)
class Timeline:
    """A run in seconds since its first request arrived.

    ``blocks`` are the long steps within the ``blocked`` stretches. ``end`` is the last answer or,
    for an arm that did not return, the end of the run.
    """

    lanes: tuple[Lane, ...]
    blocked: tuple[Stretch, ...]
    busy: tuple[Stretch, ...]
    blocks: tuple[Block, ...]
    beats: tuple[float, ...]
    end: float
    by_client: bool = False
    """Whether a row is a client's, with all its requests, instead of one request's."""

    @property
    def rows(self) -> int:
        return max((lane.row + 1 for lane in self.lanes), default=0)


def timeline(run: Run, *, by_client: bool = False) -> Timeline:
    """``by_client``: requests on one connection share a row."""
    start, last = run.window
    end = (last if run.outcome == "returned" else max(last, run.seconds)) - start
    return Timeline(
        lanes=lanes(run.requests, start, run.seconds, by_client=by_client),
        blocked=_stretches(run.stalls, "blocked", start, end),
        busy=_stretches(run.stalls, "busy", start, end),
        blocks=tuple(replace(b, start=b.start - start) for b in _blocks(run, *run.window)),
        beats=tuple(beat - start for beat in run.beats if start <= beat <= start + end),
        end=end,
        by_client=by_client,
    )


def culprit_during_calls(run: Run) -> Culprit | None:
    """The line that blocked the loop most during the calls: making a client does not count."""
    return culprit_between(run, *run.window)


def culprit_between(run: Run, start: float, end: float) -> Culprit | None:
    """The line that blocked the loop most between two times of the run."""
    inside = Stall(0.0, 0.0, None, _blocks(run, start, end))
    return next(iter(replace(run, stalls=(inside,)).culprits), None)


def stalled_seconds(run: Run, start: float, end: float, kind: str | None = None) -> float:
    """How long the loop was blocked or busy, or only one of these, between two times of the run."""
    stalls = (stall for stall in run.stalls if kind in (None, stall.kind))
    overlaps = (min(s.start + s.seconds, end) - max(s.start, start) for s in stalls)
    return sum(overlap for overlap in overlaps if overlap > 0)


def lanes(
    requests: Iterable[Request], zero: float, now: float, *, by_client: bool = False
) -> tuple[Lane, ...]:
    """The requests in order of arrival, in seconds since ``zero``; open ones last until ``now``."""
    in_order = sorted(requests, key=attrgetter("arrival"))
    clients = list(dict.fromkeys(request.connection for request in in_order))
    rows = [clients.index(r.connection) if by_client else i for i, r in enumerate(in_order)]
    return tuple(
        replace(_lane(request, zero, now), row=row)
        for request, row in zip(in_order, rows, strict=True)
    )


@dataclass(frozen=True, slots=True)
class Ticks:
    """The beats that are drawn, and their name in a legend."""

    beats: list[float]
    complete: bool

    @property
    def name(self) -> str:
        return "heartbeat" if self.complete else "heartbeat (some left out)"


def ticks(beats: Iterable[float], gap: float) -> Ticks:
    """Beats at least ``gap`` seconds apart: closer ones would merge into a black bar."""
    kept: list[float] = []
    complete = True
    for beat in beats:
        if not kept or beat - kept[-1] >= gap:
            kept.append(beat)
        else:
            complete = False
    return Ticks(kept, complete)


def _blocks(run: Run, start: float, end: float) -> tuple[Block, ...]:
    return tuple(b for b in run.blocks if b.start < end and b.start + b.seconds > start)


def _lane(request: Request, zero: float, now: float) -> Lane:
    fate = _fate(request)
    ends = {"left": request.client_left, "open": now}.get(fate, request.last_byte)
    arrival = request.arrival - zero
    end = max((now if ends is None else ends) - zero, arrival)
    slot, first = _slot(request, end, zero), request.first_token or request.first_byte
    first = end if first is None or fate == "refused" else min(first - zero, end)
    return Lane(arrival, min(slot, first), first, end, fate)


def _slot(request: Request, end: float, zero: float) -> float:
    if request.slot is not None:
        return request.slot - zero
    # Without a slot it is still in the queue, unless the server meant to answer without one.
    queued = request.status is None and request.fault is None
    return end if queued else request.arrival - zero


def _fate(request: Request) -> Fate:
    if request.status is not None and request.status >= 400:
        return "refused"
    if request.client_left is not None:
        return "left"
    if request.last_byte is None:
        return "open"
    return "dropped" if request.fault in DROPPING else "answered"


def _stretches(stalls: Iterable[Stall], kind: str, start: float, end: float) -> tuple[Stretch, ...]:
    chosen = (stall for stall in stalls if stall.kind == kind)
    clipped = ((max(s.start - start, 0), min(s.start + s.seconds - start, end)) for s in chosen)
    return tuple((a, b - a) for a, b in clipped if b > a)
