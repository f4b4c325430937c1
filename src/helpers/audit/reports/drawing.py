"""A scenario as the provider saw it, drawn as SVG: one bar per request. Colors are the page's."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Iterator, Sequence

from helpers.audit.outcome import ScenarioRecord
from helpers.audit.reports.wording import clean
from helpers.report.formatting import quantity, seconds
from helpers.report.frame import bar, end_mark, path, tick_step
from helpers.report.timeline import FATE_NAMES, Fate, Lane, lanes

WIDTH = 720
_LEFT, _RIGHT = 12, 708
_TOP = 8
_TALLEST = 240
_THICKEST = 20.0
# between two ticks of the time axis, for their numbers
_AXIS = 26
_SHORTEST = 0.05

_COUNTED: dict[Fate, str] = {
    "refused": "error answers",
    "dropped": "broken off by the provider",
    "left": "left by the application",
    "open": "without an answer",
}


class Drawing:
    """A scenario's timeline, as SVG and in words.

    At most ``most`` requests are drawn, evenly chosen, which the words say.
    """

    def __init__(self, record: ScenarioRecord, most: int) -> None:
        self._record = record
        self._length = max(record.ended - record.started, 0.0)
        drawn = lanes(record.ledger.requests, record.started, record.ended)
        self._fates = Counter(lane.fate for lane in drawn)
        few = len(drawn) <= most
        self._lanes = drawn if few else [drawn[i * len(drawn) // most] for i in range(most)]

    @property
    def words(self) -> str:
        """ "20 requests on 20 connections, 8 at once at most; 3 error answers. 4.2 s." """
        requests = self._record.ledger.requests
        if not requests:
            return f"No request arrived in {seconds(self._length)}."
        connections = len({request.connection for request in requests})
        counts = {noun: self._fates[fate] for fate, noun in _COUNTED.items()}
        fates = "".join(f"; {quantity(count, noun)}" for noun, count in counts.items() if count)
        drawn, all_of_them = len(self._lanes), f"{len(requests):,}"
        less = "" if drawn == len(requests) else f" {drawn} of the {all_of_them} are drawn."
        return (
            f"{quantity(len(requests), 'requests')} on {quantity(connections, 'connections')}, "
            f"{self._record.ledger.peak_in_flight:,} at once at most{fates}. "
            f"{seconds(self._length)}.{less}"
        )

    @property
    def svg(self) -> str:
        pitch = min(_THICKEST, _TALLEST / max(len(self._lanes), 1))
        floor = _TOP + max(pitch * len(self._lanes), _THICKEST)
        span = max(self._length, _SHORTEST)
        label = html.escape(f"Timeline of {clean(self._record.name)}: {self.words}")
        return "".join(
            [
                f'<svg viewBox="0 0 {WIDTH} {floor + _AXIS:.0f}" role="img" aria-label="{label}">',
                *_ticks(span, floor),
                *_bars(self._lanes, pitch, span),
                "</svg>",
            ]
        )


def legend() -> Iterator[tuple[str, str]]:
    """Each mark as SVG, with its meaning."""
    box = "M2 4h22v10h-22z"
    yield _swatch(f'<path d="{box}" class="waiting"/>'), "waiting for the first token"
    yield _swatch(f'<path d="{box}" class="generating"/>'), "generating"
    yield _swatch('<path d="M2 9H24" class="queued"/>'), "queued at the provider"
    for fate, name in FATE_NAMES.items():
        yield _swatch(f'<path d="{end_mark(fate, 13, 9, 5)}" class="mark"/>'), name


def _swatch(mark: str) -> str:
    return f'<svg viewBox="0 0 26 18" width="26" height="18" aria-hidden="true">{mark}</svg>'


def _ticks(span: float, floor: float) -> Iterator[str]:
    step = tick_step(span)
    count = int(span / step + 1e-6)
    for tick in range(count + 1):
        x = _LEFT + (_RIGHT - _LEFT) * tick * step / span
        anchor = "start" if tick == 0 else "end" if x > _RIGHT - 20 else "middle"
        yield f'<path d="M{x:.1f} {_TOP - 4}V{floor:.1f}" class="tick"/>'
        place = f'x="{x:.1f}" y="{floor + 19:.1f}" text-anchor="{anchor}"'
        yield f"<text {place}>{tick * step:g} s</text>"


def _bars(drawn: Sequence[Lane], pitch: float, span: float) -> list[str]:
    height = pitch * (0.7 if pitch > 4 else 0.9)
    scale = (_RIGHT - _LEFT) / span
    queued, waiting, generating, marks = [], [], [], []
    for row, lane in enumerate(drawn):
        y = _TOP + pitch * row + (pitch - height) / 2
        arrival, slot, first, end = (
            min(max(_LEFT + scale * time, _LEFT), _RIGHT)
            for time in (lane.arrival, lane.slot, lane.first, lane.end)
        )
        if slot - arrival > 0.5:
            queued.append(f"M{arrival:.1f} {y + height / 2:.1f}H{slot:.1f}")
        waiting.append(bar(slot, first, y, height))
        generating.append(bar(first, end, y, height))
        marks.append(end_mark(lane.fate, end, y + height / 2, min(max(height / 2, 2), 5)))
    outline = "waiting" if pitch > 4 else "waiting thin"
    return [
        path(queued, 'class="queued"'),
        path(waiting, f'class="{outline}"'),
        path(generating, 'class="generating"'),
        path(marks, 'class="mark"'),
    ]
