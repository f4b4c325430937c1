"""What the progress files say about a learner, lesson by lesson."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from helpers.lessons import progress
from helpers.lessons.catalogue import LESSONS, Lesson
from helpers.lessons.progress import OUTCOME, PREDICTION
from helpers.lessons.records.calibration import Calibration, Guess, guess

NAME_VARIABLE = "LLM_ANTIPATTERNS_NAME"
Load: TypeAlias = Callable[[str], Mapping[str, Any]]
"""What is noted for a lesson, by its number."""
_MISTAKES = tuple(f"0{number}" for number in range(1, 9))


@dataclass(frozen=True, slots=True)
class LessonRecord:
    lesson: Lesson
    run: str | None
    """The date on which its verdict first held; None before."""
    solved: str | None
    """The date on which its exercise was first solved; None before."""
    predictions: int
    """Made before the answer was shown."""
    guesses: tuple[Guess, ...]
    """Those predictions of which the learner has seen what was measured."""

    @property
    def is_to_solve(self) -> bool:
        return self.lesson.name is not None and self.lesson.graded

    @property
    def right(self) -> int:
        return Calibration(self.guesses).right


@dataclass(frozen=True, slots=True)
class Record:
    lessons: tuple[LessonRecord, ...]
    repaired: int | None
    """Mistakes of the chatbot that are repaired, of eight; None if it was never judged."""

    @property
    def exercises(self) -> list[LessonRecord]:
        return [each for each in self.lessons if each.is_to_solve]

    @property
    def solved(self) -> int:
        return sum(each.solved is not None for each in self.exercises)

    @property
    def calibration(self) -> Calibration:
        return Calibration(tuple(guess for each in self.lessons for guess in each.guesses))

    @property
    def sentences(self) -> list[str]:
        """The whole of it in words."""
        done = [f"{self.solved} of {len(self.exercises)} exercises solved"]
        if self.repaired is not None:
            done.append(f"chatbot {self.repaired} of {len(_MISTAKES)}")
        return [f"{', '.join(done)}.", *self.calibration.sentences]


def record(load: Load = progress.read) -> Record:
    """The record of the learner whose progress ``load`` loads."""
    return Record(tuple(_lesson(lesson, load(lesson.number)) for lesson in LESSONS), _chatbot(load))


def learner_name() -> str:
    """The name that the learner has given, as one line; empty if there is none."""
    return " ".join(os.environ.get(NAME_VARIABLE, "").split())[:80]


def _lesson(lesson: Lesson, noted: Mapping[str, Any]) -> LessonRecord:
    asked = {key.removeprefix(PREDICTION) for key in noted if key.startswith(PREDICTION)}
    met = {key.removeprefix(OUTCOME): noted[key] for key in noted if key.startswith(OUTCOME)}
    guesses = {key: guess(entry, key.rpartition(", ")[2]) for key, entry in met.items()}
    found = {key: each for key, each in guesses.items() if each}
    return LessonRecord(
        lesson,
        run=_date(noted, "verdict"),
        solved=_date(noted, "exercise") if lesson.graded else None,
        predictions=len((asked - met.keys()) | found.keys()),
        guesses=tuple(found.values()),
    )


def _date(noted: Mapping[str, Any], key: str) -> str | None:
    return str(noted[key])[:10] if key in noted else None


def _chatbot(load: Load) -> int | None:
    rows = load("09").get("chatbot")
    if not isinstance(rows, dict):
        return None
    return sum(rows.get(mistake) is True for mistake in _MISTAKES)
