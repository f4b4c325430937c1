"""What one arm did, and how several arms compare. Plain data: made by the lab, shown by the report.

Times are seconds since the arm was started; lengths are seconds; counts are counts.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

from pydantic import TypeAdapter

from helpers.mock_llm import Connection, Request

Outcome: TypeAlias = Literal["returned", "raised", "died", "gave up"]
"""How an arm ended. "died": its process ended before it did. "gave up": it was still running at the
lab's limit, and the lab ended it."""

DROPPING = frozenset({"refuse", "reset", "cut"})
"""Faults with which the server breaks the connection or the stream off: what it had sent until
then, if anything, is no answer."""


@dataclass(frozen=True, slots=True)
class Where:
    """A line of the learner's code."""

    file: str
    """"cell 5" in a notebook, else the file's name."""
    line: int
    """Counted from 1, as JupyterLab and editors show it."""
    function: str
    code: str
    """The line itself, stripped; of several lines the first and the last."""
    last_line: int | None = None
    """Where it is one of several lines: `line` is the first of them, this is the last."""

    def __str__(self) -> str:
        if self.last_line:
            return f"{self.file}, lines {self.line} to {self.last_line}"
        return f"{self.file}, line {self.line}"


@dataclass(frozen=True, slots=True)
class Block:
    """One step of the loop (one callback, or a task between two awaits) that took too long."""

    start: float
    seconds: float
    where: Where | None
    """The guilty line; None when it was over before it could be seen."""
    cpu_share: float | None
    """Share of the step during which its thread computed, 0 to 1; None when not sampled."""

    @property
    def waiting(self) -> bool | None:
        """True: it slept or waited for I/O. False: it computed. None: not sampled."""
        return None if self.cpu_share is None else self.cpu_share < 0.5


@dataclass(frozen=True, slots=True)
class Stall:
    """A stretch in which the loop was unresponsive: it ran steps and never looked for events."""

    start: float
    seconds: float
    steps: int | None
    """Steps run in the stretch; None where the event loop does not tell (trio)."""
    blocks: tuple[Block, ...] = ()

    @property
    def kind(self) -> Literal["blocked", "busy"]:
        """ "blocked": at least one step took too long. "busy": many short steps in a row."""
        return "blocked" if self.blocks else "busy"


@dataclass(frozen=True, slots=True)
class Failure:
    """What ended an arm before it returned."""

    type: str
    """Name of the exception; empty if it was not one."""
    message: str
    where: Where | None = None
    traceback: str = ""
    stack: tuple[Where, ...] = ()
    """The lines of the learner's code that led to it, the most recent call last."""

    def __str__(self) -> str:
        where = f" at {self.where}" if self.where else ""
        return f"{self.verb}{where}: {self.message}" if self.type else self.message

    @property
    def verb(self) -> str:
        return f"raised {self.type}" if self.type else "failed"


@dataclass(frozen=True, slots=True)
class Run:
    """One arm, once."""

    arm: str
    outcome: Outcome
    seconds: float
    """From the arm's start to its end, or to the lab's limit."""
    limit: float
    backend: Literal["asyncio", "trio", "none", "unknown"]
    """The event loop; "none" for an arm that is a plain function, "unknown" for an application of
    which only the requests were recorded."""
    result: Any = None
    """What the arm returned."""
    failure: Failure | None = None
    printed: str = ""
    stalls: tuple[Stall, ...] = ()
    beats: tuple[float, ...] = ()
    """When a heartbeat task on the same loop got its turn."""
    beat_interval: float = 0.02
    """Seconds between two beats of a free loop."""
    requests: tuple[Request, ...] = ()
    """As the server saw them; a time of theirs may be a little before 0."""
    connections: tuple[Connection, ...] = ()
    peak_in_flight: int = 0
    """Most requests at once, at the server."""
    start: float = 0.0
    """``time.perf_counter()`` when the arm was started: subtract it from a time noted by the arm
    to compare that time with the server's."""

    @property
    def window(self) -> tuple[float, float]:
        """From the first request's arrival to the last answer's last byte.

        A request that was never answered keeps the window open to the end of the run. Without any
        request it is the whole run.
        """
        if not self.requests:
            return 0.0, self.seconds
        start = min(request.arrival for request in self.requests)
        ends = [request.last_byte for request in self.requests]
        return start, max(self.seconds if end is None else end for end in ends)

    @property
    def makespan(self) -> float:
        """Seconds from the first request's arrival to the last answer's last byte."""
        start, end = self.window
        return end - start

    @property
    def answered(self) -> int:
        """Requests that the server answered with status 200, and did not break off."""
        return sum(
            r.status == 200 and r.last_byte is not None and r.fault not in DROPPING
            for r in self.requests
        )

    def count(self, status: int) -> int:
        """Requests that got this HTTP status. With 200, an answer may have ended half-way: whole
        ones are `answered`."""
        return sum(request.status == status for request in self.requests)

    def asked(self, model: str) -> int:
        """Requests for this model."""
        return sum(request.model == model for request in self.requests)

    @property
    def still_open(self) -> int:
        """Requests that were neither answered nor left by their client when the run ended.

        A request whose connection was closed, by whichever side, is not open.
        """
        alive = {connection.id for connection in self.connections if connection.closed is None}
        closed = {connection.id for connection in self.connections} - alive
        return sum(
            r.last_byte is None and r.client_left is None and r.connection not in closed
            for r in self.requests
        )

    @property
    def opened(self) -> int:
        """TCP connections that carried at least one request to the model's API."""
        return sum(connection.requests > 0 for connection in self.connections)

    @property
    def handshakes(self) -> int:
        """TLS handshakes: those of the connections in `opened` that are encrypted, one each."""
        return sum(c.tls and c.requests > 0 for c in self.connections)

    @property
    def prompt_tokens(self) -> int:
        """Of all requests; one that was refused before the server counted adds nothing."""
        return sum(request.prompt_tokens or 0 for request in self.requests)

    @property
    def cached_tokens(self) -> int:
        """Prompt tokens that the server had in its prefix cache: a part of `prompt_tokens`."""
        return sum(request.cached_tokens or 0 for request in self.requests)

    @property
    def completion_tokens(self) -> int:
        """Tokens of all answers."""
        return sum(request.completion_tokens or 0 for request in self.requests)

    @property
    def tokens_after_client_left(self) -> int:
        """Tokens that the model wrote for clients that were gone."""
        return sum(request.tokens_after_client_left for request in self.requests)

    @property
    def ttft(self) -> float:
        """Median seconds from a request's arrival to its answer's first byte.

        Of the requests with status 200; NaN if there is none. An answer that is not streamed has
        its first byte when all of it is written.
        """
        waits = [
            request.first_byte - request.arrival
            for request in self.requests
            if request.status == 200 and request.first_byte is not None
        ]
        return statistics.median(waits) if waits else math.nan

    @property
    def blocked_share(self) -> float:
        """Share of the window in which the loop was blocked or busy, 0 to 1."""
        start, end = self.window
        overlaps = (min(s.start + s.seconds, end) - max(s.start, start) for s in self.stalls)
        return sum(o for o in overlaps if o > 0) / (end - start) if end > start else 0.0

    @property
    def beats_during_calls(self) -> int:
        """Beats of the heartbeat between the first arrival and the last byte."""
        start, end = self.window
        return sum(start <= beat <= end for beat in self.beats)

    @property
    def longest_stall(self) -> float:
        """Longest stretch in which the loop was blocked or busy; 0 if it never was."""
        return max((stall.seconds for stall in self.stalls), default=0.0)

    @property
    def blocks(self) -> tuple[Block, ...]:
        return tuple(block for stall in self.stalls for block in stall.blocks)

    @property
    def culprits(self) -> tuple[Culprit, ...]:
        """The lines that blocked the loop, the worst first."""
        found: dict[Where, list[Block]] = defaultdict(list)
        for block in self.blocks:
            if block.where is not None:
                found[block.where].append(block)
        lines = [
            Culprit(where, len(blocks), sum(b.seconds for b in blocks), blocks[0].waiting)
            for where, blocks in found.items()
        ]
        return tuple(sorted(lines, key=lambda line: -line.seconds))

    def save(self, path: str | Path) -> None:
        """Write the run as JSON. A result that JSON cannot hold is written as its ``repr``."""
        Path(path).write_bytes(_RUN.dump_json(self, indent=1, fallback=repr))

    @staticmethod
    def load(path: str | Path) -> Run:
        return _RUN.validate_json(Path(path).read_bytes())


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A run that is still going on, for a live view. Fields as in `Run`."""

    elapsed: float
    """Seconds since the arm was started."""
    requests: tuple[Request, ...] = ()
    stalls: tuple[Stall, ...] = ()
    beats: tuple[float, ...] = ()
    blocked_since: float | None = None
    """When the step began that blocks the loop now; None while the loop is free."""
    blocked_where: Where | None = None


class Culprit(NamedTuple):
    """A line of the learner's code and what it cost the loop."""

    where: Where
    times: int
    seconds: float
    """All its blocks together."""
    waiting: bool | None


class Spread(NamedTuple):
    """Lowest, median and highest of the repeats."""

    low: float
    median: float
    high: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two or more arms, each run several times, in turns."""

    arms: dict[str, tuple[Run, ...]]
    """Arm's name → its runs, in the order in which they were made."""
    noise: float = 0.0
    """Seconds: the machine's noise floor. A smaller difference between two times says nothing."""

    def __getitem__(self, arm: str) -> Run:
        """The arm's typical run: the one with the median makespan."""
        return self.typical(arm)

    def typical(self, arm: str, *measures: Callable[[Run], object]) -> Run:
        """The run that is nearest to the arm's medians of what is measured.

        Of equals, and without ``measures``, the one with the median makespan. A measure that is
        not a number in every run does not count.
        """
        runs = sorted(self.arms[arm], key=lambda run: run.makespan)
        middle = (len(runs) - 1) // 2
        distances = [_distances([measure(run) for run in runs]) for measure in measures]
        away = [sum(each) for each in zip(*distances, strict=True)] or [0.0] * len(runs)
        return runs[min(range(len(runs)), key=lambda i: (away[i], abs(i - middle)))]

    def spread(self, arm: str, measure: Callable[[Run], float]) -> Spread:
        values = [measure(run) for run in self.arms[arm]]
        return Spread(min(values), statistics.median(values), max(values))

    def ratio(self, measure: Callable[[Run], float], over: str, under: str) -> float:
        """Median of ``over`` ÷ median of ``under``."""
        return self.spread(over, measure).median / self.spread(under, measure).median

    def save(self, path: str | Path) -> None:
        """Write the comparison as JSON. See ``Run.save``."""
        Path(path).write_bytes(_COMPARISON.dump_json(self, indent=1, fallback=repr))

    @staticmethod
    def load(path: str | Path) -> Comparison:
        return _COMPARISON.validate_json(Path(path).read_bytes())


def _distances(values: Sequence[object]) -> list[float]:
    """From their median, as a share of their range; zeros if one is not a finite number."""
    known = [float(value) for value in values if isinstance(value, Real)]
    if len(known) < len(values) or not all(map(math.isfinite, known)):
        return [0.0] * len(values)
    median, width = statistics.median_low(known), max(known) - min(known) or 1.0
    return [abs(value - median) / width for value in known]


_RUN = TypeAdapter(Run)
_COMPARISON = TypeAdapter(Comparison)
