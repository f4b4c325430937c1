"""Lesson 01's check: it sees what was skipped, and passes every good repair."""

import asyncio
from typing import Any

import anyio
import httpx
import pytest

from helpers.lessons.exercise import grade, hints
from helpers.lessons.exercises.criteria import MODERATOR
from helpers.lessons.exercises.exercise_01 import PAUSE


def request(model: str, question: str) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": question}]}


def unmet(solution: Any) -> list[str]:
    return [c.what for c in asyncio.run(grade("01", solution)) if not c.met]


async def ask(client: httpx.AsyncClient, url: str, model: str, question: str) -> str:
    reply = await client.post(f"{url}/chat/completions", json=request(model, question))
    reply.raise_for_status()
    content: str = reply.json()["choices"][0]["message"]["content"]
    return content


async def in_threads(client: httpx.AsyncClient, url: str, question: str) -> str:
    def moderate() -> None:
        opinion = httpx.post(f"{url}/chat/completions", json=request(MODERATOR, question))
        opinion.raise_for_status()

    await anyio.to_thread.run_sync(moderate)
    await anyio.sleep(PAUSE)
    return await ask(client, url, "gpt-4o-mini", question)


async def without_the_moderator(client: httpx.AsyncClient, url: str, question: str) -> str:
    return await ask(client, url, "gpt-4o-mini", question)


async def without_the_pause(client: httpx.AsyncClient, url: str, question: str) -> str:
    await ask(client, url, MODERATOR, question)
    return await ask(client, url, "gpt-4o-mini", question)


async def without_any_work(client: httpx.AsyncClient, url: str, question: str) -> str:
    return "An event loop is a loop."


async def half_repaired(client: httpx.AsyncClient, url: str, question: str) -> str:
    httpx.post(f"{url}/chat/completions", json=request(MODERATOR, question))
    await anyio.sleep(PAUSE)
    return await ask(client, url, "gpt-4o-mini", question)


async def breaks(client: httpx.AsyncClient, url: str, question: str) -> str:
    raise ZeroDivisionError("oops")


def test_threads_are_a_repair_too() -> None:
    assert unmet(in_threads) == []


@pytest.mark.parametrize(
    ("solution", "criterion"),
    [
        (without_the_moderator, "every question is moderated"),
        (without_the_pause, "every question is moderated"),
        (without_any_work, "every question is moderated"),
        (half_repaired, "nothing blocks the event loop"),
        (half_repaired, "8 moderations are in flight at once"),
        (breaks, "your code runs to its end"),
        ("not a function", "`handle` is a function"),
    ],
)
def test_what_is_missing_is_named(solution: Any, criterion: str) -> None:
    assert any(what.startswith(criterion) for what in unmet(solution))


def test_the_guilty_line_is_named() -> None:
    criteria = asyncio.run(grade("01", half_repaired))
    (loop,) = [c for c in criteria if c.what == "nothing blocks the event loop"]
    assert "in half_repaired: httpx.post" in loop.found
    assert 'httpx.post(f"{url}/chat/completions"' in loop.found


def test_hints_are_behind_a_click_each() -> None:
    shown = hints("01")
    assert shown._repr_html_().count("<details>") == 4
    assert "await anyio.sleep(PAUSE)" in shown._repr_html_()
    assert repr(shown).count("Hint") == 3
