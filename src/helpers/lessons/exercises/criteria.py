"""What several exercises ask for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from helpers.lab import Run
from helpers.lessons.exercise import Criterion
from helpers.mock_llm import Request

MODERATOR = "mock-moderator"


def finished(run: Run) -> list[Request]:
    """The requests that were answered to the end with status 200."""
    return [r for r in run.requests if r.status == 200 and r.last_byte is not None]


def is_text(answer: object) -> bool:
    return isinstance(answer, str) and bool(answer.strip())


def all_answered(answers: Sequence[Any], questions: int) -> Criterion:
    """Met if there is a text for each question."""
    good = sum(map(is_text, answers))
    found = f"{good} of {questions} questions got a text back"
    return Criterion("every question is answered", good == questions, found)
