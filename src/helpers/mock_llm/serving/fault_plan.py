"""Which fault hits which request: by the server's plan, or by the request's own header."""

from __future__ import annotations

import random
from collections.abc import Sequence
from time import perf_counter

from helpers.mock_llm.serving.errors import ApiError
from helpers.mock_llm.settings.faults import Fault, parse_fault

HEADER = b"x-mock-fault"
_OPTIONS = ("after_tokens", "interval", "retry_after")


def read_header(value: bytes) -> Fault:
    """The fault that a request asks for: ``cut; after_tokens=3``. Raises ApiError (400)."""
    try:
        return parse_fault(value.decode("latin-1"), _OPTIONS)
    except ValueError as error:
        raise ApiError(
            400, f"Invalid header x-mock-fault: {error}.", param="x-mock-fault"
        ) from None


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
