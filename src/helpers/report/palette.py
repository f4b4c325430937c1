"""The colors of the course (Okabe–Ito, distinct with any color vision) and each arm's look."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

INK = "#222222"
MUTED = "#595959"
FAINT = "#e4e4e4"
PAPER = "#ffffff"
BLOCKED = "#CC79A7"
ALARM = "#B00020"

# The least contrast that WCAG 2.2 asks for, at level AA.
TEXT, GRAPHICS = 4.5, 3.0


@dataclass(frozen=True, slots=True)
class Look:
    """How an arm is drawn: never distinguished by color alone."""

    color: str
    # matplotlib's hatch of the waiting part
    hatch: str
    marker: str
    # lengths of a line's dash and gap, in points; empty for a solid one
    dash: tuple[float, ...] = ()

    @property
    def light(self) -> str:
        """The color at 30 % on white, opaque: overlapping bars keep one tone."""
        return _hex(255 - 0.3 * (255 - c) for c in _channels(self.color))

    @property
    def line(self) -> str:
        """The color of lines and outlines, dark enough to be seen on white."""
        return _darkened(self.color, GRAPHICS)

    @property
    def text(self) -> str:
        """The color of text, dark enough to be read on white."""
        return _darkened(self.color, TEXT)


def contrast(one: str, other: str) -> float:
    """The ratio of two colors' luminances, from 1 to 21, as WCAG 2.2 defines it."""
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


def _luminance(color: str) -> float:
    shares = (c / 255 for c in _channels(color))
    linear = [s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@cache
def _darkened(color: str, ratio: float) -> str:
    """The color itself, or the lightest of its shades with at least this contrast to white."""
    shades = (_hex(c * (1 - step / 100) for c in _channels(color)) for step in range(101))
    return next(shade for shade in shades if contrast(shade, PAPER) >= ratio)


def _channels(color: str) -> tuple[int, ...]:
    return tuple(int(color[i : i + 2], 16) for i in (1, 3, 5))


def _hex(channels: Iterable[float]) -> str:
    return "#" + "".join(f"{round(c):02x}" for c in channels)


_SECOND_WRONG = Look("#E69F00", "\\\\\\\\", "P", (8, 2))
_SECOND_RIGHT = Look("#009E73", "....", "^", (1.5, 1.5))
# Roles: what goes wrong is warm, what goes right is cool.
_NAMED = {
    "wrong": Look("#D55E00", "////", "s", (5, 1.5)),
    "right": Look("#0072B2", "", "o"),
    "herd": _SECOND_WRONG,
    "swallow": _SECOND_WRONG,
    "paced": _SECOND_RIGHT,
    "http2": _SECOND_RIGHT,
}
_NO_ROLE = Look(MUTED, "----", "D", (6, 1.5, 1.5, 1.5))
_OTHERS = (
    _SECOND_RIGHT,
    _NO_ROLE,
    Look("#56B4E9", "xxxx", "v", (3, 1.5)),
    _SECOND_WRONG,
)

# for something that is not an arm
PLAIN = Look("#56B4E9", "", "o")
_SERIES = (PLAIN, _OTHERS[3], _OTHERS[0], _OTHERS[1])


def looks(arms: Sequence[str]) -> dict[str, Look]:
    """Each arm's look. "wrong" and "right" look the same in every figure of the course."""
    others = [arm for arm in arms if arm not in _NAMED]
    known = _NAMED | {arm: _OTHERS[i % len(_OTHERS)] for i, arm in enumerate(others)}
    return {arm: known[arm] for arm in arms}


def look_alone(arm: str) -> Look:
    """The look of an arm that is shown by itself: gray unless its name says how good it is."""
    return _NAMED.get(arm, _NO_ROLE)


def series_looks(names: Sequence[str]) -> dict[str, Look]:
    """The look of each series of a chart: arms look as everywhere, others like none of them."""
    if set(names) & set(_NAMED):
        return looks(names)
    return {name: _SERIES[i % len(_SERIES)] for i, name in enumerate(names)}
