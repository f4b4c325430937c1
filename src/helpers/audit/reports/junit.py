"""The report as JUnit XML, following Ant's schema, the strictest in use."""

from __future__ import annotations

import time
from itertools import groupby
from xml.etree import ElementTree as ET

from helpers.audit.outcome import AuditReport, Outcome
from helpers.audit.reports.wording import clean, elapsed, evidence, lesson_to_read, state


def render(report: AuditReport) -> str:
    """A test suite per lesson and a test case per check.

    Checks that were not seen or failed as expected are skipped, with the reason.
    """
    root = ET.Element("testsuites")
    checks = sorted(report.checks, key=lambda check: check.lesson)
    for number, (lesson, group) in enumerate(groupby(checks, key=lambda check: check.lesson)):
        _add_suite(root, number, lesson, list(group), report)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=False).join(
        ['<?xml version="1.0" encoding="UTF-8"?>\n', "\n"]
    )


def _add_suite(
    root: ET.Element, number: int, lesson: str, checks: list[Outcome], report: AuditReport
) -> None:
    started = time.time() - elapsed(report)
    suite = ET.SubElement(
        root,
        "testsuite",
        {
            "id": str(number),
            "package": "llm_audit",
            "name": f"LAP{lesson}",
            # without a time zone: the schema allows none
            "timestamp": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(started)),
            "hostname": "localhost",
            "tests": str(len(checks)),
            "errors": "0",
        },
    )
    ET.SubElement(suite, "properties")
    seconds = [_add_case(suite, check, report) for check in checks]
    for kind, attribute in (("failure", "failures"), ("skipped", "skipped")):
        suite.set(attribute, str(len(suite.findall(f"testcase/{kind}"))))
    suite.set("time", f"{sum(seconds):.3f}")
    ET.SubElement(suite, "system-out")
    ET.SubElement(suite, "system-err")


def _add_case(suite: ET.Element, check: Outcome, report: AuditReport) -> float:
    """Returns its seconds: checks of one scenario share the scenario's seconds."""
    lengths = [
        each.ended - each.started for each in report.scenarios if each.name == check.scenario
    ]
    sharing = sum(each.scenario == check.scenario for each in report.checks)
    seconds = max(sum(lengths), 0.0) / sharing
    name, scenario = clean(check.id), clean(check.scenario)
    attributes = {"classname": f"llm_audit.{scenario}", "name": name, "time": f"{seconds:.3f}"}
    case = ET.SubElement(suite, "testcase", attributes)
    message = evidence(report, check)
    match state(report, check):
        case "fail" | "stale":
            failure = ET.SubElement(case, "failure", {"message": message, "type": name})
            failure.text = f"{message}\nRead {lesson_to_read(check.lesson)}"
        case "expected" | "not seen" as why:
            words = {"expected": "failed as expected", "not seen": "not seen"}[why]
            ET.SubElement(case, "skipped", {"message": f"{words}: {message}"})
    return seconds
