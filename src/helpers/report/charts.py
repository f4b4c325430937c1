"""Bars and lines for what is not a run on a time axis: tokens, connections, costs, a parameter."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.axis import Axis, XAxis
from matplotlib.patches import Patch
from matplotlib.ticker import (
    FuncFormatter,
    Locator,
    LogLocator,
    MaxNLocator,
    NullLocator,
    SymmetricalLogLocator,
)

from helpers.report.canvas import Canvas, height_of, text_width, wrapped
from helpers.report.formatting import number, seconds
from helpers.report.palette import FAINT, INK, MUTED, PAPER, PLAIN, Look, looks, series_looks
from helpers.report.picture import CSS_DPI, Picture, small_png
from helpers.report.prediction import Prediction

Points: TypeAlias = Sequence[tuple[float, float]]

# Inches on the canvas.
_WIDTH = 7.2
_MARGIN = 0.14
_TITLE = 12.5
"""Font size in points."""


def bars(
    values: Mapping[str, float] | Mapping[str, Mapping[str, float]],
    *,
    unit: str,
    caption: str,
    prediction: Prediction | None = None,
    title: str | None = None,
) -> Picture:
    """Draw horizontal bars, each with its value: one per name, or a group of bars per name.

    ``values`` is ``{"wrong": 132, "right": 21}`` or, with a legend for the series,
    ``{"prose": {"chars ÷ 4": 71, "tokens": 53}, "Python": {…}}``. A value below zero goes to the
    left; one that is not finite has no bar. ``caption`` is the sentence under the picture and its
    alternative text. A prediction is drawn under the bar of its arm.

    Raises `ValueError` if there is no value or no caption.
    """
    groups = [(name, _group(name, value)) for name, value in values.items()]
    if not any(group for _, group in groups):
        raise ValueError("There is nothing to draw: `values` is empty.")
    with style.context("default"):
        canvas = _draw_bars(groups, unit, prediction, title)
        return _picture(canvas, caption)


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
    """Draw one line per series of ``(x, y)`` points, with its name at its end.

    ``x`` and ``y`` name the axes, with their units. ``marks`` are horizontal lines:
    ``{"context window": 128_000}``. A logarithmic axis also shows zero, where there is one.
    ``caption`` is the sentence under the picture and its alternative text.

    Raises `ValueError` if there is no series, if one has no finite point, or without a caption.
    """
    finite = {name: _finite(name, points) for name, points in series.items()}
    if not finite:
        raise ValueError("There is nothing to draw: `series` is empty.")
    with style.context("default"):
        plot = _Plot(finite, marks or {}, log_x=log_x, log_y=log_y)
        return _picture(plot.draw(x, y, title), caption)


def _picture(canvas: Canvas, caption: str) -> Picture:
    if not caption.strip():
        raise ValueError("A picture needs a caption: it is also its alternative text.")
    return Picture(small_png(canvas.png()), caption, round(_WIDTH * CSS_DPI))


def _heading(sheet_width: float, title: str | None) -> str:
    return wrapped(title or "", sheet_width - 2 * _MARGIN, _TITLE, bold=True)


def _below(title: str) -> float:
    """Inches from the canvas's top to where the picture begins, below its title."""
    return _MARGIN + (height_of(title, _TITLE) + 0.1 if title else 0.0)


# Bars


_ALONE = ""
"""Name of the series where there is only one bar per name."""
_LABEL = 2.1
"""Inches that the names may take, on two lines."""


@dataclass(frozen=True, slots=True)
class _Bar:
    y: float
    """Inches from the panel's top to the bar's middle."""
    height: float
    value: float
    text: str
    look: Look | None
    """None for a prediction."""


@dataclass(frozen=True, slots=True)
class _Label:
    y: float
    text: str


def _group(name: str, value: float | Mapping[str, float]) -> Mapping[str, float]:
    return value if isinstance(value, Mapping) else {_ALONE: value}


def _draw_bars(
    groups: list[tuple[str, Mapping[str, float]]],
    unit: str,
    prediction: Prediction | None,
    title: str | None,
) -> Canvas:
    series = list(dict.fromkeys(name for _, group in groups for name in group))
    look = _bar_looks([name for name, _ in groups], series)
    placed, labels, height = _placed(groups, look, unit, prediction)
    heading = _heading(_WIDTH, title)
    top = _below(heading)
    left = _MARGIN + max(text_width(line) for each in labels for line in each.text.split("\n"))
    left += 0.1
    legend = [Patch(**_face(look[name]), label=name) for name in series if name != _ALONE]
    canvas = Canvas(_WIDTH, top + height + 0.48 + (0.3 if legend else 0.06))
    canvas.text(_MARGIN, _MARGIN, heading, _TITLE, weight="bold")
    axes = canvas.axes(left, top, _WIDTH - _MARGIN - left, height)
    scale = _Scale.of(placed, left, _WIDTH - _MARGIN - left)
    axes.set_xlim(scale.low, scale.high)
    axes.set_ylim(height, 0)
    axes.set_yticks([])
    axes.axvline(0, color=MUTED, linewidth=0.8)
    values = [bar.value for bar in placed if math.isfinite(bar.value)]
    _set_axis(axes.xaxis, values, log=False, width=(scale.most - scale.least) / scale.per_inch)
    # A tick beyond the longest bar would stand where its value is written.
    ticks = axes.xaxis.get_major_locator().tick_values(scale.least, scale.most)
    axes.set_xticks([tick for tick in ticks if scale.least <= tick <= scale.most])
    for bar in placed:
        _draw_bar(canvas, axes, bar, scale, top)
    for each in labels:
        lines = each.text.split("\n")
        for i, line in enumerate(lines):
            y = top + each.y + (i - (len(lines) - 1) / 2) * height_of("-")
            canvas.label(left - 0.1, y, line, ha="right")
    center = left + (_WIDTH - _MARGIN - left) / 2
    canvas.text(center, top + height + 0.25, "seconds" if unit == "s" else unit, ha="center")
    if legend:
        canvas.legend(legend)
    return canvas


def _bar_looks(names: list[str], series: list[str]) -> dict[str, Look]:
    """The look of each series; of single bars, each arm has its own, other names share one."""
    if series != [_ALONE]:
        return series_looks(series)
    return looks(names) if {"wrong", "right"} & set(names) else dict.fromkeys(names, PLAIN)


def _placed(
    groups: list[tuple[str, Mapping[str, float]]],
    look: Mapping[str, Look],
    unit: str,
    prediction: Prediction | None,
) -> tuple[list[_Bar], list[_Label], float]:
    """The bars from the top down, the names beside them, and the height of it all."""
    thick = 0.24 if sum(len(group) for _, group in groups) <= 12 else 0.17
    between = 0.12 if all(len(group) == 1 for _, group in groups) else 0.18
    placed: list[_Bar] = []
    labels: list[_Label] = []
    y = between / 2
    for name, group in groups:
        text = wrapped(name, _LABEL)
        start, least = y, height_of(text)
        for key, value in group.items():
            shown = look[name] if key == _ALONE else look[key]
            placed.append(_Bar(y + thick / 2, thick * 0.9, value, _written(value, unit), shown))
            y += thick
        labels.append(_Label((start + max(y, start + least)) / 2, text))
        y = max(y, start + least)
        if prediction and prediction.arm == name:
            placed.append(_Bar(y + 0.1, 0.1, prediction.value, str(prediction), None))
            y += 0.2
        y += between
    return placed, labels, y - between / 2


def _written(value: float, unit: str) -> str:
    return seconds(value) if unit == "s" and value >= 0 else number(value)


@dataclass(frozen=True, slots=True)
class _Scale:
    """Values to inches; at both ends there is room for what is written at the bars."""

    left: float
    """Where the panel begins on the canvas."""
    low: float
    high: float
    """The panel's ends."""
    least: float
    most: float
    """The lowest and the highest value with a bar in full."""
    per_inch: float

    @classmethod
    def of(cls, placed: list[_Bar], left: float, width: float) -> _Scale:
        measured = [bar.value for bar in placed if bar.look and math.isfinite(bar.value)]
        # A prediction far beyond does not squeeze what was measured.
        near = 1.5 * max(measured, default=0)
        said = [bar.value for bar in placed if not bar.look and bar.value <= near]
        low, high = min([0.0, *measured]), max([0.0, *measured, *said])
        high = high if high > low else 1.0
        before = max((_room(bar) for bar in placed if bar.value < 0), default=0.0)
        after = max((_room(bar) for bar in placed if not bar.value < 0), default=0.0)
        per_inch = (high - low) / (width - before - after)
        return cls(left, low - before * per_inch, high + after * per_inch, low, high, per_inch)

    def inches(self, value: float) -> float:
        return self.left + (value - self.low) / self.per_inch


def _room(bar: _Bar) -> float:
    return text_width(f"{bar.text} →") + 0.1


def _draw_bar(canvas: Canvas, axes: Axes, bar: _Bar, scale: _Scale, top: float) -> None:
    value = bar.value if math.isfinite(bar.value) else 0.0
    end, text = value, bar.text
    if bar.look is None:
        end = min(value, scale.most)
        text += " →" if value > end else ""
        axes.plot([0, end], [bar.y, bar.y], color=INK, linewidth=1.2, linestyle=(0, (1.5, 2)))
    elif value:
        hair = scale.per_inch / 72  # what is not zero is seen
        shown = math.copysign(max(abs(value), hair), value)
        axes.barh(bar.y, shown, bar.height, **_face(bar.look))
    side = -1 if value < 0 else 1
    ha = "right" if value < 0 else "left"
    canvas.label(scale.inches(end) + side * 0.06, top + bar.y, text, ha=ha)


def _face(look: Look) -> dict[str, Any]:
    return {
        "facecolor": look.color,
        "hatch": look.hatch[:2],  # sparser than in a figure's thin lanes
        "hatch_linewidth": 0.8,
        "edgecolor": PAPER,
        "linewidth": 0,
    }


# Lines


_PANEL = 2.9
"""Height of the panel."""
_END = 1.9
"""Inches that a name may take at the end of its line."""
_BEFORE_NAME = 0.26
"""Inches from the panel to the names: a leader and the series' marker."""
_MOST_MARKERS = 12


def _finite(name: str, points: Points) -> list[tuple[float, float]]:
    kept = [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)]
    if not kept:
        raise ValueError(f"There is nothing to draw: {name!r} has no points.")
    return kept


@dataclass(frozen=True, slots=True)
class _End:
    """A name to be written at the right, beside the point it belongs to."""

    text: str
    point: tuple[float, float]
    """In inches on the canvas."""
    look: Look | None
    """None for a mark."""


class _Plot:
    def __init__(
        self,
        series: Mapping[str, list[tuple[float, float]]],
        marks: Mapping[str, float],
        *,
        log_x: bool,
        log_y: bool,
    ) -> None:
        self._series, self._marks = series, marks
        self._logs = (log_x, log_y)
        self._looks = series_looks(list(series))
        self._names = {name: wrapped(name, _END) for name in series}
        self._mark_names = {
            name: wrapped(f"{name}: {number(at)}", _END) for name, at in marks.items()
        }

    def draw(self, x: str, y: str, title: str | None) -> Canvas:
        heading = _heading(_WIDTH, title)
        top = _below(heading) + height_of(y) + 0.08
        canvas = Canvas(_WIDTH, top + _PANEL + 0.52)
        canvas.text(_MARGIN, _MARGIN, heading, _TITLE, weight="bold")
        canvas.text(_MARGIN, _below(heading), y)
        right = _WIDTH - _MARGIN - _BEFORE_NAME - self._widest_name()
        axes = canvas.axes(1.0, top, right - 1.0, _PANEL)
        self._draw_series(axes)
        self._set_axes(axes, right - 1.0)
        left = _MARGIN + max(map(text_width, _tick_texts(axes.yaxis))) + 0.08
        canvas.move(axes, left, top, right - left, _PANEL)
        canvas.text((left + right) / 2, top + _PANEL + 0.25, x, ha="center")
        self._write_ends(canvas, axes, right, top)
        return canvas

    def _widest_name(self) -> float:
        names = [*self._names.values(), *self._mark_names.values()]
        return max(text_width(line) for name in names for line in name.split("\n"))

    def _draw_series(self, axes: Axes) -> None:
        for at in self._marks.values():
            axes.axhline(at, color=INK, linewidth=1, linestyle=(0, (1.5, 2)))
        for name, points in self._series.items():
            look = self._looks[name]
            axes.plot(
                *zip(*points, strict=True),
                color=look.color,
                linestyle=(0, look.dash) if look.dash else "-",
                linewidth=1.8,
                marker=look.marker,
                markersize=5,
                markevery=_every(len(points)),
                clip_on=False,
                zorder=3,
            )

    def _set_axes(self, axes: Axes, width: float) -> None:
        points = [point for points in self._series.values() for point in points]
        across = [x for x, _ in points]
        up = [*(y for _, y in points), *self._marks.values()]
        axes.grid(axis="y", color=FAINT, linewidth=0.7)
        axes.margins(x=0.02, y=0.06)
        for axis, values, log in zip(
            (axes.xaxis, axes.yaxis), (across, up), self._logs, strict=True
        ):
            _set_axis(axis, values, log, width)
        if not self._logs[1] and min(up) >= 0:
            axes.set_ylim(bottom=0, top=None if max(up) else 1)

    def _write_ends(self, canvas: Canvas, axes: Axes, right: float, top: float) -> None:
        ends = [
            _End(self._names[name], canvas.inches(axes, points[-1]), self._looks[name])
            for name, points in self._series.items()
        ]
        edge = axes.get_xlim()[1]
        ends += [
            _End(self._mark_names[name], canvas.inches(axes, (edge, at)), None)
            for name, at in self._marks.items()
        ]
        ends.sort(key=lambda end: end.point[1])
        heights = [height_of(end.text) for end in ends]
        middles = _apart([end.point[1] for end in ends], heights, top, top + _PANEL)
        for end, height, middle in zip(ends, heights, middles, strict=True):
            if right - end.point[0] > 0.2 or abs(middle - end.point[1]) > 0.05:
                canvas.leader(end.point, (right + 0.1, middle))
            if end.look:
                canvas.marker(right + 0.17, middle, end.look)
            canvas.text(right + _BEFORE_NAME, middle - height / 2, end.text)


def _every(points: int) -> tuple[int, int]:
    """First marker and step, so that there are few markers and one at the end."""
    step = -(-points // _MOST_MARKERS)
    return (points - 1) % step, step


def _set_axis(axis: Axis, values: Sequence[float], log: bool, width: float) -> None:
    """Scale and ticks for these values. ``width`` is the panel's, in inches."""
    most = 6
    if isinstance(axis, XAxis):
        widest = max(text_width(number(value)) for value in (min(values), max(values)))
        most = min(most, max(1, int(width / (widest + 0.3))))
    positive = sorted(value for value in values if value > 0)
    set_scale = axis.axes.set_xscale if isinstance(axis, XAxis) else axis.axes.set_yscale
    if not log or not positive:
        whole = all(float(value).is_integer() for value in values)
        locator: Locator = MaxNLocator(most, steps=[1, 2, 2.5, 5, 10], integer=whole)
    elif len(positive) < len(values):
        set_scale("symlog", linthresh=positive[0], linscale=0.4)
        locator = SymmetricalLogLocator(base=10, linthresh=positive[0])
    else:
        set_scale("log")
        many = 3 * math.log10(positive[-1] / positive[0]) > most
        locator = LogLocator(subs=(1.0,) if many else (1.0, 2.0, 5.0), numticks=most)
    axis.set_major_locator(locator)
    axis.set_major_formatter(FuncFormatter(lambda value, _: number(round(value, 12))))
    axis.set_minor_locator(NullLocator())


def _tick_texts(axis: Axis) -> list[str]:
    low, high = sorted(axis.get_view_interval())
    ticks = axis.get_major_locator().tick_values(low, high)
    return [number(round(float(tick), 12)) for tick in ticks if low <= tick <= high] or [""]


def _apart(wanted: list[float], heights: list[float], top: float, bottom: float) -> list[float]:
    """Middles near the wanted ones (which are in order), so that texts do not overlap."""
    middles = list(wanted)
    for i in range(len(middles)):
        above = middles[i - 1] + heights[i - 1] / 2 if i else top - heights[0] / 2
        middles[i] = max(middles[i], above + heights[i] / 2)
    for i in reversed(range(len(middles))):
        last = i == len(middles) - 1
        below = bottom + heights[i] / 2 if last else middles[i + 1] - heights[i + 1] / 2
        middles[i] = min(middles[i], below - heights[i] / 2)
    return middles
