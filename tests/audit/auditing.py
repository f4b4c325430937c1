"""Audits of the applications in ``apps``, for the tests."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from helpers.audit import AuditReport, audit_command, audit_service

APPS = Path(__file__).parent / "apps"
CHAT = 'POST /chat {"session": "$SESSION", "message": "$MESSAGE"}'
ADDRESS = "http://127.0.0.1:$PORT"


def audit_the_service(store: Path, *words: str, only: str, deadline: float = 8) -> AuditReport:
    """``words``: its mistakes, and ``--stream``. ``store``: the folder for its conversations."""
    os.environ["STORE"] = str(store)
    streams = "--stream" in words
    return audit_service(
        [sys.executable, str(APPS / "service.py"), "$PORT", *words],
        ADDRESS,
        CHAT,
        stream=streams,
        answer="text" if streams else "answer",
        health="/health",
        deadline=deadline,
        only=only,
    )


def audit_the_program(*mistakes: str, only: str = "", deadline: float = 5) -> AuditReport:
    return audit_command(
        [sys.executable, str(APPS / "program.py"), *mistakes], deadline=deadline, only=only
    )


def ids(report: AuditReport, verdict: str) -> set[str]:
    """The checks with that verdict."""
    return {check.id for check in report.checks if check.verdict == verdict}


def shown(report: AuditReport) -> str:
    """What to look at when a test fails."""
    return "\n".join(f"{c.verdict:9}{c.id:18}{c.evidence}" for c in report.checks)
