"""Lesson 05: when, how often, and what does the application retry?"""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise
from statistics import median, pstdev

from helpers.audit.checks.finding import Finding, found, not_seen, plural, was
from helpers.audit.recording import Call, Recording, attempts

# The provider's clock and the application's sleep are this exact.
_EARLY = 0.05
# More attempts than any one layer of retries has by default: the SDKs' have 3.
_MOST_ATTEMPTS = 6
_FEW_CALLS = 4
# An SDK's jitter of 25 % has a standard deviation of 8 %; without jitter there are a few ms.
_LEAST_SPREAD = 0.045
_LEAST_SECONDS = 0.015
# After a shorter delay, there was no back-off to spread.
_AT_ONCE = 0.1
_PERMANENT = {
    "request": "400",
    "key": "401",
    "model": "404",
    "quota": "insufficient_quota",
}


def early(recording: Recording) -> Finding:
    pairs = [
        (_retry_after(before), after.request.arrival - before.end)
        for call in attempts(recording.of_user("limited"))
        for before, after in pairwise(call)
        if before.request.fault == "rate_limit_exceeded" and before.end is not None
    ]
    refused = [c for c in recording.calls if c.request.fault == "rate_limit_exceeded"]
    if not refused:
        return not_seen("No request arrived that could be refused with 429.")
    asked = " or ".join(f"{s:g}" for s in sorted({_retry_after(call) for call in refused}))
    if not pairs:
        return not_seen(
            f"{plural(len(refused), 'request')} got 429 with Retry-After: {asked}, and none was "
            "retried.",
            refused=len(refused),
        )
    too_early = sum(wait < seconds - _EARLY for seconds, wait in pairs)
    shortest = min(wait for _, wait in pairs)
    return found(
        too_early == 0,
        f"{too_early} of {plural(len(pairs), 'retry').replace('retrys', 'retries')} after 429 came "
        f"before the Retry-After of {asked} s had passed; the shortest wait was {shortest:.2f} s.",
        refused=len(refused),
        retries=len(pairs),
        early=too_early,
        shortest_wait_seconds=round(shortest, 3),
    )


def _retry_after(call: Call) -> float:
    """Seconds that the provider asked to wait."""
    return float(call.sent.fault.rpartition("retry_after=")[2])


def jitter(recording: Recording) -> Finding:
    delays: dict[int, list[float]] = defaultdict(list)
    for call in attempts(recording.of_user("overloaded")):
        for number, (before, after) in enumerate(pairwise(call)):
            if before.end is not None:
                delays[number].append(after.request.arrival - before.end)
    first = delays.get(0, [])
    if len(first) < _FEW_CALLS:
        return not_seen(
            f"{plural(len(first), 'call')} {was(len(first))} retried after 503: it takes "
            f"{_FEW_CALLS} to see whether they come back at the same moment.",
            retried_calls=len(first),
        )
    pooled = [
        (delay / median(each), delay)
        for each in list(delays.values())[:2]
        if len(each) >= _FEW_CALLS and median(each) > 0
        for delay in each
    ]
    spread = pstdev([share for share, _ in pooled])
    seconds = pstdev(first)
    return found(
        spread >= _LEAST_SPREAD and seconds >= _LEAST_SECONDS and median(first) >= _AT_ONCE,
        f"After 503 without Retry-After, {len(first)} calls came back after {median(first):.2f} s, "
        f"give or take {seconds:.3f} s (a spread of {spread:.0%}, counting second retries).",
        retried_calls=len(first),
        median_seconds=round(median(first), 3),
        spread_seconds=round(seconds, 3),
        spread_share=round(spread, 3),
    )


def layers(recording: Recording) -> Finding:
    calls = attempts(recording.of_user("overloaded"))
    if not calls:
        return not_seen("No request arrived that could be refused with 503.")
    most = max(len(call) for call in calls)
    restarted = sum(_starts_again(call) for call in calls)
    counted = {"calls": len(calls), "most_attempts": most, "restarted_by_a_layer_above": restarted}
    if most == 1:
        return not_seen(f"{plural(len(calls), 'call')} got 503, and none was retried.", **counted)
    why = (
        f"; the SDK's own retries began again in {plural(restarted, 'call')}: a layer above the "
        "SDK also retries"
        if restarted
        else ""
    )
    return found(
        most <= _MOST_ATTEMPTS and not restarted,
        f"A call that only gets 503 was sent up to {most} times{why}.",
        **counted,
    )


def _starts_again(call: list[Call]) -> bool:
    """Whether an official SDK, which numbers its retries, was called again for the same call."""
    numbers = [each.sent.sdk_retries for each in call if each.sent.sdk_retries is not None]
    return any(before > after for before, after in pairwise(numbers))


def permanent(recording: Recording) -> Finding:
    met, retried = [], []
    for kind, error in _PERMANENT.items():
        calls = attempts([c for c in recording.of_user(kind) if c.request.fault == error])
        if calls:
            met.append(error)
        if any(len(call) > 1 for call in calls):
            retried.append(f"{error} ({max(len(call) for call in calls)} attempts)")
    if not met:
        return not_seen("No request arrived that could get an error that no retry fixes.")
    counted: dict[str, float | int | str | bool | None] = {
        "errors_met": ", ".join(met),
        "errors_retried": ", ".join(retried),
    }
    if retried:
        return found(False, f"Retried although permanent: {', '.join(retried)}.", **counted)
    return found(True, f"No call was retried after {', '.join(met)}.", **counted)
