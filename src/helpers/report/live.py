"""The live view: what an arm is doing, drawn by hand as SVG while it runs.

Cheap on purpose: drawing takes processor time from the arm that is measured.
"""

from __future__ import annotations

import base64
import html
from dataclasses import replace
from time import monotonic

from helpers.lab.run import Run, Snapshot
from helpers.report.formatting import ending, seconds, stalled, unmeasured_loop
from helpers.report.frame import WIDTH, Frame, Icon, svg
from helpers.report.outputs import Sink, default_sinks
from helpers.report.palette import look_alone
from helpers.report.timeline import Lane, lanes

# seconds; a snapshot that comes sooner is dropped
_BETWEEN_FRAMES = 1 / 8
# lengths of the time axis, in seconds: it grows in steps while the arm runs
_SPANS = (0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
_BOX = f"max-width: {WIDTH}px; width: 100%; height: auto"


class LiveView:
    """Shows an arm while it runs, and stays as the cell's output when it has ended.

    ``limit`` is the lab's limit in seconds. Without a ``sink`` the view goes below the running
    cell, or to the terminal if there is no notebook. A sink is called with each frame as HTML and
    as a line of plain text.
    """

    def __init__(
        self, arm: str, limit: float, title: str | None = None, *, sink: Sink | None = None
    ) -> None:
        self._title = title or arm
        self._limit = limit
        self._look = look_alone(arm)
        self._show, self._show_last = (sink, sink) if sink else default_sinks()
        self._next_frame = float("-inf")
        self._frame: Frame | None = None

    def update(self, snapshot: Snapshot) -> None:
        """Draw the snapshot, unless the last frame is younger than an eighth of a second."""
        now = monotonic()
        if now < self._next_frame:
            return
        self._next_frame = now + _BETWEEN_FRAMES
        frame = self._frame = self._frame_so_far(snapshot)
        self._show(f'<div style="{_BOX}">{svg(frame)}</div>', frame.text)

    def finish(self, run: Run) -> None:
        """Draw the last frame, which says how the arm ended."""
        self._end_with(self._last_frame(run))

    def stop(self) -> None:
        """Draw the newest frame once more, to say that the learner ended the arm."""
        if self._frame is not None:
            self._end_with(replace(self._frame, status="stopped", icon="done"))

    def _end_with(self, frame: Frame) -> None:
        # JupyterLab removes <svg> from a notebook that is not trusted; an image is still shown.
        encoded = base64.b64encode(svg(frame).encode()).decode()
        image = f'src="data:image/svg+xml;base64,{encoded}" width="{WIDTH}" style="{_BOX}"'
        self._show_last(f'<img alt="{html.escape(frame.text)}" {image}>', frame.text)

    def _frame_so_far(self, snapshot: Snapshot) -> Frame:
        drawn = lanes(snapshot.requests, 0.0, snapshot.elapsed)
        in_flight = sum(lane.fate == "open" for lane in drawn)
        status, icon = _status(snapshot)
        return Frame(
            title=self._title,
            look=self._look,
            counters=f"in flight {in_flight} · {_answered(drawn)} · {snapshot.elapsed:.1f} s",
            status=status,
            icon=icon,
            lanes=drawn,
            stalls=snapshot.stalls,
            beats=snapshot.beats,
            now=snapshot.elapsed,
            span=_span(snapshot.elapsed, self._limit),
        )

    def _last_frame(self, run: Run) -> Frame:
        drawn = lanes(run.requests, 0.0, run.seconds)
        status, icon = _last_status(run)
        return Frame(
            title=self._title,
            look=self._look,
            counters=f"peak in flight {run.peak_in_flight} · {_answered(drawn)}",
            status=status,
            icon=icon,
            lanes=drawn,
            stalls=run.stalls,
            beats=run.beats,
            now=run.seconds,
            span=max(run.seconds * 1.02, 0.01),
        )


def _answered(drawn: tuple[Lane, ...]) -> str:
    return f"answered {sum(lane.fate == 'answered' for lane in drawn)} of {len(drawn)}"


def _status(snapshot: Snapshot) -> tuple[str, Icon]:
    if snapshot.blocked_since is None:
        return "loop free", "free"
    where = f": {snapshot.blocked_where}" if snapshot.blocked_where else ""
    return f"blocked now{where} · {seconds(snapshot.elapsed - snapshot.blocked_since)}", "alarm"


def _last_status(run: Run) -> tuple[str, Icon]:
    parts = [ending(run)]
    if not unmeasured_loop(run):
        parts += stalled(run)
    return " · ".join(parts), "done" if run.outcome == "returned" else "alarm"


def _span(elapsed: float, limit: float) -> float:
    step = next((span for span in _SPANS if span >= elapsed), elapsed)
    return max(min(step, limit), elapsed)
