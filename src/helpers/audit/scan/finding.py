"""What a scan found: plain data, which the rules make and the formats show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

VERSION = 1
"""The ids of rules and the fields of the JSON change only together with this number."""


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """A likely mistake in the source; only an audit proves it."""

    path: str
    cell: int | None
    """The notebook's cell, counted from 1 over cells of every type; None outside a notebook."""
    line: int
    """From 1; in a notebook, within its cell."""
    column: int
    """From 1, in characters."""
    end_line: int
    rule: str
    """The rule's id, such as ``LAP01.sync-call``."""
    lesson: str
    """Two digits."""
    message: str
    why: str

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.rule,
            "lesson": self.lesson,
            "path": self.path,
            "cell": self.cell,
            "line": self.line,
            "column": self.column,
            "end_line": self.end_line,
            "message": self.message,
            "why": self.why,
        }


@dataclass(frozen=True, slots=True)
class ScanReport:
    """A whole scan."""

    findings: tuple[Finding, ...]
    files: int
    """How many files were scanned."""
    notes: tuple[str, ...]
    """One sentence for each file that could not be scanned."""
    suppressed: int
    """How many findings a comment suppressed."""
