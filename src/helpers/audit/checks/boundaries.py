"""Lesson 08: what becomes of incomplete answers, and of one failure among many?"""

from __future__ import annotations

import re
from functools import partial

from helpers.audit.checks.finding import Finding, found, not_seen, plural, was
from helpers.audit.drivers.users import words_in
from helpers.audit.recording import Call, Recording, Visit, attempts
from helpers.audit.scenarios import WORDS

_ALL = len(WORDS.split())
# What an application may say of an incomplete answer.
_MARKS = re.compile(
    r"error|fail|exception|truncat|incomplete|partial|interrupt|abort|cut|unfinished|not finished|"
    r"unavailable|sorry|length|limit|try again|warning|invalid|malformed|broken|true|false|null|"
    r"none|stopped|ended early",
    re.IGNORECASE,
)
_MOST_ATTEMPTS = 10
_ORPHAN_SECONDS = 0.3


def _whole(recording: Recording, kind: str, fault: str, what: str) -> Finding:
    calls = [c for c in recording.of_user(kind) if _is_hit(c, fault)]
    if not calls:
        return not_seen(f"No request arrived whose answer could be {what}.")
    (visit,), (control,) = recording.visits_of(kind), recording.visits_of("whole")
    said = f"exit status {visit.status}" if recording.is_program else f"status {visit.status}"
    if visit.ended is None:
        return not_seen(
            f"After an answer that was {what}, the user got nothing before the deadline."
        )
    if not visit.succeeded:
        how = said
        if visit.broken_off:
            how = "an answer that broke off"
        elif not recording.is_program and (visit.status or 0) < 400:
            how = "an error in place of its end"
        return found(True, f"After an answer that was {what}, the user got {how}.")
    if len(words_in(control.answer or control.text)) < _ALL:
        return not_seen(
            "Even a complete answer does not show up in what the user gets, so an incomplete one "
            "cannot be recognized."
        )
    shown = len(words_in(visit.answer if visit.answer is not None else visit.text))
    counted = {"words": _ALL, "words_shown": shown, "status": visit.status}
    if (mark := _mark(visit, control)) is not None:
        return found(
            True, f"The answer that was {what} is marked as incomplete ({mark}).", **counted
        )
    if not shown and (visit.answer or visit.text).strip():
        return found(
            True, f"In place of the answer that was {what}, the user got other text.", **counted
        )
    return found(
        False,
        f"An answer that was {what}, with {shown} of {_ALL} words, was passed on with {said} and "
        "no sign that it is incomplete.",
        **counted,
    )


def _is_hit(call: Call, fault: str) -> bool:
    """Whether the request met the fault; without one, whether it got an answer."""
    return call.request.fault == fault if fault else call.request.status == 200


cut = partial(_whole, kind="cut", fault="cut", what="cut off")
no_finish = partial(_whole, kind="unfinished", fault="no_finish", what="without a finish reason")
length = partial(_whole, kind="length", fault="", what="ended by the limit on its length")
error_event = partial(
    _whole, kind="error", fault="error_event", what="ended by an error after status 200"
)
malformed = partial(_whole, kind="json", fault="malformed_json", what="malformed JSON")


def _mark(visit: Visit, control: Visit) -> str | None:
    """What distinguishes an answer from a complete one; None if nothing does."""
    there, usual = _marks(visit), _marks(control)
    if new := sorted(there - usual):
        return new[0]
    end = _last_line(control)
    if end and end not in [_without_words(line) for line in visit.text.splitlines()]:
        return f"without {end[:40]}"
    return None


def _marks(visit: Visit) -> set[str]:
    rest = _without_words(visit.text + "\n" + visit.errors)
    return {mark.lower() for mark in _MARKS.findall(rest)}


def _last_line(visit: Visit) -> str:
    """The last line of a stream of events, if it has none of the model's text."""
    lines = [line for line in visit.text.splitlines() if line.strip()]
    if len(lines) < 2 or words_in(lines[-1]):
        return ""
    return _without_words(lines[-1])


def _without_words(text: str) -> str:
    kept = re.sub(r"\b(" + "|".join(WORDS.split()) + r")\b", "", text)
    return re.sub(r"[\d.]+|[0-9a-f]{8,}", "#", kept).strip()


def siblings(recording: Recording) -> Finding:
    family = attempts(recording.of_user("family"))
    if not all(visit.succeeded for visit in recording.visits_of("family")):
        return not_seen("One use of the application fails though every call is answered.")
    if len(family) < 3:
        return not_seen(
            f"One use of the application makes {plural(len(family), 'call')}: this check needs "
            "three or more, and a use that succeeds.",
            calls=len(family),
        )
    if any(_carries_an_answer(call[0]) for call in family):
        return not_seen(
            "The calls build on each other's answers: the later ones need the first.",
            calls=len(family),
        )
    calls = attempts(recording.of_user("sibling"))
    if not any(each.request.fault for call in calls for each in call):
        return not_seen("No request arrived that could fail.", calls=len(family))
    others = len(family) - 1
    survivors = sum(any(_is_answered(each) for each in call) for call in calls)
    unsent = max(0, len(family) - len(calls))
    has_reply = _has_a_reply(recording)
    lost = f", {unsent} {was(unsent)} never sent" if unsent else ""
    outcome = "had a reply" if has_reply else "had nothing of them"
    who = "the output" if recording.is_program else "the user"
    return found(
        survivors >= others and has_reply,
        f"One of {len(family)} calls failed; {survivors} of the other {others} {was(survivors)} "
        f"answered{lost}, and {who} {outcome}.",
        calls=len(family),
        survivors=survivors,
    )


def _has_a_reply(recording: Recording) -> bool:
    """Whether there is anything of the model's where one call of the use fails."""
    (usual,), (visit,) = recording.visits_of("family"), recording.visits_of("sibling")
    if words_in(usual.answer or usual.text):
        return bool(words_in(visit.answer or visit.text))
    return visit.succeeded


def _carries_an_answer(call: Call) -> bool:
    return call.sent.prompt is not None and len(words_in(call.sent.prompt.text)) > _ALL / 2


def _is_answered(call: Call) -> bool:
    request = call.request
    return request.status == 200 and request.last_byte is not None and request.client_left is None


def orphans(recording: Recording) -> Finding:
    if recording.is_program:
        return not_seen("A program's calls end with the program: audit a service.")
    (visit,) = recording.visits_of("sibling")
    calls = recording.of_user("sibling")
    failed = [call for call in calls if call.request.fault == "400"]
    if visit.ended is None or not failed:
        return not_seen("No request arrived that could fail.")
    end = failed[0].end or visit.ended
    meanwhile = [
        call
        for call in calls
        if call.request.fault is None
        and call.request.arrival < visit.ended
        and (call.end or recording.ended) > end
    ]
    if not meanwhile:
        return not_seen("No other call for the same user was in flight when one failed.")
    left = [
        call for call in meanwhile if (call.end or recording.ended) > visit.ended + _ORPHAN_SECONDS
    ]
    return found(
        not left,
        f"{len(left)} of {plural(len(meanwhile), 'other call')} went on after the user had "
        "an answer or an error.",
        calls=len(meanwhile),
        orphans=len(left),
    )


def down(recording: Recording) -> Finding:
    hit = [call for call in recording.of_user("down") if call.request.fault == "refuse"]
    if not hit:
        return not_seen("No request arrived while the provider was down.")
    visits = recording.visits_of("down")
    without = sum(visit.ended is None for visit in visits)
    most = max(len(call) for call in attempts(hit))
    ends = {visit.user: visit.ended for visit in visits}
    after = sum(
        call.request.arrival > end + 0.1
        for call in hit
        if (end := ends.get(call.sent.user)) is not None
    )
    counted = {
        "requests": len(hit),
        "most_attempts": most,
        "after_the_answer": after,
        "users": len(visits),
        "users_without_an_answer": without,
    }
    if without or after or most > _MOST_ATTEMPTS:
        return found(
            False,
            f"While the provider was down, {plural(len(hit), 'request')} {was(len(hit))} sent to "
            f"it, up to {most} for one call and {after} after the user had an answer or an error; "
            f"{without} of {plural(len(visits), 'use')} got neither before the deadline.",
            **counted,
        )
    asked = {call.sent.user for call in hit}
    late = visits[len(visits) // 2 :]
    if len(visits) > 1 and not any(visit.user in asked for visit in late):
        return found(
            True,
            f"After {plural(len(hit), 'request')} to a provider that was down, the application "
            "stopped asking it.",
            **counted,
        )
    return not_seen(
        f"While the provider was down, {plural(len(hit), 'request')} {was(len(hit))} sent to it "
        f"for {plural(len(visits), 'use')}: a circuit breaker was not seen, which alone is no "
        "failure.",
        **counted,
    )
