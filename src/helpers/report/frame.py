"""One frame of the live view as SVG: plain string building, fixed size, no scripts or styles."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from helpers.lab.run import Stall
from helpers.report.formatting import shortened
from helpers.report.palette import ALARM, DEAF, FAINT, INK, MUTED, PAPER, Look
from helpers.report.timeline import Lane, thinned

Icon: TypeAlias = Literal["free", "alarm", "done"]

WIDTH, _HEIGHT = 900, 334
_LEFT, _RIGHT = 62, 872
_TOP, _FLOOR = 44, 212
"""The lanes' panel."""
_LOOP_TOP, _LOOP_FLOOR = 224, 252
_BINS = 140
_MOST_ROWS = 200
_THICKEST = 24.0
_TEXT = 'font-family="Helvetica, Arial, sans-serif" font-size="14"'


@dataclass(frozen=True, slots=True)
class Frame:
    """What one frame shows. Times in seconds since the arm's start."""

    title: str
    look: Look
    counters: str
    status: str
    icon: Icon
    lanes: Sequence[Lane]
    stalls: Sequence[Stall]
    beats: Sequence[float]
    now: float
    span: float
    """Length of the time axis."""

    @property
    def text(self) -> str:
        """The frame in one line, for a terminal and for people who cannot see it."""
        return f"{self.title} · {self.counters} · {self.status}"


def svg(frame: Frame) -> str:
    scale = (_RIGHT - _LEFT) / frame.span
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {_HEIGHT}" width="100%" '
        f'role="img" aria-label="{html.escape(frame.text)}">',
        f'<rect width="{WIDTH}" height="{_HEIGHT}" fill="{PAPER}"/>',
        *_heading(frame),
        *_axis(frame.span),
        *_lanes(frame.lanes, frame.look, scale),
        *_loop(frame.stalls, frame.beats, frame.span),
        *_now(frame.now, scale),
        *_status(frame),
        _LEGEND.replace("LIGHT", frame.look.light).replace("SOLID", frame.look.color),
        "</svg>",
    ]
    return "".join(parts)


def _heading(frame: Frame) -> tuple[str, str]:
    title = _text(_LEFT, 26, shortened(frame.title, 48), fill=frame.look.color, bold=True)
    return title, _text(_RIGHT, 26, frame.counters, anchor="end")


def _axis(span: float) -> list[str]:
    parts = [_text(_LEFT - 10, 242, "loop", anchor="end", fill=MUTED)]
    parts += [_text(_LEFT - 10, _TOP + 14, "server", anchor="end", fill=MUTED)]
    step = _tick_step(span)
    for tick in range(int(span / step + 1e-6) + 1):
        x = _LEFT + (_RIGHT - _LEFT) * tick * step / span
        parts.append(f'<path d="M{x:.1f} {_TOP}V{_LOOP_FLOOR}" stroke="{FAINT}"/>')
        parts.append(_text(x, 270, f"{tick * step:g} s", anchor="middle", fill=MUTED))
    return parts


def _tick_step(span: float) -> float:
    """The round number of seconds that makes at most six steps."""
    size = 10.0 ** math.floor(math.log10(span / 6))
    return next(size * step for step in (1, 2, 5, 10) if size * step * 6 >= span)


def _lanes(lanes: Sequence[Lane], look: Look, scale: float) -> list[str]:
    rows = min(max(len(lanes), 1), _MOST_ROWS)
    pitch = min(_THICKEST, (_FLOOR - _TOP) / rows)
    height = pitch * (0.7 if pitch > 4 else 0.9)
    queued, waiting, generating, ends = [], [], [], []
    for i, lane in enumerate(lanes):
        # More lanes than rows share them; the first of a row may be covered, none is left out.
        y = _TOP + pitch * (i * rows // len(lanes)) + (pitch - height) / 2
        arrival, slot, first, end = (
            _LEFT + scale * max(time, 0.0)
            for time in (lane.arrival, lane.slot, lane.first, lane.end)
        )
        if slot - arrival > 0.5:
            queued.append(f"M{arrival:.1f} {y + height / 2:.1f}H{slot:.1f}")
        waiting.append(_bar(slot, first, y, height))
        generating.append(_bar(first, end, y, height))
        ends.append(_end_mark(lane, end, y + height / 2, min(height / 2, 5)))
    return [
        _path(queued, f'stroke="{look.color}" stroke-width="{min(1.2, height * 0.3):.1f}"'),
        _path(waiting, f'fill="{look.light}"'),
        _path(generating, f'fill="{look.color}"'),
        _path(ends, f'fill="none" stroke="{INK}" stroke-width="1.3"'),
    ]


def _bar(start: float, end: float, y: float, height: float) -> str:
    if end <= start:
        return ""
    return f"M{start:.1f} {y:.1f}h{end - start:.1f}v{height:.1f}H{start:.1f}z"


def _end_mark(lane: Lane, x: float, y: float, r: float) -> str:
    """× for an error answer, ◇ where the client left, > while there is no end."""
    if lane.fate == "refused":
        d = 2 * r
        return f"M{x - r:.1f} {y - r:.1f}l{d:.1f} {d:.1f}m0 {-d:.1f}l{-d:.1f} {d:.1f}"
    if lane.fate == "dropped":
        return f"M{x - r:.1f} {y - r:.1f}h{2 * r:.1f}v{2 * r:.1f}h{-2 * r:.1f}z"
    if lane.fate == "left":
        return f"M{x - r:.1f} {y:.1f}l{r:.1f} {-r:.1f}l{r:.1f} {r:.1f}l{-r:.1f} {r:.1f}z"
    if lane.fate == "open":
        return f"M{x + 2:.1f} {y - r:.1f}l{r:.1f} {r:.1f}l{-r:.1f} {r:.1f}"
    return ""


def _loop(stalls: Iterable[Stall], beats: Iterable[float], span: float) -> list[str]:
    width = (_RIGHT - _LEFT) / _BINS
    middle, depth = (_LOOP_TOP + _LOOP_FLOOR) / 2, _LOOP_FLOOR - _LOOP_TOP
    deaf = []
    for i, share in enumerate(deaf_shares(stalls, span)):
        if share:
            height = max(share * depth, 3.0)
            top = _LOOP_FLOOR - height
            deaf.append(_bar(_LEFT + i * width, _LEFT + (i + 1) * width, top, height))
    scale = (_RIGHT - _LEFT) / span
    alive = thinned((beat for beat in beats if 0 <= beat <= span), span / _BINS)
    ticks = [f"M{_LEFT + beat * scale:.1f} {middle - 6:.1f}v12" for beat in alive]
    return [
        f'<path d="M{_LEFT} {_LOOP_FLOOR + 0.5}H{_RIGHT}" stroke="{MUTED}"/>',
        _path(ticks, f'stroke="{INK}"'),
        _path(deaf, f'fill="{DEAF}"'),
    ]


def deaf_shares(stalls: Iterable[Stall], span: float) -> list[float]:
    """The share of each of 140 equal parts of the axis in which the loop was deaf."""
    shares = [0.0] * _BINS
    for stall in stalls:
        start = max(stall.start / span * _BINS, 0.0)
        end = min((stall.start + stall.seconds) / span * _BINS, float(_BINS))
        for i in range(int(start), min(int(end) + 1, _BINS)):
            shares[i] += max(min(end, i + 1) - max(start, i), 0.0)
    return [min(share, 1.0) for share in shares]


def _now(now: float, scale: float) -> list[str]:
    x = min(_LEFT + scale * now, _RIGHT)
    return [f'<path d="M{x:.1f} {_TOP - 4}V{_LOOP_FLOOR}" stroke="{INK}"/>']


_ICONS: dict[Icon, str] = {
    "alarm": f'<path d="M65 286h8l6 6v8l-6 6h-8l-6-6v-8z" fill="{ALARM}"/>',
    "free": f'<circle cx="69" cy="296" r="8" fill="none" stroke="{INK}" stroke-width="2"/>',
    "done": f'<path d="M60 296l6 7l12-15" fill="none" stroke="{INK}" stroke-width="3"/>',
}


def _status(frame: Frame) -> tuple[str, str]:
    fill = ALARM if frame.icon == "alarm" else INK
    text = _text(_LEFT + 26, 301, shortened(frame.status, 105), fill=fill, bold=True)
    return _ICONS[frame.icon], text


def _legend() -> str:
    entries = (
        (_LEFT, '<path d="M{x} 318h18v10h-18z" fill="LIGHT"/>', "waiting for the first token"),
        (_LEFT + 236, '<path d="M{x} 318h18v10h-18z" fill="SOLID"/>', "generating"),
        (_LEFT + 358, f'<path d="M{{x}} 318h18v10h-18z" fill="{DEAF}"/>', "loop deaf"),
        (_LEFT + 470, f'<path d="M{{x}} 317v12m6-12v12m6-12v12" stroke="{INK}"/>', "heartbeat"),
    )
    return "".join(
        mark.replace("{x}", str(x)) + _text(x + 25, 328, name, fill=MUTED)
        for x, mark, name in entries
    )


def _path(pieces: Iterable[str], look: str) -> str:
    drawn = "".join(pieces)
    return f'<path d="{drawn}" {look}/>' if drawn else ""


def _text(
    x: float, y: float, text: str, *, anchor: str = "start", fill: str = INK, bold: bool = False
) -> str:
    weight = ' font-weight="bold"' if bold else ""
    place = f'x="{x:.1f}" y="{y}" text-anchor="{anchor}" fill="{fill}"{weight}'
    return f"<text {place} {_TEXT}>{html.escape(text)}</text>"


_LEGEND = _legend()
