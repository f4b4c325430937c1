"""Restores a lesson without losing what was there."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from importlib.metadata import version
from itertools import chain, count
from pathlib import Path

from helpers.lessons import progress
from helpers.lessons.catalogue import Lesson
from helpers.lessons.course.manifest import digest, read_manifest
from helpers.lessons.course.packaged import delivered
from helpers.lessons.course.staging import put, staging, write_manifest


def reset(lesson: Lesson, folder: Path) -> Path | None:
    """Restore the original notebook of a lesson in the learner's copy, and forget the progress.

    Returns the path of the copy that is kept of the learner's notebook, in the same folder; None if
    there was no notebook. Raises `OSError` if that is not possible: the learner's notebook is then
    where it was, or under the name of its copy. Raises `NewerCourseError`.
    """
    file, content = folder / f"{lesson.stem}.ipynb", delivered(lesson)
    manifest = read_manifest(folder, version("llm-antipatterns"))
    files = {**manifest.files, file.name: digest(content)}
    # Written first: a full disk is noticed before the learner's notebook is touched.
    with staging(folder) as staged:
        new = staged / file.name
        new.write_bytes(content)
        kept = _moved_away(file)
        with suppress(FileExistsError):  # another process has just put its own there
            put(new, file)
        write_manifest(folder, replace(manifest, files=files), staged)
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
