"""Exercises: each is graded by measurement, and has three hints and a solution."""

from __future__ import annotations

import html
import importlib
import importlib.util
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, TypeGuard

from helpers.lab import ArmError, Failure, Run
from helpers.lessons import progress, workshop
from helpers.lessons.catalogue import Lesson, lesson
from helpers.lessons.environment import clean_this_process
from helpers.lessons.exercises.solution import UngradableError, load, make_sendable

Solution: TypeAlias = Callable[..., Any]
_RUNS = "your code runs to its end"


@dataclass(frozen=True, slots=True)
class Criterion:
    """One thing an exercise asks for."""

    what: str
    met: bool
    found: str = ""
    """If it is not met: what was found instead, with line numbers but without times."""

    def __str__(self) -> str:
        return f"PASS {self.what}" if self.met else f"FAIL {self.what}: {self.found}"


@dataclass(frozen=True, slots=True)
class Exercise:
    function: str
    """Name of the function or class that the learner repairs."""
    grade: Callable[[Solution], Awaitable[list[Criterion]]]
    hints: tuple[str, str, str]
    explanation: str = ""
    """Why the solution is right; shown above it, and printed when the exercise is solved."""


@dataclass(frozen=True, slots=True)
class _Key:
    """Which exercise: most lessons have one, lesson 03 has a part b as well."""

    lesson: Lesson
    part: str

    @classmethod
    def of(cls, number: str | int) -> _Key:
        """Of "03" or "03b". Raises `ValueError` if there is no such lesson."""
        text = str(number)
        part = text[-1:] if text[:-1].isdigit() and text[-1:].isalpha() else ""
        return cls(lesson(text.removesuffix(part)), part)

    def __str__(self) -> str:
        return f"{self.lesson.number}{self.part}"

    @property
    def solution(self) -> Path:
        return self.lesson.solution.with_name(f"{self}_{self.lesson.name}.py")

    @property
    def note(self) -> str:
        """Under which its progress is kept."""
        return f"exercise {self.part}" if self.part else "exercise"


def exercise(number: str | int) -> Exercise:
    """The exercise of a lesson, or "03b", a part of it. Raises `ValueError` if there is none."""
    key = _Key.of(number)
    name = f"helpers.lessons.exercises.exercise_{key}"
    if importlib.util.find_spec(name) is None:
        raise ValueError(f"Lesson {key.lesson.number} has no exercise {key.part}".rstrip() + ".")
    exercise: Exercise = importlib.import_module(name).EXERCISE
    return exercise


async def grade(number: str | int, solution: Solution) -> list[Criterion]:
    """Measure a solution and judge it. A solution that raises or exits is one that fails."""
    task = exercise(number)
    if not _gradable(solution):
        found = f"its type is {type(solution).__name__}"
        return [Criterion(f"`{task.function}` is a function", False, found)]
    make_sendable(solution, task.function)
    try:
        return await task.grade(solution)
    except ArmError as error:
        found = _raised(error.run.failure)
    except (TypeError, RuntimeError) as error:  # it cannot be sent to its process, or killed it
        found = " ".join(str(error).split())
    return [Criterion(_RUNS, False, found)]


async def check(number: str | int, solution: Solution) -> None:
    """Grade a solution, print a line per criterion, and remember it when all are met."""
    clean_this_process()
    criteria = await grade(number, solution)
    announce(number, criteria, "Change the code above, run it, and run this cell again.")


def announce(number: str | int, criteria: list[Criterion], next_step: str) -> bool:
    """Print a line per criterion; remember, and return, whether all are met."""
    print(*criteria, sep="\n")
    solved = all(criterion.met for criterion in criteria)
    key = _Key.of(number)
    workshop.send_check(str(key), solved=solved)
    if solved:
        progress.note_now(key.lesson.number, key.note)
    print(_solved(number) if solved else f"Not yet. {next_step}")
    return solved


def _solved(number: str | int) -> str:
    lines = [exercise(number).explanation, f"A solution to compare: {_solution_file(number)}"]
    return "\n".join(["Solved.", *filter(None, lines)])


def _solution_file(number: str | int) -> Path:
    """Its path, as short as it can be from here."""
    file = _Key.of(number).solution
    return file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file


def load_solution(number: str | int, file: Path) -> Solution:
    """The exercise's function or class, from a Python file or a notebook.

    Raises `UngradableError` with one sentence if the file cannot be run or does not define it.
    """
    name = exercise(number).function
    solution = load(file, name)
    if not _gradable(solution):
        raise UngradableError(f"{file} has no function `{name}`: that is what is graded.")
    return solution


def _gradable(solution: object) -> TypeGuard[Solution]:
    return callable(solution)


def _raised(failure: Failure | None) -> str:
    if failure is None:
        return "it raised"
    # No line of the learner's: what the check itself awaited.
    if failure.where is None and "'await' expression" in failure.message:
        return f"what is awaited is not `async def` ({failure.message})"
    return f"it {failure}"


def ended(run: Run) -> Criterion:
    """The criterion that a run ended within the lab's limit."""
    found = f"it was still running when the lab gave up after {run.limit:g} s"
    if run.culprits and run.culprits[0].seconds >= run.limit / 2:
        where = run.culprits[0].where
        found += f"; {where} blocks the event loop: {where.code}"
    return Criterion(_RUNS, run.outcome == "returned", found)


class hints:  # noqa: N801 - reads as a verb in a notebook: hints("01")
    """Three hints and a solution, each behind a click."""

    def __init__(self, number: str | int) -> None:
        self._key = _Key.of(number)
        self._hints = exercise(number).hints
        self._explanation = exercise(number).explanation

    @property
    def solution(self) -> str:
        """The code of a solution."""
        return self._key.solution.read_text("utf-8")

    def hint(self, number: int) -> str:
        """A hint, by its number from 1 to 3. Raises `ValueError` for any other."""
        if number not in (1, 2, 3):
            raise ValueError(f"Hints are numbered from 1 to 3, not {number!r}.")
        return self._hints[number - 1]

    def _repr_html_(self) -> str:
        folds = [_fold(f"Hint {i}", _marked_up(hint)) for i, hint in enumerate(self._hints, 1)]
        answer = f"{_marked_up(self._explanation)}<pre>{html.escape(self.solution)}</pre>"
        return "".join([*folds, _fold("A solution", answer)])

    def __repr__(self) -> str:
        # Not the hints themselves: they are for when the learner wants one.
        name = f'hints("{self._key}")'
        return (
            f"Three hints, one at a time: print({name}.hint(1)), then 2 and 3.\n"
            f"A solution to compare: print({name}.solution)"
        )


def _marked_up(hint: str) -> str:
    """HTML, with text in backticks as code."""
    return re.sub(r"`(.+?)`", r"<code>\1</code>", html.escape(hint))


def _fold(title: str, body: str) -> str:
    return f"<details><summary>{title}</summary><p>{body}</p></details>"
