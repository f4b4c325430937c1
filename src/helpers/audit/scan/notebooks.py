"""Notebooks as Python: their code cells one after the other, without magics."""

from __future__ import annotations

import ast
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_MAGIC = re.compile(r"^(\s*)(%|!|\?)|^[\w.]+\?{1,2}\s*$")
_RUNS_PYTHON = re.compile(r"^%%(time|timeit|capture|prun)\b")


@dataclass(frozen=True, slots=True)
class Notebook:
    """A notebook's code, and which cell each of its lines is from."""

    code: str
    lines: tuple[tuple[int, int], ...]
    """Cell and line of the cell, both from 1, for each line of the code."""


def read_notebook(file: Path) -> Notebook:
    """Raises `ValueError` if it is not a Python notebook, `OSError` if it cannot be read."""
    try:
        book = json.loads(file.read_text("utf-8"))
    except RecursionError as error:
        raise ValueError("its JSON is nested too deeply") from error
    cells = book.get("cells") if isinstance(book, dict) else None
    if not isinstance(cells, list):
        raise ValueError("it has no cells")
    if _language(book) != "python":
        raise ValueError(f"its language is {_language(book)}")
    code: list[str] = []
    lines: list[tuple[int, int]] = []
    for number, cell in enumerate(cells, 1):
        if isinstance(cell, dict) and cell.get("cell_type") == "code":
            source = _without_magics(_source(cell))
            code += source
            lines += [(number, line) for line in range(1, len(source) + 1)]
    return Notebook("".join(f"{line}\n" for line in code), tuple(lines))


def _language(book: dict[str, Any]) -> str:
    metadata = book.get("metadata")
    spec = metadata.get("kernelspec") if isinstance(metadata, dict) else None
    language = spec.get("language") if isinstance(spec, dict) else None
    return str(language or "python").lower()


def _source(cell: dict[str, Any]) -> list[str]:
    source = cell.get("source", "")
    text = source if isinstance(source, str) else "".join(str(line) for line in source)
    # The only line ends that Python counts, unlike `str.splitlines`.
    return re.split(r"\r\n|\n|\r", text)


def _without_magics(source: list[str]) -> list[str]:
    """The lines of a cell that Python can parse; a line that is not Python becomes a comment."""
    if source[0].startswith("%%") and not _RUNS_PYTHON.match(source[0]):
        return [_as_comment(line) for line in source]
    lines = [_magic_as_pass(line) for line in source]
    try:
        ast.parse("\n".join(lines))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return [_as_comment(line) for line in source]
    return lines


def _magic_as_pass(line: str) -> str:
    found = _MAGIC.match(line)
    # `pass` keeps a block valid if it only has a magic in it.
    return f"{found[1] or ''}pass  # {line.strip()}" if found else line


def _as_comment(line: str) -> str:
    return f"# {line}"
