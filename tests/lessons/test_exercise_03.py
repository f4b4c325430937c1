"""Lesson 03's check: it counts as the server does in every language, and names what it found."""

import asyncio
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import regex

from helpers.lessons.catalogue import lesson
from helpers.lessons.exercise import grade
from helpers.mock_llm.tokens import count_prompt_tokens, encode, encoding
from tests.lessons.graded import changed, table
from tests.lessons.graded import unmet as graded

Message = dict[str, Any]
SOLUTION = lesson("03").solution.read_text("utf-8")
CLASS = """
from dataclasses import dataclass, field

@dataclass
class Prompt:
    system: str
    budget: int
    history: list[dict[str, str]] = field(default_factory=list)

def built(p: Prompt) -> list[dict[str, str]]:
"""


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
        whole_characters(text, room)  # raises if there are none
        for end in range(len(text), 0, -1):
            if len(encode(text[:end])) <= room:
                return text[:end]
        raise ValueError

    return assemble(system, history, budget, cut)


def cuts_between_tokens(system: str, history: list[Message], budget: int) -> list[Message]:
    def cut(text: str, room: int) -> str:
        whole_characters(text, room)  # raises if there are none
        return encoding().decode(encode(text)[:room])

    return assemble(system, history, budget, cut)


def keeps_the_end(system: str, history: list[Message], budget: int) -> list[Message]:
    def cut(text: str, room: int) -> str:
        characters = regex.findall(r"\X", text)
        for start in range(1, len(characters)):
            if len(encode("".join(characters[start:]))) <= room:
                return "".join(characters[start:])
        return whole_characters(text, room)

    return assemble(system, history, budget, cut)


def cuts_far_too_much(system: str, history: list[Message], budget: int) -> list[Message]:
    return assemble(
        system, history, budget, lambda text, room: whole_characters(text, max(room // 2, 1))
    )


def sends_an_empty_message(system: str, history: list[Message], budget: int) -> list[Message]:
    def cut(text: str, room: int) -> str:
        try:
            return whole_characters(text, room)
        except ValueError:
            if room < 0:
                raise
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
    good(system, history, budget)  # raises where nothing fits
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


def returns_a_generator(system: str, history: list[Message], budget: int) -> Iterator[Message]:
    return (message for message in good(system, history, budget))


def rephrases_the_system_prompt(system: str, history: list[Message], budget: int) -> list[Message]:
    _, *kept = good(system, history, budget)
    return [{"role": "system", "content": system.rstrip(".")}, *kept]


def counts_the_newest_without_its_role(
    system: str, history: list[Message], budget: int
) -> list[Message]:
    return assemble(system, history, budget, lambda text, room: whole_characters(text, room + 4))


def keeps_a_reserve(system: str, history: list[Message], budget: int) -> list[Message]:
    """For the answer, which has a budget of its own."""
    first, *kept = good(system, history, budget)
    while len(kept) > 1 and count_prompt_tokens([first, *kept]) > budget - 4:
        del kept[0]
    return [first, *kept]


def fills_up_with_half_a_message(system: str, history: list[Message], budget: int) -> list[Message]:
    first, *kept = good(system, history, budget)
    rest = history[: len(history) - len(kept)]
    if kept[-1] == history[-1] and rest:
        empty = {**rest[-1], "content": ""}
        room = budget - count_prompt_tokens([first, empty, *kept])
        if room > 5:
            text = whole_characters(rest[-1]["content"], room - 1)
            return [first, {**empty, "content": text}, *kept]
    return [first, *kept]


def counts_each_character(system: str, history: list[Message], budget: int) -> list[Message]:
    def cut(text: str, room: int) -> str:
        kept = ""
        for character in regex.findall(r"\X", text):
            room -= len(encode(character))
            if room < 0:
                break
            kept += character
        if not kept:
            raise ValueError
        return kept

    return assemble(system, history, budget, cut)


def gives_up_too_early(system: str, history: list[Message], budget: int) -> list[Message]:
    def cut(text: str, room: int) -> str:
        if room < 4:
            raise ValueError("no room")
        return whole_characters(text, room)

    return assemble(system, history, budget, cut)


def raises_another_error(system: str, history: list[Message], budget: int) -> list[Message]:
    try:
        return good(system, history, budget)
    except ValueError:
        raise KeyError from None


def cuts_in_place(system: str, history: list[Message], budget: int) -> list[Message]:
    kept = good(system, history, budget)
    if kept[-1] != history[-1]:
        history[-1]["content"] = kept[-1]["content"]
    return kept


def breaks(system: str, history: list[Message], budget: int) -> list[Message]:
    raise ZeroDivisionError("oops")


RIGHT = {
    "the reference": SOLUTION,
    "a cut at a token boundary": f"""
import regex
from helpers.mock_llm.tokens import count_prompt_tokens, encode, encoding

{inspect.getsource(assemble)}
{inspect.getsource(whole_characters)}
{inspect.getsource(good).replace("def good", "def build")}
""".replace("list[Message]", "list").replace("Any", "object"),
    "binary search": changed(
        SOLUTION,
        (
            "    for count in range(len(whole), 0, -1):\n"
            '        kept = "".join(whole[:count])\n'
            "        if len(encode(kept)) <= room:\n            return kept\n",
            "    low, high = 0, len(whole)\n    while low < high:\n"
            "        middle = (low + high + 1) // 2\n"
            '        fits = len(encode("".join(whole[:middle]))) <= room\n'
            "        low, high = (middle, high) if fits else (low, middle - 1)\n"
            '    if low:\n        return "".join(whole[:low])\n',
        ),
    ),
    "an object that can be called": changed(SOLUTION, ("def build(", "def built("))
    + """
class Builder:
    def __call__(self, system, history, budget):
        return built(system, history, budget)

build = Builder()
""",
    "functools.partial": changed(SOLUTION, ("def build(system", "def built(cut, system")).replace(
        "beginning(newest", "cut(newest"
    )
    + """
import functools
build = functools.partial(built, beginning)
""",
    "a lambda over a lock": changed(SOLUTION, ("def build(", "def built("))
    + """
import threading
LOCK = threading.Lock()

def guarded(*args):
    with LOCK:
        return built(*args)

build = lambda *args: guarded(*args)
""",
    "a dataclass with lazy annotations": changed(
        SOLUTION,
        ("import regex\n", "from __future__ import annotations\n\nimport regex\n"),
        ("def build(system, history, budget):\n", CLASS),
        (
            "    first, newest =",
            "    system, history, budget = p.system, p.history, p.budget\n    first, newest =",
        ),
    )
    + """

def build(system, history, budget):
    return built(Prompt(system, budget, history))
""",
    "pydantic models": changed(SOLUTION, ("def build(", "def built("))
    + """
from pydantic import BaseModel

class Message(BaseModel):
    role: str
    content: str

class Prompt(BaseModel):
    messages: list[Message]

def build(system, history, budget):
    prompt = Prompt(messages=[Message(**message) for message in built(system, history, budget)])
    return prompt.model_dump()["messages"]
""",
    "an error of its own": changed(
        SOLUTION,
        ("def build(", "class NoRoomError(ValueError): ...\n\n\ndef build("),
        ("raise ValueError(", "raise NoRoomError("),
    ),
    "tiktoken": changed(
        SOLUTION,
        (
            "from helpers.mock_llm.tokens import count_prompt_tokens, encode\n",
            """
import tiktoken

ENCODING = tiktoken.get_encoding("o200k_base")
encode = ENCODING.encode

def count_prompt_tokens(messages):
    return 3 + sum(
        3 + len(tiktoken.encoding_for_model("gpt-4o").encode(text))
        for message in messages
        for text in message.values()
    ) - sum(3 for message in messages)

""",
        ),
    ),
}

RUNS = "your code runs to its end"
SHAPE = "it returns a list of messages"
SYSTEM = "the system prompt comes first, uncut"
BUDGET = "no prompt is over its budget, as the server counts"
ORDER = "the newest messages follow, in order, without a gap"
ALL = "every message that fits is there"
WHOLE = "only the newest message is ever cut, and only if it does not fit"
BEGINNING = "a cut message keeps as much of its beginning as fits"
CHARACTERS = "no character is cut in two"
REFUSES = "it raises ValueError if not one character fits, and only then"
UNCHANGED = "the history that it receives is not changed"

# The function, the only criterion that is not met, and what the message says.
WRONG = {
    each.__name__: (each, criterion, found)
    for each, criterion, found in [
        (breaks, RUNS, "ZeroDivisionError"),
        (returns_a_text, SHAPE, "it is a str"),
        (returns_a_generator, RUNS, "generator"),
        (forgets_the_system_prompt, SYSTEM, "is a different one"),
        (rephrases_the_system_prompt, SYSTEM, "is a different one"),
        (ignores_the_chat_format, BUDGET, "tokens in"),
        (counts_the_newest_without_its_role, BUDGET, "tokens in"),
        (newest_first, ORDER, "in the wrong place"),
        (leaves_a_gap, ORDER, "in the wrong place"),
        (drops_a_long_newest_message, ORDER, "is missing"),
        (keeps_only_the_newest, ALL, "1 messages were kept, 9 fit"),
        (keeps_a_reserve, ALL, "fit"),
        (fills_up_with_half_a_message, WHOLE, "another message was cut"),
        (keeps_the_end, BEGINNING, "not the beginning"),
        (cuts_far_too_much, BEGINNING, " fit"),
        (counts_each_character, BEGINNING, " fit"),
        (cuts_between_code_points, CHARACTERS, "was cut (Hindi"),
        (cuts_between_tokens, CHARACTERS, "(Chinese"),
        (sends_an_empty_message, REFUSES, "nothing was raised"),
        (gives_up_too_early, REFUSES, "with room for 1 tokens"),
        (raises_another_error, REFUSES, "KeyError"),
        (changes_the_history, UNCHANGED, "it was changed"),
        (cuts_in_place, UNCHANGED, "it was changed"),
    ]
}


@pytest.mark.parametrize("text", table(RIGHT, ["the reference", "tiktoken"]))
def test_a_good_repair_passes(text: str, tmp_path: Path) -> None:
    assert graded("03", text, tmp_path) == []


@pytest.mark.parametrize(
    ("solution", "criterion", "found"),
    table(
        WRONG,
        [
            "breaks",
            "returns_a_text",
            "forgets_the_system_prompt",
            "ignores_the_chat_format",
            "leaves_a_gap",
            "keeps_a_reserve",
            "fills_up_with_half_a_message",
            "cuts_far_too_much",
            "cuts_between_code_points",
            "gives_up_too_early",
            "cuts_in_place",
        ],
    ),
)
def test_a_mistake_is_named_alone(solution: Any, criterion: str, found: str) -> None:
    lines = unmet(solution)
    assert list(lines) == [criterion], lines
    assert found in lines[criterion]
