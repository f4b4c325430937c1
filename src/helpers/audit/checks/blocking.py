"""Lesson 01: does one user's call block the others?"""

from __future__ import annotations

from helpers.audit.checks.finding import Finding, found, not_seen, was
from helpers.audit.recording import Recording, peak

# A probe that takes half of the model's second has waited for the model.
_SLOW_HEALTH = 0.5


def in_flight(recording: Recording) -> Finding:
    calls = recording.calls if recording.is_program else recording.of_user("crowd")
    calls = [call for call in calls if call.request not in recording.refused]
    most = peak(calls, recording.ended)
    if recording.is_program:
        if most < 2:
            return not_seen(
                "The program never had two calls in flight at once; if it should, audit it as a "
                "service.",
                peak_in_flight=most,
            )
        return found(True, f"Up to {most} calls were in flight at once.", peak_in_flight=most)
    users = len({call.sent.user for call in calls})
    if users < 2:
        return not_seen(
            f"The provider took calls of {users} of {len(recording.visits)} users.",
            users=users,
        )
    return found(
        most > 1,
        f"{len(recording.visits)} users asked at once; at most {most} of their calls "
        f"{was(most)} in flight at the same time.",
        users=users,
        peak_in_flight=most,
    )


def health(recording: Recording) -> Finding:
    if not recording.idle_health:
        return not_seen("No --health route was given to probe while the model is thinking.")
    if not recording.health or not recording.calls:
        return not_seen("No call was open while the health route was probed.")
    slowest, usual = max(recording.health), max(recording.idle_health)
    if usual > _SLOW_HEALTH / 2:
        return not_seen(
            f"The health route takes {usual:.2f} s even when nobody uses the model.",
            idle_seconds=round(usual, 3),
        )
    return found(
        slowest < _SLOW_HEALTH,
        f"The health route took up to {slowest:.2f} s while the model was thinking, and up to "
        f"{usual:.2f} s before.",
        probes=len(recording.health),
        slowest_seconds=round(slowest, 3),
        idle_seconds=round(usual, 3),
    )
