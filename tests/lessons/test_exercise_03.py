"""Lesson 03's check: it counts as the server does in every language, and names what it found."""

import asyncio
from typing import Any

import pytest
import regex

from helpers.lessons.exercise import grade
from helpers.mock_llm.tokens import count_prompt_tokens, encode, encoding

Message = dict[str, Any]


def unmet(solution: Any) -> dict[str, str]:
    return {c.what: c.found for c in asyncio.run(grade("03", solution)) if not c.met}


def assemble(system: str, history: list[Message], budget: int, cut: Any) -> list[Message]:
    """Correct except for ``cut``, which shortens the newest message if it is too long."""
    first, newest = {"role": "system", "content": system}, history[-1]
    if count_prompt_tokens([first, newest]) > budget:
        room = budget - count_prompt_tokens([first, {**newest, "content": ""}])
        return [first, {**newest, "content": cut(newest["content"], room)}]
    kept: list[Message] = []
    for message in reversed(history):
        if count_prompt_tokens([first, message, *kept]) > budget:
            break
        kept.insert(0, message)
    return [first, *kept]


def whole_characters(text: str, room: int) -> str:
    """As in production: from the token boundary back to the end of a character."""
    longest = len(encoding().decode_bytes(encode(text)[: max(room, 0)]).decode("utf-8", "ignore"))
    ends = [match.end() for match in regex.finditer(r"\X", text)]
    for end in sorted((end for end in ends if end <= longest), reverse=True):
        if len(encode(text[:end])) <= room:
            return text[:end]
    raise ValueError("no room")


def good(system: str, history: list[Message], budget: int) -> list[Message]:
    return assemble(system, history, budget, whole_characters)


def cuts_between_code_points(system: str, history: list[Message], budget: int) -> list[Message]:
    def cut(text: str, room: int) -> str:
        for end in range(len(text), 0, -1):
            if len(encode(text[:end])) <= room:
                return text[:end]
        raise ValueError

    return assemble(system, history, budget, cut)


def cuts_between_tokens(system: str, history: list[Message], budget: int) -> list[Message]:
    def cut(text: str, room: int) -> str:
        if room < 1:
            raise ValueError
        return encoding().decode(encode(text)[:room])

    return assemble(system, history, budget, cut)


def keeps_the_end(system: str, history: list[Message], budget: int) -> list[Message]:
    def cut(text: str, room: int) -> str:
        characters = regex.findall(r"\X", text)
        for start in range(1, len(characters)):
            if len(encode("".join(characters[start:]))) <= room:
                return "".join(characters[start:])
        raise ValueError

    return assemble(system, history, budget, cut)


def cuts_far_too_much(system: str, history: list[Message], budget: int) -> list[Message]:
    return assemble(system, history, budget, lambda text, room: whole_characters(text, room // 2))


def sends_an_empty_message(system: str, history: list[Message], budget: int) -> list[Message]:
    def cut(text: str, room: int) -> str:
        try:
            return whole_characters(text, room)
        except ValueError:
            return ""

    return assemble(system, history, budget, cut)


def drops_a_long_newest_message(system: str, history: list[Message], budget: int) -> list[Message]:
    kept = [m for m in good(system, history, budget) if m in history]
    return [{"role": "system", "content": system}, *kept]


def newest_first(system: str, history: list[Message], budget: int) -> list[Message]:
    first, *kept = good(system, history, budget)
    return [first, *reversed(kept)]


def leaves_a_gap(system: str, history: list[Message], budget: int) -> list[Message]:
    first, *kept = good(system, history, budget)
    for message in reversed(history[: len(history) - len(kept)]):
        if count_prompt_tokens([first, message, *kept]) <= budget:
            kept.insert(0, message)
    return [first, *kept]


def ignores_the_chat_format(system: str, history: list[Message], budget: int) -> list[Message]:
    messages = len(history)
    while True:
        kept = history[-messages:]
        if sum(len(encode(m["content"])) for m in kept) + len(encode(system)) <= budget:
            return [{"role": "system", "content": system}, *kept]
        messages -= 1
        if not messages:
            return good(system, history, budget)


def keeps_only_the_newest(system: str, history: list[Message], budget: int) -> list[Message]:
    return good(system, history[-1:], budget)


def forgets_the_system_prompt(system: str, history: list[Message], budget: int) -> list[Message]:
    return good(system, history, budget)[1:]


def changes_the_history(system: str, history: list[Message], budget: int) -> list[Message]:
    kept = good(system, history, budget)
    del history[:-1]
    return kept


def returns_a_text(system: str, history: list[Message], budget: int) -> str:
    return "\n".join(message["content"] for message in history)


def breaks(system: str, history: list[Message], budget: int) -> list[Message]:
    raise ZeroDivisionError("oops")


def test_a_cut_at_a_token_boundary_passes_too() -> None:
    assert unmet(good) == {}


@pytest.mark.parametrize(
    ("solution", "criterion", "found"),
    [
        (cuts_between_code_points, "no character is cut in two", "was cut (Hindi"),
        (cuts_between_tokens, "no character is cut in two", "(Chinese"),
        (keeps_the_end, "a cut message keeps as much of its beginning", "not the beginning"),
        (cuts_far_too_much, "a cut message keeps as much of its beginning", " fit"),
        (sends_an_empty_message, "it raises ValueError", "nothing was raised"),
        (drops_a_long_newest_message, "the newest messages follow", "is missing"),
        (newest_first, "the newest messages follow", "in the wrong place"),
        (leaves_a_gap, "the newest messages follow", "in the wrong place"),
        (ignores_the_chat_format, "no prompt is over its budget", "tokens in"),
        (keeps_only_the_newest, "every message that fits is there", "1 messages were kept"),
        (forgets_the_system_prompt, "the system prompt comes first", "is a different one"),
        (changes_the_history, "the history that it receives", "it was changed"),
        (returns_a_text, "it returns a list of messages", "it is a str"),
        (breaks, "your code runs to its end", "ZeroDivisionError"),
    ],
)
def test_what_is_wrong_is_named(solution: Any, criterion: str, found: str) -> None:
    (message,) = [found for what, found in unmet(solution).items() if what.startswith(criterion)]
    assert found in message
