"""A room that the command serves, for tests."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from httpx_sse import connect_sse

QUESTION = "How many requests are in flight at once?"


@dataclass(frozen=True)
class Served:
    """A room that the command serves, as those see it who have its addresses."""

    url: str
    learners: str
    page: str

    def post(self, kind: str, message: Any, **options: Any) -> httpx.Response:
        return httpx.post(f"{self.learners}/{kind}", json=message, trust_env=False, **options)

    def predict(self, learner: int, value: float, **fields: Any) -> httpx.Response:
        return self.post("predictions", message(learner, value=value, **fields))

    def snapshot(self) -> Any:
        """What the page would show now."""
        return next(self.snapshots())

    def snapshots(self) -> Iterator[Any]:
        events = self.page.replace("/?", "/events?")
        with (
            httpx.Client(trust_env=False) as client,
            connect_sse(client, "GET", events) as source,
        ):
            for event in source.iter_sse():
                yield json.loads(event.data)


def message(learner: int, **fields: Any) -> dict[str, Any]:
    asked = {"lesson": "01", "question": QUESTION, "unit": "requests"}
    return {"learner": f"{learner:032x}", **asked, **fields}


def check(learner: int, *, solved: bool, name: str = "") -> dict[str, Any]:
    return {"learner": f"{learner:032x}", "lesson": "05", "solved": solved, "name": name}


@contextmanager
def served_room() -> Iterator[Served]:
    command = [sys.executable, "-m", "helpers.cli", "class", "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    lines = [process.stdout.readline().split()[-1] for _ in range(3)]
    url, learners, page = lines[0], lines[1].partition("=")[2], lines[2]
    try:
        yield Served(url, learners, page)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(10)
        process.stdout.close()
