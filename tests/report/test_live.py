"""Frames as a sink receives them. Time is a number that the test moves."""

import base64
import re
import sys
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import pytest

from helpers.lab.run import Block, Run, Snapshot, Stall, Where
from helpers.report import LiveView, live
from helpers.report.frame import stalled_shares
from helpers.report.palette import BLOCKED, MUTED, looks
from tests.report.makers import LINE, busy, concurrent, flaky, hung, limited, raised, serial

SVG = "{http://www.w3.org/2000/svg}"


class Screen:
    """A sink that keeps what it was shown."""

    def __init__(self) -> None:
        self.frames: list[tuple[str, str]] = []

    def __call__(self, page: str, text: str) -> None:
        self.frames.append((page, text))


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(live, "monotonic", clock)
    return clock


def _last(page: str) -> ElementTree.Element:
    """The SVG of a last frame, which is an image."""
    encoded = re.search(r"base64,([^\"]+)\"", page)
    assert encoded
    return ElementTree.fromstring(base64.b64decode(encoded[1]))  # noqa: S314 - made above


def _source(page: str) -> str:
    return ElementTree.tostring(_last(page), encoding="unicode")


def _words(page: str) -> list[str]:
    """The texts of a last frame."""
    return ["".join(text.itertext()) for text in _last(page).iter(f"{SVG}text")]


def _finished(run: Run, title: str | None = None) -> tuple[str, str]:
    screen = Screen()
    LiveView(run.arm, run.limit, title, sink=screen).finish(run)
    [frame] = screen.frames
    return frame


def test_at_most_eight_frames_a_second(clock: Clock) -> None:
    screen = Screen()
    view = LiveView("wrong", 20.0, sink=screen)
    for i in range(1000):
        clock.now = 100.0 + i / 1000
        view.update(Snapshot(elapsed=i / 1000))
    assert len(screen.frames) == 8


def test_the_last_frame_is_always_drawn(clock: Clock) -> None:
    screen = Screen()
    view = LiveView("wrong", 20.0, sink=screen)
    view.update(Snapshot(elapsed=3.9))
    view.update(Snapshot(elapsed=3.9))
    view.finish(serial())
    assert len(screen.frames) == 2
    assert "returned after 3.9 s" in screen.frames[-1][1]


def test_a_view_that_is_stopped_says_so_and_what_it_showed(clock: Clock) -> None:
    screen = Screen()
    view = LiveView("wrong", 20.0, sink=screen)
    view.update(Snapshot(elapsed=0.4, blocked_since=0.1))
    view.stop()
    said = screen.frames[-1][1]
    assert said == "wrong · in flight 0 · answered 0 of 0 · 0.4 s · stopped"
    assert _last(screen.frames[-1][0]).get("aria-label") == said


def test_a_view_that_is_stopped_before_its_first_frame_shows_nothing() -> None:
    screen = Screen()
    LiveView("wrong", 20.0, sink=screen).stop()
    assert screen.frames == []


def test_a_frame_while_the_loop_is_blocked(clock: Clock) -> None:
    screen = Screen()
    snapshot = Snapshot(
        elapsed=0.36,
        requests=serial(1).requests,
        blocked_since=0.05,
        blocked_where=LINE,
    )
    LiveView("wrong", 20.0, "wrong: httpx.post", sink=screen).update(snapshot)
    [(page, text)] = screen.frames
    assert text == (
        "wrong: httpx.post · in flight 0 · answered 1 of 1 · 0.4 s · "
        "blocked now: cell 5, line 4 · 0.31 s"
    )
    picture = ElementTree.fromstring(page)[0]  # noqa: S314 - made above
    assert picture.get("role") == "img"
    assert picture.get("aria-label") == text


def test_a_frame_while_the_loop_is_free(clock: Clock) -> None:
    screen = Screen()
    LiveView("right", 20.0, sink=screen).update(Snapshot(0.2, requests=hung(9, 2).requests))
    assert screen.frames[0][1] == "right · in flight 7 · answered 2 of 9 · 0.2 s · loop free"


@pytest.mark.parametrize(
    ("run", "said"),
    [
        (
            serial(),
            "peak in flight 1 · answered 12 of 12 · returned after 3.9 s · "
            "loop blocked or busy 99 % · cell 5, line 4: httpx.post(…)",
        ),
        (hung(), "answered 3 of 12 · still waiting when the lab gave up after 5 s"),
        (raised(), "answered 2 of 6 · raised ConnectError at cell 5, line 4"),
        (limited(), "answered 8 of 40 · returned after 1 s"),
        (busy(), "returned after 0.39 s · loop blocked or busy 51 %"),
    ],
)
def test_the_last_frame_says_how_it_ended(run: Run, said: str) -> None:
    page, text = _finished(run)
    assert said in text
    assert f'alt="{text}"' in page
    assert said.split(" · ")[-1] in "".join(_last(page).itertext())


CLIENT = Where("cell 6", 7, "right", "async with httpx.AsyncClient() as client:")


def _delayed(by: float, seconds: float) -> Run:
    """An arm that stalls the loop from its start, and makes its calls ``by`` seconds later."""
    run = concurrent(1)
    requests = tuple(
        replace(
            request,
            arrival=request.arrival + by,
            slot=(request.slot or 0) + by,
            first_token=(request.first_token or 0) + by,
            last_byte=(request.last_byte or 0) + by,
        )
        for request in run.requests
    )
    made = Stall(0.0, seconds, steps=1, blocks=(Block(0.0, seconds, CLIENT, cpu_share=1.0),))
    return replace(run, requests=requests, seconds=run.seconds + by, stalls=(made,))


def test_a_stall_before_the_first_request_is_drawn_and_named() -> None:
    page, text = _finished(_delayed(0.12, 0.124))
    assert f'fill="{BLOCKED}"' in _source(page)
    assert text.endswith(
        " · loop blocked or busy 0 % of the calls"
        " · before the calls: blocked 0.12 s at cell 6, line 7: httpx.AsyncClient(…)"
    )


def test_a_line_that_blocked_during_the_calls_stands_before_what_happened_outside() -> None:
    run = serial()
    made = Stall(-0.5, 0.4, steps=1, blocks=(Block(-0.5, 0.4, CLIENT, cpu_share=1.0),))
    run = replace(run, stalls=(replace(made, start=0.0), *run.stalls), requests=run.requests[4:])
    assert _finished(run)[1].endswith(
        "of the calls · cell 5, line 4: httpx.post(…) · before the calls: blocked 1.7 s"
    )


def test_a_stall_after_the_last_answer_is_named() -> None:
    late = replace(serial(1), seconds=1.0, stalls=(Stall(0.5, 0.4, steps=30),))
    said = "loop blocked or busy 0 % of the calls · after the calls: busy 0.40 s"
    assert _finished(late)[1].endswith(said)


def test_heartbeats_are_all_drawn_or_the_legend_says_that_some_are_not() -> None:
    """One in 20 ms: on four seconds there is room for each, on twenty there is not."""
    for run, name in (
        (concurrent(), "heartbeat"),
        (hung(limit=4.0), "heartbeat"),
        (hung(limit=20.0), "heartbeat (some left out)"),
    ):
        page, _ = _finished(run)
        assert [words for words in _words(page) if words.startswith("heartbeat")] == [name]
        [drawn] = re.findall(r'd="((?:M[\d.]+ [\d.]+v12)+)"', _source(page))
        assert (drawn.count("v12") == len(run.beats)) == (name == "heartbeat")


def test_a_status_is_not_cut_off() -> None:
    late = Stall(0.55, 0.2, steps=1)
    both = _delayed(0.12, 0.124)
    both = replace(both, outcome="gave up", seconds=0.8, stalls=(*both.stalls, late))
    for run in (both, _delayed(0.12, 0.124), serial(), raised(), hung()):
        assert not any("…" in words.replace("(…)", "") for words in _words(_finished(run)[0]))


@pytest.mark.parametrize(
    ("run", "marks"),
    [
        (concurrent(), set()),
        (concurrent(12, slots=4), {"queued"}),
        (limited(), {"error answer"}),
        (flaky(), {"broken off"}),
        (raised(), {"client left"}),
        (hung(), {"unanswered"}),
    ],
)
def test_the_legend_explains_the_marks_that_are_drawn(run: Run, marks: set[str]) -> None:
    always = {"waiting for the first token", "generating", "loop blocked or busy", "heartbeat"}
    words = set(_words(_finished(run)[0]))
    every = {"queued", "error answer", "broken off", "client left", "unanswered"}
    assert words & (every | always) == marks | always


def test_every_frame_has_the_same_size(clock: Clock) -> None:
    sizes = {_last(_finished(run)[0]).get("viewBox") for run in (serial(1), concurrent(200))}
    assert len(sizes) == 1


@pytest.mark.parametrize("calls", [0, 1, 12, 40, 200, 1000])
def test_all_lanes_stay_inside_the_panel(calls: int) -> None:
    tree = _last(_finished(concurrent(calls, slots=16))[0])
    drawn = " ".join(path.get("d", "") for path in tree.iter(f"{SVG}path"))
    points = [(float(x), float(y)) for x, y in re.findall(r"M([\d.]+) ([\d.]+)", drawn)]
    assert all(0 <= x <= 900 and 0 <= y <= 366 for x, y in points)


def test_a_learners_text_is_escaped(clock: Clock) -> None:
    screen = Screen()
    bad = '</text><script>alert("1")</script>'
    view = LiveView(bad, 20.0, sink=screen)
    where = replace(LINE, file=bad, code=bad)
    view.update(Snapshot(0.3, blocked_since=0.1, blocked_where=where))
    view.finish(serial(where=where))
    for page, _ in screen.frames:
        assert "<script" not in page
    tree = _last(screen.frames[-1][0])
    assert not list(tree.iter(f"{SVG}script"))


def test_a_frame_has_no_style_sheet_and_no_script(clock: Clock) -> None:
    screen = Screen()
    LiveView("wrong", 20.0, sink=screen).update(Snapshot(0.3, requests=serial().requests))
    tags = {element.tag for element in ElementTree.fromstring(screen.frames[0][0]).iter()}  # noqa: S314
    assert tags <= {"div", *(SVG + tag for tag in ("svg", "g", "rect", "path", "text", "circle"))}


def test_no_stall_is_lost_between_bins() -> None:
    stalls = [Stall(3.0001, 0.001, steps=1), Stall(5.0, 1.0, steps=1)]
    shares = stalled_shares(stalls, span=14.0)
    assert shares[30] == pytest.approx(0.01)
    assert shares[50:60] == pytest.approx([1.0] * 10)
    assert sum(shares) == pytest.approx(10.01)


def test_overlapping_stalls_do_not_count_twice() -> None:
    assert max(stalled_shares([Stall(0.0, 1.0, 1), Stall(0.5, 1.0, 1)], span=2.0)) == 1.0


def test_a_pipe_gets_the_last_line_only(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    view = LiveView("wrong", 20.0)
    view.update(Snapshot(0.3))
    assert capsys.readouterr().out == ""
    view.finish(hung())
    assert capsys.readouterr().out == (
        "wrong · peak in flight 12 · answered 3 of 12 · "
        "still waiting when the lab gave up after 5 s · loop blocked or busy 0 %\n"
    )


def test_a_terminal_gets_one_line_that_is_rewritten(
    clock: Clock, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    view = LiveView("wrong", 20.0)
    view.update(Snapshot(0.3))
    view.finish(serial())
    out = capsys.readouterr().out
    assert out.startswith("\rwrong · in flight 0")
    assert out.count("\n") == 1
    assert out.endswith("\n")


def test_a_notebook_gets_an_output_that_is_replaced_and_a_last_picture(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[tuple[str, Any]] = []

    class Handle:
        def update(self, bundle: Any, *, raw: bool) -> None:
            shown.append(("update", bundle))

    def display(bundle: Any, *, raw: bool, display_id: bool = False) -> Handle:
        shown.append(("display", bundle))
        return Handle()

    class Shell:
        kernel = object()

    monkeypatch.setattr("IPython.core.getipython.get_ipython", Shell)
    monkeypatch.setattr("IPython.display.display", display)
    view = LiveView("wrong", 20.0)
    view.update(Snapshot(0.3))
    clock.now += 1
    view.update(Snapshot(1.3))
    view.finish(serial())
    assert [how for how, _ in shown] == ["display", "update", "display", "update"]
    first, _, last, emptied = [bundle for _, bundle in shown]
    assert first["text/html"].startswith("<div")
    assert last["text/html"].startswith("<img")
    assert "\n" not in last["text/plain"]
    assert set(emptied.values()) == {""}


@pytest.mark.parametrize(
    ("arm", "color"),
    [*((arm, look.text) for arm, look in looks(["wrong", "right"]).items()), ("visit", MUTED)],
)
def test_a_wrong_arm_is_warm_a_right_one_cool_and_any_other_gray(arm: str, color: str) -> None:
    screen = Screen()
    LiveView(arm, 20.0, sink=screen).update(Snapshot(0.2, requests=serial(1).requests))
    assert f'fill="{color}" font-weight="bold"' in screen.frames[0][0]
