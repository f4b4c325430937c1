"""What an examination returns; it raises an error for what keeps lessons from running."""

from __future__ import annotations

from collections.abc import Iterable


class Note(str):
    """An answer that is good to know: the course works anyway."""

    __slots__ = ()


def worked_around(obstacles: Iterable[object]) -> Note:
    return Note(f"the course works around it. {' '.join(f'{each}.' for each in obstacles)}")
