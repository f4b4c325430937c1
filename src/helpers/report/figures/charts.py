"""Bars and lines for what is not a run on a time axis: tokens, connections, costs, a parameter."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.axis import Axis, XAxis
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from helpers.report.drawing import Points
from helpers.report.figures.canvas import (
    DPI,
    STYLE,
    add_legend,
    height_of,
    printable,
    text_width,
    wrapped,
)
from helpers.report.figures.picture import Picture
from helpers.report.figures.prediction import Prediction
from helpers.report.formatting import number, seconds
from helpers.report.palette import INK, MUTED, PAPER, PLAIN, Look, looks, series_looks

# inches: the chart's width, the height of a panel of lines, the margin, a name's width at most
_WIDTH, _PANEL, _MARGIN, _NAME = 7.2, 2.9, 0.1, 2.0
# font size in points
_TITLE = 12.5
# the name of the series if each name has a single bar
_ALONE = ""
_DOTTED: dict[str, Any] = {"color": INK, "linewidth": 1.2, "linestyle": (0, (1.5, 2))}
_LEADER = {"arrowstyle": "-", "color": MUTED, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 0}


def bars(
    values: Mapping[str, float] | Mapping[str, Mapping[str, float]],
    *,
    unit: str,
    caption: str,
    prediction: Prediction | None = None,
    title: str | None = None,
) -> Picture:
    """Draw what `drawing.bars` is asked for."""
    groups = {name: v if isinstance(v, Mapping) else {_ALONE: v} for name, v in values.items()}
    if not any(groups.values()):
        raise ValueError("There is nothing to draw: `values` is empty.")
    known = [v for group in groups.values() for v in group.values() if math.isfinite(v)] or [0.0]
    series = list(dict.fromkeys(key for group in groups.values() for key in group))
    shown = _bar_looks(list(groups), series)
    with style.context(STYLE):
        chart, axes = _chart(title, x="seconds" if unit == "s" else unit)
        _set_axis(axes.xaxis, known)
        axes.set_xlim(*_limits(known, prediction))
        axes.grid(axis="x")
        axes.axvline(0, color=MUTED, linewidth=0.8)
        # The value of a bar that points left is between the bar and the names.
        left = max((text_width(_text(value, unit)) for value in known if value < 0), default=0)
        axes.tick_params(axis="y", length=0, pad=6 + 72 * left + 8 * (left > 0))
        height = _draw_bars(axes, groups, shown, unit, prediction)
        add_legend(chart, [_entry(name, shown[name]) for name in series if name != _ALONE])
        _fit(chart, axes, height)
        return Picture.of(chart, caption)


def lines(
    series: Mapping[str, Points],
    *,
    x: str,
    y: str,
    caption: str,
    title: str | None = None,
    marks: Mapping[str, float] | None = None,
    log_x: bool = False,
    log_y: bool = False,
) -> Picture:
    """Draw what `drawing.lines` is asked for."""
    finite = {name: _finite(name, points) for name, points in series.items()}
    if not finite:
        raise ValueError("There is nothing to draw: `series` is empty.")
    marks = marks or {}
    points = [point for points in finite.values() for point in points]
    up = [*(point[1] for point in points), *marks.values()]
    with style.context(STYLE):
        chart, axes = _chart(title, x)
        axes.set_title(printable(y), loc="left")
        _draw_lines(axes, finite, marks)
        _set_axis(axes.xaxis, [point[0] for point in points], log_x)
        _set_axis(axes.yaxis, up, log_y)
        if not log_y and min(up) >= 0:
            axes.set_ylim(0, None if max(up) else 1)
        _name_lines(axes, finite, marks)
        _fit(chart, axes, _PANEL)
        return Picture.of(chart, caption)


def _chart(title: str | None, x: str) -> tuple[Figure, Axes]:
    layout = ConstrainedLayoutEngine(w_pad=_MARGIN, h_pad=_MARGIN)
    chart = Figure(figsize=(_WIDTH, 4), dpi=DPI, layout=layout)
    if title:
        heading = wrapped(title, _WIDTH - 2 * _MARGIN, _TITLE, bold=True)
        chart.suptitle(heading, x=_MARGIN / _WIDTH, ha="left", fontsize=_TITLE, weight="bold")
    axes = chart.add_subplot()
    axes.set_xlabel(printable(x))
    return chart, axes


def _fit(chart: Figure, axes: Axes, height: float) -> None:
    """Make the chart as high as a panel of ``height`` inches needs."""
    chart.draw_without_rendering()
    chart.set_figheight(chart.get_figheight() + height - axes.bbox.height / DPI)
    chart.draw_without_rendering()


def _set_axis(axis: Axis, values: Sequence[float], log: bool = False) -> None:
    """Scale and ticks: few enough that their numbers fit side by side."""
    most, set_scale = 6, axis.axes.set_yscale
    if isinstance(axis, XAxis):
        widest = max(text_width(number(value)) for value in (min(values), max(values)))
        most, set_scale = min(6, max(1, int(4 / (widest + 0.3)))), axis.axes.set_xscale
    positive = [value for value in values if value > 0]
    if log and len(positive) == len(values):
        set_scale("log")
        many = 3 * math.log10(max(positive) / min(positive)) > most
        axis.set_major_locator(LogLocator(subs=(1,) if many else (1, 2, 5), numticks=most))
    elif log and positive:
        set_scale("symlog", linthresh=min(positive), linscale=0.4)
    else:
        whole = all(float(value).is_integer() for value in values)
        axis.set_major_locator(MaxNLocator(most, steps=[1, 2, 2.5, 5, 10], integer=whole))
    axis.set_major_formatter(FuncFormatter(lambda value, _: number(round(value, 12))))
    axis.set_minor_locator(NullLocator())


def _bar_looks(names: Sequence[str], series: Sequence[str]) -> dict[str, Look]:
    """The look of each series; of single bars, each arm has its own, other names share one."""
    if series != [_ALONE]:
        return series_looks(series)
    return looks(names) if {"wrong", "right"} & set(names) else dict.fromkeys(names, PLAIN)


def _limits(known: Sequence[float], prediction: Prediction | None) -> tuple[float, float]:
    low, high = min(0.0, *known), max(0.0, *known)
    # A prediction far beyond does not squeeze what was measured.
    if prediction and high < prediction.value <= 1.5 * high:
        high = prediction.value
    # Room for the value of the longest bar.
    return low, high + 0.04 * (high - low) if high > low else 1.0


def _draw_bars(
    axes: Axes,
    groups: Mapping[str, Mapping[str, float]],
    shown: Mapping[str, Look],
    unit: str,
    prediction: Prediction | None,
) -> float:
    """Draw the bars from the top down, and return how many inches they take."""
    thickness = 0.24 if sum(map(len, groups.values())) <= 12 else 0.17
    gap = 0.12 if all(len(group) == 1 for group in groups.values()) else 0.18
    names: dict[float, str] = {}
    y = gap / 2
    for name, group in groups.items():
        for i, (key, value) in enumerate(group.items()):
            look = shown[key if key != _ALONE else name]
            _draw_bar(axes, y + (i + 0.5) * thickness, 0.9 * thickness, value, unit, look)
        label = wrapped(name, _NAME)
        taken = max(len(group) * thickness, height_of(label))
        names[y + taken / 2] = label
        y += taken
        if prediction and prediction.arm == name:
            _draw_prediction(axes, y + 0.1, prediction)
            y += 0.2
        y += gap
    axes.set_ylim(y - gap / 2, 0)
    axes.set_yticks(list(names), labels=list(names.values()))
    return y - gap / 2


def _draw_bar(axes: Axes, y: float, thickness: float, value: float, unit: str, look: Look) -> None:
    low, high = axes.get_xlim()
    length = value if math.isfinite(value) else 0.0
    if length:
        # Visible, however short it is.
        length = math.copysign(max(abs(length), (high - low) / 400), length)
    bar = axes.barh(y, length, thickness, **_face(look))
    axes.bar_label(bar, [_text(value, unit)], padding=4)


def _text(value: float, unit: str) -> str:
    return seconds(value) if unit == "s" and value >= 0 else number(value)


def _draw_prediction(axes: Axes, y: float, prediction: Prediction) -> None:
    end = min(prediction.value, axes.get_xlim()[1])
    text = printable(f"{prediction} →" if prediction.value > end else str(prediction))
    axes.plot([0, end], [y, y], **_DOTTED)
    axes.annotate(text, (end, y), (4, 0), textcoords="offset points", va="center")


def _entry(name: str, look: Look) -> Patch:
    return Patch(**_face(look), label=wrapped(name, _WIDTH - 1))


def _face(look: Look) -> dict[str, Any]:
    # Half as dense a hatch as in the thin lanes of a figure.
    return {
        "facecolor": look.color,
        "hatch": look.hatch[:2],
        "hatchcolor": PAPER,
        "edgecolor": look.line,
        "linewidth": 0.8,
    }


def _finite(name: str, points: Points) -> list[tuple[float, float]]:
    kept = [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)]
    if not kept:
        raise ValueError(f"There is nothing to draw: {name!r} has no points.")
    return kept


def _draw_lines(axes: Axes, series: Mapping[str, Points], marks: Mapping[str, float]) -> None:
    for at in marks.values():
        axes.axhline(at, **_DOTTED)
    for name, look in series_looks(list(series)).items():
        points = series[name]
        # At most twelve markers, one of them at the end.
        step = -(-len(points) // 12)
        axes.plot(
            *zip(*points, strict=True),
            color=look.line,
            linestyle=(0, look.dash) if look.dash else "-",
            linewidth=1.8,
            marker=look.marker,
            markersize=5,
            markevery=((len(points) - 1) % step, step),
            clip_on=False,
            zorder=3,
        )
    axes.margins(x=0.02, y=0.06)
    axes.grid(axis="y")


def _name_lines(axes: Axes, series: Mapping[str, Points], marks: Mapping[str, float]) -> None:
    """Write each name at the right edge, as near as possible to the end of its line."""
    shown, edge = series_looks(list(series)), axes.get_xlim()[1]
    ends: list[tuple[tuple[float, float], str, Look | None]] = [
        *((points[-1], name, shown[name]) for name, points in series.items()),
        *(((edge, at), f"{name}: {number(at)}", None) for name, at in marks.items()),
    ]
    # Parts of the panel's height, whatever the layout.
    to_panel = (axes.transScale + axes.transLimits).transform
    ends.sort(key=lambda end: float(to_panel(end[0])[1]))
    texts = [wrapped(name, _NAME) for _, name, _ in ends]
    wanted = [float(to_panel(point)[1]) for point, _, _ in ends]
    middles = _apart(wanted, [height_of(text) / _PANEL for text in texts])
    # Where lines end at one height, their leaders would meet; the markers tell the names apart.
    level = Counter(point[1] for point, _, _ in ends)
    for (point, _, look), text, y in zip(ends, texts, middles, strict=True):
        if level[point[1]] == 1:
            axes.annotate("", point, (1.03, y), textcoords="axes fraction", arrowprops=_LEADER)
        axes.text(1.05, y, text, transform=axes.transAxes, va="center")
        if look:
            place: dict[str, Any] = {"transform": axes.transAxes, "clip_on": False, "zorder": 3}
            axes.scatter(1.03, y, 25, look.line, marker=look.marker, **place)


def _apart(wanted: Sequence[float], heights: Sequence[float]) -> list[float]:
    """Middles near the wanted ones, which are in order, so that texts do not overlap."""
    middles = list(wanted)
    edge = -heights[0] / 2
    for i, height in enumerate(heights):
        middles[i] = max(middles[i], edge + height / 2)
        edge = middles[i] + height / 2
    edge = 1 + heights[-1] / 2
    for i, height in reversed(list(enumerate(heights))):
        middles[i] = min(middles[i], edge - height / 2)
        edge = middles[i] - height / 2
    return middles
