"""What a learner has predicted, seen and solved: one small JSON file per lesson."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from platformdirs import user_data_path

HOME_VARIABLE = "LLM_ANTIPATTERNS_HOME"
"""Environment variable: a folder to keep progress in, instead of the user's data folder."""


def read(number: str) -> dict[str, Any]:
    """What is noted for a lesson; an unreadable file is set aside, not lost."""
    path = _path(number)
    try:
        noted = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError:
        noted = None
    if not isinstance(noted, dict):
        aside = path.with_suffix(".unreadable")
        path.replace(aside)
        print(f"The progress of lesson {number} could not be read; it is kept as {aside}.")
        return {}
    return noted


def note(number: str, key: str, value: Any) -> None:
    """Remember a value for a lesson."""
    noted = read(number) | {key: value}
    path = _path(number)
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(f".{os.getpid()}.new")
    fresh.write_text(json.dumps(noted, indent=1), "utf-8")
    fresh.replace(path)  # atomic: a killed kernel leaves the old file or the new one


def note_now(number: str, key: str) -> None:
    """Remember that something happened today; the first time counts."""
    if key not in read(number):
        note(number, key, datetime.now(UTC).date().isoformat())


def forget(number: str) -> None:
    """Forget all about a lesson."""
    _path(number).unlink(missing_ok=True)


def progress_folder() -> Path:
    """Where progress is kept."""
    home = os.environ.get(HOME_VARIABLE)
    return (
        Path(home) if home else user_data_path("llm-antipatterns", appauthor=False)
    ) / "progress"


def _path(number: str) -> Path:
    return progress_folder() / f"{number}.json"
