"""The two panels of an arm: requests as the server saw them, and below them the event loop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.typing import MarkerType

from helpers.report.figures.canvas import DPI, Entry
from helpers.report.palette import BLOCKED, INK, MUTED, PAPER, Look
from helpers.report.timeline import FATE_NAMES, Fate, Lane, Ticks, Timeline, ticks

# whether it is visible, and its entry in the legend
_Candidate: TypeAlias = tuple[bool, Entry]

# inches per lane; in a thinner one, a hatch is only noise
_HATCH_FROM = 0.07
# inches: the shortest bar of an answer
_SHORTEST = 0.04
_MARKS: dict[Fate, MarkerType] = {
    "refused": "x",
    "dropped": "s",
    "left": "o",
    # a caret whose base is at the point
    "open": 9,
}
_HOLLOW = ("s", "o")
_REFUSED: dict[str, Any] = {"facecolor": PAPER, "linewidth": 0.5}
_BLOCKED: dict[str, Any] = {"facecolor": BLOCKED, "edgecolor": PAPER, "linewidth": 0.5}
_BUSY: dict[str, Any] = {
    "facecolor": PAPER,
    "edgecolor": BLOCKED,
    "linewidth": 0.5,
    "hatch": "////",
    "hatch_linewidth": 0.8,
}


def draw_lanes(axes: Axes, lanes: tuple[Lane, ...], look: Look, pitch: float) -> None:
    """One bar per request. ``pitch`` is the height of a row in inches."""
    height = 0.7 if pitch > 0.05 else 0.95
    rows = [lane.row for lane in lanes]
    hatch = look.hatch if pitch >= _HATCH_FROM else ""
    waiting = {
        "color": look.light,
        "linewidth": 0,
        "hatch": hatch,
        "hatch_linewidth": 0.6,
        "edgecolor": look.line,
    }
    # A refused request does not wait for a token.
    for refused, face in ((False, waiting), (True, _REFUSED | {"edgecolor": look.line})):
        chosen = [lane for lane in lanes if (lane.fate == "refused") == refused]
        axes.barh(
            [lane.row for lane in chosen],
            [lane.first - lane.slot for lane in chosen],
            left=[lane.slot for lane in chosen],
            height=height,
            **face,
        )
    axes.barh(
        rows,
        _seen_widths(axes, lanes),
        left=[lane.first for lane in lanes],
        height=height,
        color=look.color,
        edgecolor=look.line,
        linewidth=min(0.5, 10 * pitch),
    )
    queue_line = min(1.2, pitch * 72 * 0.6)
    axes.hlines(
        rows,
        [lane.arrival for lane in lanes],
        [lane.slot for lane in lanes],
        color=look.line,
        linewidth=queue_line,
        capstyle="butt",
    )
    _mark_ends(axes, lanes, look, pitch)


def _seen_widths(axes: Axes, lanes: tuple[Lane, ...]) -> list[float]:
    """Seconds of the answers' bars, long enough to be seen on a long axis."""
    span = max((lane.end for lane in lanes), default=0.0)
    least = span * _SHORTEST * DPI / axes.get_window_extent().width
    lengths = [lane.end - lane.first for lane in lanes]
    return [max(length, least) if length > 0 else 0.0 for length in lengths]


def _mark_ends(axes: Axes, lanes: tuple[Lane, ...], look: Look, pitch: float) -> None:
    size = min(max(pitch * 72 * 0.6, 2.0), 7.0)
    for fate, marker in _MARKS.items():
        chosen = [(lane.end, lane.row) for lane in lanes if lane.fate == fate]
        if chosen:
            axes.plot(
                *zip(*chosen, strict=True),
                marker=marker,
                linestyle="",
                color=look.line if fate == "open" else INK,
                markersize=size,
                markerfacecolor=PAPER if marker in _HOLLOW else None,
                markeredgewidth=min(1.2, size / 4),
                clip_on=False,
            )


def draw_loop(axes: Axes, line: Timeline, span: float, width: float) -> None:
    """Stalls as blocks, beats as ticks. ``width`` is the panel's, in inches."""
    # At least a hair wide, so that no stall is lost.
    hair = span / (width * 144)
    for stretches, look in ((line.blocked, _BLOCKED), (line.busy, _BUSY)):
        shown = [(start, max(length, hair)) for start, length in stretches]
        axes.broken_barh(shown, (0.12, 0.76), **look)
    # One stretch may consist of many long steps.
    starts = [block.start for block in line.blocks if block.start > 0]
    axes.vlines(starts, 0.12, 0.88, color=PAPER, linewidth=0.8)
    axes.vlines(_ticks(line, span, width).beats, 0.28, 0.72, color=INK, linewidth=0.5)


def _ticks(line: Timeline, span: float, width: float) -> Ticks:
    return ticks(line.beats, span / (width * 80))


def legend_entries(
    shown: Sequence[tuple[Timeline, Look]], span: float, width: float, pitch: float
) -> list[Entry]:
    """An entry for everything visible in at least one panel of ``span`` seconds.

    ``width`` is a panel's, ``pitch`` the height of a row, both in inches.
    """
    lines = [line for line, _ in shown]
    looks = [look for line, look in shown if line.lanes]
    hatches = {look.hatch if pitch >= _HATCH_FROM else "" for look in looks}
    lanes = [lane for line in lines for lane in line.lanes]
    candidates = [
        *_lane_entries(lanes, sorted(hatches), span),
        *_loop_entries(lines, span, width),
    ]
    return [entry for visible, entry in candidates if visible]


def _lane_entries(lanes: Sequence[Lane], hatches: Sequence[str], span: float) -> list[_Candidate]:
    # Each arm has a hatch of its own, and one has none: all mean the same.
    waiting = tuple(
        Patch(
            facecolor="#cfcfcf",
            edgecolor=MUTED,
            linewidth=0,
            hatch=hatch,
            hatch_linewidth=0.6,
            label="waiting for the first token",
        )
        for hatch in hatches
    )
    queued = any(lane.slot - lane.arrival > span / 100 for lane in lanes)
    generating = any(lane.end > lane.first for lane in lanes)
    fates = {lane.fate for lane in lanes}
    marks: dict[Fate, Entry] = {
        fate: _line(FATE_NAMES[fate], mark, 6) for fate, mark in _MARKS.items()
    }
    refused = Patch(**_REFUSED, edgecolor=MUTED, label=FATE_NAMES["refused"])
    marks["refused"] = (refused, _line("", _MARKS["refused"], 6))
    return [
        (queued, _line("queued", "_", 14)),
        (fates != {"refused"} and bool(lanes), waiting),
        (generating, Patch(facecolor=MUTED, label="generating")),
        *((fate in fates, entry) for fate, entry in marks.items()),
    ]


def _loop_entries(shown: Sequence[Timeline], span: float, width: float) -> list[_Candidate]:
    # The name of all says so if some are left out in one panel.
    names = {_ticks(line, span, width).name for line in shown if line.beats}
    return [
        (any(line.blocked for line in shown), Patch(**_BLOCKED, label="blocked: one long step")),
        (any(line.busy for line in shown), Patch(**_BUSY, label="busy: many short steps")),
        (bool(names), _line(max(names, default="", key=len), "|", 9)),
    ]


def _line(name: str, marker: MarkerType, size: float) -> Line2D:
    return Line2D(
        [],
        [],
        color=MUTED,
        marker=marker,
        markersize=size,
        markerfacecolor=PAPER if marker in _HOLLOW else MUTED,
        linestyle="",
        label=name,
    )
