"""The course that this package delivers to learners."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from helpers.lessons.catalogue import METADATA, Lesson, notebooks
from helpers.lessons.course.manifest import notebook_bytes

_FILES = Path(__file__).parent / "files"


@dataclass(frozen=True, slots=True)
class Course:
    version: str
    files: Mapping[str, bytes]
    """What a learner's copy consists of, by the path in its folder."""


def packaged_course() -> Course:
    """This version's course: notebooks without outputs, and what editors and assistants need.

    Raises `OSError` if one of its files cannot be read.
    """
    files = {f"{lesson.stem}.ipynb": delivered(lesson) for lesson in notebooks()}
    files |= {name: (_FILES / name).read_bytes() for name in ("README.md", "AGENTS.md")}
    return Course(version("llm-antipatterns"), files | {".vscode/settings.json": _settings()})


def delivered(lesson: Lesson) -> bytes:
    """A lesson's notebook as a learner gets it: without outputs. Raises `OSError`."""
    # Not with nbformat: importing it takes longer than everything else.
    notebook = json.loads(lesson.notebook.read_bytes())
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell |= {"outputs": [], "execution_count": None}
    return notebook_bytes(notebook | {"metadata": METADATA})


def _settings() -> bytes:
    settings = json.loads((_FILES / "settings.json").read_bytes())
    # VS Code suggests this environment's kernel: in another one, `helpers` is missing.
    settings["python.defaultInterpreterPath"] = sys.executable
    return f"{json.dumps(settings, indent=2, ensure_ascii=False)}\n".encode()
