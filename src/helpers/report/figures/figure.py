"""The closing figure: arms side by side on one time axis, as the server and the loop saw them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from helpers.lab.run import Comparison, Culprit, Run, Where
from helpers.report.drawing import Moment, Number
from helpers.report.figures.canvas import (
    STYLE,
    Canvas,
    add_legend,
    fitted,
    height_of,
    text_width,
    wrapped,
)
from helpers.report.figures.headline import Headline, Numbers, headline
from helpers.report.figures.panels import draw_lanes, draw_loop, legend_entries
from helpers.report.figures.picture import Picture
from helpers.report.figures.prediction import Prediction
from helpers.report.formatting import (
    LOOP_STALLED,
    call,
    counted,
    ending,
    guilt,
    is_stalled,
    number,
    percent,
    seconds,
    sentence,
    unmeasured_loop,
)
from helpers.report.palette import INK, Look, looks
from helpers.report.timeline import Timeline, culprit_during_calls, timeline

# inches on the canvas
_LEFT, _RIGHT, _BETWEEN = 0.72, 0.22, 0.34
_LOOP = 0.36
# height of the requests' panel, at most and at least
_TALLEST, _LOWEST = 3.1, 0.88
# height of a lane's number
_NUMBER = 0.14
# font sizes, in points as displayed
_TITLE, _SMALL = 12.5, 9.0
_MOMENT: dict[str, Any] = {"color": INK, "linewidth": 1.2, "linestyle": (0, (4, 2))}
# columns side by side: with more, a notebook's page would shrink their text below 9 points
_ABREAST = 3


def figure(
    shown: Comparison | Run,
    *,
    prediction: Prediction | None = None,
    titles: Mapping[str, str] | None = None,
    numbers: Sequence[Number] | None = None,
    moment: Moment | None = None,
    by_client: bool = False,
    own_time: bool = False,
) -> Picture:
    """Draw what `drawing.figure` is asked for."""
    runs = _typical(shown, numbers or ())
    abreast = _abreast(len(runs))
    width = 6.6 if len(runs) == 1 else 9.375
    column_width = (width - _LEFT - _RIGHT - _BETWEEN * (abreast - 1)) / abreast
    look = looks([run.arm for run in runs])
    columns = [
        _column(
            run,
            line=timeline(run, by_client=by_client),
            x=_LEFT + i % abreast * (column_width + _BETWEEN),
            width=column_width,
            look=look[run.arm],
            title=(titles or {}).get(run.arm, run.arm),
            prediction=prediction if prediction and prediction.arm == run.arm else None,
            numbers=_standard_numbers(run) if numbers is None else _chosen(run, numbers),
            moment=moment[1](run) - run.window[0] if moment else None,
        )
        for i, run in enumerate(runs)
    ]
    with style.context(STYLE):
        bands = [columns[i : i + abreast] for i in range(0, len(columns), abreast)]
        canvas = _draw(bands, width, own_time, moment[0] if moment else "")
        caption = sentence(shown) if numbers is None else counted(runs, numbers)
        return Picture.of(canvas.figure, caption)


def _typical(shown: Comparison | Run, numbers: Sequence[Number]) -> list[Run]:
    """A run of each arm, so that its numbers are those of a table, the medians."""
    measures = [measure for _, measure in numbers]
    return [shown] if isinstance(shown, Run) else [shown.typical(a, *measures) for a in shown.arms]


def _abreast(columns: int) -> int:
    """Columns in a row of the canvas: four are placed two by two, five three and two."""
    rows = -(-columns // _ABREAST)
    return -(-columns // rows)


def _chosen(run: Run, numbers: Sequence[Number]) -> Numbers:
    return tuple((number(measure(run)), label) for label, measure in numbers)


@dataclass(frozen=True, slots=True)
class _Column:
    """One arm, with its texts wrapped to the column's width."""

    run: Run
    line: Timeline
    look: Look
    x: float
    width: float
    title: str
    # how the arm ended, if it did not return
    notice: str
    # the guilty line, in words
    callout: str
    culprit: Culprit | None
    # in seconds, drawn on the time axis; or in another unit, written below the numbers
    prediction: Prediction | None
    predicted: str
    numbers: Numbers
    # seconds since the first request
    moment: float | None


def _column(
    run: Run,
    *,
    line: Timeline,
    x: float,
    width: float,
    look: Look,
    title: str,
    prediction: Prediction | None,
    numbers: Numbers,
    moment: float | None,
) -> _Column:
    notice = "" if run.outcome == "returned" else wrapped(_ended(run), width, bold=True)
    callout = ""
    # In a lesson that is not about the loop, a moment's stall is no news.
    worst = culprit_during_calls(run) if is_stalled(run) else None
    if worst:
        callout = f"{wrapped(guilt(worst), width)}\n{_guilty_line(worst.where, width)}"
    title = wrapped(title, width, _TITLE, bold=True)
    predicted = ""
    if prediction and prediction.unit != "s":
        predicted, prediction = wrapped(str(prediction), width), None
    return _Column(
        *(run, line, look, x, width, title, notice, callout, worst),
        *(prediction, predicted, numbers, moment),
    )


def _ended(run: Run) -> str:
    # The axis begins with the first request, which is later than the arm.
    if run.outcome == "gave up":
        return f"still waiting when the lab gave up, {seconds(run.limit)} after the arm's start"
    return ending(run)


def _guilty_line(where: Where, width: float) -> str:
    whole = f"{where}: {where.code}"
    return whole if text_width(whole) <= width else fitted(f"{where}: {call(where)}(…)", width)


def _draw(bands: list[list[_Column]], width: float, own_time: bool, moment: str) -> Canvas:
    """``bands``: the columns that are side by side, from the top. ``moment`` is the line's name."""
    columns = [column for band in bands for column in band]
    heads = headline([column.numbers for column in columns], columns[0].width)
    pitch = min(0.22, _TALLEST / _most_lanes(columns))
    # Nothing is drawn of loops of which nothing is known.
    loop = 0.0 if all(unmeasured_loop(column.run) for column in columns) else _LOOP
    rows: list[_Rows] = []
    for band in bands:
        rows.append(_rows(band, rows[-1].bottom + 0.14 if rows else 0.12, heads, pitch, loop))
    span = _span(columns)
    canvas = Canvas(width, rows[-1].bottom)
    shown = [(column.line, column.look) for column in columns]
    entries = legend_entries(shown, span, columns[0].width, pitch)
    if moment:
        entries.append(Line2D([], [], **_MOMENT, label=moment))
    legend = add_legend(canvas.figure, entries)
    canvas.extend(legend + 0.06)
    for band, place in zip(bands, rows, strict=True):
        for column in band:
            own = _span([column]) if own_time else span
            _draw_column(canvas, column, place, heads, own)
        _margins(canvas, band, place)
        _time_labels(canvas, band, place, own_time)
    return canvas


def _draw_column(
    canvas: Canvas, column: _Column, rows: _Rows, heads: Headline, span: float
) -> None:
    canvas.text(column.x, rows.top, column.title, _TITLE, color=column.look.text, weight="bold")
    heads.draw(canvas, column.x, rows.numbers, column.numbers)
    canvas.text(column.x, rows.predicted, column.predicted, _SMALL)
    lanes = canvas.axes(column.x, rows.lanes, column.width, rows.callout - rows.lanes - 0.1)
    _lanes_panel(lanes, column, rows)
    panels = [lanes]
    if rows.loop_height:
        loop = canvas.axes(column.x, rows.loop, column.width, rows.loop_height)
        _loop_panel(loop, column, span)
        lanes.tick_params(axis="x", length=0, labelbottom=False)
        panels.append(loop)
    ticks = max(3, int(column.width / 0.6))
    for axes in panels:
        axes.set_xlim(0, span)
        axes.xaxis.set_major_locator(MaxNLocator(ticks, steps=[1, 2, 5, 10]))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    _notice(canvas, column, rows, span)
    _callout(canvas, column, rows, span)
    _predicted(canvas, column, rows, span, panels)


@dataclass(frozen=True, slots=True)
class _Rows:
    """Where each row of a band of columns begins, in inches from the canvas's top.

    ``pitch`` is the height of one lane, ``most`` how many lanes the panels have room for, and
    ``loop_height`` that of the event loop's panel: 0 if there is none.
    """

    top: float
    numbers: float
    predicted: float
    notice: float
    prediction: float
    lanes: float
    callout: float
    loop: float
    loop_height: float
    bottom: float
    pitch: float
    most: int


def _most_lanes(columns: list[_Column]) -> int:
    return max(column.line.rows for column in columns) or 1


def _rows(
    columns: list[_Column], top: float, heads: Headline, pitch: float, loop_height: float
) -> _Rows:
    most = max(_most_lanes(columns), round(_LOWEST / pitch))
    panel = pitch * most
    numbers = top + max(height_of(column.title, _TITLE) for column in columns) + 0.06
    predicted = numbers + heads.height
    written = max(height_of(column.predicted) for column in columns)
    notice = predicted + (written + 0.08 if written else 0.0)
    prediction = notice + max(height_of(column.notice) for column in columns)
    lanes = prediction + (0.2 if any(column.prediction for column in columns) else 0.0) + 0.03
    callout = lanes + panel + 0.1
    called = max(height_of(column.callout) for column in columns)
    loop = callout + (called + 0.12 if called else 0.0)
    if not loop_height:
        loop = lanes + panel  # the time axis is that of the requests
    return _Rows(
        *(top, numbers, predicted, notice, prediction, lanes, callout, loop, loop_height),
        bottom=loop + loop_height + 0.54,
        pitch=pitch,
        most=most,
    )


def _span(columns: list[_Column]) -> float:
    """Seconds on the shared axis. A prediction far beyond does not squeeze what happened."""
    end = max(column.line.end for column in columns) or 0.1
    predictions = [column.prediction.value for column in columns if column.prediction]
    return max([end, *(value for value in predictions if value <= 1.5 * end)]) * 1.04


def _at(column: _Column, span: float, time: float) -> float:
    """Inches from the canvas's left edge."""
    return column.x + column.width * min(max(time / span, 0.0), 1.0)


def _standard_numbers(run: Run) -> Numbers:
    loop = (percent(run.blocked_share), LOOP_STALLED)
    unmeasured = unmeasured_loop(run)
    return (
        (str(run.peak_in_flight), "peak in flight"),
        (number(None), unmeasured) if unmeasured else loop,
        _answers_after(run),
    )


def _answers_after(run: Run) -> tuple[str, str]:
    ended = [request for request in run.requests if request.last_byte is not None]
    if run.requests and len(ended) == len(run.requests):
        return seconds(run.makespan), "last answer"
    if run.outcome == "gave up" and run.requests:
        return f"> {seconds(run.limit)}", "last answer"
    return seconds(run.makespan), "ended after"


def _lanes_panel(axes: Axes, column: _Column, rows: _Rows) -> None:
    lanes = column.line.lanes
    draw_lanes(axes, lanes, column.look, rows.pitch)
    axes.set_ylim(rows.most - 0.5, -0.5)
    last = column.line.rows - 1
    # The last lane's number alone, where the first one's would lie on it.
    first = 0 if last * rows.pitch > _NUMBER else last
    axes.set_yticks(sorted({first, last}) if lanes else [])
    axes.set_yticklabels([str(row + 1) for row in axes.get_yticks().astype(int)])
    axes.tick_params(axis="y", length=0)
    if not lanes:
        note = "no request reached the server"
        axes.text(0.5, 0.5, note, transform=axes.transAxes, ha="center", va="center", fontsize=9)
    if column.run.outcome != "returned":
        axes.axvline(column.line.end, color=INK, linewidth=1)
    if column.moment is not None:
        axes.axvline(column.moment, **_MOMENT)


def _loop_panel(axes: Axes, column: _Column, span: float) -> None:
    axes.set_ylim(0, 1)
    axes.set_yticks([])
    if unmeasured := unmeasured_loop(column.run):
        axes.text(0.01, 0.5, unmeasured, transform=axes.transAxes, va="center", fontsize=9)
    else:
        draw_loop(axes, column.line, span, column.width)


def _notice(canvas: Canvas, column: _Column, rows: _Rows, span: float) -> None:
    """How the arm ended, above the line that marks the moment."""
    width = max(text_width(line, bold=True) for line in column.notice.split("\n"))
    x = _near(column, _at(column, span, column.line.end), width, "right")
    y = rows.prediction - height_of(column.notice) - 0.03
    if column.notice:
        canvas.text(x, y, column.notice, _SMALL, weight="bold")


def _callout(canvas: Canvas, column: _Column, rows: _Rows, span: float) -> None:
    """The guilty line, with a pointer down to the longest stretch it caused."""
    worst = column.culprit
    if worst is None:
        return
    longest = max(
        (block for block in column.line.blocks if block.where == worst.where),
        key=lambda block: block.seconds,
    )
    point = _at(column, span, longest.start + longest.seconds / 2)
    width = max(text_width(line) for line in column.callout.split("\n"))
    canvas.text(_near(column, point, width, "left"), rows.callout, column.callout, _SMALL)
    tip = rows.loop + 0.05
    canvas.pointer(point, tip - 0.15, tip)


def _predicted(
    canvas: Canvas, column: _Column, rows: _Rows, span: float, panels: list[Axes]
) -> None:
    if column.prediction is None:
        return
    value = column.prediction.value
    text = f"{column.prediction} →" if value > span else str(column.prediction)
    if value <= span:
        for axes in panels:
            axes.axvline(value, color=INK, linewidth=1.2, linestyle=(0, (1.5, 2)))
    x = _near(column, _at(column, span, value), text_width(text), "center")
    canvas.text(x, rows.prediction + 0.02, text, _SMALL)


def _near(column: _Column, point: float, width: float, side: str) -> float:
    """Left edge of a text near ``point`` that stays inside the column."""
    x = point - {"left": 0.08, "center": width / 2, "right": width}[side]
    return min(max(x, column.x), column.x + column.width - width)


def _margins(canvas: Canvas, columns: list[_Column], rows: _Rows) -> None:
    middle = (rows.lanes + rows.callout - 0.1) / 2
    rows_are = "clients" if columns[0].line.by_client else "requests"
    canvas.label(0.22, middle, f"{rows_are}, as the\nserver saw them", rotation=90, ha="center")
    if rows.loop_height:
        middle = rows.loop + rows.loop_height / 2
        canvas.label(_LEFT - 0.08, middle, "event\nloop", ha="right")


def _time_labels(canvas: Canvas, columns: list[_Column], rows: _Rows, own_time: bool) -> None:
    """What the time axes show, below each of them or once for all."""
    label, y = "seconds since the first request", rows.loop + rows.loop_height + 0.24
    if own_time:
        for column in columns:
            end = f"{label}, {seconds(column.line.end)} in all"
            canvas.text(column.x + column.width / 2, y, end, ha="center")
    else:
        center = (columns[0].x + columns[-1].x + columns[-1].width) / 2
        canvas.text(center, y, label, ha="center")
