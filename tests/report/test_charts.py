"""Bars and lines are readable, whatever they have to show: looked at through their texts."""

import io
import math
import warnings
from collections.abc import Callable

import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from PIL import Image

from helpers.report import Picture, Prediction
from helpers.report.figures.charts import bars, lines
from helpers.report.palette import PAPER
from tests.report.looking import assert_readable, texts_of, visible_texts

CAPTION = "132 tokens say the same as 21."
LONG = "prose, the way a polite person writes a letter to a machine, with a preamble and thanks"
GROUPED = {
    "prose": {"chars ÷ 4": 71, "tokens": 53},
    "minified JSON": {"chars ÷ 4": 120, "tokens": 198},
    "Chinese": {"chars ÷ 4": 12, "tokens": 41},
}
BARS: dict[str, Callable[[], Picture]] = {
    "one": lambda: bars({"wrong": 132}, unit="tokens", caption=CAPTION),
    "two arms": lambda: bars({"wrong": 132, "right": 21}, unit="tokens", caption=CAPTION),
    "no arms": lambda: bars({"whole": 5, "window": 2}, unit="turns", caption=CAPTION),
    "groups": lambda: bars(GROUPED, unit="tokens", caption=CAPTION, title="Say it short"),
    "ten groups of four": lambda: bars(
        {f"group {i}": {"a": i * 1e5, "b": i, "c": 0.5, "d": 0} for i in range(10)},
        unit="US$ a year",
        caption=CAPTION,
    ),
    "magnitudes": lambda: bars({"a": 1e-6, "b": 1, "c": 1.5e9}, unit="bytes", caption=CAPTION),
    "zeros": lambda: bars({"a": 0, "b": 0.0}, unit="429s", caption=CAPTION),
    "below zero": lambda: bars({"a": -60, "b": 12, "c": 0}, unit="% off", caption=CAPTION),
    "all below zero": lambda: bars({"a": -60, "b": -1}, unit="% off", caption=CAPTION),
    "unknown": lambda: bars({"a": math.nan, "b": 12}, unit="s", caption=CAPTION),
    "long names": lambda: bars(
        {LONG: {LONG: 1, "two": 2}, "🙂 中文": {LONG: 3}},
        unit="tokens",
        caption=CAPTION,
        title=LONG,
    ),
    "predicted": lambda: bars(
        {"wrong": 132, "right": 21},
        unit="tokens",
        caption=CAPTION,
        prediction=Prediction("wrong", 90, "tokens"),
    ),
    "predicted far beyond": lambda: bars(
        {"wrong": 0.31, "right": 0.021},
        unit="s",
        caption=CAPTION,
        prediction=Prediction("right", 1e6),
    ),
}
TURNS = range(1, 26)
LINES: dict[str, Callable[[], Picture]] = {
    "two": lambda: lines(
        {
            "whole history": [(i, 50 + 40 * i * i) for i in TURNS],
            "window": [(i, min(2_000, 50 + 300 * i)) for i in TURNS],
        },
        x="turn",
        y="prompt tokens",
        caption=CAPTION,
        title="What a conversation costs",
        marks={"context window": 16_000},
    ),
    "the same end": lambda: lines(
        {name: [(0, 0), (10, 5)] for name in ("a", "b", "c", LONG, "d", "e")},
        x="calls",
        y="requests",
        caption=CAPTION,
        marks={"limit": 5, "quota": 5.01},
    ),
    "all zero": lambda: lines({"429s": [(1, 0), (2, 0)]}, x="x", y="y", caption=CAPTION),
    "one point": lambda: lines({"a": [(1, 0.0123)]}, x="x", y="y", caption=CAPTION),
    "ends early": lambda: lines(
        {"a": [(1, 1), (5, 9)], "b": [(1, 2), (50, 3)]}, x="x", y="y", caption=CAPTION
    ),
    "logarithmic": lambda: lines(
        {"a": [(1, 2), (1000, 40_000)], "b": [(1, 1), (1000, 14)]},
        x="clients",
        y="requests",
        caption=CAPTION,
        log_x=True,
        log_y=True,
    ),
    "logarithmic with zero": lambda: lines(
        {"a": [(0, 0), (10, 300)], "b": [(0, 0), (10, 0)]},
        x="x",
        y="y",
        caption=CAPTION,
        log_x=True,
        log_y=True,
    ),
    "logarithmic, far apart": lambda: lines(
        {"a": [(1e-3, 1e-3), (1e9, 1e9)], "b": [(1, 1), (2e8, 2e8)]},
        x="x",
        y="y",
        caption=CAPTION,
        log_x=True,
        log_y=True,
    ),
    "logarithmic, close together": lambda: lines(
        {"a": [(12, 14), (13, 19)]}, x="x", y="y", caption=CAPTION, log_x=True, log_y=True
    ),
    "many points": lambda: lines(
        {"herd": [(i / 10, i % 100) for i in range(2_000)]}, x="x", y="y", caption=CAPTION
    ),
    "below zero": lambda: lines({"a": [(-1, -5e6), (1, 5e6)]}, x="x", y="y", caption=CAPTION),
}
ALL = BARS | {f"lines, {name}": make for name, make in LINES.items()}


def _bars(chart: Figure) -> list[Patch]:
    return [bar for bar in chart.axes[0].patches if bar.get_window_extent().width > 0]


@pytest.mark.parametrize("name", ALL)
def test_no_text_overlaps_another_or_leaves_the_chart(name: str, drawn: list[Figure]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ALL[name]()
    assert_readable(drawn[0])


@pytest.mark.parametrize("name", ALL)
def test_png_is_small_and_sharp_and_carries_its_caption(name: str) -> None:
    picture = ALL[name]()
    assert len(picture.png) < 60_000
    with Image.open(io.BytesIO(picture.png)) as image:
        assert image.width == pytest.approx(1.5 * picture.width, abs=2)
    data, metadata = picture._repr_mimebundle_()
    assert metadata["image/png"]["alt"] == data["text/plain"] == CAPTION
    assert f"<figcaption>{CAPTION}</figcaption>" in data["text/html"]


def test_every_bar_has_its_value_and_every_series_its_entry(drawn: list[Figure]) -> None:
    BARS["groups"]()
    texts = texts_of(drawn[0]).splitlines()
    for text in ("71", "53", "120", "198", "12", "41", "prose", "minified JSON", "Chinese"):
        assert text in texts
    assert texts.count("chars ÷ 4") == 1  # in the legend
    assert "Say it short" in texts


def test_bars_are_as_long_as_their_values(drawn: list[Figure]) -> None:
    BARS["two arms"]()
    wrong, right = (bar.get_window_extent().width for bar in _bars(drawn[0]))
    assert wrong / right == pytest.approx(132 / 21)


def test_series_differ_in_hatch_as_well_as_color(drawn: list[Figure]) -> None:
    BARS["ten groups of four"]()
    looks = {(bar.get_facecolor(), bar.get_hatch()) for bar in _bars(drawn[0])}
    assert len({color for color, _ in looks}) == len({hatch for _, hatch in looks}) == 3


def test_a_value_that_is_not_zero_is_visible(drawn: list[Figure]) -> None:
    BARS["magnitudes"]()
    assert len(_bars(drawn[0])) == 3
    assert min(bar.get_window_extent().width for bar in _bars(drawn[0])) >= 1


def test_a_prediction_is_below_its_bar_and_an_arrow_beyond_the_axis(
    drawn: list[Figure],
) -> None:
    BARS["predicted"]()
    BARS["predicted far beyond"]()
    assert "you predicted 90 tokens" in texts_of(drawn[0])
    assert "you predicted 1,000,000 s →" in texts_of(drawn[1])
    assert drawn[1].axes[0].get_xlim()[1] < 1


def test_an_unknown_value_has_no_bar(drawn: list[Figure]) -> None:
    BARS["unknown"]()
    assert len(_bars(drawn[0])) == 1
    assert "–" in texts_of(drawn[0]).splitlines()


def test_lines_are_named_at_their_ends(drawn: list[Figure]) -> None:
    LINES["two"]()
    (axes,) = drawn[0].axes
    by_name = {text.get_text(): text.get_window_extent() for text in visible_texts(drawn[0])}
    _, *plotted = axes.lines
    for name, line in zip(("whole history", "window"), plotted, strict=True):
        x, y = axes.transData.transform(line.get_xydata()[-1])  # type: ignore[index]
        assert by_name[name].x0 > x
        assert by_name[name].y0 < y < by_name[name].y1
    assert "context window: 16,000" in by_name


def test_lines_differ_in_dash_and_marker_as_well_as_color(drawn: list[Figure]) -> None:
    LINES["two"]()
    _, one, other = drawn[0].axes[0].lines
    assert one.get_marker() != other.get_marker()
    assert str(one._dash_pattern) != str(other._dash_pattern)  # type: ignore[attr-defined]


def test_a_logarithmic_axis_shows_zero(drawn: list[Figure]) -> None:
    LINES["logarithmic with zero"]()
    assert "0" in texts_of(drawn[0]).splitlines()


def test_an_axis_of_counts_begins_at_zero(drawn: list[Figure]) -> None:
    LINES["two"]()
    assert drawn[0].axes[0].get_ylim()[0] == 0


@pytest.mark.parametrize(
    "make",
    [
        lambda c: bars({}, unit="s", caption=c),
        lambda c: bars({"a": {}}, unit="s", caption=c),
        lambda c: lines({}, x="x", y="y", caption=c),
        lambda c: lines({"a": []}, x="x", y="y", caption=c),
        lambda c: lines({"a": [(1, math.nan)]}, x="x", y="y", caption=c),
    ],
)
def test_nothing_to_draw_is_an_error(make: Callable[[str], Picture]) -> None:
    with pytest.raises(ValueError, match="nothing to draw"):
        make(CAPTION)


def test_a_picture_needs_a_caption() -> None:
    with pytest.raises(ValueError, match="caption"):
        bars({"a": 1}, unit="s", caption=" ")


def test_paper_is_white() -> None:
    with Image.open(io.BytesIO(BARS["one"]().png)) as image:
        corner = image.convert("RGB").getpixel((0, 0))
    assert corner == tuple(round(255 * c) for c in to_rgb(PAPER))
