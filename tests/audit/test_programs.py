"""Programs under audit: plain httpx, and Node with the official package."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from helpers.audit import audit_command
from tests.audit.auditing import APPS, audit_the_program, ids, shown

ONLY_SERVICES = {
    *("LAP01.health", "LAP06.restart", "LAP06.workers", "LAP07.first", "LAP07.leave"),
    "LAP08.orphans",
}
NO_CONVERSATION = {"LAP03.prefix", "LAP03.cached", "LAP03.growth", "LAP03.clock", "LAP06.order"}
MISTAKES = {
    "connections": {"LAP02.connections", "LAP02.handshakes"},
    "limit": {"LAP03.limit"},
    "hang": {"LAP04.hang", "LAP04.drip"},
    "early": {"LAP05.early"},
    "jitter": {"LAP05.jitter"},
    "permanent": {"LAP05.permanent"},
    "layers": {"LAP05.layers"},
    "no_finish": {"LAP08.no_finish"},
    "length": {"LAP08.length"},
    "siblings": {"LAP08.siblings"},
}


@pytest.mark.slow
@pytest.mark.timed
def test_a_program_without_mistakes_passes_what_it_shows() -> None:
    report = audit_the_program()
    assert ids(report, "fail") == set(), shown(report)
    missing = ONLY_SERVICES | NO_CONVERSATION | {"LAP08.down"}
    assert ids(report, "not seen") == missing, shown(report)
    assert report.verdict == "pass"


@pytest.mark.slow
@pytest.mark.timed
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_fails_its_own_checks_alone(mistake: str) -> None:
    expected = MISTAKES[mistake]
    (lesson,) = {check[3:5] for check in expected}
    report = audit_the_program(mistake, only=lesson)
    assert ids(report, "fail") == expected, shown(report)


def test_connections_and_limits_are_counted() -> None:
    report = audit_the_program("connections", "limit", only="LAP02.connections,LAP03.limit")
    assert ids(report, "fail") == {"LAP02.connections", "LAP03.limit"}, shown(report)
    counted = {check.id: check.counted for check in report.checks}
    assert counted["LAP02.connections"] == {"requests": 6, "connections": 6, "peak_in_flight": 3}
    assert counted["LAP03.limit"] == {"requests": 6, "without_limit": 6}


def test_half_answers_and_lost_siblings_are_seen() -> None:
    report = audit_the_program("no_finish", "siblings", only="08")
    assert ids(report, "fail") == {"LAP08.no_finish", "LAP08.siblings"}, shown(report)
    assert ids(report, "pass") == {
        *("LAP08.cut", "LAP08.length", "LAP08.error_event", "LAP08.json")
    }, shown(report)


@pytest.fixture(scope="module")
def node_program(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command of a program for Node. Skipped where the official package cannot be had."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if not node or not npm:
        pytest.skip("Node and npm are not on this machine")
    folder = tmp_path_factory.mktemp("node")
    package = Path(__file__).parents[1] / "node"
    for file in (*package.glob("package*.json"), package / ".npmrc", APPS / "program.mjs"):
        shutil.copy(file, folder)
    install = [npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
    done = subprocess.run(install, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"npm cannot install the openai package: {done.stderr.strip()[-200:]}")
    return [node, str(folder / "program.mjs")]


@pytest.mark.slow
@pytest.mark.timed
def test_a_program_for_node_is_audited_as_any_other(node_program: list[str]) -> None:
    report = audit_command(node_program, deadline=5)
    assert ids(report, "fail") == set(), shown(report)
    missing = ONLY_SERVICES | NO_CONVERSATION | {"LAP08.down"}
    assert ids(report, "not seen") == missing, shown(report)


@pytest.mark.slow
@pytest.mark.timed
def test_the_mistakes_of_a_program_for_node_are_seen(node_program: list[str]) -> None:
    report = audit_command([*node_program, "wrong"], deadline=5, only="03,04,08")
    assert ids(report, "fail") == {
        *("LAP03.limit", "LAP04.hang", "LAP04.drip", "LAP08.length", "LAP08.no_finish"),
        "LAP08.siblings",
    }, shown(report)
