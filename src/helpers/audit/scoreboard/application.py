"""How to start and use a chatbot of lesson 09."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from helpers.audit.drivers.options import ServiceOptions, read_options
from helpers.lessons import chatbot

APP = "http://127.0.0.1:$PORT"
READING: dict[str, Any] = {"stream": True, "answer": "text"}


def options_for(file: str | Path) -> ServiceOptions:
    return read_options(
        chatbot.command(Path(file).resolve()), APP, chatbot.CHAT, **READING, health=""
    )
