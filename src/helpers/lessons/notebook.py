"""Builds, executes and mutates the lessons' notebooks."""

from __future__ import annotations

import base64
import copy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import jupytext
import nbformat

from helpers.lessons.catalogue import METADATA, Lesson, lesson, notebooks
from helpers.lessons.kernel import run_cells

Notebook: TypeAlias = Any
"""An ``nbformat.NotebookNode``."""

_DEEPER = "## Going deeper"
_REMEMBER = "_after_the_core = dict(globals())"
# Names with an underscore are IPython's own.
_RESTORE = """
for _name in [name for name in globals() if not name.startswith("_")]:
    del globals()[_name]
globals().update({k: v for k, v in _after_the_core.items() if not k.startswith("_")})
"""


def read_source(lesson: Lesson) -> Notebook:
    """The notebook made from its percent script, without outputs.

    Cell ids and metadata depend on the script alone, so that two builds differ only in outputs.
    """
    notebook = jupytext.read(lesson.source)
    for index, cell in enumerate(notebook.cells):
        cell.id = f"{lesson.number}-{index:02}"
    notebook.metadata = copy.deepcopy(METADATA)
    return notebook


def read(lesson: Lesson) -> Notebook:
    """The committed notebook."""
    return nbformat.read(lesson.notebook, as_version=4)


def write(lesson: Lesson, notebook: Notebook) -> None:
    nbformat.write(notebook, lesson.notebook)


def execute(
    notebook: Notebook, folder: Path, progress: Callable[[int, int], None] = lambda done, all_: None
) -> None:
    """Run a notebook from top to bottom in a fresh kernel; its cells receive their outputs.

    ``folder`` is the kernel's working directory; ``progress`` is called with the number of cells
    done and the number of all cells. The learner's predictions and solved exercises are neither
    read nor written. A cell that raises ends the execution with nbclient's ``CellExecutionError``,
    which has the cell and the traceback; a kernel that fails raises `KernelError`.
    """
    total = len(notebook.cells)
    run_cells(notebook, folder, lambda cell, index: progress(index + 1, total))


def build(lesson: Lesson, progress: Callable[[int, int], None]) -> None:
    """Make the committed notebook from its source, executed."""
    notebook = read_source(lesson)
    execute(notebook, lesson.notebook.parent, progress)
    for cell in notebook.cells:
        cell.get("metadata", {}).pop("execution", None)
    notebook.metadata = copy.deepcopy(METADATA)
    write(lesson, notebook)
    _write_picture(lesson, notebook)


def _write_picture(lesson: Lesson, notebook: Notebook) -> None:
    """Write the closing figure, if there is one, to a file for the README."""
    for cell in tagged(notebook, "figure"):
        _write_figure(lesson, cell)


def _write_figure(lesson: Lesson, cell: Any) -> None:
    (encoded,) = (out.data["image/png"] for out in cell.outputs if "image/png" in out.data)
    folder = lesson.notebook.parent / "images"
    folder.mkdir(exist_ok=True)
    (folder / f"{lesson.stem}.png").write_bytes(base64.b64decode(encoded))


def up_to_the_verdict(notebook: Notebook) -> Notebook:
    """A copy that ends with the lesson's verdict cell, the last if a learner has several."""
    notebook = copy.deepcopy(notebook)
    *_, verdict = tagged(notebook, "verdict")
    notebook.cells = notebook.cells[: notebook.cells.index(verdict) + 1]
    return notebook


def core_and_sections(notebook: Notebook) -> tuple[list[Any], list[list[Any]]]:
    """The cells before "## Going deeper", and those of each section after it.

    A section begins with a cell that begins with "### ". A lesson of the first edition is all core.
    """
    starts = [i for i, cell in enumerate(notebook.cells) if cell.source.startswith(_DEEPER)]
    if not starts:
        return notebook.cells, []
    sections: list[list[Any]] = []
    for cell in notebook.cells[starts[0] + 1 :]:
        if cell.cell_type == "markdown" and cell.source.startswith("### "):
            sections.append([])
        if sections:
            sections[-1].append(cell)
    return notebook.cells[: starts[0]], sections


def each_section_after_the_core(notebook: Notebook) -> Notebook:
    """A copy that runs the core once, and restores its namespace before each section.

    So a section runs as it does for a learner who skipped all the others.
    """
    notebook = copy.deepcopy(notebook)
    core, sections = core_and_sections(notebook)
    cells = [*core, nbformat.v4.new_code_cell(_REMEMBER)]
    for section in sections:
        cells += [nbformat.v4.new_code_cell(_RESTORE), *section]
    notebook.cells = cells
    return notebook


def tagged(notebook: Notebook, tag: str) -> list[Any]:
    """The cells with this tag."""
    return [cell for cell in notebook.cells if tag in cell.metadata.get("tags", [])]


def text_of(cell: Any) -> str:
    """What a cell printed and displayed, as plain text."""
    parts = []
    for output in cell.get("outputs", []):
        if output.output_type == "stream":
            parts.append(output.text)
        elif "data" in output and "text/plain" in output.data:
            parts.append(output.data["text/plain"] + "\n")
    return "".join(parts)


def main() -> None:
    """Build the lessons named on the command line, or all: ``make notebooks``."""
    numbers = sys.argv[1:] or [each.number for each in notebooks()]
    for number in numbers:
        found = lesson(number)

        def show(done: int, total: int, name: str = found.notebook.name) -> None:
            print(f"\r{name}: cell {done} of {total}", end="", flush=True)

        build(found, show)
        print()


if __name__ == "__main__":
    main()
