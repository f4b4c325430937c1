"""The report as one page: no scripts, no external resources, readable offline."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape
from importlib.resources import files
from pathlib import Path

from helpers.audit.outcome import AuditReport, Outcome, ScenarioRecord
from helpers.audit.reports.drawing import Drawing, legend
from helpers.audit.reports.wording import (
    State,
    clean,
    duration,
    evidence,
    in_order,
    lesson_title,
    lesson_to_read,
    tally,
)

# In all. At about 100 bytes for each bar at most, the page stays below 1 MiB.
_MOST_BARS = 5_000
_MOST_BARS_EACH = 160
_MOST_NUMBERS = 20

_WORDS: dict[State, str] = {
    "fail": "✗ fail",
    "stale": "✗ stale",
    "expected": "– expected",
    "not seen": "? not seen",
    "pass": "✓ pass",
}


def render(report: AuditReport) -> str:
    style = files(__package__).joinpath("page.css").read_text("utf-8")
    title = f"LLM audit: {report.verdict}"
    return "\n".join(
        [
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            '<meta http-equiv="Content-Security-Policy" '
            "content=\"default-src 'none'; style-src 'unsafe-inline'\">",
            f"<title>{title}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>",
            f"<h1>{title}</h1>",
            f"<p>{escape(tally(report))}. {escape(duration(report))}.</p>",
            "<h2>Checks</h2>",
            *_checks(report),
            "<h2>What the provider saw</h2>",
            *_scenarios(report),
            "</main>\n</body>\n</html>\n",
        ]
    )


def _checks(report: AuditReport) -> Iterator[str]:
    names = [record.name for record in report.scenarios]
    yield '<table>\n<thead><tr><th scope="col">Verdict</th><th scope="col">Check</th>'
    yield '<th scope="col">What was seen</th><th scope="col">Lesson</th></tr></thead>\n<tbody>'
    for state, check in in_order(report):
        scenario = escape(clean(check.scenario))
        if check.scenario in names:
            scenario = f'<a href="#{_anchor(names.index(check.scenario))}">{scenario}</a>'
        yield (
            f'<tr class="{state.replace(" ", "-")}"><td class="verdict">{_WORDS[state]}</td>'
            f'<th scope="row">{_breakable(clean(check.id))}<br><small>{scenario}</small></th>'
            f"<td>{escape(evidence(report, check))}{_numbers(check)}</td>"
            f"<td>{_lesson(check.lesson)}</td></tr>"
        )
    yield "</tbody>\n</table>"


def _numbers(check: Outcome) -> str:
    counted = list(check.counted.items())[:_MOST_NUMBERS]
    if not counted:
        return ""
    rows = "".join(
        f"<dt>{escape(clean(name, 60))}</dt><dd>{escape(clean(_value(value), 200))}</dd>"
        for name, value in counted
    )
    name = f"Numbers of {escape(clean(check.id))}"
    return f'<details><summary aria-label="{name}">Numbers</summary><dl>{rows}</dl></details>'


def _value(value: object) -> object:
    if value is None or isinstance(value, bool):
        return {None: "–", True: "yes", False: "no"}[value]
    return f"{value:.6g}" if isinstance(value, float) else value


def _lesson(number: str) -> str:
    title, where = lesson_title(number), lesson_to_read(number)
    path = Path(where)
    if path.is_absolute():
        return f'<a href="{escape(path.as_uri())}">{escape(title)}</a>'
    return f"{escape(title)}<br><small>{_breakable(where)}</small>"


def _breakable(name: str) -> str:
    return re.sub(r"([._])", r"\1<wbr>", escape(name))


def _scenarios(report: AuditReport) -> Iterator[str]:
    yield "<p>Each bar is one request, in the order in which they arrived.</p>"
    marks = "".join(f"<li>{mark} {escape(name)}</li>" for mark, name in legend())
    yield f'<ul class="legend">{marks}</ul>'
    most = max(min(_MOST_BARS_EACH, _MOST_BARS // max(len(report.scenarios), 1)), 1)
    for number, record in enumerate(report.scenarios):
        yield from _scenario(number, record, most)


def _scenario(number: int, record: ScenarioRecord, most: int) -> Iterator[str]:
    name = escape(clean(record.name))
    yield f'<section id="{_anchor(number)}" aria-labelledby="{_anchor(number)}-name">'
    yield f'<h3 id="{_anchor(number)}-name">{name}</h3>'
    yield f"<p>{escape(clean(record.description))}</p>"
    if record.remark:
        yield f"<p><strong>Remark:</strong> {escape(clean(record.remark))}</p>"
    drawing = Drawing(record, most)
    # Focusable: on a narrow screen it scrolls.
    yield f'<figure><div class="scroll" tabindex="0" role="group" aria-label="{name}, drawn">'
    yield drawing.svg
    yield f"</div><figcaption>{escape(drawing.words)}</figcaption></figure>\n</section>"


def _anchor(number: int) -> str:
    return f"scenario-{number + 1}"
