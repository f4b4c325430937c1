"""The static guard: what nbval lets pass, found by reading a committed notebook.

nbval's lax mode compares only tagged cells, and passes a tagged cell that was never executed or
has no output, a magic that does not exist, and a ``raises-exception`` cell that no longer raises.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterator
from typing import Any

CHECK = "nbval-check-output"
_RAISES = {"raises-exception", "nbval-raises-exception"}
_PATH = re.compile(r"(?<![\w/:.<])(/(home|Users|tmp|root|var|usr|opt|private|mnt)/|[A-Z]:\\\\)\w")
_SILENT_FAILURE = re.compile(r"UsageError:|command not found|ModuleNotFoundError")


def problems(committed: Any, source: Any) -> list[str]:
    """Everything wrong with a committed notebook, one sentence each."""
    found = list(_out_of_step(committed, source))
    code = [cell for cell in committed.cells if cell.cell_type == "code"]
    counts = [cell.execution_count for cell in code]
    if counts != list(range(1, len(code) + 1)):
        found.append(f"was not executed once from top to bottom: {counts}")
    for number, cell in enumerate(code, 1):
        found += [f"code cell {number} {problem}" for problem in _of_cell(cell)]
    return found


def _out_of_step(committed: Any, source: Any) -> Iterator[str]:
    if [_essence(cell) for cell in committed.cells] != [_essence(cell) for cell in source.cells]:
        yield "differs from its source: edit notebooks/source and run `make notebooks`"


def _essence(cell: Any) -> tuple[str, str, list[str]]:
    return cell.cell_type, cell.source, sorted(cell.metadata.get("tags", []))


def _of_cell(cell: Any) -> Iterator[str]:
    tags = set(cell.metadata.get("tags", []))
    if CHECK in tags and not cell.outputs:
        yield "is tagged for comparison and has no output"
    if tags & _RAISES and CHECK not in tags:
        yield "may raise and is not compared: it would pass if it stopped raising"
    if cell.source.rstrip().endswith(";"):
        yield "ends with a semicolon, which does not silence nbval"
    if len(cell.source.splitlines()) > 25:
        yield "has more than 25 lines"
    for output in cell.outputs:
        yield from _of_output(output, tags)


def _of_output(output: Any, tags: set[str]) -> Iterator[str]:
    if output.output_type == "error" and not tags & _RAISES:
        yield f"failed: {output.ename}"
    if output.get("name") == "stderr":
        yield f"wrote to stderr: {output.text.strip()[:80]}"
    data = output.get("data", {})
    if "image/png" in data and not output.metadata.get("image/png", {}).get("alt", "").strip():
        yield "shows a figure without alternative text"
    if CHECK in tags and any(kind.startswith("application/vnd.jupyter") for kind in data):
        yield "is tagged for comparison and shows a widget"
    text = output.get("text", "") + "".join(v for k, v in data.items() if k.startswith("text/"))
    text = re.sub(r"data:image/png;base64,[\w+/=]*", "", text)
    if path := _PATH.search(text):
        yield f"shows a path of the machine it was built on: {path.group()}…"
    if _SILENT_FAILURE.search(text):
        yield "shows an error that raised no exception"


def _lines(cell: Any) -> int:
    """Without blank ones: the formatter sets two before each function."""
    return sum(bool(line.strip()) for line in cell.source.splitlines())


def anatomy(notebook: Any) -> list[str]:
    """Where a lesson leaves the house style: number of cells, length of code, needed tags."""
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    tags = {tag for cell in notebook.cells for tag in cell.metadata.get("tags", [])}
    found = []
    if not 25 <= len(notebook.cells) <= 35:
        found.append(f"has {len(notebook.cells)} cells")
    if statistics.median(_lines(cell) for cell in code) > 9:
        found.append("has long code cells")
    missing = {"verdict", "exercise", "figure", "table"} - tags
    return found + [f"has no cell tagged {tag}" for tag in sorted(missing)]
