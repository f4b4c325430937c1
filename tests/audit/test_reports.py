"""The reports of audits with real ledgers, and with anything that an application may have said."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
import re
import subprocess
import sys
import time
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import httpx
import jsonschema
import pytest
from markdown_it import MarkdownIt

from helpers.audit.expected_failures import read_expected_failures
from helpers.audit.outcome import AuditReport, Outcome, ScenarioRecord
from helpers.audit.reports import files, html, junit, markdown, text
from helpers.audit.reports import json as json_report
from helpers.audit.reports.comparison import mistakes, passed, played, side_by_side, unseen
from helpers.lessons.catalogue import lesson
from helpers.lessons.course.folder import MANIFEST, course_folder
from helpers.mock_llm import Ledger, MockLLM
from helpers.report.formatting import seconds
from helpers.report.table import table

MIB = 1024 * 1024
HOSTILE = (
    '<script>alert("1")</script> | `code` **bold** [a](javascript:x) @octocat owner/repo#12 '
    "]]> & \x00\x07\x1b[31m\x85\u202e\ufffe \udc80 ]|\n\n## heading\n$PATH$ <!-- "
)


async def _ask(client: httpx.AsyncClient, **options: Any) -> None:
    messages = [{"role": "user", "content": "Hello?"}]
    body = {"model": "gpt-5-mini", "messages": messages, "stream": True}
    with contextlib.suppress(httpx.HTTPError):
        await client.post("chat/completions", json=body, **options)


async def _requests(url: str) -> None:
    async with httpx.AsyncClient(base_url=url, timeout=10) as client:
        fine = [_ask(client) for _ in range(6)]
        refused = [_ask(client, headers={"x-mock-fault": "503"}) for _ in range(2)]
        cut = _ask(client, headers={"x-mock-fault": "cut; after_tokens=3"})
        left = _ask(client, headers={"x-mock-fault": "hang"}, timeout=0.3)
        await asyncio.gather(*fine, *refused, cut, left)


def _record(llm: MockLLM, name: str) -> ScenarioRecord:
    llm.reset()
    started = time.perf_counter()
    asyncio.run(_requests(llm.url))
    # The server sees a little later that the last client has left.
    while any(r.last_byte is None and r.client_left is None for r in llm.ledger().requests):
        time.sleep(0.01)
    ended = time.perf_counter()
    return ScenarioRecord(name, "Two of ten get 503.", llm.ledger(), started, ended, waited=0.25)


@pytest.fixture(scope="module")
def records() -> tuple[ScenarioRecord, ScenarioRecord]:
    with MockLLM("small", speed=10, answer_tokens=8) as llm:
        return _record(llm, "refusing"), _record(llm, "hanging")


def _outcome(name: str, verdict: Any, scenario: str = "refusing", **options: Any) -> Outcome:
    options = {"evidence": f"{name} has seen 2 of 10.", "counted": {"requests": 10}} | options
    return Outcome(name, name[3:5], scenario, verdict, **options)


@pytest.fixture
def report(records: tuple[ScenarioRecord, ScenarioRecord]) -> AuditReport:
    checks = (
        _outcome("LAP01.blocking", "pass"),
        _outcome("LAP04.drip", "pass", "hanging"),
        _outcome("LAP04.hang", "fail", "hanging"),
        _outcome("LAP05.early", "fail"),
        _outcome("LAP05.jitter", "pass"),
        _outcome("LAP06.restart", "not seen", evidence="No restart was possible."),
    )
    expected = {"LAP05.early": "ticket 12", "LAP05.jitter": "ticket 13"}
    return AuditReport(checks, records, expected)


@pytest.fixture
def hostile(records: tuple[ScenarioRecord, ScenarioRecord]) -> AuditReport:
    """Everything that an application can influence, and more, is hostile and long."""
    record = replace(records[0], name=HOSTILE, description=HOSTILE * 9, remark=HOSTILE * 20_000)
    counted = {HOSTILE: HOSTILE * 9, "time": math.nan, "share": math.inf, "left": True}
    verdicts = ("fail", "not seen", "fail", "pass")
    checks = tuple(
        _outcome(f"LAP0{i}.x{i}", verdict, HOSTILE, evidence=HOSTILE * 20_000, counted=counted)
        for i, verdict in enumerate(verdicts, 1)
    )
    return AuditReport(checks, (record,), {"LAP03.x3": HOSTILE})


@pytest.fixture
def long(records: tuple[ScenarioRecord, ScenarioRecord]) -> AuditReport:
    """Twenty scenarios with 10,000 requests each, and as many checks."""
    requests = records[0].ledger.requests
    many = [
        replace(each, id=i, arrival=each.arrival + i / 10_000)
        for i in range(10_000)
        for each in (requests[i % len(requests)],)
    ]
    record = replace(records[0], ledger=replace(records[0].ledger, requests=many))
    scenarios = tuple(replace(record, name=f"scenario {i}") for i in range(20))
    checks = tuple(
        _outcome(f"LAP0{i % 8 + 1}.check{i}", "fail", f"scenario {i}", evidence="x y " * 900)
        for i in range(20)
    )
    return AuditReport(checks, scenarios)


# What all of them share


def test_they_import_no_matplotlib_and_no_jupyter() -> None:
    code = (
        "import sys\n"
        "from helpers.audit.reports import files, html, json, junit, markdown, text\n"
        "print({'matplotlib', 'IPython', 'ipywidgets', 'jupyterlab'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def _title(number: str) -> str:
    return lesson(number).title


# The summary


def test_the_summary_says_what_failed_why_and_what_to_read(report: AuditReport) -> None:
    lines = text.render(report, width=120).splitlines()
    assert lines[:-1] == [
        f"pass      01 · {_title('01')}: 1 pass",
        f"FAIL      04 · {_title('04')}: 1 fail, 1 pass",
        "          LAP04.hang: LAP04.hang has seen 2 of 10.",
        f"          Read {_notebook('04')}",
        f"STALE     05 · {_title('05')}: 1 stale, 1 expected",
        "          LAP05.jitter (stale): LAP05.jitter has seen 2 of 10. Expected to fail "
        "(ticket 13): remove it from the expected",
        "            failures.",
        "          LAP05.early (expected): LAP05.early has seen 2 of 10. Expected: ticket 12",
        f"          Read {_notebook('05')}",
        f"not seen  06 · {_title('06')}: 1 not seen",
        "          LAP06.restart (not seen): No restart was possible.",
        "",
        "FAIL: 1 of 6 checks failed, 1 is expected to fail and passed, 1 failed as expected, 1 was "
        "not seen, 2 passed.",
    ]
    length = report.scenarios[1].ended - report.scenarios[0].started
    waiting = "0.50 s of it waiting for the application"
    assert lines[-1] == f"2 scenarios in {seconds(length)}, {waiting}."


def _notebook(number: str) -> str:
    copy = course_folder() / f"{lesson(number).stem}.ipynb"
    return str(copy) if copy.is_file() else copy.name


def test_the_summary_fits_a_screen(long: AuditReport, hostile: AuditReport) -> None:
    for report, most in ((long, 40), (hostile, 20)):
        lines = text.render(report, width=80).splitlines()
        assert len(lines) <= most
        assert max(map(len, lines)) <= 120
        assert all(line.isprintable() for line in lines)


def test_the_summary_without_a_failure_has_no_lesson_to_read(report: AuditReport) -> None:
    passed = AuditReport(report.checks[:2], report.scenarios)
    lines = text.render(passed).splitlines()
    assert "Read" not in "".join(lines)
    assert lines[-2] == "PASS: 0 of 2 checks failed, 2 passed."


def test_only_a_terminal_gets_colors(report: AuditReport) -> None:
    colored = text.render(report, color=True)
    assert "\x1b[1;31mFAIL" in colored
    assert re.sub(r"\x1b\[[\d;]*m", "", colored) == text.render(report)


def test_the_lesson_is_the_learners_own_copy(
    report: AuditReport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notebook = tmp_path / f"{lesson('04').stem}.ipynb"
    notebook.touch()
    (tmp_path / MANIFEST).touch()
    monkeypatch.chdir(tmp_path)
    assert f"Read {notebook}" in text.render(report)
    assert f'href="{notebook.as_uri()}"' in html.render(report)
    notebook.unlink()
    assert f"Read {lesson('04').stem}.ipynb" in text.render(report)


# JSON

SCHEMA = {
    "type": "object",
    "required": ["version", "verdict", "checks"],
    "additionalProperties": False,
    "properties": {
        "version": {"const": 1},
        "verdict": {"enum": ["pass", "fail"]},
        "checks": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["id", "lesson", "scenario", "verdict", "evidence", "counted"],
                "additionalProperties": False,
                "properties": {
                    "id": {"type": "string", "pattern": r"^LAP0[1-8](\.\w+)?$"},
                    "lesson": {"enum": [f"0{n}" for n in range(1, 9)]},
                    "scenario": {"type": "string"},
                    "verdict": {"enum": ["pass", "fail", "not seen"]},
                    "evidence": {"type": "string"},
                    "counted": {"type": "object"},
                },
            },
        },
    },
}


def _strict(constant: str) -> None:
    raise AssertionError(f"{constant} is not JSON")


@pytest.mark.parametrize("name", ["report", "hostile", "long"])
def test_json_has_the_agreed_shape(name: str, request: pytest.FixtureRequest) -> None:
    report = request.getfixturevalue(name)
    written = json_report.render(report).encode()
    document = json.loads(written, parse_constant=_strict)
    jsonschema.validate(document, SCHEMA)
    assert [check["id"] for check in document["checks"]] == [check.id for check in report.checks]


def test_json_keeps_the_numbers(report: AuditReport, hostile: AuditReport) -> None:
    (first, *_) = json.loads(json_report.render(report))["checks"]
    assert first == {
        "id": "LAP01.blocking",
        "lesson": "01",
        "scenario": "refusing",
        "verdict": "pass",
        "evidence": "LAP01.blocking has seen 2 of 10.",
        "counted": {"requests": 10},
    }
    counted = json.loads(json_report.render(hostile))["checks"][0]["counted"]
    assert (counted["time"], counted["share"], counted["left"]) == (None, None, True)


def test_json_of_an_audit_that_could_not_run() -> None:
    written = json_report.render_error(ValueError("It never answered."))
    assert json.loads(written) == {"version": 1, "verdict": "error", "error": "It never answered."}


# JUnit: what Ant's schema and Jenkins' both accept, in the schema's order

_INT, _DECIMAL, _ANY = r"\d+", r"\d+\.\d+", r"(?s).*"
_TOKEN = r"\S+( \S+)*"
_ATTRIBUTES: dict[str, dict[str, str]] = {
    "testsuites": {},
    "testsuite": {
        **dict.fromkeys(("name", "package", "hostname"), _TOKEN),
        **dict.fromkeys(("id", "tests", "failures", "errors", "skipped"), _INT),
        "time": _DECIMAL,
        "timestamp": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d",
    },
    "testcase": {"name": _TOKEN, "classname": _TOKEN, "time": _DECIMAL},
    "failure": {"message": _ANY, "type": _ANY},
    "skipped": {"message": _ANY},
    "properties": {},
    "system-out": {},
    "system-err": {},
}
_CHILDREN = {
    "testsuites": r"(testsuite )*",
    "testsuite": r"properties (testcase )*system-out system-err ",
    "testcase": r"(failure |skipped )?",
}


def _validate(element: ET.Element) -> None:
    """By what the schema allows, and nothing else."""
    attributes = _ATTRIBUTES[element.tag]
    assert element.attrib.keys() == attributes.keys(), element.tag
    for name, pattern in attributes.items():
        assert re.fullmatch(pattern, element.attrib[name]), (element.tag, name)
    children = "".join(f"{child.tag} " for child in element)
    assert re.fullmatch(_CHILDREN.get(element.tag, ""), children), (element.tag, children)
    for child in element:
        _validate(child)


@pytest.mark.parametrize("name", ["report", "hostile", "long"])
def test_junit_is_valid(name: str, request: pytest.FixtureRequest) -> None:
    report = request.getfixturevalue(name)
    root = _suites(report)
    _validate(root)
    for number, suite in enumerate(root):
        assert suite.get("id") == str(number)
        for attribute, path in (
            ("tests", "testcase"),
            ("failures", "testcase/failure"),
            ("skipped", "testcase/skipped"),
        ):
            assert suite.get(attribute) == str(len(suite.findall(path)))
    assert len(root.findall("testsuite/testcase")) == len(report.checks)


def test_junit_skips_what_was_not_seen_and_what_is_expected(report: AuditReport) -> None:
    root = _suites(report)
    cases = {case.get("name"): [(e.tag, e.get("message")) for e in case] for case in _cases(root)}
    evidence = "{} has seen 2 of 10."
    assert cases == {
        "LAP01.blocking": [],
        "LAP04.drip": [],
        "LAP04.hang": [("failure", evidence.format("LAP04.hang"))],
        "LAP05.early": [
            (
                "skipped",
                f"failed as expected: {evidence.format('LAP05.early')} Expected: ticket 12",
            )
        ],
        "LAP05.jitter": [
            (
                "failure",
                f"{evidence.format('LAP05.jitter')} Expected to fail (ticket 13): "
                "remove it from the expected failures.",
            )
        ],
        "LAP06.restart": [("skipped", "not seen: No restart was possible.")],
    }


def test_junit_shares_a_scenarios_seconds_among_its_checks(report: AuditReport) -> None:
    root = _suites(report)
    total = sum(float(case.get("time", "")) for case in _cases(root))
    spent = sum(record.ended - record.started for record in report.scenarios)
    assert total == pytest.approx(spent, abs=0.01)


def _suites(report: AuditReport) -> ET.Element:
    return ET.fromstring(junit.render(report).encode())  # noqa: S314 - it is our own


def _cases(root: ET.Element) -> list[ET.Element]:
    return root.findall("testsuite/testcase")


# Markdown


def _tables(source: str) -> tuple[list[list[str]], list[str]]:
    """The cells of each row as they are shown, and all HTML in the page."""
    tokens = MarkdownIt("commonmark", {"html": True}).enable("table").parse(source)
    rows: list[list[str]] = []
    page: list[str] = []
    for token in tokens:
        if token.type == "tr_open":
            rows.append([])
        elif token.type == "html_block":
            page.append(token.content.strip())
        elif token.type == "inline" and rows and token.level > 3:
            assert {child.type for child in token.children or []} <= {"text", "text_special"}
            rows[-1].append("".join(child.content for child in token.children or []))
    return rows, page


def test_markdown_begins_with_the_failures_and_folds_the_rest(report: AuditReport) -> None:
    rows, page = _tables(markdown.render(report))
    ids = [row[0] for row in rows if row[0] != "Check"]
    assert ids == [
        "LAP04.hang",
        "LAP05.jitter",
        "LAP05.early",
        "LAP06.restart",
        "LAP01.blocking",
        "LAP04.drip",
    ]
    assert page == [
        "<details><summary>Failed as expected: 1</summary>",
        "</details>",
        "<details><summary>Not seen: 1</summary>",
        "</details>",
        "<details><summary>Passed: 2</summary>",
        "</details>",
    ]
    assert markdown.render(report).startswith("## LLM audit: fail\n\n1 of 6 checks failed,")


def test_markdown_shows_anything_as_text(hostile: AuditReport) -> None:
    source = markdown.render(hostile)
    rows, page = _tables(source)
    assert {len(row) for row in rows} == {3}
    evidence = [row[1] for row in rows if row[0] != "Check"]
    assert len(evidence) == 4
    for shown in evidence:
        assert '<script>alert("1")</script> | `code` **bold** [a](javascript:x) @' in shown
        assert "## heading" in shown
    assert all("details>" in each for each in page)
    assert not re.search(r"@\w|#\d", source)


def test_markdown_stays_below_githubs_limit(long: AuditReport, hostile: AuditReport) -> None:
    for report in (long, hostile):
        assert len(markdown.render(report).encode("utf-8", errors="strict")) < MIB / 4


# Side by side


def test_applications_are_set_side_by_side(report: AuditReport) -> None:
    better = AuditReport(report.checks[:2], report.scenarios)
    reports = {"wrong": report, "right": better}
    table = side_by_side(reports)
    assert table.head == ("lesson", "wrong", "right")
    assert table.rows == (
        (f"01 · {_title('01')}", "1 pass", "1 pass"),
        (f"04 · {_title('04')}", "1 fail, 1 pass", "1 pass"),
        (f"05 · {_title('05')}", "1 stale, 1 expected", "–"),
        (f"06 · {_title('06')}", "1 not seen", "–"),
    )
    assert mistakes(report) == ("04",)
    assert passed(report) == ("01", "05")
    assert [check.lesson for check in unseen(report)] == ["06"]


def test_one_scenario_of_several_audits_is_a_comparison(report: AuditReport) -> None:
    comparison = played({"wrong": report, "right": report}, "hanging")
    record = report.scenarios[1]
    assert comparison.arms.keys() == {"wrong", "right"}
    run = comparison["wrong"]
    assert run.peak_in_flight == record.ledger.peak_in_flight
    first = min(request.arrival for request in record.ledger.requests)
    assert run.window[0] == pytest.approx(first - record.started)
    assert run.makespan <= record.ended - record.started
    # The application may well have a loop; the audit does not look into its process.
    shown = str(table(comparison))
    assert "event loop not measured" in shown
    assert "no event loop" not in shown


# HTML


class _Page(HTMLParser):
    """The tree of a page, strict: each tag is closed, in order."""

    void = frozenset({"meta", "br", "wbr"})

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        assert len(dict(attrs)) == len(attrs)
        if tag not in self.void:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def attributes(self, name: str) -> list[str]:
        return [str(found[name]) for _, found in self.elements if name in found]


@pytest.mark.parametrize("name", ["report", "hostile", "long"])
def test_html_is_whole_and_loads_nothing(name: str, request: pytest.FixtureRequest) -> None:
    source = html.render(request.getfixturevalue(name))
    page = _Page(source)
    assert len(source.encode("utf-8", errors="strict")) < MIB
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "link", "img", "iframe", "object", "base", "form"}
    assert not {found for _, each in page.elements for found in each if found.startswith("on")}
    targets = page.attributes("href")
    assert all(target.startswith(("#scenario-", "file:///")) for target in targets)
    assert "url(" not in source
    assert "@import" not in source
    ids = page.attributes("id")
    assert len(ids) == len(set(ids))
    assert {target[1:] for target in targets if target[0] == "#"} <= set(ids)


def test_html_shows_anything_as_text(hostile: AuditReport) -> None:
    page = _Page(html.render(hostile))
    assert '<script>alert("1")</script> | `code`' in "".join(page.text)
    assert "".join(page.text).isascii() or "\x1b" not in "".join(page.text)


def test_html_begins_with_the_failures(report: AuditReport) -> None:
    said = "".join(_Page(html.render(report)).text)
    ids = re.findall(r"LAP\d\d\.[a-z]+(?=refusing|hanging)", said)
    assert ids == [
        "LAP04.hang",
        "LAP05.jitter",
        "LAP05.early",
        "LAP06.restart",
        "LAP01.blocking",
        "LAP04.drip",
    ]


def test_each_scenario_is_drawn_and_described(report: AuditReport) -> None:
    page = _Page(html.render(report))
    labels = [each["aria-label"] for tag, each in page.elements if tag == "svg" and "role" in each]
    for label, record in zip(labels, report.scenarios, strict=True):
        assert label is not None
        assert label.startswith(f"Timeline of {record.name}: 10 requests on ")
        assert "; 2 error answers; 1 broken off by the provider; 1 left by the app" in label
    headings = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h\d", tag)]
    assert headings[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(headings))


def test_a_timeline_has_a_bar_for_each_request(report: AuditReport) -> None:
    page = _Page(html.render(replace(report, scenarios=report.scenarios[:1])))
    drawn = {each["class"]: str(each["d"]) for tag, each in page.elements if tag == "path"}
    # Six were answered and one was cut off; the legend is drawn first, with one bar of its own.
    assert drawn["generating"].count("z") == 7
    # Two crosses of two strokes, one square and one circle.
    assert drawn["mark"].count("M") == 4


def test_a_timeline_of_many_requests_says_how_many_it_draws(long: AuditReport) -> None:
    assert "160 of the 10,000 are drawn." in html.render(long)


def test_a_scenario_without_a_request_says_so(report: AuditReport) -> None:
    silent = replace(report.scenarios[0], ledger=Ledger())
    page = html.render(replace(report, scenarios=(silent,)))
    assert "No request arrived in" in page


def test_an_audit_without_scenarios_has_all_reports() -> None:
    nothing = AuditReport((), ())
    for each in (text, json_report, junit, markdown, html):
        assert each.render(nothing)


# Files


def test_a_report_replaces_the_file_and_leaves_no_other(tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    file.write_text("old")
    file.chmod(0o640)
    files.must_be_writable(file)
    assert file.read_text() == "old"
    files.write(file, "ü\udc80")
    assert file.read_text("utf-8") == "ü?"
    assert file.stat().st_mode & 0o777 == 0o640
    assert list(tmp_path.iterdir()) == [file]


def test_a_reader_never_sees_half_a_report(tmp_path: Path) -> None:
    file = tmp_path / "report.txt"
    files.write(file, "a")
    with file.open() as reading:
        files.write(file, "b" * MIB)
        assert reading.read() == "a"
    assert file.read_text() == "b" * MIB


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    file, link = tmp_path / "real.json", tmp_path / "link.json"
    link.symlink_to(file)
    files.write(link, "new")
    assert link.is_symlink()
    assert file.read_text() == "new"


def test_a_pipe_is_written_to() -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading) as pipe:
        files.write(Path(f"/dev/fd/{writing}"), "whole")
        os.close(writing)
        assert pipe.read() == "whole"


@pytest.fixture
def unwritable(tmp_path: Path) -> dict[str, Path]:
    (tmp_path / "file").touch()
    return {
        "No such file or directory": tmp_path / "missing" / "report.json",
        "Is a directory": tmp_path,
        "Not a directory": tmp_path / "file" / "report.json",
    }


def test_what_cannot_be_written_is_one_sentence(
    unwritable: dict[str, Path], tmp_path: Path
) -> None:
    for cause, path in unwritable.items():
        for attempt in (files.must_be_writable, lambda path: files.write(path, "text")):
            with pytest.raises(OSError, match=r"\AThe report cannot be written to .*\Z") as caught:
                attempt(path)
            assert str(caught.value) == f"The report cannot be written to '{path}': {cause}."
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


# Expected failures

IDS = ("LAP04.hang", "LAP05.early")


@pytest.mark.parametrize(
    "content",
    [
        "- {id: LAP04.hang, reason: ticket 12}\n- id: LAP05.early\n  reason: ' later '\n",
        "LAP04.hang: ticket 12\nLAP05.early: later\n",
    ],
)
def test_expected_failures_are_a_list_or_a_mapping(content: str, tmp_path: Path) -> None:
    file = tmp_path / "expected.yml"
    file.write_text(content)
    assert read_expected_failures(file, IDS) == {"LAP04.hang": "ticket 12", "LAP05.early": "later"}


def test_no_expected_failures(tmp_path: Path) -> None:
    file = tmp_path / "expected.yaml"
    file.write_text("# none any more\n")
    assert read_expected_failures(file, IDS) == {}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("- {id: LAP09, reason: x}", "there is no check 'LAP09'; the checks are LAP04.hang, LAP05"),
        ("- {id: 4, reason: x}", "there is no check '4'"),
        ("LAP04.hang: ''", "LAP04.hang has no reason"),
        ("- id: LAP04.hang", "LAP04.hang has no reason"),
        ("LAP04.hang: 12", "LAP04.hang has no reason"),
        ("- {id: LAP04.hang, reason: x, until: y}", "an entry needs an id and a reason"),
        ("- LAP04.hang", "an entry needs an id and a reason"),
        ("- {id: LAP04.hang, reason: x}\n- {id: LAP04.hang, reason: y}", "is listed twice"),
        ("LAP04.hang", "must hold a list"),
        ("{", "not valid YAML in line 1"),
        ("a: &a [*a]", "refers to itself"),
    ],
)
def test_bad_expected_failures_are_one_sentence(
    content: str, sentence: str, tmp_path: Path
) -> None:
    file = tmp_path / "expected.yaml"
    file.write_text(content)
    with pytest.raises(ValueError, match=re.escape(sentence)) as caught:
        read_expected_failures(file, IDS)
    assert str(caught.value).startswith(f"{file}: ")
    assert "\n" not in str(caught.value)


def test_expected_failures_that_cannot_be_read_are_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "expected.txt").touch()
    for name, sentence in (
        ("missing.yaml", "cannot be read: No such file or directory"),
        ("binary.yaml", "is not UTF-8 text"),
        ("expected.txt", "must end in .yaml or .yml"),
    ):
        with pytest.raises(ValueError, match=sentence):
            read_expected_failures(tmp_path / name, IDS)
