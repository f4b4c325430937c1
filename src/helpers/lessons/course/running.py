"""Which notebook the command ``run`` runs, and where."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nbformat

from helpers.lessons import notebook
from helpers.lessons.catalogue import Lesson
from helpers.lessons.course.folder import course_folder, in_a_clone
from helpers.lessons.notebook import Notebook


@contextmanager
def lesson_to_run(lesson: Lesson) -> Iterator[tuple[Notebook, Path]]:
    """A lesson's notebook, and the folder to run it in.

    It is the one in the learner's copy of the course, or in a clone's root that of the clone; else
    the original, in a temporary folder. Raises `OSError`, and `ValueError` with one sentence if the
    notebook cannot be run up to its verdict.
    """
    folder = course_folder()
    if in_a_clone() and folder.parent == Path.cwd():
        yield _with_a_verdict(lesson), Path.cwd() / "notebooks"
    elif folder.is_dir():
        yield _learners(lesson, folder / f"{lesson.stem}.ipynb"), folder
    else:
        with tempfile.TemporaryDirectory() as temporary:
            yield _with_a_verdict(lesson), Path(temporary)


def _with_a_verdict(lesson: Lesson) -> Notebook:
    book = notebook.read_source(lesson)
    if not notebook.tagged(book, "verdict"):
        raise ValueError(
            f"Lesson {lesson.number} has no verdict: open it with `llm-antipatterns lab`."
        )
    return book


def _learners(lesson: Lesson, file: Path) -> Notebook:
    _with_a_verdict(lesson)
    if not file.exists():
        raise ValueError(f"{file} is not there: `llm-antipatterns update` brings it back.")
    try:
        book = nbformat.read(file, as_version=4)
    except OSError:
        raise
    except Exception as error:
        raise ValueError(
            f"{file} is not a readable notebook: `llm-antipatterns reset {lesson.number}` brings a "
            "fresh copy and keeps this one."
        ) from error
    if not notebook.tagged(book, "verdict"):
        raise ValueError(
            f"{file} has lost its verdict cell: `llm-antipatterns reset {lesson.number}` restores "
            "the lesson, and keeps a copy of yours."
        )
    return book
