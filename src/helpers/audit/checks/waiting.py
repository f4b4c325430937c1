"""Lesson 04: how long does a user wait for a provider that is silent?"""

from __future__ import annotations

from helpers.audit.checks.finding import Finding, found, not_seen, plural, was
from helpers.audit.recording import Recording, peak


def hang(recording: Recording) -> Finding:
    return _within_the_deadline(recording, "hang", "never answered")


def drip(recording: Recording) -> Finding:
    return _within_the_deadline(recording, "drip", "answered byte by byte")


def _within_the_deadline(recording: Recording, kind: str, what: str) -> Finding:
    hit = [call for call in recording.of_user(kind) if call.request.fault == kind]
    if not hit:
        return not_seen(f"No request arrived that could meet the fault ({kind}).")
    lengths = [
        (recording.ended if call.end is None else call.end) - call.request.arrival for call in hit
    ]
    open_ = sum(length >= recording.deadline for length in lengths)
    visits = recording.visits_of(kind)
    waits = [v.ended - v.started for v in visits if v.ended is not None]
    without = len(visits) - len(waits)
    counted = {
        "requests": len(hit),
        "open_after_deadline": open_,
        "users_without_an_answer": without,
        "deadline_seconds": recording.deadline,
    }
    who = "program run" if recording.is_program else "user"
    if without or max(lengths) >= recording.deadline + 1:
        return found(
            False,
            f"{recording.deadline:g} s after a request that was {what}, "
            f"{plural(open_, 'request')} {was(open_)} still open and "
            f"{plural(without, who)} had neither an answer nor an error.",
            **counted,
        )
    return found(
        True,
        f"{plural(len(hit), 'request')} {was(len(hit))} {what}; none was open for more "
        f"than {max(lengths):.1f} s, and the last {who} ended after {max(waits):.1f} s.",
        **counted,
        longest_wait_seconds=round(max(waits), 2),
    )


def starve(recording: Recording) -> Finding:
    return _of_a_program(recording) if recording.is_program else _of_a_service(recording)


def _of_a_service(recording: Recording) -> Finding:
    hung = [call for call in recording.of_user("hang") if call.request.fault == "hang"]
    if not hung:
        return not_seen("No request hung while other users asked.")
    users = recording.visits_of("well")
    answered = [visit for visit in users if visit.succeeded]
    most = peak(hung, recording.ended)
    return found(
        len(answered) == len(users),
        f"While up to {plural(most, 'call')} hung, {len(answered)} of {len(users)} other users had "
        f"their answer within {recording.deadline:g} s.",
        hung_in_flight=most,
        users=len(users),
        answered=len(answered),
    )


def _of_a_program(recording: Recording) -> Finding:
    calls = recording.of_user("starve")
    hung = [call for call in calls if call.request.fault == "hang"]
    first = {call.sent.call for call in hung}
    others = {call.sent.call for call in calls} - first
    if not hung:
        return not_seen("No request arrived that could hang.")
    end = min(
        max((recording.ended if call.end is None else call.end) for call in hung),
        hung[0].request.arrival + recording.deadline,
    )
    meanwhile = {
        call.sent.call for call in calls if call.sent.call in others and call.request.arrival < end
    }
    if not meanwhile:
        return not_seen(
            "The program sent no other call while the first one hung: nothing could starve."
        )
    done = {
        call.sent.call
        for call in calls
        if call.sent.call in meanwhile
        and call.request.status == 200
        and call.request.client_left is None
        and call.request.last_byte is not None
    }
    return found(
        done == meanwhile,
        f"While the first call hung, {len(done)} of {plural(len(meanwhile), 'other call')} "
        f"{was(len(meanwhile))} answered.",
        calls=len(meanwhile),
        answered=len(done),
    )
