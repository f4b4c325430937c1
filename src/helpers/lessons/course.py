"""The learner's copy of the course: nobody works in the files that came with the clone."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nbformat

from helpers.lessons import notebook
from helpers.lessons.catalogue import LESSONS, START, Lesson, notebooks_folder


def copy_of(lesson: Lesson) -> Path:
    """The learner's notebook of a lesson, whether it is there or not."""
    return notebooks_folder().parent / "course" / lesson.notebook.name


def open_course() -> None:
    """Make what is missing of the copy, without outputs; what is there stays. Raises `OSError`."""
    for lesson in (START, *LESSONS):
        if lesson.name and not copy_of(lesson).exists():
            with fresh(lesson) as file:
                put(file, copy_of(lesson))


@contextmanager
def fresh(lesson: Lesson) -> Iterator[Path]:
    """A file with the lesson's notebook, without outputs, next to where its copy belongs.

    It is written first: a full disk is noticed before the learner's notebook is touched.
    """
    text = nbformat.writes(notebook.read_source(lesson))
    folder = copy_of(lesson).parent
    folder.mkdir(exist_ok=True)
    file = folder / f".{lesson.stem}-{os.getpid()}-{time.time_ns()}.new"
    try:
        file.write_text(text, "utf-8")
        yield file
    finally:
        file.unlink(missing_ok=True)


def put(fresh: Path, file: Path) -> None:
    """Rename a file without replacing another one, if the file system can do that."""
    try:
        file.hardlink_to(fresh)
    except FileExistsError:
        pass  # another process has just put its own there, with the same text
    except OSError:
        fresh.replace(file)
