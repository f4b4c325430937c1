"""The application of lessons 09 and 10, as it was written and as it was repaired.

``chatbot.py`` makes the mistakes of lessons 01 to 08, ``chatbot_repaired.py`` none of them.
"""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path

NAMES = ("chatbot.py", "chatbot_repaired.py")
CHAT = 'POST /chat {"session": "$SESSION", "message": "$MESSAGE"}'
"""A user's request, for the audit."""


def copy_to(folder: Path) -> None:
    """Put both where they can be changed, and where they can keep their conversations."""
    for name in NAMES:
        shutil.copy(Path(__file__).with_name(name), folder / name)


def command(file: Path) -> str:
    """Starts a chatbot on ``$PORT``; to be split as a shell would: ``uvicorn chatbot:app …``."""
    options = ["--app-dir", str(file.parent), "--port", "$PORT", "--log-level", "warning"]
    return shlex.join([sys.executable, "-m", "uvicorn", f"{file.stem}:app", *options])
