"""The glossary and the review checklist name what is there, where it is."""

from __future__ import annotations

import re
from functools import cache
from typing import NamedTuple

import pytest

from helpers.audit.checks.table import IDS
from helpers.audit.scan.rules import rules
from helpers.lessons import notebook
from helpers.lessons.catalogue import CHECKLIST, GLOSSARY, START, Lesson, notebooks

# What the lessons define: see the table of lessons in the design.
TERMS = {
    *("event loop", "blocking call", "GIL", "connection pool", "keep-alive", "handshake"),
    *("head-of-line blocking", "prompt cache", "sliding window", "context window", "deadline"),
    *("tail latency", "deadline propagation", "transient error", "permanent error", "idempotent"),
    *("exponential back-off with full jitter", "retry storm", "retry amplification"),
    *("thundering herd", "load shedding", "token bucket", "lost update", "time to live"),
    *("time to first token", "back-pressure", "structured concurrency", "bulkhead"),
    *("circuit breaker", "graceful degradation"),
}
_LINK = re.compile(r"\[([^\]]+)\]\(([^)#]+)(?:#([^)]+))?\)")


class Entry(NamedTuple):
    term: str
    meaning: str
    links: list[tuple[str, str, str]]
    """Text, file and heading's anchor."""


def text(lesson: Lesson) -> str:
    cells = notebook.read_source(lesson).cells
    return "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")


@cache
def glossary() -> list[Entry]:
    rows = re.findall(r"^\| \*\*(.+?)\*\* \| (.+) \| (.+) \|$", text(GLOSSARY), re.M)
    return [Entry(term, meaning, _LINK.findall(links)) for term, meaning, links in rows]


@cache
def sections(name: str) -> dict[str, str]:
    """A page's text under each of its headings, by the heading as JupyterLab makes an anchor."""
    (lesson,) = (each for each in notebooks() if each.notebook.name == name)
    _, *parts = re.split(r"^#+ (.+)$", text(lesson), flags=re.M)
    anchors = [re.sub(r"[`*]", "", heading).replace(" ", "-") for heading in parts[::2]]
    return {anchor: _plain(under) for anchor, under in zip(anchors, parts[1::2], strict=True)}


def _plain(marked_up: str) -> str:
    return " ".join(re.sub(r"[`*]", "", marked_up).split()).casefold()


def test_the_glossary_has_the_field_s_terms_in_order() -> None:
    terms = [entry.term for entry in glossary()]
    assert set(terms) >= TERMS
    assert terms == sorted(set(terms), key=str.casefold)


@pytest.mark.parametrize("entry", glossary(), ids=lambda entry: entry.term)
def test_a_term_is_used_where_its_links_lead(entry: Entry) -> None:
    assert 0 < len(re.findall(r"[.!?](?= |$)", entry.meaning)) <= 2, "one or two sentences"
    assert entry.links
    for shown, file, anchor in entry.links:
        number, heading = shown.split(" · ")
        assert (number, heading.replace(" ", "-")) == (file[:2], anchor)
        assert entry.term.casefold() in sections(file)[anchor], (file, anchor)


@pytest.mark.parametrize("lesson", [START, GLOSSARY, CHECKLIST], ids=lambda lesson: lesson.stem)
def test_a_page_links_to_pages_that_are_there(lesson: Lesson) -> None:
    names = {each.notebook.name for each in notebooks()}
    linked = {file for _, file, _ in _LINK.findall(text(lesson))}
    assert {each for each in linked if ":" not in each} <= names
    pages = {each.notebook.name for each in (START, GLOSSARY, CHECKLIST)}
    others = pages - {lesson.notebook.name, *([START.notebook.name] if lesson is CHECKLIST else [])}
    assert linked >= others


def checklist() -> dict[str, str]:
    """Its rows by lesson."""
    rows = re.findall(r"^\| ☐ \[(\d\d)\]\(\1_\w+\.ipynb\) (.+) \|$", text(CHECKLIST), re.M)
    return dict(rows)


def test_the_checklist_has_one_question_for_each_mistake() -> None:
    assert [*checklist()] == [f"0{number}" for number in range(1, 9)]
    for row in checklist().values():
        (question,) = re.findall(r"\*\*(.+?)\*\*", row)
        assert question.endswith("?")
        assert question.count("?") == 1
        assert re.findall(r"\*(\w+):\*", row) == ["scan", "audit", "watch"]


def test_every_check_of_the_audit_is_in_the_row_of_its_lesson() -> None:
    named = {number: _ids(row, "audit") for number, row in checklist().items()}
    assert named == {number: [each for each in IDS if each[3:5] == number] for number in named}


def test_every_python_rule_of_the_scan_is_in_the_row_of_its_lesson() -> None:
    """And a Rust rule where there is no other; the others of Rust are named by their suffix."""
    for number, row in checklist().items():
        named = set(_ids(row, "scan"))
        found = {each.id: each.language for each in rules().values() if each.lesson == number}
        python = {name for name, language in found.items() if language == "python"}
        assert named == (python or found.keys())
    assert all(each.id.endswith("-rust") for each in rules().values() if each.language == "rust")
    assert "`-rust`" in text(CHECKLIST)


def _ids(row: str, kind: str) -> list[str]:
    (part,) = re.findall(rf"\*{kind}:\* (.+?)<br>", row)
    return re.findall(r"LAP\d\d\.[\w-]+", part)
