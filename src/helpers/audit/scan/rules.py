"""The rules: files for ast-grep, with the lesson, the reasons and the examples as metadata."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

import yaml

FOLDER = Path(str(files("helpers.audit.scan"))) / "data"
CONFIG = FOLDER / "sgconfig.yml"
SUPPRESSION = "LAP00.suppression"
NOTEBOOK = "notebook"
"""Not a rule of the course: it finds the notebooks that ast-grep does not ignore."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A mistake as it looks in source code."""

    id: str
    """The id of the audit's check, with a suffix; unique across both languages."""
    language: str
    """"python" or "rust"."""
    lesson: str
    """Two digits."""
    message: str
    why: str
    note: str
    """What to write instead."""
    needs: re.Pattern[bytes]
    """What a file must contain; looking for it is faster than parsing the file."""
    matches: tuple[str, ...]
    """Sources in which the rule finds something."""
    passes: tuple[str, ...]
    """Sources in which it finds nothing."""
    false_positives: tuple[str, ...]
    """Correct code that the rule is known to report."""


@cache
def rules() -> dict[str, Rule]:
    """All rules by id."""
    found = (_read(file) for file in sorted((FOLDER / "rules").glob("LAP*.yml")))
    return {rule.id: rule for rule in found}


def _read(file: Path) -> Rule:
    entry = yaml.safe_load(file.read_text("utf-8"))
    about = entry["metadata"]
    return Rule(
        id=entry["id"],
        language=entry["language"],
        lesson=about["lesson"],
        message=entry["message"],
        why=about["why"],
        note=entry["note"],
        needs=re.compile(about.get("needs", "").encode()),
        matches=tuple(about["matches"]),
        passes=tuple(about["passes"]),
        false_positives=tuple(about["false_positives"]),
    )
