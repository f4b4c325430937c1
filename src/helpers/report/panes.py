"""Answers that type themselves side by side, one pane per arm.

As cheap as the live view: a frame is a page of HTML, and there are at most eight a second.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from time import perf_counter
from types import TracebackType
from typing import Any, Self

from helpers.report.formatting import seconds
from helpers.report.outputs import Sink, default_sinks
from helpers.report.palette import Look, looks

# seconds; text that comes sooner is shown with the next frame
_BETWEEN_FRAMES = 1 / 8
_CELL = "text-align: left; vertical-align: top; padding: 6px 12px"
_TEXT = "white-space: pre-wrap; min-height: 9em"


@dataclass(slots=True)
class _Pane:
    look: Look
    text: str = ""
    # seconds from the start to the first text, and to the latest
    first: float | None = None
    last: float = 0.0
    pieces: list[float] = field(default_factory=list)


class Panes:
    """Shows what readers see of their answers while the ``with`` block runs.

    ``reader(name)`` adds text to a pane. The last frame shows each answer, when its first and last
    text came, and a strip with a mark for each piece, so that the difference stays visible. Without
    a ``sink`` the panes go below the running cell, or to the terminal if there is no notebook.
    """

    def __init__(self, *names: str, sink: Sink | None = None) -> None:
        look = looks(names)
        self._panes = {name: _Pane(look[name]) for name in names}
        self._show, self._show_last = (sink, sink) if sink else default_sinks()
        self._start = perf_counter()
        self._next_frame = float("-inf")

    def reader(self, name: str) -> Callable[[str], Coroutine[Any, Any, None]]:
        """Return the ``show`` of a pane: ``await show(text)`` adds text to it."""
        pane = self._panes[name]

        async def show(text: str) -> None:
            self._add(pane, text)

        return show

    def _add(self, pane: _Pane, text: str) -> None:
        now = perf_counter()
        pane.last = now - self._start
        pane.first = pane.last if pane.first is None else pane.first
        pane.text += text
        pane.pieces.append(pane.last)
        self._draw(now)

    def __enter__(self) -> Self:
        self._start = perf_counter()
        self._draw(self._start)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        end = perf_counter() - self._start
        self._show_last(self._page(end), self._summary())

    def _draw(self, now: float) -> None:
        if now >= self._next_frame:
            self._next_frame = now + _BETWEEN_FRAMES
            self._show(self._page(now - self._start), self._summary())

    def _page(self, end: float) -> str:
        width = 100 / len(self._panes)
        cells = "".join(
            f'<td style="{_CELL}; width: {width:.0f}%; border-top: 3px solid {pane.look.color}">'
            f"<b>{html.escape(name)}</b><br>{html.escape(_timing(pane))}{_strip(pane, end)}"
            f'<div style="{_TEXT}">{html.escape(pane.text)}</div></td>'
            for name, pane in self._panes.items()
        )
        return (
            '<table style="table-layout: fixed; width: 100%; max-width: 760px">'
            f"<tr>{cells}</tr></table>"
        )

    def _summary(self) -> str:
        return "; ".join(f"{name}: {_timing(pane)}" for name, pane in self._panes.items())


def _timing(pane: _Pane) -> str:
    if pane.first is None:
        return "nothing to read yet"
    pieces = "1 piece" if len(pane.pieces) == 1 else f"{len(pane.pieces)} pieces"
    return f"first text after {seconds(pane.first)}, last after {seconds(pane.last)}, in {pieces}"


def _strip(pane: _Pane, end: float) -> str:
    """The time from the start until now, with a mark for each moment when text came."""
    places = sorted({round(100 * at / max(end, 1e-9)) for at in pane.pieces})
    marks = "".join(
        f'<div style="position: absolute; left: {min(place, 99)}%; width: 1%; height: 100%; '
        f'background: {pane.look.color}"></div>'
        for place in places
    )
    return (
        '<div style="position: relative; height: 10px; margin: 6px 0; '
        f'background: rgba(128, 128, 128, 0.2)">{marks}</div>'
    )
