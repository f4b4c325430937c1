"""Ruff reads a function of the notebook as it would read it in a file."""

import time
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from httpx import AsyncClient
from IPython.core.interactiveshell import InteractiveShell

from helpers.lessons.lint import lint


async def blocks() -> None:
    time.sleep(0)


async def blocks_one_deep() -> None:
    async def ask() -> None:
        httpx.get("http://127.0.0.1")

    await ask()


async def clean() -> None:
    pass


def test_without_ruff_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="lint needs ruff: pip install ruff"):
        lint(blocks)


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


class Service:
    """A class, with a finding in its third line."""

    client = AsyncClient(timeout=None)  # line 4

    async def ask(self) -> None:
        httpx.get("http://127.0.0.1")  # line 7


@dataclass
class Question:
    text: str

    async def ask(self) -> None:
        time.sleep(0)


def test_a_class_is_read_too() -> None:
    assert codes(lint(Service, "ASYNC,S113")) == [("4", "S113"), ("7", "ASYNC210")]
    assert codes(lint(Question)) == [("6", "ASYNC251")]


CELL = """
import asyncio
import httpx
import httpx as http
from asyncio import create_task
from dataclasses import dataclass
from httpx import AsyncClient

class Service:
    def __init__(self):
        self.client = httpx.AsyncClient(timeout=None)

@dataclass
class Question:
    text: str

    async def ask(self):
        httpx.get(self.text)

async def dangling():
    create_task(clean())
    asyncio.create_task(clean())
    http.AsyncClient(timeout=None)
    AsyncClient(timeout=None)

def swallows():
    try:
        clean()
    except Exception:
        pass
    try:
        clean()
    except:
        print("?")
"""


@pytest.fixture(scope="module")
def notebook() -> dict[str, Any]:
    """What a notebook knows when the cell was run."""
    shell = InteractiveShell()
    shell.run_cell(CELL)
    return dict(shell.user_ns)


def codes(found: list[str]) -> list[tuple[str, str]]:
    """Line and code of each finding."""
    return [(line.removesuffix(":"), code) for _, line, code, *_ in map(str.split, found)]


def test_a_class_of_a_notebook_is_read_too(notebook: dict[str, Any]) -> None:
    """Python before 3.13 does not find its source."""
    assert codes(lint(notebook["Service"], "S113")) == [("3", "S113")]
    assert codes(lint(notebook["Question"])) == [("6", "ASYNC210")]


def test_ruff_knows_what_an_imported_name_stands_for(notebook: dict[str, Any]) -> None:
    found = lint(notebook["dangling"], "RUF006,S113")
    assert codes(found) == [("2", "RUF006"), ("3", "RUF006"), ("4", "S113"), ("5", "S113")]


def test_several_rules_find_what_swallows_errors(notebook: dict[str, Any]) -> None:
    found = lint(notebook["swallows"], "BLE001,E722,RUF006,S110")
    assert sorted(codes(found)) == [("4", "BLE001"), ("4", "S110"), ("8", "E722")]


def test_what_ruff_cannot_do_is_said() -> None:
    with pytest.raises(RuntimeError, match="ruff did not run"):
        lint(clean, "NOSUCHRULE")
