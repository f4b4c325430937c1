"""Each check fails a service that makes its mistake, and passes one that does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.audit.auditing import audit_the_service, ids, shown

pytestmark = [pytest.mark.slow, pytest.mark.timed]

NOT_STREAMED = {"LAP07.first", "LAP07.leave"}
ONE_CALL = {"LAP08.siblings", "LAP08.orphans"}
NO_BREAKER = {"LAP08.down"}
NO_HISTORY = {"LAP03.prefix", "LAP03.cached", "LAP03.growth"}
# By check: the words that start the service with its mistake, and what of its lesson is not seen.
MISTAKES: dict[str, tuple[str, set[str]]] = {
    "LAP01.flight": ("flight", set()),
    "LAP01.health": ("health", set()),
    "LAP02.connections": ("connections", set()),
    "LAP02.handshakes": ("handshakes", set()),
    "LAP03.cached": ("cached", set()),
    "LAP03.growth": ("growth", set()),
    "LAP03.clock": ("clock", NO_HISTORY),
    "LAP03.limit": ("limit", set()),
    "LAP04.hang": ("hang", set()),
    "LAP04.drip": ("drip", set()),
    "LAP04.starve": ("starve", set()),
    "LAP05.early": ("early", set()),
    "LAP05.jitter": ("jitter", set()),
    "LAP05.permanent": ("permanent", set()),
    "LAP05.layers": ("layers", set()),
    "LAP06.restart": ("restart", set()),
    "LAP06.workers": ("workers", set()),
    "LAP06.order": ("order", set()),
    "LAP07.first": ("first --stream", {"LAP07.leave"}),
    "LAP07.leave": ("leave --stream", set()),
    "LAP08.cut": ("cut --stream", ONE_CALL | NO_BREAKER),
    "LAP08.no_finish": ("no_finish --stream", ONE_CALL | NO_BREAKER),
    "LAP08.length": ("length --stream", ONE_CALL | NO_BREAKER),
    "LAP08.error_event": ("error_event --stream", ONE_CALL | NO_BREAKER),
    "LAP08.json": ("json --stream", ONE_CALL | NO_BREAKER),
    "LAP08.siblings": ("siblings", NO_BREAKER),
    "LAP08.down": ("down", ONE_CALL),
}


@pytest.mark.parametrize("check", MISTAKES)
def test_a_mistake_fails_its_own_check_alone(check: str, tmp_path: Path) -> None:
    words, missing = MISTAKES[check]
    report = audit_the_service(tmp_path, *words.split(), only=check[3:5])
    assert ids(report, "fail") == {check}, shown(report)
    assert ids(report, "not seen") == missing, shown(report)
    assert report.verdict == "fail"


def test_a_service_without_mistakes_passes_every_check(tmp_path: Path) -> None:
    report = audit_the_service(tmp_path, "batch", "breaker", only="")
    assert ids(report, "fail") == set(), shown(report)
    assert ids(report, "not seen") == NOT_STREAMED, shown(report)


def test_a_service_that_streams_passes_every_check(tmp_path: Path) -> None:
    report = audit_the_service(tmp_path, "--stream", only="")
    assert ids(report, "fail") == set(), shown(report)
    assert ids(report, "not seen") == ONE_CALL | NO_BREAKER, shown(report)


def test_a_blocked_event_loop_is_seen_by_both_checks(tmp_path: Path) -> None:
    report = audit_the_service(tmp_path, "blocking", only="01")
    assert ids(report, "fail") == {"LAP01.flight", "LAP01.health"}, shown(report)


def test_orphans_of_a_reply_that_is_lost_are_seen(tmp_path: Path) -> None:
    report = audit_the_service(tmp_path, "orphans", only="08")
    assert ids(report, "fail") == {"LAP08.siblings", "LAP08.orphans"}, shown(report)
    assert ids(report, "not seen") == NO_BREAKER, shown(report)


def test_a_window_that_slides_at_each_turn_is_seen_by_both_checks(tmp_path: Path) -> None:
    report = audit_the_service(tmp_path, "prefix", only="03")
    assert ids(report, "fail") == {"LAP03.prefix", "LAP03.cached"}, shown(report)
    assert ids(report, "not seen") == set(), shown(report)
