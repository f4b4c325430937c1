"""The static guard finds each problem when it is there, and none when it is not."""

import copy
from collections.abc import Callable
from typing import Any

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from helpers.lessons.catalogue import lesson
from tests.guard import CHECK, count_words, language, limits, problems


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


FOLDED = "jp-MarkdownHeadingCollapsed"
_TITLES = (
    *("When is the wrong way fine?", "What if there is more?", "Catch it", "In your SDK"),
    *("In a service", "Coming from asyncio, coming from Rust", "Recap and further reading"),
)
CARD = "# 01 · Do it\n\n**Time.** 20 minutes for the core, 40 with everything.\n\n## The incident\n"


def lesson_01() -> Any:
    """A lesson that keeps to the limits of the second edition."""
    incident = "See [owner/repo#1](https://github.com/owner/repo/issues/1), or `$HOME`.\n\n"
    core = [
        new_markdown_cell(CARD + incident + "## The wrong way\n\n## Predict, then run"),
        new_code_cell("wrong = Predict(model='gpt-5-mini')"),
        new_markdown_cell("## The right way\n\n## Side by side\n\n## Verdict\n\n## Your turn"),
        new_code_cell("right()"),
    ]
    core[-1].metadata.tags = ["verdict", "exercise", "figure", "table"]
    deeper = [new_markdown_cell("## Going deeper\n\nNext: [02](02_shared_client.ipynb).")]
    for title in _TITLES:
        deeper.append(new_markdown_cell(f"### {title}", metadata={FOLDED: True}))
        deeper.append(new_code_cell("guess = Predict()"))
    return new_notebook(cells=[*core, *deeper])


def test_a_sound_lesson_is_within_the_limits() -> None:
    assert limits(lesson_01(), lesson("02")) == []
    assert language(lesson_01()) == []


def _appended(*cells: Any, at: int = 3) -> Callable[[Any], None]:
    def spoil(notebook: Any) -> None:
        notebook.cells[at:at] = cells

    return spoil


def _replaced(old: str, new: str) -> Callable[[Any], None]:
    def spoil(notebook: Any) -> None:
        assert any(old in cell.source for cell in notebook.cells)
        for cell in notebook.cells:
            cell.source = cell.source.replace(old, new)

    return spoil


def _unfolded(notebook: Any) -> None:
    del notebook.cells[5].metadata[FOLDED]


def _untagged(notebook: Any) -> None:
    notebook.cells[3].metadata.tags = ["verdict", "figure", "table"]


def _no_prediction(notebook: Any) -> None:
    for cell in notebook.cells[4:]:
        cell.source = cell.source.replace("Predict()", "1")


MANY_LINES = "\n".join(["x = 1"] * 7)


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (_appended(*[new_code_cell("x = 1") for _ in range(17)]), "has a core of 21 cells"),
        (_appended(new_markdown_cell("word " * 901)), "has a core of 9"),
        (_appended(new_markdown_cell("word " * 901), at=5), "words in Going deeper"),
        (_appended(*[new_code_cell(MANY_LINES) for _ in range(12)]), "a median of 7 lines"),
        (_replaced("## The right way", "## A better way"), "a core with other sections"),
        (_replaced("### In a service", "### FastAPI"), "has no section ['In a service']"),
        (_replaced("What if there is more?", "More"), "whose title is not a question: More"),
        (
            _appended(
                *[new_markdown_cell(f"### {n}?", metadata={FOLDED: True}) for n in "ab"], at=5
            ),
            "has 9 sections in Going deeper",
        ),
        (_unfolded, "does not fold When is the wrong way fine?"),
        (_untagged, "has no cell tagged exercise"),
        (_no_prediction, "asks for no prediction in Going deeper"),
        (_replaced("02_shared", "03_shared"), "does not link to the next lesson"),
        (_replaced("**Time.**", "Time:"), "does not state its minutes"),
        (_replaced("20 minutes", "26 minutes"), "states 26 minutes"),
        (_replaced("20 minutes", "0 minutes"), "states 0 minutes"),
        (_replaced("40 with", "19 with"), "19 for the whole"),
    ],
)
def test_each_limit_of_a_lesson_holds(spoil: Callable[[Any], None], sentence: str) -> None:
    notebook = lesson_01()
    spoil(notebook)
    assert any(sentence in found for found in limits(notebook, lesson("02")))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("The client was told to wait.", "the word 'told'"),
        ("Beside it stands a table.", "the word 'Beside'"),
        ("It costs $5 or $6.", "takes for mathematics"),
        ("See owner/repo#2.", "does not link owner/repo#2"),
        ("Use gpt-4o-mini.", "an old model: gpt-4o-mini"),
        ("`claude-sonnet-4-5` is", "an old model: claude-sonnet-4-5"),
        ("`claude-3-opus` is", "an old model: claude-3-opus"),
    ],
)
def test_what_the_course_does_not_say_is_found(text: str, sentence: str) -> None:
    notebook = lesson_01()
    notebook.cells.append(new_markdown_cell(text))
    assert any(sentence in found for found in language(notebook))


@pytest.mark.parametrize(
    "text", [r"It costs \$5.", "```\n$PORT\n```", "Besides, it is `claude-sonnet-5-5`, or gpt-5."]
)
def test_what_the_course_says_is_not_found(text: str) -> None:
    notebook = lesson_01()
    notebook.cells.append(new_markdown_cell(text))
    assert language(notebook) == []


def test_words_are_those_that_are_read() -> None:
    cells = [
        new_markdown_cell("Two [words](http://a.b/c).\n\n```\nnot these\n```"),
        new_code_cell("x"),
    ]
    assert count_words(cells) == 2


def test_a_fold_that_the_committed_notebook_lost_is_found() -> None:
    notebook, source = lesson_01(), lesson_01()
    _unfolded(notebook)
    assert any("differs from its source" in found for found in problems(notebook, source))
