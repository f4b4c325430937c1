"""The figure is readable, whatever it has to show: looked at through its texts and its bytes."""

import base64
import io
import warnings
from dataclasses import replace
from typing import Any

import pytest
from matplotlib import style
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from PIL import Image

from helpers.lab.run import Block, Comparison, Run, Stall, Where
from helpers.report import Prediction, seconds, sentence
from helpers.report.drawing import Number
from helpers.report.figures.figure import figure
from helpers.report.palette import PAPER
from tests.report.looking import assert_readable, texts_of, visible_texts
from tests.report.makers import (
    beats,
    busy,
    compare,
    concurrent,
    flaky,
    hung,
    limited,
    raised,
    serial,
)

LONG = "wrong: a very long-winded title of an arm that says everything there is to say about it"
ODD = Where("cell 5", 4, "ask", "price = f'$5 and $6 for 中文 and 🙂 by " + "x" * 90 + "(1)'")
EVERYTHING = replace(
    serial(2),
    requests=tuple(
        request
        for run in (serial(2), concurrent(4, slots=2), limited(), flaky(), raised(), hung())
        for request in run.requests
    ),
    stalls=(*serial(2).stalls, *(replace(s, start=s.start + 2) for s in busy().stalls)),
    beats=beats(3.0),
    outcome="gave up",
    seconds=5.0,
)
SHOWN: dict[str, Comparison | Run] = {
    "one request": serial(1),
    "one arm": serial(),
    "five arms": compare(*(limited(name) for name in ("a", "b", "c", "d", "right"))),
    "two arms": compare(serial(), concurrent()),
    "three arms": compare(serial(), concurrent(), concurrent(arm="http2", slots=4)),
    "four arms": compare(serial(), concurrent(), hung(arm="c"), limited("d")),
    "60 requests": compare(serial(60), concurrent(60)),
    "200 requests": compare(serial(200), concurrent(200, slots=16)),
    "different numbers": compare(limited(), concurrent()),
    "hung": compare(hung(), concurrent(), hung(arm="third", limit=1.25)),
    "hung from the start": compare(hung(1, 0), hung(1, 0, arm="right")),
    "raised": compare(raised(), concurrent()),
    "broken off": compare(flaky(), concurrent()),
    "busy": compare(busy(), concurrent(0)),
    "nothing at all": replace(concurrent(0), seconds=0.0, beats=()),
    "no loop": replace(concurrent(3), backend="none", beats=()),
    "unknown loops": compare(
        *(replace(concurrent(3, arm), backend="unknown", beats=()) for arm in ("wrong", "right"))
    ),
    "odd line": compare(serial(where=ODD), serial(3, arm="right", where=ODD)),
    "short and long": compare(hung(limit=60.0), concurrent()),
    "everything at once": EVERYTHING,
    "long name": compare(serial(arm="a_rather_long_name_" * 4), concurrent()),
}


@pytest.mark.parametrize("name", SHOWN)
@pytest.mark.parametrize("predicted", [None, 0.36, 1e6])
def test_no_text_overlaps_another_or_a_panel_or_leaves_the_canvas(
    name: str, predicted: float | None, drawn: list[Figure]
) -> None:
    prediction = None if predicted is None else Prediction("right", predicted)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure(SHOWN[name], prediction=prediction, titles={"wrong": LONG})
    assert len(visible_texts(drawn[0])) > 8
    assert_readable(drawn[0])
    for label in drawn[0].texts:
        for axes in drawn[0].axes:
            box = label.get_window_extent()
            assert not box.overlaps(axes.bbox), f"{label.get_text()!r} lies on a panel"


NUMBERS: list[Number] = [
    ("TCP connections", lambda run: 40),
    ("TLS handshakes", lambda run: 0.0521),
    ("all the work was done after", lambda run: seconds(run.makespan)),
]


@pytest.mark.parametrize("name", SHOWN)
def test_a_lessons_own_numbers_are_readable(name: str, drawn: list[Figure]) -> None:
    unit = "TCP connections that the server counted, " * 3
    figure(SHOWN[name], prediction=Prediction("right", 12, unit), numbers=NUMBERS)
    assert_readable(drawn[0])
    texts = texts_of(drawn[0]).replace("\n", " ")
    assert "40" in texts
    assert "0.0521" in texts
    assert "peak in flight" not in texts


def test_a_lessons_own_numbers_are_the_medians_of_a_table(drawn: list[Figure]) -> None:
    shown = compare(serial(), concurrent())
    waits = dict(zip((run.makespan for run in shown.arms["wrong"]), (0.7, 0.9, 0.8), strict=True))
    numbers: list[Number] = [("wait", lambda run: waits.get(run.makespan, 0.1))]
    assert "wrong: 0.8 wait" in figure(shown, numbers=numbers).alt
    assert "0.8" in texts_of(drawn[0]).split()


def test_numbers_too_wide_for_the_column_become_smaller_and_are_cut(drawn: list[Figure]) -> None:
    wide: list[Number] = [(f"label {i}", lambda run: "1,234,567,890 tokens") for i in range(3)]
    figure(SHOWN["three arms"], numbers=wide)
    assert_readable(drawn[0])


def test_a_prediction_in_another_unit_is_written_below_the_numbers(drawn: list[Figure]) -> None:
    shown = compare(serial(), concurrent())
    figure(shown, prediction=Prediction("wrong", 12, "connections"), numbers=NUMBERS)
    figure(shown)
    assert "you predicted 12 connections" in texts_of(drawn[0])
    assert [len(axes.lines) for axes in drawn[0].axes] == [
        len(axes.lines) for axes in drawn[1].axes
    ]  # no line on the time axis


def test_more_than_three_arms_are_in_rows_as_wide_as_a_notebook(drawn: list[Figure]) -> None:
    arms = [concurrent(arm=name) for name in "abcde"]
    widths = {figure(compare(*arms[:count])).width for count in (2, 3, 4, 5)}
    assert widths == {900}
    tops = [axes.get_position().y1 for axes in drawn[-1].axes[::2]]
    assert tops[:3] == [tops[0]] * 3
    assert max(tops[3:]) < tops[0]


@pytest.mark.parametrize("name", SHOWN)
def test_png_is_small_and_sharp(name: str) -> None:
    picture = figure(SHOWN[name])
    assert len(picture.png) < 60_000
    with Image.open(io.BytesIO(picture.png)) as image:
        image.load()
        assert image.format == "PNG"
        assert image.width == pytest.approx(1.5 * picture.width, abs=2)


def test_bundle_carries_the_sentence_and_the_image() -> None:
    comparison = compare(serial(), concurrent())
    picture = figure(comparison)
    data, metadata = picture._repr_mimebundle_()
    said = sentence(comparison)
    assert picture.alt == data["text/plain"] == repr(picture) == said
    assert metadata["image/png"]["alt"] == said
    assert base64.b64decode(data["image/png"]) == picture.png
    assert f'alt="{said}"' in data["text/html"]
    assert f"<figcaption>{said}</figcaption>" in data["text/html"]
    assert data["image/png"] in data["text/html"]


def test_names_are_escaped() -> None:
    data, _ = figure(serial(arm='<script>"x"'))._repr_mimebundle_()
    assert "<script" not in data["text/html"]
    assert 'alt="&lt;script&gt;&quot;x&quot;' in data["text/html"]


def test_it_names_the_numbers_and_the_guilty_line(drawn: list[Figure]) -> None:
    figure(
        compare(serial(), concurrent()),
        prediction=Prediction("wrong", 1.5),
        titles={"right": "right: one client"},
    )
    texts = texts_of(drawn[0])
    for text in (
        "wrong",
        "right: one client",
        "99 %",
        "3.8 s",
        "0.35 s",
        "you predicted 1.5 s",
        "blocked 0.32 s here, 12 times (waiting)",
        "cell 5, line 4: httpx.post(…)",
        "blocked: one long step",
    ):
        assert text in texts


def test_prediction_beyond_the_axis_is_an_arrow(drawn: list[Figure]) -> None:
    figure(compare(serial(), concurrent()), prediction=Prediction("wrong", 100.0))
    assert "you predicted 100 s →" in texts_of(drawn[0])
    assert drawn[0].axes[0].get_xlim()[1] < 5


def test_all_columns_share_one_time_axis(drawn: list[Figure]) -> None:
    figure(SHOWN["three arms"])
    assert len({axes.get_xlim() for axes in drawn[0].axes}) == 1


def test_each_column_may_have_a_time_axis_of_its_own(drawn: list[Figure]) -> None:
    figure(SHOWN["two arms"], own_time=True)
    assert_readable(drawn[0])
    lanes_of_wrong, loop_of_wrong, *of_right = (axes.get_xlim() for axes in drawn[0].axes)
    assert lanes_of_wrong == loop_of_wrong
    assert len(set(of_right)) == 1
    assert of_right[0] != lanes_of_wrong
    assert "seconds since the first request, 3.8 s in all" in texts_of(drawn[0])


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        (hung(), "still waiting when the lab gave up, 5 s after the arm's start"),
        (hung(), "unanswered"),
        (hung(), "> 5 s"),
        (raised(), "raised ConnectError at cell 5, line 4"),
        (raised(), "client left"),
        (limited(), "error answer"),
        (flaky(), "broken off"),
        (busy(), "busy: many short steps"),
        (concurrent(0), "no request reached the server"),
        (concurrent(12, slots=4), "queued"),
        (replace(concurrent(3), backend="none", beats=()), "no event loop"),
        (replace(concurrent(3), backend="unknown", beats=()), "event loop not measured"),
    ],
)
def test_it_says_what_went_wrong(run: Run, expected: str, drawn: list[Figure]) -> None:
    figure(run)
    assert expected in texts_of(drawn[0])


def test_loops_of_which_nothing_is_known_have_no_panel(drawn: list[Figure]) -> None:
    figure(SHOWN["unknown loops"], numbers=NUMBERS)
    assert "event\nloop" not in texts_of(drawn[0])
    figure(compare(concurrent(), replace(concurrent(arm="other"), backend="none", beats=())))
    assert "event\nloop" in texts_of(drawn[1])
    assert "no event loop" in texts_of(drawn[1])
    assert (len(drawn[0].axes), len(drawn[1].axes)) == (2, 4)


def test_the_numbers_of_lanes_do_not_lie_on_each_other(drawn: list[Figure]) -> None:
    figure(compare(serial(3), concurrent(120)), numbers=NUMBERS)
    assert_readable(drawn[0])
    few, many = (drawn[0].axes[i].get_yticklabels() for i in (0, 2))
    assert [label.get_text() for label in few] == ["3"]
    assert [label.get_text() for label in many] == ["1", "120"]


def test_the_legend_explains_only_what_is_drawn(drawn: list[Figure]) -> None:
    figure(concurrent())
    texts = texts_of(drawn[0])
    assert "heartbeat" in texts
    for absent in ("queued", "client left", "error answer", "unanswered", "one long step"):
        assert absent not in texts


def test_heartbeats_are_all_drawn_or_the_legend_says_that_some_are_not(
    drawn: list[Figure],
) -> None:
    for run, name in (
        (serial(), "heartbeat"),
        (concurrent(), "heartbeat"),
        (hung(limit=4.0), "heartbeat"),
        (hung(limit=60.0), "heartbeat (some left out)"),
    ):
        figure(compare(run, concurrent(arm="other")))
        names = [text for text in texts_of(drawn[-1]).splitlines() if "heartbeat" in text]
        assert names == [name]
        ticks = len(drawn[-1].axes[1].collections[-1].get_paths())
        start, end = run.window
        beats = sum(start <= beat <= max(end, run.seconds) for beat in run.beats)
        assert (ticks == beats) == (name == "heartbeat"), run.arm


def test_the_legend_shows_each_hatch_that_is_drawn(drawn: list[Figure]) -> None:
    for shown, hatches in (
        (concurrent(), {""}),
        (serial(), {"////"}),
        (compare(serial(), concurrent()), {"", "////"}),
        # There a hatch would be only noise.
        (serial(200), {""}),
    ):
        figure(shown)
        [legend] = drawn[-1].legends
        patches = legend.findobj(Patch)
        waiting = {p.get_hatch() or "" for p in patches if to_hex(p.get_facecolor()) == "#cfcfcf"}
        assert waiting == hatches
        assert texts_of(drawn[-1]).count("waiting for the first token") == 1


def test_a_refused_request_is_not_drawn_as_waiting(drawn: list[Figure]) -> None:
    figure(limited())
    patches: list[Any] = list(drawn[0].axes[0].patches)
    bars = [patch for patch in patches if patch.get_width() > 0]
    refusals = sum(request.status == 429 for request in limited().requests)
    assert sum(to_hex(bar.get_facecolor()) == PAPER for bar in bars) == refusals
    names = [text.get_text() for text in drawn[0].legends[0].get_texts()]
    assert names.count("error answer") == 1


def test_a_moment_is_a_line_in_each_column(drawn: list[Figure]) -> None:
    shown = compare(serial(), concurrent())
    figure(shown, moment=("the batch ended", lambda run: run.window[0] + 0.1))
    for lanes in drawn[0].axes[::2]:
        lines: list[Any] = list(lanes.lines)
        assert [line.get_xdata()[0] for line in lines] == pytest.approx([0.1])
    assert texts_of(drawn[0]).count("the batch ended") == 1


def test_a_short_stall_is_visible(drawn: list[Figure]) -> None:
    """A 5 ms stall on an axis of a minute is still a pixel wide."""
    block = Block(30.0, 0.005, ODD, cpu_share=None)
    stall = Stall(30.0, 0.005, steps=1, blocks=(block,))
    figure(replace(hung(limit=60.0), stalls=(stall,)))
    loop = drawn[0].axes[1]
    [box] = [path.get_extents(loop.transData) for path in loop.collections[0].get_paths()]
    assert box.width >= 0.99


def test_a_block_before_the_first_request_is_not_blamed(drawn: list[Figure]) -> None:
    """Making a client takes 40 ms, but at a time that the figure does not show."""
    client = Where("cell 6", 7, "right", "async with httpx.AsyncClient() as client:")
    made = Stall(0.0, 0.025, steps=1, blocks=(Block(0.0, 0.025, client, cpu_share=1.0),))
    run = replace(concurrent(), stalls=(made,))
    figure(compare(serial(), run))
    assert "AsyncClient" not in texts_of(drawn[0])
    assert "AsyncClient" not in sentence(replace(busy(), stalls=(made, *busy().stalls)))


def test_the_callout_is_not_cut_off(drawn: list[Figure]) -> None:
    """Three narrow columns: there is room for a second line."""
    computing = [
        replace(stall, blocks=tuple(replace(b, cpu_share=0.9) for b in stall.blocks))
        for stall in serial(24).stalls
    ]
    run = replace(serial(24), stalls=tuple(computing))
    figure(compare(concurrent(arm="a"), concurrent(arm="b"), run))
    texts = texts_of(drawn[0]).replace("\n", " ")
    assert "blocked 0.32 s here, 24 times (computing)" in texts


def test_a_momentary_stall_is_drawn_but_blames_no_line(drawn: list[Figure]) -> None:
    block = Block(0.1, 0.012, ODD, cpu_share=None)
    figure(replace(concurrent(), stalls=(Stall(0.1, 0.012, steps=1, blocks=(block,)),)))
    assert "blocked: one long step" in texts_of(drawn[0])
    assert "cell 5" not in texts_of(drawn[0])


def test_a_loop_with_many_short_steps_is_called_busy(drawn: list[Figure]) -> None:
    figure(busy())
    assert "busy: many short steps" in texts_of(drawn[0])
    assert "blocked: one long step" not in texts_of(drawn[0])


def test_long_steps_of_one_stretch_are_separated(drawn: list[Figure]) -> None:
    """A loop that never polls between twelve calls stalls once, and is blocked twelve times."""
    run = serial()
    whole = Stall(0.046, run.seconds - 0.05, steps=12, blocks=run.blocks)
    figure(replace(run, stalls=(whole,)))
    strip = drawn[0].axes[1].collections
    assert len(strip[0].get_paths()) == 1
    assert len(strip[2].get_paths()) == 11


def test_a_lessons_own_style_does_not_change_the_figure() -> None:
    plain = figure(serial()).png
    with style.context("dark_background"):
        assert figure(serial()).png == plain


def test_beats_before_the_first_request_are_left_out(drawn: list[Figure]) -> None:
    run = replace(concurrent(), beats=(-0.01, 0.01, *beats(0.3)[5:]))
    figure(run)
    loop = drawn[0].axes[1]
    boxes = [path.get_extents() for path in loop.collections[-1].get_paths()]
    assert len(boxes) > 5
    assert min(box.x0 for box in boxes) >= 0
