"""The what-if panel: what its buttons and sliders do, without a browser."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from ipywidgets import HTML, Button, FloatSlider, IntSlider

from helpers.lab import ArmError, Failure, Run
from helpers.lessons.running import compare
from helpers.lessons.what_if import WhatIf
from helpers.report import VerdictFailed, bars, table
from tests.report.makers import compare as made
from tests.report.makers import concurrent, serial


class Panel:
    """A panel through its widgets."""

    def __init__(self, what_if: WhatIf) -> None:
        controls, self._result = what_if.form.children
        *self.sliders, self.button, self.stop = controls.children
        assert isinstance(self.button, Button)
        assert isinstance(self._result, HTML)

    @property
    def shown(self) -> str:
        return str(self._result.value)

    async def over(self) -> None:
        while self.button.disabled or not self.shown:
            await asyncio.sleep(0.01)


def click_and_wait(what_if: WhatIf) -> str:
    """What the panel shows after a click."""

    async def go() -> str:
        panel = Panel(what_if)
        panel.button.click()
        await panel.over()
        return panel.shown

    return asyncio.run(asyncio.wait_for(go(), 60))


class Page:
    def _repr_html_(self) -> str:
        return "<b>as HTML</b>"


class Bundle:
    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        return {"text/html": "<b>as a bundle</b>"}


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: table(made(serial(), concurrent())), "peak requests in flight</th>"),
        (lambda: bars({"wrong": 1}, unit="s", caption="one second"), 'alt="one second"'),
        (Page, "<b>as HTML</b>"),
        (Bundle, "<b>as a bundle</b>"),
        (lambda: "1 < 2", "1 &lt; 2"),
        (lambda: None, "<div"),
    ],
)
def test_it_shows_what_a_notebook_would_show(make: Callable[[], Any], expected: str) -> None:
    async def experiment() -> Any:
        return make()

    assert expected in click_and_wait(WhatIf(experiment))


def failed() -> ArmError:
    run = Run("wrong", "raised", 1.0, limit=5.0, backend="asyncio")
    return ArmError(run, Failure("ReadTimeout", "no answer", None, ""))


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (failed(), "wrong raised ReadTimeout: no answer"),
        (ValueError("share must be < 1"), "share must be &lt; 1"),
        (OSError("no port"), "no port"),
        (RuntimeError("killed"), "killed"),
        (VerdictFailed("1 of 2 claims failed"), "1 of 2 claims failed"),
        (KeyError(), "KeyError"),
    ],
)
def test_an_error_is_text_and_the_button_stays_usable(error: Exception, expected: str) -> None:
    async def experiment(calls: int) -> Any:
        raise error

    what_if = WhatIf(experiment, calls=(1, 12, 1))
    assert expected in click_and_wait(what_if)
    assert expected in click_and_wait(what_if)


def test_sliders_of_whole_numbers_and_of_shares() -> None:
    seen: list[dict[str, float]] = []

    async def experiment(**values: float) -> Any:
        seen.append(values)

    what_if = WhatIf(experiment, calls=(0, 40, 10, 5), hung_share=(0.0, 0.5, 0.1), s=(0, 1, 0.2))
    calls, share, s = Panel(what_if).sliders
    assert isinstance(calls, IntSlider)
    assert isinstance(share, FloatSlider)
    assert isinstance(s, FloatSlider)
    assert (calls.min, calls.max, calls.value, calls.step) == (0, 40, 10, 5)
    assert (share.min, share.max, share.value, share.description) == (0, 0.5, 0.1, "hung share")
    share.value = 0.25
    click_and_wait(what_if)
    assert seen == [{"calls": 10, "hung_share": 0.25, "s": 0.2}]


def test_a_click_while_it_runs_does_nothing() -> None:
    started = []

    async def experiment() -> Any:
        started.append(1)
        await asyncio.sleep(0.05)

    async def go() -> None:
        panel = Panel(WhatIf(experiment))
        for _ in range(3):
            panel.button.click()
            await asyncio.sleep(0)
        await panel.over()
        panel.button.click()
        await panel.over()

    asyncio.run(go())
    assert len(started) == 2


def test_stop_ends_the_arms_and_leaves_the_button_usable() -> None:
    gone = []

    async def experiment() -> Any:
        try:
            await asyncio.sleep(3600)
        finally:
            gone.append(1)

    async def go() -> None:
        panel = Panel(WhatIf(experiment))
        panel.stop.click()  # nothing runs: nothing happens
        for times in (1, 2):
            panel.button.click()
            await asyncio.sleep(0.02)
            assert (panel.button.disabled, panel.stop.disabled) == (True, False)
            panel.stop.click()
            await panel.over()
            assert panel.shown == "Stopped."
            assert len(gone) == times

    asyncio.run(asyncio.wait_for(go(), 60))


async def waits() -> None:
    await asyncio.sleep(0.3)


def test_the_arms_are_shown_in_the_panel_while_they_run(capsys: pytest.CaptureFixture[str]) -> None:
    async def experiment() -> Any:
        return table(await compare(None, repeats=1, a=waits, b=waits))

    async def go() -> list[str]:
        panel = Panel(WhatIf(experiment))
        frames: list[str] = []
        panel._result.observe(lambda change: frames.append(change["new"]), "value")
        panel.button.click()
        await panel.over()
        return frames

    frames = asyncio.run(asyncio.wait_for(go(), 60))
    assert any("<svg" in frame and "a, 1 of 1" in frame for frame in frames)
    assert "<table" in frames[-1]
    assert capsys.readouterr().out == ""  # and nowhere else
