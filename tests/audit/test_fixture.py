"""The fixture ``llm_audit``, and what the audit imports."""

from __future__ import annotations

import subprocess
import sys

import pytest

from llm_antipatterns_pytest import LlmAudit
from tests.audit.auditing import ADDRESS, APPS, CHAT

HOSTILE = [sys.executable, str(APPS / "hostile.py")]


def test_a_program(llm_audit: LlmAudit) -> None:
    report = llm_audit.command([*HOSTILE, "prints"], only="LAP03.limit")
    assert report.verdict == "pass"
    assert not report.failures


def test_a_service(llm_audit: LlmAudit) -> None:
    report = llm_audit.service(
        [*HOSTILE, "serves", "$PORT"],
        app=ADDRESS,
        chat=CHAT,
        only="LAP03.limit",
        expected={"LAP03.limit": "not yet"},
    )
    assert report.stale == ("LAP03.limit",)
    assert report.verdict == "fail"


def test_an_audit_that_cannot_run_fails_the_test(llm_audit: LlmAudit) -> None:
    with pytest.raises(pytest.fail.Exception, match="could not run: The program sent no request"):
        llm_audit.command([*HOSTILE, "ignores"])


def test_the_audit_needs_neither_jupyter_nor_matplotlib() -> None:
    code = (
        "import sys, helpers.audit.api, helpers.audit.command\n"
        "from helpers.audit.reports import html, json, junit, markdown, text\n"
        "print(sorted({'matplotlib', 'IPython', 'jupyterlab', 'nbformat'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
