"""Panes in which answers type themselves side by side."""

import asyncio
from time import monotonic

import pytest

from helpers.report import Panes


class Frames:
    def __init__(self) -> None:
        self.pages: list[str] = []
        self.texts: list[str] = []

    def __call__(self, page: str, text: str) -> None:
        self.pages.append(page)
        self.texts.append(text)


def test_the_last_frame_shows_every_text_and_its_timing() -> None:
    frames = Frames()

    async def type_out() -> None:
        with Panes("wrong", "right", sink=frames) as panes:
            show = panes.reader("right")
            for text in ("The ", "sea & ", "<sand>"):
                await show(text)
            await panes.reader("wrong")("All at once.")

    asyncio.run(type_out())
    page, text = frames.pages[-1], frames.texts[-1]
    assert "The sea &amp; &lt;sand&gt;" in page
    assert "All at once." in page
    assert "in 3 pieces" in text
    assert "in 1 piece" in text
    assert "nothing to read yet" in frames.texts[0]


def test_there_are_at_most_eight_frames_a_second() -> None:
    frames = Frames()

    async def type_out() -> float:
        start = monotonic()
        with Panes("right", sink=frames) as panes:
            show = panes.reader("right")
            for _ in range(300):
                await show("word ")
                await asyncio.sleep(0.001)
        return monotonic() - start

    seconds = asyncio.run(type_out())
    assert len(frames.pages) <= 8 * seconds + 2
    assert frames.pages[-1].count("word ") == 300


def test_a_pane_that_stays_empty_is_drawn() -> None:
    frames = Frames()
    with Panes("wrong", sink=frames):
        pass
    assert "nothing to read yet" in frames.pages[-1]


def test_an_unknown_pane_is_an_error() -> None:
    with pytest.raises(KeyError):
        Panes("wrong", sink=Frames()).reader("right")
