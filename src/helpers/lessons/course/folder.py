"""Which folder is the learner's copy of the course."""

from __future__ import annotations

from pathlib import Path

MANIFEST = ".llm-antipatterns.json"
"""Lists what was delivered to a learner's copy; a folder that has this file is a copy."""
DEFAULT = "llm-antipatterns-course"


def course_folder() -> Path:
    """The learner's copy, whether or not it exists.

    It is the one that contains the current directory, else ``course`` in a clone's root, else
    ``llm-antipatterns-course`` in the current directory.
    """
    here = Path.cwd()
    holds_us = (folder for folder in (here, *here.parents) if (folder / MANIFEST).is_file())
    return next(holds_us, here / ("course" if in_a_clone() else DEFAULT))


def existing_course() -> Path:
    """The learner's copy. Raises `FileNotFoundError` with the remedy if there is none."""
    folder = course_folder()
    if not folder.is_dir():
        raise FileNotFoundError(
            f"There is no copy of the course here, neither around {Path.cwd()} nor in {folder}: "
            "make one with `llm-antipatterns init`, or go to its folder."
        )
    return folder


def in_a_clone() -> bool:
    """Whether the current directory is the root of a clone of the project."""
    here = Path.cwd()
    return all((here / part).is_dir() for part in ("notebooks/source", "src/helpers"))
