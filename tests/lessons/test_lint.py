"""Ruff reads a function of the notebook as it would read it in a file."""

import time

import httpx

from helpers.lessons.lint import lint


async def blocks() -> None:
    time.sleep(0)


async def blocks_one_deep() -> None:
    async def ask() -> None:
        httpx.get("http://127.0.0.1")

    await ask()


async def clean() -> None:
    pass


def test_findings_have_their_line_in_the_function() -> None:
    assert lint(blocks) == ["line 2: ASYNC251 Async functions should not call `time.sleep`"]
    (found,) = lint(blocks_one_deep)
    assert found.startswith("line 3: ASYNC210")


def test_nothing_is_found_where_nothing_is() -> None:
    assert lint(clean) == []


def test_other_rules_can_be_asked_for() -> None:
    async def waits_for_ever() -> None:
        httpx.AsyncClient(timeout=None)

    (found,) = lint(waits_for_ever, "S113")
    assert "S113" in found
