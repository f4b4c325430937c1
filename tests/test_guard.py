"""The static guard finds each problem when it is there, and none when it is not."""

import copy
from collections.abc import Callable
from typing import Any

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

from tests.guard import CHECK, problems


def committed() -> Any:
    printed = new_output("stream", name="stdout", text="PASS it holds\n")
    figure = new_output(
        "display_data", data={"image/png": "iVBO"}, metadata={"image/png": {"alt": "two bars"}}
    )
    cells = [
        new_code_cell("verdict()", execution_count=1, outputs=[printed]),
        new_code_cell("figure()", execution_count=2, outputs=[figure]),
    ]
    cells[0].metadata.tags = [CHECK]
    return new_notebook(cells=cells)


def source() -> Any:
    notebook = copy.deepcopy(committed())
    for cell in notebook.cells:
        cell.outputs, cell.execution_count = [], None
    return notebook


def test_a_sound_notebook_has_no_problems() -> None:
    assert problems(committed(), source()) == []


def _edited(notebook: Any) -> None:
    notebook.cells[0].source = "verdict(True)"


def _retagged(notebook: Any) -> None:
    notebook.cells[0].metadata.tags = []


def _unexecuted(notebook: Any) -> None:
    notebook.cells[0].execution_count = None


def _out_of_order(notebook: Any) -> None:
    notebook.cells[0].execution_count = 7


def _nothing_to_compare(notebook: Any) -> None:
    notebook.cells[0].outputs = []


def _stored_traceback(notebook: Any) -> None:
    error = new_output("error", ename="KeyError", evalue="'x'", traceback=[])
    notebook.cells[1].outputs = [error]


def _bad_magic(notebook: Any) -> None:
    text = "UsageError: Line magic function `%tiem` not found."
    notebook.cells[1].outputs = [new_output("stream", name="stdout", text=text)]


def _stderr(notebook: Any) -> None:
    notebook.cells[1].outputs = [new_output("stream", name="stderr", text="Warning: old\n")]


def _no_alt(notebook: Any) -> None:
    notebook.cells[1].outputs[0].metadata = {}


def _a_path(notebook: Any) -> None:
    notebook.cells[0].outputs[0].text = "File /home/ann/lab/01.py\n"


def _a_widget_compared(notebook: Any) -> None:
    view: dict[str, Any] = {"application/vnd.jupyter.widget-view+json": {}}
    notebook.cells[0].outputs = [new_output("display_data", data=view)]


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (_edited, "differs from its source"),
        (_retagged, "differs from its source"),
        (_unexecuted, "was not executed once"),
        (_out_of_order, "was not executed once"),
        (_nothing_to_compare, "has no output"),
        (_stored_traceback, "failed: KeyError"),
        (_bad_magic, "an error that raised no exception"),
        (_stderr, "wrote to stderr"),
        (_no_alt, "without alternative text"),
        (_a_path, "a path of the machine"),
        (_a_widget_compared, "shows a widget"),
    ],
)
def test_each_problem_is_found(spoil: Callable[[Any], None], sentence: str) -> None:
    notebook = committed()
    spoil(notebook)
    assert any(sentence in problem for problem in problems(notebook, source()))


@pytest.mark.parametrize(
    ("line", "tags", "sentence"),
    [
        ("x = 1;", [], "semicolon"),
        ("\n".join(["x = 1"] * 26), [], "more than 25 lines"),
        ("1 / 0", ["raises-exception"], "is not compared"),
    ],
)
def test_each_problem_of_the_source_is_found(line: str, tags: list[str], sentence: str) -> None:
    notebook = committed()
    notebook.cells[1].source, notebook.cells[1].metadata = line, nbformat.from_dict({"tags": tags})
    assert any(sentence in problem for problem in problems(notebook, source()))
