"""Tables of right and wrong solutions of an exercise, as text: what a learner would write."""

import asyncio
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from helpers.lab import ArmError
from helpers.lessons.exercise import Criterion, exercise
from helpers.lessons.exercises.solution import load

RUNS = "your code runs to its end"


def graded(number: str, source: str, folder: Path) -> list[Criterion]:
    """The criteria that a solution does not meet."""
    file = folder / "solution.py"
    file.write_text(source, "utf-8")
    task = exercise(number)
    solution: Any = load(file, task.function)
    try:
        criteria = asyncio.run(task.grade(solution))
    except ArmError as error:
        criteria = [Criterion(RUNS, False, str(error))]
    return [criterion for criterion in criteria if not criterion.met]


def edited(source: str, *edits: tuple[str, str]) -> str:
    """The source with replacements; each text is in it once."""
    for before, after in edits:
        assert source.count(before) == 1, before
        source = source.replace(before, after)
    return source


def mostly_slow(table: Mapping[str, Any], quick: Iterable[str]) -> list[Any]:
    """The names in a table; `make test` takes only those that are ``quick``."""
    chosen = set(quick)
    assert chosen <= table.keys()
    return [
        pytest.param(name, marks=[] if name in chosen else [pytest.mark.slow]) for name in table
    ]


def named(unmet: list[Criterion]) -> list[str]:
    return [criterion.what for criterion in unmet]
