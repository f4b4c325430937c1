"""Sends predictions and solved exercises to a workshop's page, if one is named.

The page is that of ``llm-antipatterns class``, which prints the address to set. Nothing is sent to
anywhere else, and a cell never waits for it.
"""

from __future__ import annotations

import os
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import httpx

from helpers.lessons import progress

ADDRESS_VARIABLE = "LLM_ANTIPATTERNS_CLASS"
NAME_VARIABLE = "LLM_ANTIPATTERNS_CLASS_NAME"
# Seconds. What the teacher's machine does not take within them is lost, and nothing else is.
_PATIENCE = 2.0
_ADDRESS = re.compile(r"https?://[^/\s]+/[A-Z0-9]{6}/?")


def send_prediction(lesson: str, question: str, unit: str, value: float) -> None:
    _send("predictions", lesson, question=question[:200], unit=unit[:40], value=value)


def send_measured(lesson: str, question: str, unit: str, value: float) -> None:
    _send("measured", lesson, question=question[:200], unit=unit[:40], value=value)


def send_check(lesson: str, *, solved: bool) -> None:
    _send("checks", lesson, solved=solved)


class _Sender:
    """One thread, so that messages arrive in order."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="workshop")
        self._lock = threading.Lock()
        self._said = False

    def send(self, url: str, message: dict[str, Any]) -> None:
        self._thread.submit(self._post, url, message)

    def _post(self, url: str, message: dict[str, Any]) -> None:
        try:
            with httpx.Client(trust_env=False, timeout=_PATIENCE) as client:
                answer = client.post(url, json=message)
            refusal = "" if answer.is_success else answer.text[:200]
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            refusal = str(error) or type(error).__name__
        if refusal:
            self.say_once(f"The workshop's page does not take your answers: {refusal}.")

    def say_once(self, sentence: str) -> None:
        with self._lock:
            said, self._said = self._said, True
        if not said:
            print(f"{sentence} Check {ADDRESS_VARIABLE}; the lesson works without it.")


_sender = _Sender()


def _send(kind: str, lesson: str, **message: Any) -> None:
    address = os.environ.get(ADDRESS_VARIABLE, "").strip()
    if not address:
        return
    if not _ADDRESS.fullmatch(address):
        _sender.say_once(f"{address[:100]} is not the address of a workshop's page.")
        return
    name = os.environ.get(NAME_VARIABLE, "").strip()[:40]
    message |= {"learner": _learner(), "name": name, "lesson": lesson}
    _sender.send(f"{address.rstrip('/')}/{kind}", message)


_made_up = uuid4().hex


def _learner() -> str:
    """A random number for this learner, the same in all their notebooks: no name."""
    noted = progress.read("workshop").get("learner")
    if isinstance(noted, str):
        return noted
    progress.note("workshop", "learner", _made_up)
    return _made_up
