"""What an examination answers; it raises what keeps the lessons from running."""

from __future__ import annotations

from collections.abc import Iterable


class Note(str):
    """An answer that is good to know: the course works all the same."""

    __slots__ = ()


def worked_around(obstacles: Iterable[object]) -> Note:
    return Note(f"the course works around it. {' '.join(f'{each}.' for each in obstacles)}")
