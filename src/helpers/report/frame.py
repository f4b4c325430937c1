"""One frame of the live view as SVG: plain string building, fixed size, no scripts or styles."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from helpers.lab.run import Stall
from helpers.report.formatting import LOOP_STALLED, shortened
from helpers.report.palette import ALARM, BLOCKED, FAINT, INK, MUTED, PAPER, Look
from helpers.report.timeline import FATE_NAMES, Fate, Lane, Ticks, ticks

Icon: TypeAlias = Literal["free", "alarm", "done"]

WIDTH, _HEIGHT = 900, 366
_LEFT, _RIGHT = 62, 872
# the panel of the lanes
_TOP, _FLOOR = 44, 212
_LOOP_TOP, _LOOP_FLOOR = 224, 252
_BINS = 140
# between two heartbeats
_CLOSEST = 2.5
_MOST_ROWS = 200
# characters of the status that fit side by side
_LINE = 105
_THICKEST = 24.0
_TEXT = 'font-family="Helvetica, Arial, sans-serif" font-size="14"'


@dataclass(frozen=True, slots=True)
class Frame:
    """What one frame shows. Times in seconds since the arm's start; ``span`` is the time axis."""

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

    @property
    def text(self) -> str:
        """The frame in one line, for terminals and screen readers."""
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
        *_loop(frame.stalls, _ticks(frame), frame.span),
        *_now(frame.now, scale),
        *_status(frame),
        *_legend(frame),
        "</svg>",
    ]
    return "".join(parts)


def _heading(frame: Frame) -> tuple[str, str]:
    title = _text(_LEFT, 26, shortened(frame.title, 48), fill=frame.look.text, bold=True)
    return title, _text(_RIGHT, 26, frame.counters, anchor="end")


def _axis(span: float) -> list[str]:
    parts = [_text(_LEFT - 10, 242, "loop", anchor="end", fill=MUTED)]
    parts += [_text(_LEFT - 10, _TOP + 14, "server", anchor="end", fill=MUTED)]
    step = tick_step(span)
    for tick in range(int(span / step + 1e-6) + 1):
        x = _LEFT + (_RIGHT - _LEFT) * tick * step / span
        parts.append(f'<path d="M{x:.1f} {_TOP}V{_LOOP_FLOOR}" stroke="{FAINT}"/>')
        parts.append(_text(x, 270, f"{tick * step:g} s", anchor="middle", fill=MUTED))
    return parts


def tick_step(span: float) -> float:
    """The round number of seconds that makes at most six steps."""
    size = 10.0 ** math.floor(math.log10(span / 6))
    return next(size * step for step in (1, 2, 5, 10) if size * step * 6 >= span)


def _lanes(lanes: Sequence[Lane], look: Look, scale: float) -> list[str]:
    rows = min(max(len(lanes), 1), _MOST_ROWS)
    pitch = min(_THICKEST, (_FLOOR - _TOP) / rows)
    height = pitch * (0.7 if pitch > 4 else 0.9)
    waiting: list[str] = []
    refused: list[str] = []
    queued, generating, ends = [], [], []
    for i, lane in enumerate(lanes):
        # With more lanes than rows, several share one; none is left out.
        y = _TOP + pitch * (i * rows // len(lanes)) + (pitch - height) / 2
        arrival, slot, first, end = (
            _LEFT + scale * max(time, 0.0)
            for time in (lane.arrival, lane.slot, lane.first, lane.end)
        )
        if slot - arrival > 0.5:
            queued.append(f"M{arrival:.1f} {y + height / 2:.1f}H{slot:.1f}")
        (refused if lane.fate == "refused" else waiting).append(bar(slot, first, y, height))
        generating.append(bar(first, end, y, height))
        ends.append(end_mark(lane.fate, end, y + height / 2, min(max(height / 2, 2), 5)))
    # Without an outline, a pale bar would hardly be seen; a thin one has no room for it.
    outline = f'stroke="{look.line}" stroke-width="0.8"' if height > 3 else 'stroke="none"'
    return [
        path(queued, f'stroke="{look.line}" stroke-width="{min(1.2, height * 0.3):.1f}"'),
        path(waiting, f'fill="{look.light}" {outline}'),
        path(
            refused,
            f'fill="{PAPER}" stroke="{look.line}" stroke-width="{min(0.8, height / 4):.1f}"',
        ),
        path(generating, f'fill="{look.color}" {outline}'),
        path(ends, f'fill="none" stroke="{INK}" stroke-width="1.3"'),
    ]


def bar(start: float, end: float, y: float, height: float) -> str:
    """A filled bar as part of a path; nothing if it has no length."""
    if end <= start:
        return ""
    return f"M{start:.1f} {y:.1f}h{end - start:.1f}v{height:.1f}H{start:.1f}z"


def end_mark(fate: Fate, x: float, y: float, r: float) -> str:
    """How a request ended, as part of a path; nothing if it was answered."""
    d = 2 * r
    if fate == "refused":
        return f"M{x - r:.1f} {y - r:.1f}l{d:.1f} {d:.1f}m0 {-d:.1f}l{-d:.1f} {d:.1f}"
    if fate == "dropped":
        return f"M{x - r:.1f} {y - r:.1f}h{d:.1f}v{d:.1f}h{-d:.1f}z"
    if fate == "left":
        return (
            f"M{x - r:.1f} {y:.1f}a{r:.1f} {r:.1f} 0 1 0 {d:.1f} 0a{r:.1f} {r:.1f} 0 1 0 {-d:.1f} 0"
        )
    if fate == "open":
        return f"M{x + 2:.1f} {y - r:.1f}l{r:.1f} {r:.1f}l{-r:.1f} {r:.1f}"
    return ""


def _loop(stalls: Iterable[Stall], alive: Ticks, span: float) -> list[str]:
    width = (_RIGHT - _LEFT) / _BINS
    middle, depth = (_LOOP_TOP + _LOOP_FLOOR) / 2, _LOOP_FLOOR - _LOOP_TOP
    blocked = []
    for i, share in enumerate(stalled_shares(stalls, span)):
        if share:
            height = max(share * depth, 3.0)
            top = _LOOP_FLOOR - height
            blocked.append(bar(_LEFT + i * width, _LEFT + (i + 1) * width, top, height))
    scale = (_RIGHT - _LEFT) / span
    beats = [f"M{_LEFT + beat * scale:.1f} {middle - 6:.1f}v12" for beat in alive.beats]
    return [
        f'<path d="M{_LEFT} {_LOOP_FLOOR + 0.5}H{_RIGHT}" stroke="{MUTED}"/>',
        path(beats, f'stroke="{INK}"'),
        path(blocked, f'fill="{BLOCKED}"'),
    ]


def _ticks(frame: Frame) -> Ticks:
    shown = (beat for beat in frame.beats if 0 <= beat <= frame.span)
    return ticks(shown, frame.span * _CLOSEST / (_RIGHT - _LEFT))


def stalled_shares(stalls: Iterable[Stall], span: float) -> list[float]:
    """For each of 140 equal parts of the axis, the share in which the loop was stalled."""
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
    # Not a check mark: that it returned does not make it right.
    "done": f'<path d="M62 289h14v14h-14z" fill="{INK}"/>',
}


def _status(frame: Frame) -> list[str]:
    """The icon and the status, broken at a " · " if it is too long for one line."""
    lines = [frame.status]
    if len(frame.status) > _LINE:
        at = frame.status.rfind(" · ", 0, _LINE)
        lines = [frame.status[: at + 2], frame.status[at + 3 :]] if at > 0 else lines
    fill = ALARM if frame.icon == "alarm" else INK
    texts = [
        _text(_LEFT + 26, 301 + 19 * i, shortened(line, _LINE), fill=fill, bold=True)
        for i, line in enumerate(lines)
    ]
    return [_ICONS[frame.icon], *texts]


def _legend(frame: Frame) -> list[str]:
    """The marks of every frame and those that are in this one, on as many rows as they need."""
    parts = []
    x, y = float(_LEFT), 341
    for mark, name in _legend_entries(frame):
        # An estimate: text cannot be measured here.
        width = 25 + 7.5 * len(name)
        if x + width > _RIGHT:
            x, y = _LEFT, y + 19
        parts.append(f'<g transform="translate({x:g} {y - 5})">{mark}</g>')
        parts.append(_text(x + 25, y, name, fill=MUTED))
        x += width + 14
    return parts


def _legend_entries(frame: Frame) -> list[tuple[str, str]]:
    look, box = frame.look, "M0 -5h18v10h-18z"
    outline = f'stroke="{look.line}" stroke-width="0.8"'
    entries = [
        (f'<path d="{box}" fill="{look.light}" {outline}/>', "waiting for the first token"),
        (f'<path d="{box}" fill="{look.color}" {outline}/>', "generating"),
        (f'<path d="{box}" fill="{BLOCKED}"/>', LOOP_STALLED),
        (f'<path d="M0 -6v12m6 -12v12m6 -12v12" stroke="{INK}"/>', _ticks(frame).name),
    ]
    queued = max((lane.slot - lane.arrival for lane in frame.lanes), default=0.0)
    if queued * (_RIGHT - _LEFT) / frame.span > 0.5:
        entries.append((f'<path d="M0 0H18" stroke="{look.line}"/>', "queued"))
    fates = {lane.fate for lane in frame.lanes}
    for fate, name in FATE_NAMES.items():
        if fate in fates:
            mark = path([end_mark(fate, 9, 0, 5)], f'fill="none" stroke="{INK}" stroke-width="1.3"')
            bounds = f'<path d="{box}" fill="{PAPER}" {outline}/>' if fate == "refused" else ""
            entries.append((bounds + mark, name))
    return entries


def path(pieces: Iterable[str], look: str) -> str:
    """The pieces as one element; ``look`` is its attributes."""
    drawn = "".join(pieces)
    return f'<path d="{drawn}" {look}/>' if drawn else ""


def _text(
    x: float, y: float, text: str, *, anchor: str = "start", fill: str = INK, bold: bool = False
) -> str:
    weight = ' font-weight="bold"' if bold else ""
    place = f'x="{x:.1f}" y="{y}" text-anchor="{anchor}" fill="{fill}"{weight}'
    return f"<text {place} {_TEXT}>{html.escape(text)}</text>"
