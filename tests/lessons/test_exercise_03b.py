"""Lesson 03's second check: it counts at the server what a history that is cut in steps saves."""

import asyncio
from pathlib import Path

import pytest

from helpers.lessons import progress
from helpers.lessons.catalogue import lesson, notebooks_folder
from helpers.lessons.exercise import announce, exercise, grade, load_solution
from helpers.lessons.notebook import read_source, tagged
from tests.lessons.graded import changed, criteria, table, unmet

SOLUTION = (notebooks_folder() / "solutions" / "03b_prompt_tokens.py").read_text("utf-8")
REFERENCE = changed(SOLUTION, ("def build_in_steps(", "def built("))
TIKTOKEN = """
import tiktoken
ENCODING = tiktoken.get_encoding("o200k_base")

def count_prompt_tokens(messages):
    return 3 + sum(3 + len(ENCODING.encode(m["role"])) + len(ENCODING.encode(m["content"]))
                   for m in messages)
"""
IMPORT = "from helpers.mock_llm.tokens import count_prompt_tokens\n"
REPLAY = (
    IMPORT
    + """
def build_in_steps(system, history, budget):
    first = {"role": "system", "content": system}
    fits = lambda start, end, most: count_prompt_tokens([first, *history[start:end]]) <= most
    start = 0
    for end in range(1, len(history) + 1):
        if not fits(start, end, budget):
            while start < end - 1 and not fits(start, end, LEAST * budget):
                start += 1
    return [first, *history[start:]]
"""
)
RECURSIVE = (
    IMPORT
    + """
def build_in_steps(system, history, budget, step=8):
    prompt = [{"role": "system", "content": system}] + history
    if count_prompt_tokens(prompt) <= budget:
        return prompt
    step = step if len(history) > step else 1
    return build_in_steps(system, history[step:], budget, step)
"""
)
COPIES = (
    IMPORT
    + """
from collections import deque

def build_in_steps(system, history, budget):
    left = deque(dict(message) for message in history)
    step = 10
    while count_prompt_tokens([{"role": "system", "content": system}, *left]) > budget:
        step = step if len(left) > step else 1
        for _ in range(step):
            left.popleft()
    return [{"role": "system", "content": system}, *left]
"""
)
SUMS = (
    IMPORT
    + """
from itertools import accumulate

def build_in_steps(system, history, budget):
    first = {"role": "system", "content": system}
    each = [count_prompt_tokens([message]) - 3 for message in history]
    rest = list(accumulate(reversed(each)))[::-1]
    room = budget - count_prompt_tokens([first])
    starts = [*range(0, len(history), 6), *range(len(history))]
    return [first, *history[next(start for start in starts if rest[start] <= room):]]
"""
)

RIGHT = {
    "the reference": SOLUTION,
    "by replay, down to half": REPLAY.replace("LEAST", "0.5"),
    "recursive": RECURSIVE,
    "a deque of copies": COPIES,
    "sums from the end": SUMS,
    "tiktoken": changed(SOLUTION, (IMPORT, TIKTOKEN)),
    "a callable object": REFERENCE
    + """
class Builder:
    def __call__(self, system, history, budget):
        return built(system, history, budget)

build_in_steps = Builder()
""",
    "a frozen dataclass": REFERENCE
    + """
from dataclasses import dataclass

@dataclass(frozen=True)
class Prompt:
    system: str
    budget: int

    def of(self, history):
        return built(self.system, history, self.budget)

def build_in_steps(system, history, budget):
    return Prompt(system, budget).of(history)
""",
    "functools.partial": changed(REFERENCE, ("history, budget):", "history, budget, step):"))
    .replace("newest + 1, STEP", "newest + 1, step")
    .replace("STEP = 8", "")
    + """
import functools
build_in_steps = functools.partial(built, step=8)
""",
    "pydantic models": REFERENCE
    + """
from pydantic import BaseModel

class Message(BaseModel, extra="allow"):
    role: str
    content: str

def build_in_steps(system, history, budget):
    kept = built(system, [Message(**each).model_dump() for each in history], budget)
    return [Message(**each).model_dump() for each in kept]
""",
}

RUNS = "your code runs to its end"
SHAPE = "it returns a list of messages"
SYSTEM = "the system prompt comes first, uncut"
BUDGET = "no prompt is over its budget, as the server counts"
NEWEST = "the newest message is always there, uncut"
ORDER = "the messages before it follow in order, whole, without a gap"
ALL = "as long as the whole history fits, all of it is kept"
ENOUGH = "after a cut, at least a third of the budget is used"
STATELESS = "the same history gives the same prompt"
UNCHANGED = "the history that it receives is not changed"
CACHED = "once messages have to go, half of the tokens still come from the cache"


def wrapped(body: str) -> str:
    """The reference, and what somebody does around it."""
    return f"{REFERENCE}\n\ndef build_in_steps(system, history, budget):\n{body}\n"


# The text, the only criterion that is not met, and what the message says.
WRONG = {
    "breaks": (wrapped("    return 1 / 0"), RUNS, "ZeroDivisionError"),
    "a text": (wrapped("    return str(built(system, history, budget))"), SHAPE, "it is a str"),
    "no system prompt": (
        wrapped("    return built(system, history, budget)[1:]"),
        SYSTEM,
        "is a different one",
    ),
    "a system prompt with less in it": (
        wrapped("    return built(system.split('.')[0], history, budget)"),
        SYSTEM,
        "is a different one",
    ),
    "counts characters": (
        changed(
            SOLUTION,
            (
                "count_prompt_tokens(prompt) <= budget",
                "sum(len(m['content']) for m in prompt) // 5 <= budget",
            ),
        ),
        BUDGET,
        "tokens",
    ),
    "forgets the system prompt's tokens": (
        changed(SOLUTION, ("count_prompt_tokens(prompt)", "count_prompt_tokens(prompt[1:])")),
        BUDGET,
        "tokens",
    ),
    "steps only, as in the lesson": (
        IMPORT
        + """
def build_in_steps(system, history, budget):
    first = {"role": "system", "content": system}
    while count_prompt_tokens([first, *history]) > budget:
        history = history[8:]
    return [first, *history]
""",
        NEWEST,
        "it is missing",
    ),
    "cuts the newest": (
        wrapped(
            "    *kept, last = built(system, history, budget)\n"
            "    return [*kept, {**last, 'content': last['content'][:300]}]"
        ),
        NEWEST,
        "changed",
    ),
    "newest first": (
        wrapped(
            "    first, *kept = built(system, history, budget)\n"
            "    return [first, *kept[::-1]] if len(kept) == len(history) else [first, *kept]"
        ),
        ORDER,
        "wrong place",
    ),
    "leaves a gap": (
        wrapped(
            "    first, *kept = built(system, history, budget)\n"
            "    return [first, *kept[:2], *kept[3:]] if len(kept) < len(history) and len(kept) > 5"
            " else [first, *kept]"
        ),
        ORDER,
        "missing",
    ),
    "cuts too early": (
        wrapped(
            "    is_long = len(history[0]['content']) > 900\n"
            "    return built(system, history, budget if is_long else 0.9 * budget)"
        ),
        ALL,
        "were kept",
    ),
    "forgets nearly everything": (REPLAY.replace("LEAST", "0.25"), ENOUGH, "are used"),
    "remembers where it was": (
        REFERENCE
        + """
calls = 0

def build_in_steps(system, history, budget):
    global calls
    calls += 1
    first, *kept = built(system, history, budget)
    return [first, *kept[2:]] if calls > 70 and len(kept) > 4 else [first, *kept]
""",
        STATELESS,
        "another one later",
    ),
    "changes the history": (
        IMPORT
        + """
def build_in_steps(system, history, budget):
    first = {"role": "system", "content": system}
    while count_prompt_tokens([first, *history]) > budget:
        del history[:8 if len(history) > 8 else 1]
    return [first, *history]
""",
        UNCHANGED,
        "it was changed",
    ),
    "a window that slides": (
        changed(SOLUTION, ("*range(0, newest + 1, STEP), ", "")),
        CACHED,
        "0 of",
    ),
    "steps of two messages": (changed(SOLUTION, ("STEP = 8", "STEP = 2")), CACHED, " of "),
    "steps from the end": (
        changed(
            SOLUTION,
            ("range(0, newest + 1, STEP)", "(0, *range(newest % STEP or STEP, newest + 1, STEP))"),
        ),
        CACHED,
        " of ",
    ),
}


@pytest.mark.parametrize("text", table(RIGHT, ["the reference", "tiktoken"]))
def test_a_good_repair_passes(text: str, tmp_path: Path) -> None:
    assert unmet("03b", text, tmp_path) == []


@pytest.mark.parametrize(
    ("text", "criterion", "found"),
    table(
        WRONG,
        [
            "breaks",
            "a text",
            "no system prompt",
            "counts characters",
            "steps only, as in the lesson",
            "leaves a gap",
            "cuts too early",
            "forgets nearly everything",
            "remembers where it was",
            "changes the history",
            "a window that slides",
        ],
    ),
)
def test_a_mistake_is_named_alone(text: str, criterion: str, found: str, tmp_path: Path) -> None:
    lines = {c.what: c.found for c in criteria("03b", text, tmp_path) if not c.met}
    assert list(lines) == [criterion], lines
    assert found in lines[criterion]


def test_the_starter_fails_for_what_it_costs(tmp_path: Path) -> None:
    (cell,) = tagged(read_source(lesson("03")), "exercise-b")
    (line,) = unmet("03b", IMPORT + cell.source, tmp_path)
    assert line.startswith(f"FAIL {CACHED}: 0 of")


def test_it_is_a_part_of_its_lesson(capsys: pytest.CaptureFixture[str]) -> None:
    assert exercise("03b").function == "build_in_steps"
    assert len(set(exercise("03b").hints)) == 3
    solved = asyncio.run(
        grade(
            "03b", load_solution("03b", notebooks_folder() / "solutions" / "03b_prompt_tokens.py")
        )
    )
    announce("03b", solved, "")
    assert "notebooks/solutions/03b_prompt_tokens.py" in capsys.readouterr().out
    assert progress.read("03").keys() == {"exercise b"}


@pytest.mark.parametrize(
    ("number", "sentence"),
    [("03c", "Lesson 03 has no exercise c."), ("b", "no lesson 'b'"), ("00", "has no exercise.")],
)
def test_an_exercise_that_does_not_exist(number: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        exercise(number)
