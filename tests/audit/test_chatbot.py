"""The chatbot of lessons 09 and 10 makes each of the eight mistakes, and the repaired one none."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from helpers.audit import AuditReport, audit_service
from helpers.audit.reports.comparison import mistakes, passed
from helpers.lessons import chatbot

EIGHT = ("01", "02", "03", "04", "05", "06", "07", "08")
# What one chat at a time, with one call to the model, over http alone, cannot show.
UNSEEN = {"LAP08.siblings", "LAP08.orphans", "LAP08.down"}


def _audit(folder: Path, name: str, only: str = "") -> AuditReport:
    chatbot.copy_to(folder)
    return audit_service(
        chatbot.command(folder / name),
        "http://127.0.0.1:$PORT",
        chatbot.CHAT,
        stream=True,
        answer="text",
        health="/health",
        deadline=8,
        only=only,
    )


def _with(report: AuditReport, verdict: str) -> set[str]:
    return {check.id for check in report.checks if check.verdict == verdict}


@pytest.mark.slow
def test_the_chatbot_makes_all_eight_mistakes(tmp_path: Path) -> None:
    report = _audit(tmp_path, "chatbot.py")
    assert mistakes(report) == EIGHT


@pytest.mark.slow
def test_the_repaired_chatbot_makes_none(tmp_path: Path) -> None:
    report = _audit(tmp_path, "chatbot_repaired.py")
    assert _with(report, "fail") == set()
    assert passed(report) == EIGHT
    assert _with(report, "not seen") == UNSEEN


def test_an_audit_runs_where_an_event_loop_does(tmp_path: Path) -> None:
    async def cell() -> AuditReport:
        return _audit(tmp_path, "chatbot_repaired.py", only="LAP03.limit")

    assert _with(asyncio.run(cell()), "pass") == {"LAP03.limit"}
