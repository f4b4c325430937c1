"""The closing figure and the charts, drawn in a process of their own.

Matplotlib takes 80 MiB, and is needed for a moment only. A fork of the process that has imported
the rest draws; the notebook's kernel keeps the picture.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from typing import Any, TypeAlias, cast

import cloudpickle

from helpers import forking
from helpers.lab.run import Comparison, Run
from helpers.report.figures.picture import Picture
from helpers.report.figures.prediction import Prediction

# Said here, not when something is drawn: `from helpers import figure` names the extra.
if find_spec("matplotlib") is None:
    raise ModuleNotFoundError("No module named 'matplotlib'", name="matplotlib")

# a label and what is counted or timed: ("TCP connections", lambda run: run.opened)
Number: TypeAlias = tuple[str, Callable[[Run], object]]
# a name and when it was, in seconds since the arm's start: ("the batch ended", batches.ended)
Moment: TypeAlias = tuple[str, Callable[[Run], float]]
Points: TypeAlias = Sequence[tuple[float, float]]


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
    """Draw a comparison's arms side by side (each arm's typical run), or one run.

    All columns share one axis: seconds since the arm's first request arrived. With ``own_time``
    each has an axis of its own length, and says so. ``titles`` replaces the arms' names above the
    columns. ``numbers``, three pairs of a label and a function of a `Run`, replaces the big numbers
    and the sentence under the figure::

        figure(comparison, numbers=[("TCP connections", lambda run: run.opened), …])

    An arm's typical run is then the one nearest to the medians of these numbers.

    ``moment`` is a dashed line among an arm's requests, a name and a function of a `Run`, in
    seconds since its start: ``moment=("the batch ended", batches.ended)``.

    A request has a row of its own; with ``by_client`` all requests on one connection share a row.

    A prediction in seconds is a line on the time axis, any other a text below its arm's numbers.
    """
    return _drawn(
        *("figure", "figure", shown),
        prediction=prediction,
        titles=titles,
        numbers=numbers,
        moment=moment,
        by_client=by_client,
        own_time=own_time,
    )


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
    return _drawn(
        *("charts", "bars", values),
        unit=unit,
        caption=caption,
        prediction=prediction,
        title=title,
    )


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
    return _drawn(
        *("charts", "lines", series),
        x=x,
        y=y,
        caption=caption,
        title=title,
        marks=marks,
        log_x=log_x,
        log_y=log_y,
    )


def _drawn(module: str, name: str, *args: Any, **options: Any) -> Picture:
    # Whatever fails there is done again here, where a traceback shows the caller's lines.
    try:
        return _drawn_elsewhere(cloudpickle.dumps((module, name, args, options)))
    except Exception:  # noqa: BLE001 - pickling runs anybody's code
        return _draw(module, name, args, options)


def _drawn_elsewhere(orders: bytes) -> Picture:
    child = forking.start("helpers.report.drawing")
    try:
        child.stdin.write(orders)
        child.stdin.flush()
        return cast(Picture, pickle.load(child.stdout))  # noqa: S301 - written by our own child
    finally:
        child.kill()


def _draw(module: str, name: str, args: tuple[Any, ...], options: dict[str, Any]) -> Picture:
    draw = getattr(import_module(f"helpers.report.figures.{module}"), name)
    return cast(Picture, draw(*args, **options))


def main() -> None:
    """Draw one picture, as standard input says, and write it to standard output."""
    with (
        os.fdopen(os.dup(0), "rb") as orders,
        os.fdopen(os.dup(1), "wb") as answer,
        suppress(Exception),  # no answer says it
    ):
        # What is printed is no picture.
        os.dup2(2, 1)
        pickle.dump(_draw(*pickle.load(orders)), answer)  # noqa: S301 - written by the caller


if __name__ == "__main__":
    main()
