"""The two panels of an arm: requests as the server saw them, and the event loop under them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.typing import MarkerType

from helpers.report.palette import DEAF, INK, MUTED, PAPER, Look
from helpers.report.timeline import Fate, Lane, Timeline, thinned

_HATCH_FROM = 0.07
"""Inches per lane; in a thinner one, a hatch is only noise."""
_MARKS: dict[Fate, tuple[MarkerType, str]] = {
    "refused": ("x", "error answer"),
    "dropped": ("s", "broken off"),
    "left": ("o", "client left"),
    "open": (9, "never answered"),  # a caret whose base stands at the point
}
_HOLLOW = ("s", "o")


def draw_lanes(axes: Axes, lanes: tuple[Lane, ...], look: Look, pitch: float) -> None:
    """One bar per request. ``pitch`` is the height of a lane in inches."""
    height = 0.7 if pitch > 0.05 else 0.95
    rows = range(len(lanes))
    hatch = look.hatch if pitch >= _HATCH_FROM else ""
    axes.barh(
        rows,
        [lane.first - lane.slot for lane in lanes],
        left=[lane.slot for lane in lanes],
        color=look.light,
        height=height,
        linewidth=0,
        hatch=hatch,
        hatch_linewidth=0.6,
        edgecolor=look.color,
    )
    axes.barh(
        rows,
        [lane.end - lane.first for lane in lanes],
        left=[lane.first for lane in lanes],
        height=height,
        color=look.color,
        # An outline keeps a short answer on a long axis in sight.
        linewidth=min(0.5, 10 * pitch),
    )
    queue_line = min(1.2, pitch * 72 * 0.6)
    axes.hlines(
        rows,
        [lane.arrival for lane in lanes],
        [lane.slot for lane in lanes],
        color=look.color,
        linewidth=queue_line,
        capstyle="butt",
    )
    _mark_ends(axes, lanes, look, pitch)


def _mark_ends(axes: Axes, lanes: tuple[Lane, ...], look: Look, pitch: float) -> None:
    size = min(max(pitch * 72 * 0.6, 2.0), 7.0)
    for fate, (marker, _) in _MARKS.items():
        chosen = [(lane.end, row) for row, lane in enumerate(lanes) if lane.fate == fate]
        if chosen:
            axes.plot(
                *zip(*chosen, strict=True),
                marker=marker,
                linestyle="",
                color=look.color if fate == "open" else INK,
                markersize=size,
                markerfacecolor=PAPER if marker in _HOLLOW else None,
                markeredgewidth=min(1.2, size / 4),
                clip_on=False,
            )


def draw_loop(axes: Axes, line: Timeline, span: float, width: float) -> None:
    """Deaf stretches as blocks, beats as ticks. ``width`` is the panel's, in inches."""
    # A block is at least a hair wide, so that no stall is lost.
    hair = span / (width * 144)
    for stretches, look in ((line.blocked, _BLOCKED), (line.busy, _BUSY)):
        shown = [(start, max(length, hair)) for start, length in stretches]
        axes.broken_barh(shown, (0.12, 0.76), **look)
    # A stretch may hold many long steps, one after the other.
    starts = [block.start for block in line.blocks if block.start > 0]
    axes.vlines(starts, 0.12, 0.88, color=PAPER, linewidth=0.8)
    axes.vlines(thinned(line.beats, span / (width * 40)), 0.28, 0.72, color=INK, linewidth=0.7)


_BLOCKED: dict[str, Any] = {"facecolor": DEAF, "edgecolor": PAPER, "linewidth": 0.5}
_BUSY: dict[str, Any] = {
    "facecolor": PAPER,
    "edgecolor": DEAF,
    "linewidth": 0.5,
    "hatch": "////",
    "hatch_linewidth": 0.8,
}


def legend_entries(shown: Sequence[Timeline], span: float) -> list[Patch | Line2D]:
    """An entry for everything to be seen in at least one panel of ``span`` seconds."""
    lanes = [lane for line in shown for lane in line.lanes]
    entries: list[Patch | Line2D | None] = [
        _line("queued", "_", 14, any(lane.slot - lane.arrival > span / 100 for lane in lanes)),
        Patch(facecolor="#cfcfcf", label="waiting for the first token") if lanes else None,
        Patch(facecolor=MUTED, label="generating") if _any_tokens(lanes) else None,
        *(
            _line(name, marker, 6, any(lane.fate == fate for lane in lanes))
            for fate, (marker, name) in _MARKS.items()
        ),
        Patch(**_BLOCKED, label="loop deaf: blocked") if any(t.blocked for t in shown) else None,
        Patch(**_BUSY, label="loop deaf: busy") if any(t.busy for t in shown) else None,
        _line("heartbeat", "|", 9, any(line.beats for line in shown)),
    ]
    return [entry for entry in entries if entry is not None]


def _any_tokens(lanes: Iterable[Lane]) -> bool:
    return any(lane.end > lane.first for lane in lanes)


def _line(name: str, marker: MarkerType, size: float, present: bool) -> Line2D | None:
    if not present:
        return None
    face = PAPER if marker in _HOLLOW else MUTED
    return Line2D(
        [],
        [],
        color=MUTED,
        marker=marker,
        markersize=size,
        markerfacecolor=face,
        linestyle="",
        label=name,
    )
