"""Lesson 06: what does the application remember of a conversation, and in which order?"""

from __future__ import annotations

from helpers.audit.checks.finding import Finding, found, not_seen, plural
from helpers.audit.prompts import Prompt
from helpers.audit.recording import Recording

_NO_HISTORY = (
    "The prompt of a later turn contains nothing of the first, even in the same process: the "
    "application keeps no history, or the message does not say whose session it is ($SESSION)."
)


def restart(recording: Recording) -> Finding:
    before, after = _prompt(recording, "restart-1", 2), _prompt(recording, "restart-1", 3)
    if before is None or not _recalls(before, "restart-1", 1):
        return not_seen(_NO_HISTORY)
    if after is None:
        return not_seen("After the restart, no request arrived at the provider.")
    recalled = [turn for turn in (1, 2) if _recalls(after, "restart-1", turn)]
    return found(
        1 in recalled,
        f"After a SIGKILL and a restart, the prompt had {len(recalled)} of 2 earlier turns.",
        turns=2,
        turns_recalled=len(recalled),
    )


def workers(recording: Recording) -> Finding:
    there, back = _prompt(recording, "workers-1", 2), _prompt(recording, "workers-1", 3)
    if back is None or not _recalls(back, "workers-1", 1):
        return not_seen(_NO_HISTORY)
    if there is None:
        return not_seen("No request from the second process arrived at the provider.")
    recalled = _recalls(there, "workers-1", 1)
    also_back = _recalls(back, "workers-1", 2)
    return found(
        recalled and also_back,
        f"The first process's turn was {'' if recalled else 'not '}in the second one's prompt; the "
        f"second one's turn was {'' if also_back else 'not '}in the first one's prompt.",
        recalled_by_the_second=recalled,
        recalled_by_the_first=also_back,
    )


def order(recording: Recording) -> Finding:
    checked = wrong = 0
    example: list[int] = []
    for call in recording.calls:
        turns = _turns(call.sent.prompt)
        if len(turns) < 2:
            continue
        checked += 1
        if turns != list(range(turns[-1] - len(turns) + 1, turns[-1] + 1)):
            wrong += 1
            example = turns
    if not checked:
        return not_seen("No prompt held two turns of a conversation.")
    counted = {"prompts": checked, "out_of_order": wrong}
    if wrong:
        shown = ", ".join(map(str, example[:6])) + (" and so on" if len(example) > 6 else "")
        return found(
            False,
            f"In {wrong} of {plural(checked, 'prompt')}, the turns were not the newest ones in "
            f"order, oldest first: {shown}.",
            **counted,
        )
    return found(
        True,
        f"In {plural(checked, 'prompt')}, the turns were the newest ones in order, oldest first.",
        **counted,
    )


def _prompt(recording: Recording, user: str, turn: int) -> Prompt | None:
    """The first prompt in which the user's turn arrived as the question."""
    visit = next((v for v in recording.visits_of(user) if v.turn == turn), None)
    if visit is None:
        return None
    for call in recording.of_user(user):
        prompt = call.sent.prompt
        if prompt and call.request.arrival > visit.started and (user, turn) in prompt.markers:
            return prompt
    return None


def _recalls(prompt: Prompt, user: str, turn: int) -> bool:
    return prompt.continues or (user, turn) in prompt.markers


def _turns(prompt: Prompt | None) -> list[int]:
    """The turns of the conversation in a prompt, in the order of their first appearance."""
    return list(dict.fromkeys(turn for _, turn in prompt.markers)) if prompt else []
