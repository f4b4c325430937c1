"""OpenAI's chat (Azure's paths, too) and Responses, and Anthropic's Messages are judged alike."""

from __future__ import annotations

import sys

import pytest

from helpers.audit import audit_command
from tests.audit.auditing import APPS, ids, shown

BROKEN = {"LAP08.cut", "LAP08.no_finish", "LAP08.length", "LAP08.error_event", "LAP08.json"}
CHECKS = ",".join(sorted({"LAP03.limit", *BROKEN}))
PROGRAM = [sys.executable, str(APPS / "dialects.py")]


@pytest.mark.parametrize("dialect", ["chat", "responses", "messages"])
def test_a_careful_program_passes(dialect: str) -> None:
    report = audit_command([*PROGRAM, dialect], deadline=5, only=CHECKS)
    assert ids(report, "pass") == {"LAP03.limit", *BROKEN}, shown(report)


@pytest.mark.parametrize("dialect", ["chat", "responses", "messages"])
def test_a_careless_program_fails(dialect: str) -> None:
    report = audit_command([*PROGRAM, dialect, "careless"], deadline=5, only=CHECKS)
    # Anthropic requires a limit.
    without_a_limit = set() if dialect == "messages" else {"LAP03.limit"}
    expected = {"LAP08.no_finish", "LAP08.length", *without_a_limit}
    assert ids(report, "fail") == expected, shown(report)
