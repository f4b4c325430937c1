"""What is written in an exercise, its solution and its check alike has the same value in each."""

import ast
import importlib

import pytest

from helpers.lessons.catalogue import LESSONS, Lesson
from helpers.lessons.notebook import read_source, tagged

CONSTANTS = {"01": {"PAUSE"}, "04": {"RESERVE"}, "05": {"ATTEMPTS"}, "06": {"KEEP", "TTL"}}


def constants(code: str) -> dict[str, object]:
    """The numbers that are assigned to names in capitals at top level."""
    return {
        node.targets[0].id: node.value.value
        for node in ast.parse(code).body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and node.targets[0].id.isupper()
        and isinstance(node.value, ast.Constant)
    }


@pytest.mark.parametrize(
    "lesson",
    [each for each in LESSONS if each.name and each.graded],
    ids=lambda lesson: lesson.stem,
)
def test_exercise_solution_and_check_agree_on_constants(lesson: Lesson) -> None:
    (cell,) = tagged(read_source(lesson), "exercise")
    starter = constants(cell.source)
    solution = constants(lesson.solution.read_text("utf-8"))
    check = vars(importlib.import_module(f"helpers.lessons.exercises.exercise_{lesson.number}"))
    public = {name: check[name] for name in starter.keys() & check.keys()}
    assert public.keys() == CONSTANTS.get(lesson.number, set())
    assert public == {name: starter[name] for name in public}
    assert {name: solution[name] for name in starter.keys() & solution.keys()} == {
        name: starter[name] for name in starter.keys() & solution.keys()
    }
