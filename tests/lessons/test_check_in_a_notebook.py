"""`check` in a notebook: it grades what the kernel has, also what cannot be sent to a process."""

from pathlib import Path
from typing import Any

import nbformat
import pytest

from helpers.lessons.catalogue import lesson
from helpers.lessons.kernel import run_cells
from tests.lessons.graded import changed

SOLUTION = lesson("02").solution.read_text("utf-8")
CLASS = SOLUTION[SOLUTION.index("class Assistant") :]
BUILD = lesson("03").solution.read_text("utf-8")
CHECK = "from helpers import check\nawait check({number!r}, {name})"


def printed(folder: Path, *cells: str) -> str:
    """What the last cell prints."""
    book: Any = nbformat.v4.new_notebook()
    book.cells = [nbformat.v4.new_code_cell(cell) for cell in cells]
    run_cells(book, folder, lambda cell, number: None)
    return "".join(output.get("text", "") for output in book.cells[-1].outputs)


CLIENT = "import httpx\n\nCLIENT = httpx.AsyncClient(timeout=10)\nlater = 1 / 1"
OWN = (
    "        limits = httpx.Limits(max_connections=8, max_keepalive_connections=8)\n"
    "        self.client = httpx.AsyncClient(timeout=10, limits=limits)\n"
)
IN_THE_KERNEL = {
    "a client in another cell": [CLIENT, changed(CLASS, (OWN, "        self.client = CLIENT\n"))],
    "an object of a class": [
        "import httpx",
        "class Assistant: ...",
        "def made():\n    return httpx.AsyncClient(timeout=10)",
        CLASS.replace("class Assistant", "class Service"),
        "class Factory:\n    spare = made()\n\n    def __call__(self, url):\n"
        "        return Service(url)\n\nAssistant = Factory()",
    ],
}


@pytest.mark.parametrize("name", IN_THE_KERNEL)
def test_what_cannot_be_sent_is_made_where_it_runs(name: str, tmp_path: Path) -> None:
    text = printed(tmp_path, *IN_THE_KERNEL[name], CHECK.format(number="02", name="Assistant"))
    assert "Solved." in text, text


def test_a_cell_that_blocks_is_named(tmp_path: Path) -> None:
    slow = changed(CLASS, (OWN, "        self.client = CLIENT\n")).replace(
        "        messages =", "        time.sleep(0.1)\n        messages ="
    )
    text = printed(
        tmp_path, "import time\n" + CLIENT, slow, CHECK.format(number="02", name="Assistant")
    )
    assert "line 7, in ask: time.sleep(0.1) (the loop waits there)" in text, text


def test_what_is_no_function_is_said(tmp_path: Path) -> None:
    text = printed(tmp_path, CHECK.format(number="03", name="5"))
    assert "FAIL `build` is a function: its type is int" in text


def test_an_explanation_follows_the_pass(tmp_path: Path) -> None:
    text = printed(tmp_path, BUILD, CHECK.format(number="03", name="build"))
    solved = text.splitlines()
    assert solved[-3:] == [
        "Solved.",
        solved[-2],
        f"A solution to compare: {lesson('03').solution}",
    ]
    assert "counting tokens" in solved[-2]
