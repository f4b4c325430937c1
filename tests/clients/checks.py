"""What every client's script uses: named checks, and one line of JSON for the result of each."""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import traceback
from collections.abc import Callable
from typing import Any

OPENAI, CLAUDE, EMBEDDING = "gpt-4o-mini", "claude-sonnet-5-5", "text-embedding-3-small"
"""The models that the checks use: the server knows their families."""
LIMITED_OPENAI, LIMITED_CLAUDE = "gpt-4.1-mini", "claude-haiku-5-5"
"""The first request to each of these is answered with 429."""
FAULTY = "mock-1"
"""Requests to it ask for errors."""
QUESTION = "What is the weather in Oslo?"

_checks: list[tuple[str, Callable[[], Any]]] = []


def check(name: str) -> Callable[[Callable[[], Any]], Callable[[], Any]]:
    """A function, async or not, that raises when the client or its answer is wrong."""

    def add(function: Callable[[], Any]) -> Callable[[], Any]:
        _checks.append((name, function))
        return function

    return add


def run() -> None:
    """Run all checks in one event loop, as most clients keep their connections between calls."""
    asyncio.run(_run())


def openai_url() -> str:
    """Ends in ``/v1``."""
    return os.environ["OPENAI_BASE_URL"]


def anthropic_url() -> str:
    """Without ``/v1``, as Anthropic's SDK takes it."""
    return os.environ["ANTHROPIC_BASE_URL"]


async def _run() -> None:
    for name, function in _checks:
        error = None
        try:
            if inspect.iscoroutinefunction(function):
                await function()
            else:
                # Some clients start a loop of their own.
                await asyncio.to_thread(function)
        except Exception as caught:  # noqa: BLE001  # whatever a client raises is a result
            error = _describe(caught)
        print(json.dumps({"check": name, "error": error}), flush=True)


def _describe(error: Exception) -> str:
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_script(frame)]
    where = f"line {own[-1].lineno}: " if own else ""
    return f"{where}{type(error).__name__}: {' '.join(str(error).split())}"[:500]


def _is_script(frame: traceback.FrameSummary) -> bool:
    return os.path.dirname(frame.filename) == os.path.dirname(__file__) != frame.filename
