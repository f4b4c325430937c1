"""Turns a file name and line of a frame into what the learner sees: "cell 5, line 4"."""

from __future__ import annotations

import linecache
from pathlib import Path
from typing import Any

from helpers.lab.run import Where
from helpers.lab.stall_meter import Frame


def locate(frame: Frame | None, last_line: int | None = None) -> Where | None:
    """Where a frame stands in the notebook, or in a file; up to ``last_line``, if given."""
    if frame is None:
        return None
    file, line, function = frame
    code = linecache.getline(file, line).strip()
    if last_line:
        code = f"{code} … {linecache.getline(file, last_line).strip()}"
    cell = _cell(file)
    if cell is None:
        return Where(Path(file).name, line, function, code, last_line)
    blank = _leading_blank_lines(cell)
    last_line = last_line and last_line + blank
    return Where(f"cell {cell}", line + blank, function, code, last_line)


def _shell() -> Any:
    try:
        from IPython.core.getipython import get_ipython
    except ImportError:
        return None
    return get_ipython()


def _cell(file: str) -> int | None:
    """The execution count of the cell that was compiled under this file name."""
    shell = _shell()
    if shell is None:
        return None
    if not hasattr(shell.compile, "format_code_name"):
        return _cell_of_older_ipython(shell, file)
    name = shell.compile.format_code_name(file)  # ("Cell", "In[5]")
    if not name:
        return None
    return int(name[1].removeprefix("In[").removesuffix("]"))


def _cell_of_older_ipython(shell: Any, file: str) -> int | None:
    """Colab's IPython 7 names a file after the cell's code, and keeps no list."""
    name_of = shell.compile.get_code_name
    cells = list(enumerate(shell.history_manager.input_hist_raw))[:0:-1]
    return next((cell for cell, code in cells if name_of(code, code, cell) == file), None)


def _leading_blank_lines(cell: int) -> int:
    # IPython compiles a cell without its leading blank lines; JupyterLab numbers them.
    history = _shell().history_manager.input_hist_raw
    lines = history[cell].splitlines() if cell < len(history) else []  # nbval stores no history
    return next((i for i, line in enumerate(lines) if line.strip()), 0)
