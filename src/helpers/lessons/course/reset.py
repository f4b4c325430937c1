"""Restores a lesson without losing what was there."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from importlib.metadata import version
from itertools import chain, count
from pathlib import Path
from typing import Literal

from helpers.lessons import progress
from helpers.lessons.catalogue import Lesson
from helpers.lessons.course.manifest import digest, read_manifest, unopened
from helpers.lessons.course.packaged import delivered
from helpers.lessons.course.staging import content_of, put, staging, write_manifest


@dataclass(frozen=True, slots=True)
class Restored:
    """What happened to a lesson's notebook; as text, the sentence that says so."""

    file: Path
    fate: Literal["kept", "missing", "as it came"]
    kept: Path | None = None
    """The copy of what the learner had, in the same folder."""

    def __str__(self) -> str:
        if self.fate == "as it came":
            return f"{self.file} is as it came."
        there = "There was no notebook to keep."
        if self.kept:
            there = f"Your copy is kept as {self.kept.name}."
        return f"{self.file} is restored. {there}"


def reset(lesson: Lesson, folder: Path) -> Restored:
    """Restore the original notebook of a lesson in the learner's copy, and forget the progress.

    Raises `OSError` if that is not possible: the learner's notebook is then where it was, or under
    the name of its copy. Raises `NewerCourseError`.
    """
    file, content = folder / f"{lesson.stem}.ipynb", delivered(lesson)
    manifest = read_manifest(folder, version("llm-antipatterns"))
    there = content_of(file)
    if there is not None and content in (there, unopened(there)):
        progress.forget(lesson.number)
        return Restored(file, "as it came")
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
    return Restored(file, "kept" if kept else "missing", kept)


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
