"""Runs in plain English: one wording for figures, tables, the live view and alternative text."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from numbers import Real

from helpers.lab.run import Comparison, Culprit, Run, Where
from helpers.report.timeline import (
    culprit_between,
    culprit_during_calls,
    stalled_seconds,
    timeline,
)

# a loop that was blocked for a smaller share of the time is not worth mentioning
_WORTH_MENTIONING = 0.05
# times closer than this ratio are "about as fast"
_SAME = 1.1
# what `Run.blocked_share` is a share of
LOOP_STALLED = "loop blocked or busy"


def seconds(length: float) -> str:
    """A length in seconds, to two digits: "12 ms", "0.36 s", "3.8 s"; "–" if it is not finite."""
    if not math.isfinite(length):
        return "–"
    if 0 < length < 0.0995:
        ms = length * 1000
        return f"{ms:.0f} ms" if ms >= 9.95 else f"{ms:.1f} ms"
    if abs(length - round(length)) < 1e-6:
        return f"{round(length):,} s"
    return f"{length:.2f} s" if length < 0.995 else f"{length:,.1f} s"


def percent(share: float) -> str:
    """A share from 0 to 1: "98 %", and "< 1 %" for anything small above zero."""
    if not math.isfinite(share):
        return "–"
    return "< 1 %" if 0 < share < 0.005 else f"{share:.0%}".replace("%", " %")


def number(value: object) -> str:
    """A count in full, a measurement to three digits: "12,480", "0.0521", "1,320"; text as it is.

    "–" for a missing value (None, NaN).
    """
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, Real):
        return str(value)
    value = float(value)
    if value < 0:
        return f"−{number(-value)}"
    if not math.isfinite(value):
        return "–" if math.isnan(value) else "∞"
    if value.is_integer() or value >= 99.95:
        return f"{value:,.0f}"
    # Not :g, which would write 0.00001 as 1e-05.
    digits = 2 - math.floor(math.log10(value))
    return f"{value:.{digits}f}".rstrip("0").rstrip(".")


def quantity(value: float, unit: str) -> str:
    """A number with its unit: "1.5 s", "12 connections", "1 TLS handshake", "70 %"."""
    if unit == "s":
        return seconds(value)
    return f"{number(value)} {_singular(unit) if value == 1 else unit}"


def _singular(noun: str) -> str:
    """The first plural word made singular: "TCP connections", "requests refused"."""
    found = re.search(r"\b[A-Za-z]*[a-z]{2}s\b", noun)
    if not found or re.search(r"(ss|us|is)$", found[0]):
        return noun
    word = found[0]
    one = word[:-3] + "y" if word.endswith("ies") else word[:-1]
    return noun[: found.start()] + one + noun[found.end() :]


def times(count: int) -> str:
    """ "once", "12 times"."""
    return "once" if count == 1 else f"{count} times"


def shortened(text: str, most: int) -> str:
    """At most ``most`` characters, with … for what was cut off."""
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def call(where: Where) -> str:
    """What the line calls: "httpx.post" for ``reply = httpx.post(url, json=body)``."""
    # Of several lines, any may be the one.
    found = None if where.last_line else re.search(r"([A-Za-z_][\w.]*)\(", where.code)
    return found[1] if found else shortened(where.code, 30)


def ending(run: Run) -> str:
    """How an arm ended: "returned after 3.8 s"."""
    if run.outcome == "gave up":
        return f"still waiting when the lab gave up after {seconds(run.limit)}"
    if run.outcome == "returned" or run.failure is None:
        return f"{run.outcome} after {seconds(run.seconds)}"
    where = f" at {run.failure.where}" if run.failure.where else f" after {seconds(run.seconds)}"
    return f"{run.failure.verb}{where}"


def unmeasured_loop(run: Run) -> str:
    """Why a run has no measurements of an event loop; "" if it has some."""
    return {"none": "no event loop", "unknown": "event loop not measured"}.get(run.backend, "")


def stalled(run: Run) -> list[str]:
    """How long the loop was stalled, and where: "loop blocked or busy 99 %", "cell 5, line 4: …".

    The share is that of the calls. What happened outside of them is said as well, for it is drawn:
    "before the calls: blocked 0.12 s at cell 6, line 7: …".
    """
    start, end = run.window
    share = f"{LOOP_STALLED} {percent(run.blocked_share)}"
    named = culprit_during_calls(run)
    lines = [_line(named)] if named else []
    outside: list[str] = []
    for when, first, last in (("before", 0.0, start), ("after", end, run.seconds)):
        length = stalled_seconds(run, first, last)
        # less is too short to be seen
        if length > run.seconds / 100:
            blocked = stalled_seconds(run, first, last, "blocked") >= length / 2
            calls = "them" if outside else "the calls"
            part = f"{when} {calls}: {'blocked' if blocked else 'busy'} {seconds(length)}"
            # One line of code: the status has no room for more.
            culprit = None if named else culprit_between(run, first, last)
            outside.append(f"{part} at {_line(culprit)}" if culprit else part)
            named = named or culprit
    return [f"{share} of the calls" if outside else share, *lines, *outside]


def _line(culprit: Culprit) -> str:
    return f"{culprit.where}: {call(culprit.where)}(…)"


def is_stalled(run: Run) -> bool:
    """Whether the loop was stalled for a share of the calls that is worth mentioning."""
    return run.blocked_share >= _WORTH_MENTIONING


def guilt(culprit: Culprit) -> str:
    """What a line did to the loop: "blocked 0.31 s here, 12 times (waiting)"."""
    each = seconds(culprit.seconds / culprit.times)
    doing = {True: " (waiting)", False: " (computing)", None: ""}[culprit.waiting]
    return f"blocked {each} here, {times(culprit.times)}{doing}"


def sentence(shown: Comparison | Run) -> str:
    """What a figure shows, in one sentence with numbers: its caption and alternative text."""
    runs = [shown] if isinstance(shown, Run) else [shown[arm] for arm in shown.arms]
    noun_at = next((i for i, run in enumerate(runs) if run.requests), 0)
    clauses = [_clause(run, noun=i == noun_at, terse=len(runs) > 2) for i, run in enumerate(runs)]
    if isinstance(shown, Comparison):
        clauses[1:] = [
            clause + _instead(shown, runs[0].arm, run.arm)
            for clause, run in zip(clauses[1:], runs[1:], strict=True)
        ]
    return "; ".join(clauses) + "."


def counted(runs: Sequence[Run], numbers: Sequence[tuple[str, Callable[[Run], object]]]) -> str:
    """The sentence of a figure with its own numbers: "wrong: 40 TCP connections; right: 1 …"."""
    clauses = []
    for run in runs:
        parts = [_phrase(label, measure(run)) for label, measure in numbers]
        if run.outcome != "returned":
            parts.append(ending(run))
        clauses.append(f"{run.arm}: {', '.join(parts)}")
    return "; ".join(clauses) + "."


def _phrase(label: str, value: object) -> str:
    """ "40 TCP connections"; with a text that has its own unit, "last answer 1.9 s"."""
    if isinstance(value, Real) and not isinstance(value, bool):
        return quantity(float(value), label)
    return f"{label} {number(value)}"


def _clause(run: Run, *, noun: bool, terse: bool) -> str:
    """``noun``: "12 requests in flight". ``terse``: three arms share one sentence."""
    parts = [_in_flight(run, noun), _answered(run), _stalled(run, terse), _end(run, terse)]
    return f"{run.arm} {_listed([part for part in parts if part])}"


def _in_flight(run: Run, noun: bool) -> str:
    if not run.requests:
        return "sent no request"
    verb, requests = ("kept", "request") if run.peak_in_flight == 1 else ("had", "requests")
    return f"{verb} {run.peak_in_flight} {requests if noun else ''} in flight".replace("  ", " ")


def _answered(run: Run) -> str:
    asked = len(run.requests)
    return f"got {run.answered} of {asked} answered" if run.answered < asked else ""


def _stalled(run: Run, terse: bool) -> str:
    if not is_stalled(run):
        return ""
    share = f"{percent(run.blocked_share)} of {seconds(run.makespan)}"
    line = timeline(run)
    verb = "blocked the event loop"
    if line.busy:
        verb = f"kept the event loop {'blocked or ' if line.blocked else ''}busy"
    culprit = culprit_during_calls(run) if line.blocked and not terse else None
    named = f" ({call(culprit.where)}, {culprit.where})" if culprit else ""
    return f"{verb} for {share}{named}"


def _end(run: Run, terse: bool) -> str:
    if run.outcome == "gave up":
        return f"did not finish within {seconds(run.limit)}" if terse else f"was {ending(run)}"
    if run.outcome == "raised":
        return ending(run)
    return "" if is_stalled(run) else f"finished in {seconds(run.makespan)}"


def _instead(comparison: Comparison, first: str, arm: str) -> str:
    if not all(comparison[a].outcome == "returned" for a in (first, arm)):
        return ""
    was, now = (comparison.spread(a, lambda run: run.makespan).median for a in (first, arm))
    done = ", done" if is_stalled(comparison[arm]) else ""
    if min(was, now) <= 0:
        return ""
    if abs(was - now) <= comparison.noise or max(was, now) / min(was, now) < _SAME:
        return f"{done or ','} about as fast"
    return f"{done and f'{done} in {seconds(now)}'} instead of {seconds(was)}"


def _listed(parts: Sequence[str]) -> str:
    return " and ".join(parts) if len(parts) < 3 else f"{', '.join(parts[:-1])} and {parts[-1]}"
