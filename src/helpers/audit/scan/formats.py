"""Shows a scan: as text, JSON, SARIF 2.1.0 or GitHub Actions annotations."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

from helpers.audit.scan.finding import VERSION, Finding, ScanReport
from helpers.audit.scan.rules import Rule, rules

_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


def to_text(report: ScanReport) -> str:
    lines = []
    for each in report.findings:
        lesson = f" (lesson {each.lesson})" if each.lesson != "00" else ""
        lines.append(f"{_place(each)}: {each.rule} {each.message}{lesson}")
        lines.append(f"    {each.why} {rules()[each.rule].note}")
    lines.append(_summary(report))
    return "\n".join(lines) + "\n"


def _place(finding: Finding) -> str:
    cell = "" if finding.cell is None else f"cell {finding.cell}:"
    return f"{finding.path}:{cell}{finding.line}:{finding.column}"


def _summary(report: ScanReport) -> str:
    found = _counted(len(report.findings), "finding")
    suppressed = f", {report.suppressed} suppressed" if report.suppressed else ""
    return f"{found[0].upper()}{found[1:]} in {_counted(report.files, 'file')}{suppressed}."


def _counted(number: int, thing: str) -> str:
    return f"{number or 'no'} {thing}{'' if number == 1 else 's'}"


def to_json(report: ScanReport) -> str:
    entry = {
        "version": VERSION,
        "findings": [finding.to_json() for finding in report.findings],
        "files": report.files,
        "suppressed": report.suppressed,
        "notes": list(report.notes),
    }
    return json.dumps(entry, indent=2, ensure_ascii=False) + "\n"


def to_github(report: ScanReport) -> str:
    """One line for each finding: GitHub shows the first ten of a step."""
    lines = []
    for each in report.findings:
        place = {"file": each.path}
        if each.cell is None:  # GitHub shows lines of the notebook's JSON, which nobody reads
            place |= {"line": str(each.line), "endLine": str(each.end_line)}
            place |= {"col": str(each.column)}
        place["title"] = each.rule
        options = ",".join(f"{name}={_property(value)}" for name, value in place.items())
        text = f"{_in_cell(each)}{each.message} {each.why} (lesson {each.lesson})"
        lines.append(f"::warning {options}::{_data(text)}\n")
    return "".join(lines)


def _in_cell(finding: Finding) -> str:
    return "" if finding.cell is None else f"Cell {finding.cell}, line {finding.line}: "


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def to_sarif(report: ScanReport) -> str:
    used = list(rules().values())
    index = {rule.id: number for number, rule in enumerate(used)}
    driver = {
        "name": "llm-antipatterns scan",
        "version": version("llm-antipatterns"),
        "rules": [_sarif_rule(rule) for rule in used],
    }
    notes = [{"level": "note", "message": {"text": note}} for note in report.notes]
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "invocations": [{"executionSuccessful": True, "toolExecutionNotifications": notes}],
        "results": [_sarif_result(each, index[each.rule]) for each in report.findings],
    }
    entry = {"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}
    return json.dumps(entry, indent=2, ensure_ascii=False) + "\n"


def _sarif_rule(rule: Rule) -> dict[str, Any]:
    return {
        "id": rule.id,
        "shortDescription": {"text": rule.message},
        "fullDescription": {"text": rule.why},
        "help": {"text": rule.note},
        "defaultConfiguration": {"level": "warning"},
        "properties": {"lesson": rule.lesson, "tags": [f"lesson-{rule.lesson}", rule.language]},
    }


def _sarif_result(finding: Finding, index: int) -> dict[str, Any]:
    place: dict[str, Any] = {"artifactLocation": {"uri": _uri(finding.path)}}
    if finding.cell is None:
        place["region"] = {
            "startLine": finding.line,
            "startColumn": finding.column,
            "endLine": finding.end_line,
        }
    return {
        "ruleId": finding.rule,
        "ruleIndex": index,
        "level": "warning",
        "message": {"text": f"{_in_cell(finding)}{finding.message} {finding.why}"},
        "locations": [{"physicalLocation": place}],
    }


def _uri(path: str) -> str:
    """Relative to the current folder, as code scanning wants it, where the file is below it."""
    absolute = Path(path).absolute()
    try:
        return quote(str(PurePosixPath(absolute.relative_to(Path.cwd()))))
    except ValueError:
        return absolute.as_uri()


FORMATS: dict[str, Callable[[ScanReport], str]] = {
    "text": to_text,
    "json": to_json,
    "sarif": to_sarif,
    "github": to_github,
}
