"""What may go wrong, for which requests: a plan, or a header of the request's own."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, fields
from time import perf_counter
from typing import Any, cast

from helpers.mock_llm.serving.errors import ApiError

STATUSES = {
    "400": 400,
    "401": 401,
    "404": 404,
    "rate_limit_exceeded": 429,
    "insufficient_quota": 429,
    "500": 500,
    "503": 503,
    "529": 529,
}
KINDS = (
    "refuse",
    "reset",
    "hang",
    "hang_mid_stream",
    "drip",
    "cut",
    "no_finish",
    "error_event",
    "malformed_json",
    "empty_choices",
    "broken_answer",
    *STATUSES,
)
HEADER = b"x-mock-fault"
_LONGEST_WAIT = 10**9
"""Seconds: 31 years."""
_BY_HEADER = {"after_tokens": int, "interval": float, "retry_after": float}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Something that goes wrong, and when. Raises ValueError for a value that cannot be.

    ========================= =====================================================================
    ``refuse``                the connection is dropped before its first request is read
    ``reset``                 TCP RST when the request was read, over HTTP/2 too
    ``hang``                  accepted, never answered
    ``hang_mid_stream``       silence after ``after_tokens``, or half a body; nothing is closed
    ``drip``                  the body comes one byte every ``interval`` seconds
    ``cut``                   the connection, or HTTP/2 stream, ends after ``after_tokens``, or in
                              mid-body
    ``no_finish``             ends cleanly, without a finish reason or ``[DONE]``
    ``error_event``           an error after status 200: in the stream after ``after_tokens``, or
                              for the body
    ``malformed_json``        the body, or the event after ``after_tokens``, is not JSON
    ``empty_choices``         status 200, and nothing in it
    ``broken_answer``         the model's own text, or JSON, breaks off, and claims to be finished
    ``400`` ``401`` ``404``   errors that no retry will change
    ``rate_limit_exceeded``   status 429
    ``insufficient_quota``    status 429, for good
    ``500`` ``503`` ``529``   the server's own errors; 529 is Anthropic's "overloaded"
    ========================= =====================================================================

    At most one of ``share``, ``first`` and ``every`` chooses among the requests that match
    ``between`` and ``model``; without one, all are hit. Only requests that a model would answer
    count, once they were read, found right and admitted; for ``refuse`` it is the connections. The
    first fault of a list that hits a request is the one that happens to it, but each counts all the
    requests that match it. Seconds are real: a server's ``speed`` does not change them.
    """

    kind: str
    share: float | None = None
    """Of the requests, each chosen or not by the server's seed and the request's number alone."""
    first: int | None = None
    """So many."""
    every: int | None = None
    """The k-th, the 2k-th and so on."""
    between: tuple[float, float] | None = None
    """Seconds since the server's start or reset."""
    model: str | None = None
    """Its exact name."""
    after_tokens: int = 5
    interval: float = 1.0
    retry_after: float | None = None
    """Seconds, for an error's status: sent in the form that the server's limits have."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "kind", str(self.kind))  # YAML reads 500 as a number
        if self.kind not in KINDS:
            raise ValueError(f"no fault is called {self.kind!r}; there are {', '.join(KINDS)}")
        chosen = [name for name in ("share", "first", "every") if getattr(self, name) is not None]
        if len(chosen) > 1:
            raise ValueError(f"give one of share, first and every, not {' and '.join(chosen)}")
        if self.share is not None and not (_is_number(self.share) and 0 <= self.share <= 1):
            raise ValueError(f"share must be from 0 to 1, not {self.share!r}")
        for name, least in (("first", 1), ("every", 1), ("after_tokens", 0)):
            value = getattr(self, name)
            if value is not None and not (type(value) is int and value >= least):
                raise ValueError(
                    f"{name} must be a whole number of at least {least}, not {value!r}"
                )
        if self.between is not None:
            object.__setattr__(self, "between", _window(self.between))
        if self.model is not None and not (isinstance(self.model, str) and self.model):
            raise ValueError(f"model must be a model's name, or None for all, not {self.model!r}")
        if not (_is_number(self.interval) and self.interval > 0):
            raise ValueError(f"interval must be more than 0 seconds, not {self.interval!r}")
        if self.retry_after is not None:
            self._check_retry_after(self.retry_after)
        if self.kind == "refuse" and self.model is not None:
            raise ValueError("refuse comes before the request is read: it cannot know the model")

    def _check_retry_after(self, seconds: float) -> None:
        if not (_is_number(seconds) and 0 <= seconds <= _LONGEST_WAIT):
            raise ValueError(f"retry_after must be 0 to {_LONGEST_WAIT} seconds, not {seconds!r}")
        if self.kind not in STATUSES:
            raise ValueError(f"retry_after needs an error's status: {', '.join(STATUSES)}")


def find_faults(faults: Sequence[Fault | dict[str, Any]]) -> tuple[Fault, ...]:
    """Faults by their fields; a tuple of them as it is. Raises ValueError."""
    if isinstance(faults, tuple) and all(isinstance(fault, Fault) for fault in faults):
        return cast(tuple[Fault, ...], faults)
    if not isinstance(faults, list | tuple):
        raise ValueError(f"faults must be a list of Fault, not {faults!r}")
    return tuple(_find(fault) for fault in faults)


def _find(fault: object) -> Fault:
    if isinstance(fault, Fault):
        return fault
    if not isinstance(fault, dict):
        raise ValueError(f"a fault must be a Fault, not {fault!r}")
    try:
        return Fault(**fault)
    except TypeError:
        names = ", ".join(field.name for field in fields(Fault))
        raise ValueError(f"not the fields of a Fault: {fault!r}; it has {names}") from None


def read_header(value: bytes) -> Fault:
    """The fault that a request asks for: ``cut; after_tokens=3``. Raises ApiError (400)."""
    kind, *options = (part.strip() for part in value.decode("latin-1").split(";"))
    try:
        return Fault(kind=kind[:100], **dict(map(_read_option, options)))
    except ValueError as error:
        raise ApiError(
            400, f"Invalid header x-mock-fault: {error}.", param="x-mock-fault"
        ) from None


def _read_option(text: str) -> tuple[str, Any]:
    name, _, value = (part.strip() for part in text.partition("="))
    if name not in _BY_HEADER:
        raise ValueError(f"no option is called {name[:100]!r}; there are {', '.join(_BY_HEADER)}")
    try:
        return name, _BY_HEADER[name](value)
    except ValueError:
        raise ValueError(f"{name} must be a number, not {value[:100]!r}") from None


class FaultPlan:
    """The faults of one server, since its start or reset. ``start``: that of its time windows."""

    def __init__(self, faults: Sequence[Fault], seed: int, start: float) -> None:
        counted = [_Counted(fault, f"{seed} {place}") for place, fault in enumerate(faults)]
        self._faults = [each for each in counted if each.fault.kind != "refuse"]
        self._refusals = [each for each in counted if each.fault.kind == "refuse"]
        self._start = start
        self._connections = 0

    def pick(self, number: int, model: str) -> Fault | None:
        """The fault that hits the ``number``-th request, if any. Ask once for each request."""
        return self._pick(number, model, self._faults)

    def refuses(self) -> bool:
        """Whether a connection is dropped. Ask once for each."""
        self._connections += 1
        return self._pick(self._connections, None, self._refusals) is not None

    def _pick(self, number: int, model: str | None, faults: list[_Counted]) -> Fault | None:
        if not faults:
            return None
        now = perf_counter() - self._start
        hits = [each.fault for each in faults if each.hits(number, model, now)]
        return hits[0] if hits else None


class _Counted:
    """A fault that knows how many requests matched it."""

    def __init__(self, fault: Fault, seed: str) -> None:
        self.fault = fault
        self._seed = seed
        self._count = 0

    def hits(self, number: int, model: str | None, now: float) -> bool:
        fault = self.fault
        if fault.model is not None and fault.model != model:
            return False
        if fault.between is not None and not fault.between[0] <= now < fault.between[1]:
            return False
        self._count += 1
        if fault.first is not None:
            return self._count <= fault.first
        if fault.every is not None:
            return self._count % fault.every == 0
        if fault.share is not None:
            return random.Random(f"{self._seed} {number}").random() < fault.share  # noqa: S311
        return True


def _window(between: Any) -> tuple[float, float]:
    try:
        start, end = between
    except (TypeError, ValueError):
        start = end = None
    if not (_is_number(start) and _is_number(end) and 0 <= start < end):
        raise ValueError(f"between must be two times in seconds, in order, not {between!r}")
    return start, end


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)
