"""The scoreboard shows a row per mistake, with what was measured, and remembers the learner's."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from helpers import scoreboard
from helpers.audit.outcome import Outcome, Verdict
from helpers.audit.scoreboard.cost import PRICE, cost_of_a_day
from helpers.audit.scoreboard.display import page, summary, text
from helpers.audit.scoreboard.rows import Row, rows_of
from helpers.lessons import chatbot, progress
from helpers.lessons.chatbot.steps import Chatbot
from helpers.mock_llm.records.ledger import Ledger, Request
from helpers.report.outputs import showing_in

CHECK = [sys.executable, "-m", "helpers.cli", "check"]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLM_ANTIPATTERNS_HOME", str(tmp_path / "home"))


def outcome(check: str, verdict: Verdict) -> Outcome:
    return Outcome(check, check[3:5], "steady", verdict, f"{check} was measured.")


def rows(*outcomes: Outcome, before: tuple[str, ...] = ()) -> dict[str, Row]:
    """Of two checks of lesson 02 and one of lesson 04."""
    return {row.lesson: row for row in rows_of(["02", "02", "04"], outcomes, before)}


def test_a_row_is_repaired_when_all_its_checks_have_passed() -> None:
    first, second = outcome("LAP02.a", "pass"), outcome("LAP02.b", "pass")
    assert rows(first)["02"].state == "measuring"
    assert rows(first, second)["02"].state == "repaired"
    assert rows(first, second)["04"].state == "measuring"


def test_one_failed_check_is_enough_for_a_mistake() -> None:
    row = rows(outcome("LAP02.b", "fail"))["02"]
    assert (row.state, row.evidence) == ("mistake", "LAP02.b was measured.")


def test_a_row_of_which_nothing_was_seen_is_not_repaired() -> None:
    found = rows(outcome("LAP04.a", "not seen"), outcome("LAP02.a", "not seen"))
    assert found["04"].state == "not seen"
    both = rows(outcome("LAP02.a", "not seen"), outcome("LAP02.b", "pass"))
    assert both["02"].state == "repaired"


def test_a_row_that_was_repaired_and_no_longer_is_says_so() -> None:
    failed = outcome("LAP04.a", "fail")
    assert not rows(failed)["04"].is_broken
    broken = rows(failed, before=("04",))["04"]
    for shown in (page([broken]), text([broken])):
        assert "broken by your last change: LAP04.a was measured." in shown


def test_what_was_measured_cannot_be_markup() -> None:
    assert "<b>" not in page([Row("04", "mistake", "<b>it</b>")])


def test_the_totals_are_below_the_rows() -> None:
    shown = text([Row("01", "repaired", "Up to 8.")], per_minute=444.0, cost=539.6)
    *_, tally, throughput, cost = shown.splitlines()
    assert tally == summary([Row("01", "repaired")]) == "1 of 1 repaired"
    assert throughput == (
        "Throughput with 20 users: 444 complete answers a minute; answers that broke off and "
        "errors do not count"
    )
    assert cost.startswith(
        "Cost of a day with 1,000 conversations of 24 turns: 540 USD, at the prices of gpt-5-mini"
    )
    assert "$" not in shown, "JupyterLab would set mathematics"


def test_the_cost_counts_cached_tokens_at_their_own_price() -> None:
    request = Request(1, 1, "1.1", False, "POST", "/v1/chat/completions", 0.0)
    request.prompt_tokens, request.cached_tokens, request.completion_tokens = 1_000, 400, 100
    # 600 at $0.25, 400 at $0.025 and 100 at $2.00 per million, a thousand times
    assert cost_of_a_day(Ledger(requests=[request])) == pytest.approx(0.15 + 0.01 + 0.2)


def test_the_cost_is_that_of_the_chatbots_model() -> None:
    (model,) = re.findall(r'^MODEL = "(.+)"', Chatbot("chatbot").text(), re.M)
    assert f"the prices of {model} " in PRICE


def test_the_chatbot_is_given_once(tmp_path: Path) -> None:
    file = chatbot.give(tmp_path / "chatbot.py")
    assert file.read_text() == Chatbot("chatbot").text()
    file.write_text("mine")
    assert chatbot.give(file).read_text() == "mine"
    assert [each.name for each in tmp_path.iterdir() if each.is_file()] == ["chatbot.py"]


def test_rows_are_shown_as_they_come_and_remembered(tmp_path: Path) -> None:
    file = chatbot.give(tmp_path / "chatbot.py")
    file.write_text(Chatbot("chatbot").text(["03"]))
    pages: list[str] = []
    with showing_in(lambda page, _: pages.append(page)):
        assert scoreboard(file, only="03").repaired == ("03",)
    assert "measuring" in pages[0]
    assert "✓ repaired" in pages[-1]
    assert chatbot.rows_repaired() == ("03",)
    file.write_text(Chatbot("chatbot").text())
    with showing_in(lambda page, _: pages.append(page)):
        assert scoreboard(file, only="03").repaired == ()
    assert "broken by your last change" in pages[-1]
    assert chatbot.rows_repaired() == ()
    assert "exercise" not in progress.read("09")


def test_rows_of_another_file_are_not_noted() -> None:
    chatbot.note_rows("other.py", {"01": True})
    assert chatbot.rows_repaired() == ()
    chatbot.note_rows("chatbot.py", {"01": True, "02": True})
    chatbot.note_rows("chatbot.py", {"02": False})
    assert chatbot.rows_repaired() == ("01",)
    assert chatbot.rows_repaired("other.py") == ()


def test_a_chatbot_that_does_not_start_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "chatbot.py"
    file.write_text("def answer(:\n")
    with showing_in(lambda page, _: None):
        assert scoreboard(file, only="02").repaired == ()
    assert "chatbot.py cannot be measured. The service ended with status 1" in (
        capsys.readouterr().out
    )


def test_a_bad_call_says_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="The first cell of lesson 09 makes it"):
        scoreboard(tmp_path / "chatbot.py")
    with pytest.raises(ValueError, match="only takes lessons 01 to 08"):
        scoreboard(chatbot.give(tmp_path / "chatbot.py"), only="12")


def test_check_takes_no_notebook_of_lesson_09(tmp_path: Path) -> None:
    (tmp_path / "09.ipynb").write_text("{}")
    done = subprocess.run(
        [*CHECK, "09", str(tmp_path / "09.ipynb")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "is not a .py file" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(("name", "status"), [("chatbot.py", 1), ("chatbot_repaired.py", 0)])
def test_check_grades_the_chatbot(name: str, status: int, tmp_path: Path) -> None:
    chatbot.copy_to(tmp_path)
    file = (tmp_path / name).rename(tmp_path / "mine.py")
    done = subprocess.run([*CHECK, "09", str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stdout + done.stderr
    assert "answers a minute" in done.stdout
    assert f"{8 if status == 0 else 0} of 8 repaired" in done.stdout
