"""The colors of the course (Okabe–Ito, distinct with any color vision) and each arm's look."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

INK = "#222222"
MUTED = "#595959"
FAINT = "#e4e4e4"
PAPER = "#ffffff"
BLOCKED = "#CC79A7"
ALARM = "#B00020"


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
        channels = (int(self.color[i : i + 2], 16) for i in (1, 3, 5))
        return "#" + "".join(f"{round(255 - 0.3 * (255 - c)):02x}" for c in channels)


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
