"""Verdicts on ordinary applications that are easily misjudged."""

from __future__ import annotations

import sys

import pytest

from helpers.audit import AuditError, AuditReport, audit_command, audit_service
from helpers.audit.api import choose
from tests.audit.auditing import ADDRESS, APPS, CHAT, ids, shown

CALLS = [sys.executable, str(APPS / "calls.py")]


def program(kind: str, only: str) -> AuditReport:
    return audit_command([*CALLS, kind], deadline=8, only=only)


def service(kind: str, only: str) -> AuditReport:
    return audit_service(
        [*CALLS, kind, "$PORT"], ADDRESS, CHAT, answer="answer", deadline=8, only=only
    )


def test_an_application_whose_calls_are_all_invalid_cannot_be_audited() -> None:
    with pytest.raises(AuditError, match=r"refused every request .*400.*'max_tokens' is not supp"):
        service("refused", "02")


@pytest.mark.slow
def test_requests_refused_as_invalid_show_nothing() -> None:
    report = service("refused-in-a-crowd", "LAP01.flight,LAP05.early,LAP08.json,LAP08.down")
    assert ids(report, "not seen") == {check.id for check in report.checks}, shown(report)
    for check in report.checks:
        assert "refused" in check.evidence
        assert "as invalid: Unsupported parameter" in check.evidence


def test_a_lesson_can_be_chosen_by_its_letters() -> None:
    assert choose("LAP07") == choose("07")


@pytest.mark.slow
def test_a_clock_in_the_system_prompt_hides_no_retry() -> None:
    report = program("retries-with-a-clock", "LAP05.early,LAP05.permanent,LAP05.layers")
    assert ids(report, "fail") == {"LAP05.early", "LAP05.permanent", "LAP05.layers"}, shown(report)


def test_a_question_with_two_system_prompts_is_no_retry() -> None:
    report = program("asks-twice-of-one", "LAP05.permanent,LAP05.layers")
    counted = {check.id: check.counted for check in report.checks}
    assert counted["LAP05.permanent"]["errors_retried"] == "", shown(report)
    assert counted["LAP05.layers"]["calls"] == 2, shown(report)


@pytest.mark.slow
def test_a_bound_of_12000_tokens_is_seen() -> None:
    report = service("bounded", "LAP03.growth")
    assert ids(report, "pass") == {"LAP03.growth"}, shown(report)


@pytest.mark.slow
def test_no_bound_is_claimed_only_up_to_what_was_sent() -> None:
    report = service("unbounded", "LAP03.growth")
    (check,) = report.checks
    assert check.verdict == "fail"
    tokens = check.counted["last_prompt_tokens"]
    assert isinstance(tokens, int)
    assert tokens >= 40_000
    assert check.evidence.endswith(f"held every turn: no bound seen up to {tokens:,} tokens.")


@pytest.mark.slow
def test_short_messages_alone_do_not_prove_that_nothing_bounds_a_history() -> None:
    report = service("unbounded-with-short-messages", "LAP03.growth")
    assert ids(report, "not seen") == {"LAP03.growth"}, shown(report)
    assert "no bound seen up to" in report.checks[0].evidence


@pytest.mark.slow
def test_one_failure_that_costs_the_whole_reply_is_seen() -> None:
    (check,) = service("all-or-nothing", "LAP08.siblings").checks
    assert check.verdict == "fail", check.evidence
    assert check.evidence == (
        "One of 4 calls failed; 3 of the other 3 were answered, and the user had nothing of them."
    )


def test_calls_that_were_not_sent_are_not_called_unanswered() -> None:
    (check,) = program("gives-up", "LAP08.siblings").checks
    assert check.verdict == "fail", check.evidence
    assert "3 were never sent" in check.evidence


@pytest.mark.slow
@pytest.mark.timed
def test_a_fixed_wait_of_a_second_is_early_where_two_are_asked_for() -> None:
    (check,) = program("waits-the-same", "LAP05.early").checks
    assert check.verdict == "fail", check.evidence
    assert check.counted["early"] == 2, check.evidence
    assert "Retry-After of 1 or 2 s" in check.evidence


@pytest.mark.slow
def test_every_use_of_a_service_that_crashes_is_counted() -> None:
    (check,) = service("crashes", "LAP08.down").checks
    assert check.verdict == "not seen", check.evidence
    assert "12 requests were sent to it for 6 uses" in check.evidence
