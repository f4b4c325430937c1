"""What the room has sent so far: kept in memory only, and bounded."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

LEARNERS = 500
"""More than any workshop has; a limit on memory."""
QUESTIONS = 200
TRIES_UNTIL_STUCK = 2
"""A learner may want help after this many checks without success."""

_Text = Annotated[str, Field(min_length=1, max_length=200)]
_Amount = Annotated[float, Field(ge=0, le=1e12, allow_inf_nan=False)]


class _Message(BaseModel):
    """What a learner's notebook sends."""

    model_config = ConfigDict(extra="forbid", strict=True)

    learner: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    """Random, kept with the learner's progress: tells learners apart without naming them."""
    name: Annotated[str, Field(max_length=40)] = ""
    lesson: Annotated[str, Field(pattern=r"^\d\d[a-z]?$")]


class PredictionMade(_Message):
    question: _Text
    unit: Annotated[str, Field(min_length=1, max_length=40)]
    value: _Amount


class Measured(_Message):
    question: _Text
    unit: Annotated[str, Field(min_length=1, max_length=40)]
    value: _Amount


class Checked(_Message):
    solved: bool


class RoomIsFullError(ValueError):
    """There are more learners or questions than a room takes."""


@dataclass(slots=True)
class Question:
    lesson: str
    text: str
    unit: str
    predictions: dict[str, float] = field(default_factory=dict)
    """Each learner's latest prediction before they measured."""
    measured: dict[str, float] = field(default_factory=dict)
    """By learner: it may differ between machines."""

    def take(self, message: PredictionMade | Measured) -> None:
        if isinstance(message, Measured):
            self.measured[message.learner] = message.value
        elif message.learner not in self.measured:  # then it would be no prediction
            self.predictions[message.learner] = message.value


@dataclass(slots=True)
class Exercise:
    solved: list[str] = field(default_factory=list)
    """Learners, in the order in which they solved it."""
    tries: dict[str, int] = field(default_factory=dict)
    """Checks without success since the last successful one, by learner."""


class Room:
    """The state of one workshop."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self._questions: dict[tuple[str, str], Question] = {}
        self._exercises: dict[str, Exercise] = {}
        self.version = 0
        """Increases with every change."""

    def take(self, message: PredictionMade | Measured | Checked) -> None:
        """Note a message. Raises `RoomIsFullError`."""
        if message.learner not in self._names and len(self._names) >= LEARNERS:
            raise RoomIsFullError(f"The room is full: it takes {LEARNERS} learners.")
        if isinstance(message, Checked):
            self._note_check(message)
        else:
            self._question(message).take(message)
        self._names[message.learner] = message.name.strip()
        self.version += 1

    def _question(self, message: PredictionMade | Measured) -> Question:
        key = (message.lesson, message.question)
        if key not in self._questions:
            if len(self._questions) >= QUESTIONS:
                raise RoomIsFullError(f"The room is full: it takes {QUESTIONS} questions.")
            self._questions[key] = Question(*key, message.unit)
        return self._questions[key]

    def _note_check(self, message: Checked) -> None:
        exercise = self._exercises.setdefault(message.lesson, Exercise())
        if not message.solved:
            exercise.tries[message.learner] = exercise.tries.get(message.learner, 0) + 1
            return
        exercise.tries.pop(message.learner, None)
        if message.learner not in exercise.solved:
            exercise.solved.append(message.learner)

    def snapshot(self) -> dict[str, Any]:
        """What the page shows, as JSON; learners without a name are only counted."""
        return {
            "learners": len(self._names),
            "questions": [self._shown(each) for each in self._questions.values()],
            "exercises": [
                {
                    "lesson": lesson,
                    "solved": len(exercise.solved),
                    "names": self._named(exercise.solved),
                    "stuck": self._stuck(exercise),
                }
                for lesson, exercise in sorted(self._exercises.items())
            ],
        }

    def _shown(self, question: Question) -> dict[str, Any]:
        measured = sorted(question.measured.values())
        return {
            "lesson": question.lesson,
            "text": question.text,
            "unit": question.unit,
            "predictions": sorted(question.predictions.values()),
            "measured": measured[len(measured) // 2] if measured else None,
            "machines": len(measured),
        }

    def _stuck(self, exercise: Exercise) -> dict[str, Any]:
        stuck = [who for who, tries in exercise.tries.items() if tries >= TRIES_UNTIL_STUCK]
        return {"count": len(stuck), "names": self._named(stuck)}

    def _named(self, learners: Iterable[str]) -> list[str]:
        return [name for who in learners if (name := self._names.get(who, ""))]
