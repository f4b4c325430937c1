"""The big numbers above a column, each with its label below it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from helpers.report.figures.canvas import Canvas, fitted, height_of, text_width
from helpers.report.palette import MUTED

# number and label, as they are written
Numbers: TypeAlias = tuple[tuple[str, str], ...]

_SIZES = (15.0, 13.5, 12.0, 10.5)
# inches between two numbers, at least and at most
_GAP, _WIDEST_GAP = 0.14, 0.45
# inches from the top of the numbers to the top of the labels
_LABELS = 0.3


@dataclass(frozen=True, slots=True)
class Headline:
    """How the numbers are set, the same way above every column.

    With ``wrap``, labels of several words take two lines.
    """

    size: float
    widths: tuple[float, ...]
    wrap: bool
    gap: float

    @property
    def height(self) -> float:
        return _LABELS + height_of("\n" if self.wrap else "-") + 0.12

    def draw(self, canvas: Canvas, x: float, y: float, numbers: Numbers) -> None:
        for (number, label), width in zip(numbers, self.widths, strict=True):
            text = _two_lines(label) if self.wrap else label
            lines = [fitted(line, width) for line in text.split("\n")]
            big = fitted(number, width, self.size, bold=True)
            canvas.text(x, y, big, self.size, weight="bold")
            canvas.text(x, y + _LABELS, "\n".join(lines), color=MUTED)
            x += width + self.gap


def headline(columns: Sequence[Numbers], width: float) -> Headline:
    """The largest setting in which every column's numbers fit into ``width`` inches.

    Labels take one line, then two, then the type gets smaller; what still does not fit is cut.
    """
    gaps = len(columns[0]) - 1
    for size, wrap in ((_SIZES[0], False), *((size, True) for size in _SIZES)):
        widths = tuple(
            max(_width(number, label, size, wrap) for number, label in block)
            for block in zip(*columns, strict=True)
        )
        spare = width - sum(widths)
        if spare >= gaps * _GAP:
            return Headline(size, widths, wrap, min(spare / max(gaps, 1), _WIDEST_GAP))
    share = (width - gaps * _GAP) / (gaps + 1)
    return Headline(_SIZES[-1], (share,) * (gaps + 1), True, _GAP)


def _width(number: str, label: str, size: float, wrap: bool) -> float:
    lines = (_two_lines(label) if wrap else label).split("\n")
    return max(text_width(number, size, bold=True), *map(text_width, lines))


def _two_lines(label: str) -> str:
    """The label, broken where its longer line is shortest."""
    words = label.split()
    broken = [
        "\n".join((" ".join(words[:i]), " ".join(words[i:]))) for i in range(1, len(words))
    ] or [label]
    return min(broken, key=lambda text: max(map(text_width, text.split("\n"))))
