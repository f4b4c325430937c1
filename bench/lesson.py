"""How long does a lesson take? Prints wall times beside their aims, asserts nothing.

    python bench/lesson.py [NUMBER]

From the start of the kernel to the end of the last cell; to the end of the first cell that shows a
picture, the live view's last frame: that is how long a class waits for something to look at; and to
the closing figure, which compares the arms.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

from nbclient import NotebookClient

from helpers.lessons.catalogue import lesson
from helpers.lessons.kernel import CELL_LIMIT
from helpers.lessons.notebook import Notebook, read_source
from helpers.lessons.progress import HOME_VARIABLE

AIM_LAST = 40.0
AIM_PICTURE = 10.0


def main() -> None:
    found = lesson(sys.argv[1] if len(sys.argv) > 1 else "01")
    notebook = read_source(found)
    cells = notebook.cells
    ends = timed(notebook, found.notebook.parent)
    print(f"lesson {found.number}, {len(cells)} cells, kernel start included")
    print(f"first picture       {first(ends, cells, '<img'):5.1f} s (aim {AIM_PICTURE:.0f} s)")
    print(f"closing figure      {first(ends, cells, '<figure'):5.1f} s")
    print(f"last cell done      {ends[max(ends)]:5.1f} s (aim {AIM_LAST:.0f} s)")
    print("slowest cells       " + ", ".join(slowest(ends)))


def timed(notebook: Notebook, folder: Path) -> dict[int, float]:
    """Run the notebook as `helpers.lessons.notebook.execute` does; when each code cell was done."""
    ends: dict[int, float] = {}

    def note(cell: Any, cell_index: int, execute_reply: Any) -> None:
        ends[cell_index] = perf_counter() - began

    client = NotebookClient(
        notebook,
        timeout=CELL_LIMIT,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
        # Not on_cell_complete: whatever its name says, nbclient calls it when it has sent the cell.
        on_cell_executed=note,
    )
    with tempfile.TemporaryDirectory() as home:
        os.environ[HOME_VARIABLE] = home
        began = perf_counter()
        client.execute()
    return ends


def first(ends: dict[int, float], cells: list[Any], element: str) -> float:
    """When the first cell was done that shows this element; nan if none does."""
    return min((ends[i] for i in ends if shows(cells[i], element)), default=float("nan"))


def shows(cell: Any, element: str) -> bool:
    pages = (output.get("data", {}).get("text/html", "") for output in cell.outputs)
    return any(element in page for page in pages)


def slowest(ends: dict[int, float], count: int = 3) -> list[str]:
    """The cells that took longest."""
    times, before = {}, 0.0
    for index in sorted(ends):
        times[index], before = ends[index] - before, ends[index]
    worst = sorted(times, key=lambda index: -times[index])[:count]
    return [f"cell {index + 1} {times[index]:.1f} s" for index in worst]


if __name__ == "__main__":
    main()
