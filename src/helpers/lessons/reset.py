"""Restores a lesson without losing what was there."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from itertools import chain, count
from pathlib import Path

from helpers.lessons import progress
from helpers.lessons.catalogue import Lesson
from helpers.lessons.course import copy_of, fresh, put


def reset(lesson: Lesson) -> Path | None:
    """Make the learner's notebook of a lesson as it came, and forget the progress in it.

    Returns the path of the copy that is kept of the learner's notebook, in the same folder; None if
    there was no notebook. Raises `OSError` if that is not possible: the learner's notebook is then
    where it was, or under the name of its copy.
    """
    with fresh(lesson) as file:
        kept = _moved_away(copy_of(lesson))
        put(file, copy_of(lesson))
    progress.forget(lesson.number)
    return kept


def _moved_away(file: Path) -> Path | None:
    """Rename a file to a name that no other file has."""
    kept = _new_name(file)
    try:
        file.replace(kept)
    except OSError as error:
        kept.unlink()
        if isinstance(error, FileNotFoundError):
            return None
        raise
    return kept


def _new_name(file: Path) -> Path:
    """The name of a copy, reserved by an empty file: two resets in one second get two names."""
    stem = f"{file.stem}-kept-{datetime.now():%Y%m%d-%H%M%S}"
    names = chain([stem], (f"{stem}-{number}" for number in count(2)))
    while True:
        kept = file.with_name(f"{next(names)}{file.suffix}")
        with suppress(FileExistsError):
            kept.touch(exist_ok=False)
            return kept
