"""A table of what was solved, for those who must give credit."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

from helpers.lessons import progress
from helpers.lessons.exercise import exercise
from helpers.lessons.records.record import LessonRecord, Record, record

COLUMNS = (
    *("name", "lesson", "title", "exercise", "solved", "solved_on"),
    *("predictions_made", "predictions_right"),
)
# A spreadsheet would take the cell for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def table(learners: Iterable[tuple[str, Record]]) -> str:
    """The CSV: a header, then for each learner a line for each lesson."""
    out = io.StringIO()
    lines = csv.writer(out, lineterminator="\n")
    lines.writerow(COLUMNS)
    lines.writerows(line for name, found in learners for line in _lines(name, found))
    return out.getvalue()


def collected(folder: Path) -> tuple[str, Record]:
    """A learner's name, which is the folder's, and record.

    The folder is what `LLM_ANTIPATTERNS_HOME` named, or a folder ``progress``. Raises `OSError`;
    `FileNotFoundError` with one sentence if there is no progress in it.
    """
    for kept in (folder / "progress", folder):
        if any(kept.glob("*.json*")):
            learner = folder.resolve()
            name = learner.parent.name if learner.name == "progress" else learner.name
            return name, record(partial(progress.load, folder=kept))
    folder.stat()
    raise FileNotFoundError(f"{str(folder)[:200]!r} holds no progress of a learner.")


def _lines(name: str, found: Record) -> Iterator[list[str]]:
    for each in found.lessons:
        if each.lesson.name:
            cells = [name, each.lesson.number, each.lesson.title, _exercise(each)]
            solved = "yes" if each.solved else "no"
            counts = [str(each.predictions), str(each.right)]
            yield [*map(_safe, cells), solved, _safe(each.solved or ""), *counts]


def _exercise(each: LessonRecord) -> str:
    """The name of what the learner repairs; empty where nothing is graded."""
    try:
        return exercise(each.lesson.number).function
    except ValueError:
        return ""


def _safe(cell: str) -> str:
    return f"'{cell}" if cell.startswith(_FORMULA) else cell
