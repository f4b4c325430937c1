"""A comparison in numbers: what was counted and timed, one column per arm."""

from __future__ import annotations

import html
import re
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, TypeAlias

from helpers.lab.run import Comparison, Run
from helpers.report.formatting import (
    LOOP_STALLED,
    ending,
    number,
    percent,
    seconds,
    shortened,
    times,
    unmeasured_loop,
)
from helpers.report.timeline import culprit_during_calls, timeline

_Cell: TypeAlias = Callable[[Comparison, str], str]
_BORDER = "border-bottom: 1px solid #999999; padding: 4px 12px 4px 0"
# within a line of code; not within a number, nor before a remark in parentheses
_MAY_BREAK = re.compile(r"(?<=[/_(.={])(?<! \()(?=[A-Za-z{])")


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text, shown as HTML in a notebook and as aligned text elsewhere."""

    caption: str
    head: tuple[str, ...]
    # each begins with its own heading
    rows: tuple[tuple[str, ...], ...]

    def __str__(self) -> str:
        # A terminal is narrower than a page.
        lines = [[shortened(cell, 40) for cell in line] for line in (self.head, *self.rows)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        aligned = (
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
            for line in lines
        )
        return "\n".join([*aligned, self.caption])

    __repr__ = __str__

    def _repr_mimebundle_(
        self, include: object = None, exclude: object = None
    ) -> tuple[dict[str, str], dict[str, Any]]:
        return {"text/html": self._html(), "text/plain": str(self)}, {}

    def _html(self) -> str:
        rows = [[_breakable(cell) for cell in row] for row in self.rows]
        return html_table([_breakable(name) for name in self.head], rows, html.escape(self.caption))


def html_table(head: Iterable[str], rows: Iterable[Sequence[str]], caption: str = "") -> str:
    """A table of cells that are HTML already. The first cell of a row is its heading."""
    top = "".join(_cell("th", name, "col") for name in head)
    lines = "".join(
        f"<tr>{_cell('th', name, 'row')}{''.join(_cell('td', cell) for cell in cells)}</tr>"
        for name, *cells in rows
    )
    below = f'<caption style="caption-side: bottom; text-align: left">{caption}</caption>'
    return (
        f'<table style="border-collapse: collapse">{below if caption else ""}'
        f"<thead><tr>{top}</tr></thead><tbody>{lines}</tbody></table>"
    )


def _cell(tag: str, content: str, scope: str = "") -> str:
    scoped = f' scope="{scope}"' if scope else ""
    return f'<{tag}{scoped} style="text-align: left; {_BORDER}">{content}</{tag}>'


def _breakable(text: str) -> str:
    # A learner's line may be one long word, and a page at 200 % zoom is narrow. A style would not
    # do: JupyterLab removes those it does not know from a notebook that is not trusted.
    return "<wbr/>".join(map(html.escape, _MAY_BREAK.split(text)))


def table(
    shown: Comparison | Run,
    rows: Mapping[str, Callable[[Run], object]] | None = None,
    standard: bool = True,
) -> Table:
    """The arms side by side, with the spread of the repeats; or one run.

    ``rows`` maps a heading to what is counted or timed, a number or a text:
    ``{"TCP connections": lambda run: run.opened}``. They come before the standard rows, which
    ``standard=False`` omits.

    Raises `ValueError` if there are no rows.
    """
    comparison = Comparison({shown.arm: (shown,)}) if isinstance(shown, Run) else shown
    arms = list(comparison.arms)
    cells = [(name, _measured(measure)) for name, measure in (rows or {}).items()]
    if standard:
        cells += _rows(comparison)
    if not cells:
        raise ValueError("A table without the standard rows needs its own: rows={…}.")
    lines = tuple((name, *(cell(comparison, arm) for arm in arms)) for name, cell in cells)
    return Table(_caption(comparison, standard), ("", *arms), lines)


def _caption(comparison: Comparison, standard: bool) -> str:
    most = max(len(runs) for runs in comparison.arms.values())
    if not standard:
        runs = f"median (lowest – highest) of {most} runs" if most > 1 else "one run"
        return f"Each arm: {runs}."
    text = "Times and shares: median (lowest – highest) of n runs."
    if comparison.noise:
        text += (
            f" Timers on this machine come up to {seconds(comparison.noise)} late: "
            "smaller differences say nothing."
        )
    return text


def _spread(measure: Callable[[Run], float], write: Callable[[float], str]) -> _Cell:
    def cell(comparison: Comparison, arm: str) -> str:
        low, median, high = comparison.spread(arm, measure)
        n = len(comparison.arms[arm])
        spread = f" ({write(low)} – {write(high)})" if write(low) != write(high) else ""
        return f"{write(median)}{spread}, n = {n}"

    return cell


def _measured(measure: Callable[[Run], object]) -> _Cell:
    """Numbers as median and range; texts as they are, without repetitions."""

    def cell(comparison: Comparison, arm: str) -> str:
        values = [measure(run) for run in comparison.arms[arm]]
        known = [value for value in values if number(value) != number(None)]
        numeric = [float(value) for value in known if isinstance(value, Real)]
        if not known or len(numeric) < len(known) or isinstance(known[0], bool):
            return " / ".join(dict.fromkeys(map(number, known or values)))
        low, median, high = map(number, (min(numeric), statistics.median(numeric), max(numeric)))
        return median if low == high else f"{median} ({low} – {high})"

    return cell


def _loop_only(cell: _Cell) -> _Cell:
    """For arms whose event loop was measured."""

    def guarded(comparison: Comparison, arm: str) -> str:
        return unmeasured_loop(comparison[arm]) or cell(comparison, arm)

    return guarded


def _longest_stall(run: Run) -> float:
    line = timeline(run)
    return max((length for _, length in (*line.blocked, *line.busy)), default=0.0)


def _beats(comparison: Comparison, arm: str) -> str:
    run = comparison[arm]
    return f"{run.beats_during_calls} of {round(run.makespan / run.beat_interval)}"


def _guilty(comparison: Comparison, arm: str) -> str:
    worst = culprit_during_calls(comparison[arm])
    if worst is None:
        return "none"
    cost = f"{times(worst.times)}, {seconds(worst.seconds)} in all"
    return f"{worst.where}: {shortened(worst.where.code, 40)} ({cost})"


def _makespan(comparison: Comparison, arm: str) -> str:
    run = comparison[arm]
    if run.outcome == "gave up" and any(r.last_byte is None for r in run.requests):
        return f"> {seconds(run.limit)}"
    return _spread(lambda run: run.makespan, seconds)(comparison, arm)


def _ended(comparison: Comparison, arm: str) -> str:
    run = comparison[arm]
    return "returned" if run.outcome == "returned" else ending(run)


_CALLS: tuple[tuple[str, _Cell], ...] = (
    ("peak requests in flight", _measured(lambda run: run.peak_in_flight)),
    ("requests", _measured(lambda run: len(run.requests))),
    ("answers (status 200)", _measured(lambda run: run.answered)),
    ("makespan (first request to last answer)", _makespan),
)
_TIME = ("start to end", _makespan)
_LOOP: tuple[tuple[str, _Cell], ...] = (
    (LOOP_STALLED, _loop_only(_spread(lambda run: run.blocked_share, percent))),
    ("longest stall", _loop_only(_spread(_longest_stall, seconds))),
    ("heartbeats (of those due)", _loop_only(_beats)),
    ("guilty line", _loop_only(_guilty)),
    ("how it ended", _ended),
)


def _rows(comparison: Comparison) -> tuple[tuple[str, _Cell], ...]:
    asked = any(run.requests for runs in comparison.arms.values() for run in runs)
    return (_CALLS if asked else (_TIME,)) + _LOOP
