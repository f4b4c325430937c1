"""Draws the scoreboard: a table on a page, lines in a terminal."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Sequence

from helpers.audit.drivers.service import TURNS
from helpers.audit.reports.wording import clean, lesson_title
from helpers.audit.scoreboard.cost import CONVERSATIONS, PRICE
from helpers.audit.scoreboard.rows import Row, State
from helpers.audit.scoreboard.rush import USERS
from helpers.report.table import html_table

_WORDS: dict[State, str] = {
    "repaired": "✓ repaired",
    "mistake": "✗ mistake",
    "not seen": "– not seen",
    "measuring": "… measuring",
}
# Dark enough for white text; a word says the same.
_COLORS: dict[State, str] = {
    "repaired": "#00664A",
    "mistake": "#B00020",
    "not seen": "#595959",
    "measuring": "#595959",
}
_BROKEN = "broken by your last change"
_WIDTH = 100


def summary(rows: Sequence[Row]) -> str:
    """One line: ``5 of 8 repaired``."""
    repaired = sum(row.state == "repaired" for row in rows)
    measuring = sum(row.state == "measuring" for row in rows)
    rest = f", {measuring} to be measured" if measuring else ""
    return f"{repaired} of {len(rows)} repaired{rest}"


def page(rows: Sequence[Row], per_minute: float | None = None, cost: float | None = None) -> str:
    """HTML."""
    cells = [
        (html.escape(lesson_title(row.lesson)), _badge(row), html.escape(_evidence(row)))
        for row in rows
    ]
    below = "<br>".join(map(html.escape, [summary(rows), *_totals(per_minute, cost)]))
    return html_table(("", "", "what was measured"), cells, below)


def text(rows: Sequence[Row], per_minute: float | None = None, cost: float | None = None) -> str:
    """The same as lines."""
    lines = []
    for row in rows:
        lines.append(f"{_WORDS[row.state]:<11}  {lesson_title(row.lesson)}")
        indent = " " * 13
        lines += textwrap.wrap(
            _evidence(row), _WIDTH, initial_indent=indent, subsequent_indent=indent
        )
    return "\n".join([*lines, summary(rows), *_totals(per_minute, cost)])


def _badge(row: Row) -> str:
    style = (
        f"background-color: {_COLORS[row.state]}; color: #ffffff; padding: 2px 8px; "
        "white-space: nowrap"
    )
    return f'<span style="{style}">{_WORDS[row.state]}</span>'


def _evidence(row: Row) -> str:
    broken = f"{_BROKEN}: " if row.is_broken else ""
    return f"{broken}{clean(row.evidence)}"


def _totals(per_minute: float | None, cost: float | None) -> list[str]:
    totals = []
    if per_minute is not None:
        totals.append(
            f"Throughput with {USERS} users: {per_minute:,.0f} complete answers a minute; "
            "answers that broke off and errors do not count"
        )
    if cost is not None:
        totals.append(
            f"Cost of a day with {CONVERSATIONS:,} conversations of {TURNS} turns: "
            f"{cost:,.0f} USD, {PRICE}"
        )
    return totals
