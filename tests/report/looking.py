"""Looks at a drawn figure through its texts."""

from __future__ import annotations

from typing import Any

from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox


def assert_readable(figure: Figure) -> None:
    """No text overlaps another or leaves the figure, and all are at least 9 points high."""
    texts = visible_texts(figure)
    boxes = [(text.get_text(), _with_margin(text)) for text in texts]
    paper = figure.bbox
    for i, (text, box) in enumerate(boxes):
        assert paper.x0 <= box.x0, f"{text!r} leaves the figure"
        assert paper.y0 <= box.y0, f"{text!r} leaves the figure"
        assert box.x1 <= paper.x1, f"{text!r} leaves the figure"
        assert box.y1 <= paper.y1, f"{text!r} leaves the figure"
        for other_text, other in boxes[i + 1 :]:
            assert not box.overlaps(other), f"{text!r} overlaps {other_text!r}"
    assert min(float(text.get_fontsize()) for text in texts) >= 9


def texts_of(figure: Figure) -> str:
    return "\n".join(text.get_text() for text in visible_texts(figure))


def visible_texts(figure: Figure) -> list[Text]:
    ticks = {id(label): shown for axis in _axes(figure) for label, shown in _tick_labels(axis)}
    texts: list[Any] = figure.findobj(Text)
    return [t for t in texts if t.get_visible() and t.get_text() and ticks.get(id(t), True)]


def _with_margin(text: Text) -> Bbox:
    """The text's box with some space at its sides, so that two numbers do not run together."""
    # An annotation's own window extent includes its leader.
    box = Text.get_window_extent(text)
    return Bbox.from_extents(box.x0 - 4, box.y0, box.x1 + 4, box.y1)


def _axes(figure: Figure) -> list[Axis]:
    return [axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)]


def _tick_labels(axis: Axis) -> list[tuple[Text, bool]]:
    """matplotlib keeps labels for ticks beyond the ends of an axis, and does not draw them."""
    low, high = sorted(axis.get_view_interval())
    return [
        (label, low <= tick.get_loc() <= high)
        for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]
        for label in (tick.label1, tick.label2)
    ]
