"""Restores a lesson without losing what was there."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from datetime import datetime
from itertools import chain, count
from pathlib import Path

import nbformat

from helpers.lessons import notebook, progress
from helpers.lessons.catalogue import Lesson


def reset(lesson: Lesson) -> Path | None:
    """Make the lesson's notebook from its source, without outputs, and forget the progress in it.

    Returns the path of the copy that is kept of the learner's notebook, in the same folder; None if
    there was no notebook. Raises `OSError` if that is not possible: the learner's notebook is then
    where it was, or under the name of its copy.
    """
    text = nbformat.writes(notebook.read_source(lesson))
    fresh = lesson.notebook.with_name(f".{lesson.stem}-{os.getpid()}-{time.time_ns()}.new")
    try:
        # Written first: a full disk is noticed before the learner's notebook is touched.
        fresh.write_text(text, "utf-8")
        kept = _moved_away(lesson.notebook)
        _put(fresh, lesson.notebook)
    finally:
        fresh.unlink(missing_ok=True)
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


def _put(fresh: Path, file: Path) -> None:
    """Rename a file without replacing another one, if the file system can do that."""
    try:
        file.hardlink_to(fresh)
    except FileExistsError:
        pass  # another reset has just put its own there, with the same text
    except OSError:
        fresh.replace(file)
