"""The exercise of lesson 02 tells right from wrong solutions, and says what is wrong."""

import asyncio
from pathlib import Path

import pytest

from helpers.lessons.catalogue import lesson
from helpers.lessons.exercise import grade, load_solution

SOLUTION = lesson("02").solution.read_text("utf-8")
MAKE = "self.client = httpx.AsyncClient(timeout=10, limits=limits)"
MODERATE = 'await self.post("mock-moderator", messages)'
CLOSE = "await self.client.aclose()"
POST = 'reply = await self.client.post(self.url, json={"model": model, "messages": messages})'

WRONG = {
    "a moderator of its own, never closed": (
        MODERATE,
        "moderator = httpx.AsyncClient(); await moderator.post(self.url, "
        'json={"model": "mock-moderator", "messages": messages})',
        "at most 8 connections",
    ),
    "a client per call, closed each time": (
        POST,
        "client = httpx.AsyncClient(); reply = await client.post(self.url, "
        'json={"model": model, "messages": messages}); await client.aclose()',
        "at most 8 connections",
    ),
    "never closed": (CLOSE, "pass", "`close` closes every connection"),
    "no moderator": (MODERATE, "pass", "every question is moderated"),
    "answers nothing": (
        'return reply.json()["choices"][0]["message"]["content"]',
        "return None",
        "every question is answered",
    ),
}


def unmet(text: str, tmp_path: Path) -> list[str]:
    file = tmp_path / "answer.py"
    file.write_text(text)
    criteria = asyncio.run(grade("02", load_solution("02", file)))
    return [str(criterion) for criterion in criteria if not criterion.met]


def test_the_solution_is_accepted(tmp_path: Path) -> None:
    assert unmet(SOLUTION, tmp_path) == []


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_solution_is_told_what_is_wrong(name: str, tmp_path: Path) -> None:
    before, after, sentence = WRONG[name]
    assert SOLUTION.count(before) == 1
    found = unmet(SOLUTION.replace(before, after), tmp_path)
    assert any(sentence in line for line in found), found


def test_a_pool_that_keeps_too_few_is_found(tmp_path: Path) -> None:
    found = unmet(
        SOLUTION.replace("max_keepalive_connections=8", "max_keepalive_connections=1"), tmp_path
    )
    assert any("at most 8 connections" in line for line in found), found
