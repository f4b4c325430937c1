"""What a learner has predicted, seen and solved: one small file per lesson.

Each note is a line that is appended, so that two kernels can note at the same time, and a note that
fails (a full disk) loses nothing that was noted before.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from platformdirs import user_data_path

# A folder to keep progress in, instead of the user's data folder.
HOME_VARIABLE = "LLM_ANTIPATTERNS_HOME"
PREDICTION = "prediction: "
"""Begins the key of a prediction in the progress file; the arm and the unit follow."""
OUTCOME = "outcome: "
"""Begins the key of what a prediction met: ``{"said": 8, "was": 32}``."""


def read(number: str) -> dict[str, Any]:
    """What is noted for a lesson; nothing, and a printed sentence, if it cannot be read."""
    try:
        return load(number)
    except OSError as error:
        _say("read", error)
    return {}


def load(number: str, folder: Path | None = None) -> dict[str, Any]:
    """What is noted for a lesson, by this learner or in another's folder. Raises `OSError`."""
    noted: dict[str, Any] = {}
    for text in _documents(number, folder or progress_folder()):
        noted |= _entries(text)
    return noted


def note(number: str, key: str, value: Any) -> None:
    """Remember a value for a lesson; print a sentence if it cannot be kept."""
    # The first newline ends what a full disk may have cut off.
    line = f"\n{json.dumps({key: value})}\n".encode()
    _, path = _files(number, progress_folder())
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab", buffering=0) as file:
            # A single write, so that lines of two kernels do not mix, unless the disk is full.
            while line:
                line = line[file.write(line) :]
    except OSError as error:
        _say("kept", error)


def note_now(number: str, key: str) -> None:
    """Remember that something happened today; the first time counts."""
    if key not in read(number):
        note(number, key, datetime.now(UTC).date().isoformat())


def forget(number: str) -> None:
    """Forget everything about a lesson; print a sentence if that is not possible."""
    try:
        for path in _files(number, progress_folder()):
            path.unlink(missing_ok=True)
    except OSError as error:
        _say("removed", error)


def progress_folder() -> Path:
    """Where progress is kept."""
    home = os.environ.get(HOME_VARIABLE)
    folder = Path(home) if home else user_data_path("llm-antipatterns", appauthor=False)
    return folder / "progress"


def _files(number: str, folder: Path) -> tuple[Path, Path]:
    """The first edition kept one JSON document per lesson; now a line is a document."""
    return folder / f"{number}.json", folder / f"{number}.jsonl"


def _documents(number: str, folder: Path) -> Iterator[str]:
    older, lines = _files(number, folder)
    for path in (older, lines):
        try:
            text = path.read_text("utf-8", errors="replace")
        except (FileNotFoundError, NotADirectoryError):
            continue
        yield from [text] if path == older else text.splitlines()


def _entries(text: str) -> dict[str, Any]:
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError):  # cut off, or not ours: it stays in the file
        return {}
    return entries if isinstance(entries, dict) else {}


_said: set[tuple[str, int | None]] = set()


def _say(what: str, error: OSError) -> None:
    """Print a sentence, once per process: all lessons meet the same trouble."""
    if (what, error.errno) in _said:
        return
    _said.add((what, error.errno))
    where = f" ({error.filename})" if error.filename else ""
    print(
        f"Your progress cannot be {what}: {error.strerror or error}{where}. "
        f"Set {HOME_VARIABLE} to a folder that you may write to."
    )
