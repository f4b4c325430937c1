"""Lesson 07: when does the reader see the first token, and what if the reader leaves?"""

from __future__ import annotations

from helpers.audit.checks.finding import Finding, found, not_seen, plural, was
from helpers.audit.recording import Recording

# Seconds within which a canceled call leaves the provider.
_TO_CANCEL = 1.0


def first(recording: Recording) -> Finding:
    (visit,) = recording.visits_of("reader")
    calls = recording.of_user("reader")
    if not calls or calls[-1].request.first_token is None:
        return not_seen("None of the reader's calls was answered.")
    if visit.first_word is None:
        return not_seen("The model's words do not reach the reader unchanged.")
    request = calls[-1].request
    sent = calls[-1].request.first_token
    end = request.last_byte or recording.ended
    late, length = visit.first_word - sent, end - sent
    return found(
        late < length / 2,
        f"The model wrote for {length:.1f} s; the reader saw the first token {late:.2f} s after "
        "it was sent.",
        seconds_to_reader=round(late, 3),
        answer_seconds=round(length, 3),
        streamed_by_the_provider=request.streamed,
    )


def leave(recording: Recording) -> Finding:
    (visit,) = recording.visits_of("leaver")
    calls = recording.of_user("leaver")
    if visit.left is None or not calls:
        return not_seen(
            "The reader could not leave in the middle of the answer: it came in one piece."
        )
    left = visit.left
    if calls[-1].end is not None and calls[-1].end < left:
        return not_seen("The answer was complete before the reader saw it and left.")
    late = sum(time > left for call in calls for time in call.request.chunks)
    ends = [recording.ended if call.end is None else call.end for call in calls]
    after = max(ends) - left
    return found(
        after < _TO_CANCEL,
        f"{plural(late, 'token')} {was(late)} generated after the reader had left; the call ended "
        f"{after:.1f} s later.",
        tokens_after_leaving=late,
        seconds_after_leaving=round(after, 2),
    )
