"""Start a lesson afresh without losing what was there."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from helpers.lessons import notebook, progress
from helpers.lessons.catalogue import Lesson


def reset(lesson: Lesson) -> Path:
    """Make the lesson's notebook from its source, without outputs, and forget the progress in it.

    Returns the path of the copy that is kept of the learner's notebook, beside the fresh one.
    """
    kept = lesson.notebook.with_name(f"{lesson.stem}-kept-{datetime.now():%Y%m%d-%H%M%S}.ipynb")
    lesson.notebook.rename(kept)
    notebook.write(lesson, notebook.read_source(lesson))
    progress.forget(lesson.number)
    return kept
