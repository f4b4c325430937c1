"""Looks at a drawn sheet through its texts."""

from __future__ import annotations

from typing import Any

from matplotlib.axis import Axis
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from helpers.report.sheet import Sheet


def assert_readable(sheet: Sheet) -> None:
    """No text overlaps another or leaves the sheet."""
    boxes = [(text.get_text(), _with_margin(text)) for text in visible_texts(sheet)]
    canvas = sheet.figure.bbox
    for i, (text, box) in enumerate(boxes):
        assert canvas.x0 <= box.x0, f"{text!r} leaves the sheet"
        assert canvas.y0 <= box.y0, f"{text!r} leaves the sheet"
        assert box.x1 <= canvas.x1, f"{text!r} leaves the sheet"
        assert box.y1 <= canvas.y1, f"{text!r} leaves the sheet"
        for other_text, other in boxes[i + 1 :]:
            assert not box.overlaps(other), f"{text!r} overlaps {other_text!r}"


def said(sheet: Sheet) -> str:
    return "\n".join(text.get_text() for text in visible_texts(sheet))


def visible_texts(sheet: Sheet) -> list[Text]:
    ticks = {id(label): shown for axis in _axes(sheet) for label, shown in _tick_labels(axis)}
    texts: list[Any] = sheet.figure.findobj(Text)
    return [t for t in texts if t.get_visible() and t.get_text() and ticks.get(id(t), True)]


def _with_margin(text: Text) -> Bbox:
    """The text's box and the space it needs beside it, so that two numbers do not run together."""
    box = text.get_window_extent()
    return Bbox.from_extents(box.x0 - 4, box.y0, box.x1 + 4, box.y1)


def _axes(sheet: Sheet) -> list[Axis]:
    return [axis for axes in sheet.figure.axes for axis in (axes.xaxis, axes.yaxis)]


def _tick_labels(axis: Axis) -> list[tuple[Text, bool]]:
    """matplotlib keeps labels for ticks beyond the ends of an axis, and does not draw them."""
    low, high = sorted(axis.get_view_interval())
    return [
        (label, low <= tick.get_loc() <= high)
        for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]
        for label in (tick.label1, tick.label2)
    ]
