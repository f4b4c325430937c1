"""The report for programs. Its fields change only with `VERSION`."""

from __future__ import annotations

import json
import math
from typing import Any

from helpers.audit.outcome import VERSION, AuditReport, Outcome


def render(report: AuditReport) -> str:
    checks = [_check(check) for check in report.checks]
    return _text({"version": VERSION, "verdict": report.verdict, "checks": checks})


def render_error(error: object) -> str:
    """For an audit that could not run."""
    return _text({"version": VERSION, "verdict": "error", "error": str(error)})


def _check(check: Outcome) -> dict[str, Any]:
    return {
        "id": check.id,
        "lesson": check.lesson,
        "scenario": check.scenario,
        "verdict": check.verdict,
        "evidence": check.evidence,
        "counted": {name: _value(value) for name, value in check.counted.items()},
    }


def _value(value: object) -> object:
    # JSON has no word for these.
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _text(document: dict[str, Any]) -> str:
    text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)
    # Half of a surrogate pair cannot be encoded.
    return text.encode("utf-8", errors="replace").decode() + "\n"
