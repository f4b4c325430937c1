"""The chatbot of lessons 09 and 10 makes each of the eight mistakes; each repair mends one row."""

from __future__ import annotations

import ast
import asyncio
import importlib
import itertools
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from helpers.audit import AuditReport, audit_command, audit_service
from helpers.audit.reports.comparison import mistakes, passed
from helpers.audit.scoreboard import rush_hour, side_by_side
from helpers.lessons import chatbot
from helpers.lessons.chatbot.repairs import Repairs
from helpers.lessons.chatbot.steps import MISTAKES, Chatbot

BOTH = ("chatbot", "anthropic_chatbot")
# What one chat at a time, with one call to the model, over http alone, cannot show.
UNSEEN = {"LAP08.siblings", "LAP08.orphans", "LAP08.down"}
FALLS_WITH = {
    "01": {
        "02": "The SDK's synchronous stream closes its connection after the last event; the "
        "asynchronous one reads to the end and keeps it.",
        "04": "A blocked event loop delivers no deadline, and 24 users wait for one another.",
        "07": "A blocked event loop does not see that the reader has left.",
    }
}
"""The rows that fail when one repair is undone, besides its own, each with the mechanism."""
NEEDS = {mistake: ["01"] for mistake in FALLS_WITH["01"]}
"""The same from the other side: what must be repaired before a row can turn green."""


def _audit(file: Path, only: str = "") -> AuditReport:
    return audit_service(
        chatbot.command(file),
        "http://127.0.0.1:$PORT",
        chatbot.CHAT,
        stream=True,
        answer="text",
        deadline=8,
        only=only,
    )


def _written(folder: Path, text: str) -> Path:
    file = folder / "chatbot.py"
    file.write_text(text)
    return file


def _with(report: AuditReport, verdict: str) -> set[str]:
    return {check.id for check in report.checks if check.verdict == verdict}


@pytest.mark.parametrize("name", BOTH)
def test_every_subset_of_the_repairs_is_a_program(name: str, tmp_path: Path) -> None:
    for size in range(len(MISTAKES) + 1):
        for repaired in itertools.combinations(MISTAKES, size):
            text = Chatbot(name).text(repaired)
            ast.parse(text)
            (tmp_path / f"with_{'_'.join(repaired)}.py").write_text(text)
    # Undefined and unused names, and imports out of order.
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--select", "E,F,I"]
    command += ["--line-length", "100", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_chatbots_are_those_of_the_steps() -> None:
    folder = Path(chatbot.__file__).parent
    assert (folder / "chatbot.py").read_text() == Chatbot("chatbot").text()
    assert (folder / "chatbot_repaired.py").read_text() == Chatbot("chatbot").text(MISTAKES)


@pytest.mark.parametrize("name", BOTH)
def test_the_diffs_applied_in_turn_lead_to_the_repaired_chatbot(name: str, tmp_path: Path) -> None:
    file = _written(tmp_path, Chatbot(name).text())
    for mistake in MISTAKES:
        patch = f"--- a/chatbot.py\n+++ b/chatbot.py\n{Repairs(name).diff(mistake)}\n"
        subprocess.run(
            ["git", "apply", "--unidiff-zero", "-"],
            input=patch,
            text=True,
            cwd=tmp_path,
            check=True,
        )
    assert file.read_text() == Chatbot(name).text(MISTAKES)


def test_repairs_are_behind_a_click() -> None:
    page = Repairs()._repr_html_()
    assert page.count("<details>") == len(MISTAKES)
    assert 'href="04_deadlines.ipynb"' in page
    assert "AsyncOpenAI" not in repr(Repairs())
    with pytest.raises(ValueError, match="The mistakes are 01, 02"):
        Repairs().diff("09")


@pytest.mark.parametrize(
    ("source_waits", "reader_waits", "is_whole"), [(0.0, 0.3, True), (0.3, 0.0, False)]
)
def test_only_the_provider_runs_into_the_limits_not_a_slow_reader(
    source_waits: float, reader_waits: float, is_whole: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    repaired = importlib.import_module("helpers.lessons.chatbot.chatbot_repaired")
    monkeypatch.setattr(repaired, "SILENCE", 0.1)

    async def pieces() -> AsyncIterator[str]:
        for piece in "abc":
            await asyncio.sleep(source_waits)
            yield piece

    async def read() -> list[str]:
        seen = []
        async for piece in repaired.in_time(pieces()):
            seen.append(piece)
            await asyncio.sleep(reader_waits)
        return seen

    seen = asyncio.run(read())
    if is_whole:
        assert seen == ["a", "b", "c"]
    else:
        assert len(seen) == 1
        assert seen[0].startswith("event: error")


@pytest.mark.slow
@pytest.mark.parametrize("name", BOTH)
def test_the_chatbot_makes_all_eight_mistakes(name: str, tmp_path: Path) -> None:
    assert mistakes(_audit(_written(tmp_path, Chatbot(name).text()))) == MISTAKES


@pytest.mark.slow
@pytest.mark.parametrize("name", BOTH)
def test_the_repaired_chatbot_makes_none(name: str, tmp_path: Path) -> None:
    report = _audit(_written(tmp_path, Chatbot(name).text(MISTAKES)))
    assert _with(report, "fail") == set()
    assert passed(report) == MISTAKES
    assert _with(report, "not seen") == UNSEEN | {"LAP01.health"}


@pytest.mark.slow
@pytest.mark.parametrize("undone", MISTAKES)
def test_a_repair_that_is_undone_fails_its_row_and_those_that_are_listed(
    undone: str, tmp_path: Path
) -> None:
    others = [mistake for mistake in MISTAKES if mistake != undone]
    report = _audit(_written(tmp_path, Chatbot("chatbot").text(others)))
    assert mistakes(report) == tuple(sorted({undone, *FALLS_WITH.get(undone, {})}))


@pytest.mark.slow
@pytest.mark.parametrize("mistake", MISTAKES)
def test_each_repair_turns_its_row_green(mistake: str, tmp_path: Path) -> None:
    repaired = [*NEEDS.get(mistake, []), mistake]
    report = _audit(_written(tmp_path, Chatbot("chatbot").text(repaired)), only=mistake)
    assert _with(report, "fail") == set()
    assert passed(report) == (mistake,)


@pytest.mark.timed
def test_a_rush_is_served_by_the_repaired_chatbot_and_stops_the_other(tmp_path: Path) -> None:
    chatbot.copy_to(tmp_path)
    wrong, right = (rush_hour(tmp_path / name) for name in chatbot.NAMES)
    # The fourth user is never answered, and nobody behind that user is.
    assert wrong.users_answered <= 3
    assert right.users_answered >= 10
    drawn = side_by_side(wrong=wrong, right=right)
    users = {arm: {each.connection for each in drawn[arm].requests} for arm in drawn.arms}
    assert len(users["wrong"]) <= 4
    assert 10 <= len(users["right"]) <= 20


@pytest.mark.slow
def test_the_batch_script_hides_three_mistakes(tmp_path: Path) -> None:
    def audit(repaired: tuple[str, ...]) -> AuditReport:
        file = _written(tmp_path, Chatbot("batch").text(repaired))
        return audit_command([sys.executable, str(file)], deadline=8)

    hidden = ("04", "05", "08")
    assert mistakes(audit(())) == hidden
    assert mistakes(audit(hidden)) == ()


def test_an_audit_runs_where_an_event_loop_does(tmp_path: Path) -> None:
    file = _written(tmp_path, Chatbot("chatbot").text(MISTAKES))

    async def cell() -> AuditReport:
        return _audit(file, only="LAP03.limit")

    assert _with(asyncio.run(cell()), "pass") == {"LAP03.limit"}
