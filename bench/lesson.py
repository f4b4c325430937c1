"""How long do the lessons take, and how much memory? Prints it next to the aims, asserts nothing.

    python bench/lesson.py [NUMBER ...]

Seconds from the start of the kernel to the end of the first cell that shows a picture, to the end
of the core and to the end of the last cell; seconds of CPU of all processes, which other programs
disturb less; the peak of the memory (PSS) of the kernel and all it started, and where it is.
"""

from __future__ import annotations

import sys
from time import perf_counter
from typing import Any

from memory import IS_MEASURED, Meter

from helpers.lessons.catalogue import LESSONS, Lesson, lesson
from helpers.lessons.kernel import run_cells
from helpers.lessons.notebook import core_and_sections, read_source

AIMS = "aims: first picture 8 s, core 30 s, whole lesson 45 s, memory 300 MiB (at most 330)"
ROW = "{:<7} {:>13} {:>7} {:>7} {:>7} | {:>4} MiB: {}"


def main() -> None:
    numbers = sys.argv[1:] or [each.number for each in LESSONS if each.name]
    print(AIMS)
    if not IS_MEASURED:
        print("memory and seconds of CPU are measured on Linux only")
    print(ROW.format("lesson", "first picture", "core", "whole", "CPU", "peak", "where it is"))
    for number in numbers:
        measure(lesson(number))


def measure(found: Lesson) -> None:
    notebook = read_source(found)
    ends: dict[int, float] = {}

    def note(cell: Any, index: int) -> None:
        ends[index] = perf_counter() - began

    with Meter() as meter:
        began = perf_counter()
        run_cells(notebook, found.notebook.parent, note)
    core, _ = core_and_sections(notebook)
    times = (
        first_picture(ends, notebook.cells),
        max(ends[index] for index in ends if index < len(core)),
        max(ends.values()),
        sum(meter.usage.cpu.values()),
    )
    seconds = (f"{time:.1f} s" for time in times)
    peak = f"{meter.usage.peak.total():.0f}"
    print(ROW.format(found.number, *seconds, peak, meter.usage), flush=True)
    print(f"        {', '.join(slowest(ends))}", flush=True)


def first_picture(ends: dict[int, float], cells: list[Any]) -> float:
    """When the first cell was done that shows a picture; nan if none does."""
    return min((ends[i] for i in ends if shows_picture(cells[i])), default=float("nan"))


def shows_picture(cell: Any) -> bool:
    pages = (output.get("data", {}).get("text/html", "") for output in cell.outputs)
    return any("<img" in page for page in pages)


def slowest(ends: dict[int, float], count: int = 5) -> list[str]:
    """The cells that took longest."""
    times, before = {}, 0.0
    for index in sorted(ends):
        times[index], before = ends[index] - before, ends[index]
    worst = sorted(times, key=lambda index: -times[index])[:count]
    return [f"cell {index + 1} {times[index]:.1f} s" for index in worst]


if __name__ == "__main__":
    main()
