"""The chatbot of lessons 09 and 10, as it was written and as it was repaired.

``chatbot.py`` makes the mistakes of lessons 01 to 08, ``chatbot_repaired.py`` none of them. Both
are made from ``chatbot.steps``. ``anthropic_chatbot.steps`` is the same on another SDK.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from helpers.lessons import progress

NAMES = ("chatbot.py", "chatbot_repaired.py")
LESSON = "09"
CHAT = 'POST /chat {"session": "$SESSION", "message": "$MESSAGE"}'
"""A user's request, for the audit."""
_ROWS = "repaired"


def copy_to(folder: Path) -> None:
    """Put both where they can be changed, and where they can keep their conversations."""
    for name in NAMES:
        shutil.copy(Path(__file__).with_name(name), folder / name)


def give(file: str | Path = "chatbot.py") -> Path:
    """Put the chatbot with its mistakes at ``file``, unless there is one already."""
    file = Path(file)
    if not file.exists():
        partial = file.with_name(f"{file.name}.{os.getpid()}.new")
        shutil.copy(Path(__file__).with_name(NAMES[0]), partial)
        partial.replace(file)  # whole or not at all
    return file


def command(file: Path) -> str:
    """Starts a chatbot on ``$PORT``; to be split as a shell would: ``uvicorn chatbot:app …``."""
    options = ["--app-dir", str(file.parent), "--port", "$PORT", "--log-level", "warning"]
    return shlex.join([sys.executable, "-m", "uvicorn", f"{file.stem}:app", *options])


def is_learners(file: str | Path) -> bool:
    """Whether it has the name of the file that a learner repairs."""
    return Path(file).name == NAMES[0]


def rows_repaired(file: str | Path = NAMES[0]) -> tuple[str, ...]:
    """The mistakes that the scoreboard last found repaired in the learner's file, in order."""
    rows = progress.read(LESSON).get(_ROWS)
    if not is_learners(file) or not isinstance(rows, dict):
        return ()
    return tuple(sorted(row for row, is_repaired in rows.items() if is_repaired is True))


def note_rows(file: str | Path, rows: Mapping[str, bool]) -> None:
    """Remember which rows are repaired in the learner's file; other files are not noted."""
    if is_learners(file):
        noted = dict.fromkeys(rows_repaired(), True) | dict(rows)
        progress.note(LESSON, _ROWS, noted)
