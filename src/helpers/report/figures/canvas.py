"""A canvas measured in inches from its top left corner, on which matplotlib draws."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, TypeAlias

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.legend_handler import HandlerTuple
from matplotlib.patches import FancyArrowPatch

from helpers.report.formatting import shortened
from helpers.report.palette import FAINT, INK, MUTED, PAPER

DPI = 144
# height of a line of text, in font sizes
LINE = 1.3
_FONT = "DejaVu Sans"
# of all figures: a lesson may have set a style of its own, even a dark one
STYLE: list[str | dict[str, Any]] = [
    "default",
    {
        "font.family": _FONT,
        "font.size": 9,
        "axes.titlesize": 9,
        "axes.labelsize": 9,
        "xtick.labelsize": 9,
        "ytick.labelsize": 9,
        "legend.fontsize": 9,
        "legend.frameon": False,
        "text.color": INK,
        "axes.labelcolor": INK,
        "xtick.labelcolor": INK,
        "ytick.labelcolor": INK,
        "xtick.color": MUTED,
        "ytick.color": MUTED,
        # A learner's line may hold two dollar signs.
        "text.parse_math": False,
        "axes.edgecolor": MUTED,
        "axes.spines.left": False,
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.axisbelow": True,
        "grid.color": FAINT,
        "grid.linewidth": 0.7,
        "hatch.linewidth": 0.8,
        "figure.facecolor": PAPER,
    },
]
Box: TypeAlias = tuple[float, float, float, float]
# of a legend: a mark, or several side by side that share the first one's name
Entry: TypeAlias = Artist | tuple[Artist, ...]


class Canvas:
    """Made without pyplot: nothing global is kept, and nothing has to be closed."""

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = width, height
        self.figure = Figure(figsize=(width, height), dpi=DPI, facecolor=PAPER)
        FigureCanvasAgg(self.figure)

    def extend(self, height: float) -> None:
        """Make room at the bottom. What is there already keeps its distance from the bottom."""
        self.height += height
        self.figure.set_figheight(self.height)

    def text(self, x: float, y: float, text: str, size: float = 9, **look: Any) -> None:
        """Lines of text below y, placed by their baselines so that neighbors align."""
        for i, line in enumerate(text.split("\n") if text else ()):
            baseline = y + (0.93 + i * LINE) * size / 72
            self._place(x, baseline, line, size, va="baseline", **look)

    def label(self, x: float, y: float, text: str, **look: Any) -> None:
        """Small text whose middle is at the height y."""
        self._place(x, y, text, 9, va="center", **look)

    def _place(self, x: float, y: float, text: str, size: float, **look: Any) -> None:
        x, y = x / self.width, 1 - y / self.height
        self.figure.text(x, y, printable(text), fontsize=size, **look)

    def axes(self, x: float, y: float, width: float, height: float) -> Axes:
        """Axes whose top left corner is at x, y."""
        axes = self.figure.add_axes(self._box(x, y, width, height))
        axes.grid(axis="x")
        return axes

    def _box(self, x: float, y: float, width: float, height: float) -> Box:
        bottom = 1 - (y + height) / self.height
        return x / self.width, bottom, width / self.width, height / self.height

    def pointer(self, x: float, top: float, tip: float) -> None:
        """A small arrow that points down."""
        self.figure.add_artist(
            FancyArrowPatch(
                (x / self.width, 1 - top / self.height),
                (x / self.width, 1 - tip / self.height),
                arrowstyle="-|>",
                mutation_scale=7,
                shrinkA=0,
                shrinkB=0,
                color=INK,
                linewidth=0.9,
            )
        )


def add_legend(figure: Figure, entries: Sequence[Entry]) -> float:
    """Add a legend along the bottom, and return its height in inches; 0 if there are no entries."""
    marks = [entry if isinstance(entry, tuple) else (entry,) for entry in entries]
    most = max(map(len, marks), default=1)
    for columns in range(len(entries), 0, -1):
        legend = figure.legend(
            handles=[several if len(several) > 1 else several[0] for several in marks],
            labels=[str(several[0].get_label()) for several in marks],
            handler_map={tuple: HandlerTuple(ndivide=None, pad=0.3)},
            loc="outside lower center",
            ncols=columns,
            # In font sizes: three marks side by side need more than matplotlib's 2.
            handlelength=2.0 if most < 3 else 1.5 * most,
            columnspacing=1.6,
            handletextpad=0.5,
            borderaxespad=0.2,
        )
        box = legend.get_window_extent()
        if box.width <= figure.bbox.width or columns == 1:
            return float(box.height) / DPI
        legend.remove()
    return 0.0


def text_width(text: str, size: float = 9, *, bold: bool = False) -> float:
    """Width of one line, in inches."""
    font = FontProperties(family=_FONT, size=size, weight="bold" if bold else "normal")
    width, _, _ = _renderer().get_text_width_height_descent(printable(text), font, ismath=False)
    return float(width) / DPI


def wrapped(text: str, width: float, size: float = 9, *, bold: bool = False, most: int = 2) -> str:
    """The text on at most ``most`` lines of ``width`` inches; … replaces what does not fit."""
    lines: list[str] = []
    words = text.split()
    while words and len(lines) < most:
        taken = len(words) if len(lines) == most - 1 else 1
        while taken < len(words) and _fits(words[: taken + 1], width, size, bold):
            taken += 1
        lines.append(fitted(" ".join(words[:taken]), width, size, bold=bold))
        words = words[taken:]
    return "\n".join(lines)


def fitted(text: str, width: float, size: float = 9, *, bold: bool = False) -> str:
    """As much of one line as ``width`` inches hold."""
    text = printable(text)
    most = len(text)
    while most > 1 and text_width(shortened(text, most), size, bold=bold) > width:
        most -= 1
    return shortened(text, most)


def height_of(text: str, size: float = 9) -> float:
    """Inches that the lines of a text take."""
    return (text.count("\n") + 1) * size * LINE / 72 if text else 0.0


def printable(text: str) -> str:
    """The text with a box for each character that the font lacks: matplotlib would warn."""
    known = _characters()
    return "".join(c if c == "\n" or ord(c) in known else "□" for c in text)


def _fits(words: list[str], width: float, size: float, bold: bool) -> bool:
    return text_width(" ".join(words), size, bold=bold) <= width


@functools.cache
def _renderer() -> Any:
    canvas: Any = FigureCanvasAgg(Figure(dpi=DPI))  # its methods have no types
    return canvas.get_renderer()


@functools.cache
def _characters() -> frozenset[int]:
    return frozenset(get_font(findfont(_FONT)).get_charmap())
