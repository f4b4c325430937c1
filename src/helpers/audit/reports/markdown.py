"""The report as GitHub's Markdown, for the summary of a CI job."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import groupby

from helpers.audit.outcome import AuditReport, Outcome
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

_TITLES: dict[State, str] = {
    "fail": "Failed",
    "stale": "Expected to fail, and passed",
    "expected": "Failed as expected",
    "not seen": "Not seen",
    "pass": "Passed",
}
_MARKUP = re.compile(r"[\\`*_{}\[\]()#+!|~$^=:-]")
# A mention or an issue number, even after an escape: GitHub turns either into a link.
_REFERENCE = re.compile(r"@|#(?=\d)|(?<=\bGH)-(?=\d)")


def render(report: AuditReport) -> str:
    """Failures first, everything else folded; far below the 1 MiB that GitHub shows."""
    parts = [f"## LLM audit: {report.verdict}", f"{tally(report)}. {duration(report)}."]
    for state, group in groupby(in_order(report), key=lambda each: each[0]):
        checks = [check for _, check in group]
        table = "\n".join(_table(report, checks))
        if state in ("fail", "stale"):
            parts += [f"### {_TITLES[state]}", table]
        else:
            summary = f"<summary>{_TITLES[state]}: {len(checks)}</summary>"
            parts += [f"<details>{summary}", table, "</details>"]
    return "\n\n".join(parts) + "\n"


def _table(report: AuditReport, checks: Iterable[Outcome]) -> Iterator[str]:
    yield "| Check | What was seen | Lesson |"
    yield "|---|---|---|"
    for check in checks:
        cells = (
            escaped(check.id),
            escaped(evidence(report, check)),
            escaped(f"{lesson_title(check.lesson)} ({lesson_to_read(check.lesson)})"),
        )
        yield f"| {' | '.join(cells)} |"


def escaped(text: str) -> str:
    """As text in a table's cell: no markup, no HTML, no mention."""
    # An invisible joiner breaks what would be a reference.
    plain = _REFERENCE.sub(lambda found: f"{found[0]}\u2060", clean(text))
    plain = plain.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MARKUP.sub(lambda found: f"\\{found[0]}", plain)
