"""What a cell shows while an arm runs: the arm under test is named, not only the experiment."""

import asyncio
import base64
import re
from functools import partial
from typing import Any

import pytest

from helpers.lab import Run
from helpers.lessons import running
from helpers.report.outputs import showing_in
from helpers.report.palette import MUTED, looks
from tests.report.makers import serial

WARM, GRAY = looks(["wrong"])["wrong"].text, MUTED


async def wrong(url: str) -> None: ...


async def shared(url: str, handle: Any, often: int = 1) -> None: ...


class Caller:
    async def __call__(self, url: str) -> None: ...


@pytest.mark.parametrize(
    ("arm", "args", "title", "color"),
    [
        (wrong, (), "wrong", WARM),
        (shared, (), "shared", GRAY),
        (shared, (wrong, 2), "shared: wrong", WARM),
        (partial(shared, handle=wrong), (), "shared: wrong", WARM),
        (shared, (partial(wrong, "any"),), "shared: wrong", WARM),
        (Caller(), (["text"],), "Caller", GRAY),
    ],
)
def test_the_trace_is_named_and_colored_by_what_is_tried(
    arm: Any, args: tuple[Any, ...], title: str, color: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run_arm(*_: Any, **__: Any) -> Run:
        return serial()

    frames: list[tuple[str, str]] = []
    monkeypatch.setattr(running, "run_arm", run_arm)
    with showing_in(lambda page, text: frames.append((page, text))):
        asyncio.run(running.run(arm, None, *args))
    [(page, text)] = frames
    assert text.startswith(f"{title} · ")
    assert f'fill="{color}" font-weight="bold"' in _svg(page)


def _svg(page: str) -> str:
    encoded = re.search(r'base64,([^"]+)"', page)
    assert encoded
    return base64.b64decode(encoded[1]).decode()
