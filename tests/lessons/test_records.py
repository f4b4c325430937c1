"""What a learner has done is summed up honestly: in words, as CSV and as a page to keep."""

from __future__ import annotations

import csv
import io
import os
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import pytest

from helpers.lessons import progress
from helpers.lessons.catalogue import LESSONS
from helpers.lessons.course_map import CourseMap
from helpers.lessons.predictions import Predict
from tests.obstacles import full_disk, permissions_count

READY = [each for each in LESSONS if each.name]
GRADED = [each for each in READY if each.graded]
TODAY = datetime.now(UTC).date().isoformat()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "home"
    monkeypatch.setenv("LLM_ANTIPATTERNS_HOME", str(home))
    monkeypatch.delenv("LLM_ANTIPATTERNS_NAME", raising=False)
    return home


def call(
    here: Path, *args: str, name: str = "", obstacle: Callable[[], None] | None = None
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "helpers.cli", "progress", *args],
        cwd=here,
        env=os.environ | {"LLM_ANTIPATTERNS_NAME": name, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        check=False,
        preexec_fn=obstacle,
    )


def table(
    here: Path, *args: str, name: str = ""
) -> tuple[list[str] | None, dict[str, dict[str, str]]]:
    """The header, and a learner's lines by lesson."""
    done = call(here, "--csv", *args, name=name)
    assert (done.returncode, done.stderr) == (0, b"")
    lines = csv.DictReader(io.StringIO(done.stdout.decode(), newline=""), strict=True)
    found = {line["lesson"]: line for line in lines}
    return list(lines.fieldnames or []), found


def guess(
    number: str, said: float | None, was: float, *, unit: str = "calls", arm: str = "a"
) -> None:
    """A learner predicts (or does not), runs and looks."""
    asked = Predict(number, "How many?", arm=arm, unit=unit)
    if said is not None:
        asked.commit(said)
    asked.reveal(was)


def solve(*numbers: str) -> None:
    for number in numbers:
        progress.note_now(number, "verdict")
        progress.note_now(number, "exercise")


def said() -> str:
    return repr(CourseMap())


def test_a_fresh_learner_has_no_score_and_no_chatbot() -> None:
    assert f"\n0 of {len(GRADED)} exercises solved.\nNext: " in said()
    assert "prediction" not in said()
    assert "chatbot" not in said().lower().replace("repair a chatbot", "")


@pytest.mark.parametrize(
    ("said_it", "was", "unit", "right"),
    [
        (8, 16, "connections", True),
        (33, 16, "connections", False),
        (8, 17, "connections", False),
        (1.5, 3.0, "s", True),
        (1.4, 3.0, "s", False),
        (2, 4, "turns", False),
        (4, 4, "turns", True),
        (4, 2, "s", True),
        (2, 4, "%", True),
        (0, 0, "turns", True),
        (1, 0, "turns", False),
        (0, 32, "turns", False),
        (5, 6, "turns", True),
    ],
)
def test_right_is_within_a_factor_of_two_and_exact_where_few_answers_are_possible(
    said_it: float, was: float, unit: str, right: bool
) -> None:
    guess("01", said_it, was, unit=unit)
    assert f"\n{int(right)} of 1 predictions right." in said()
    assert f"predictions right: {int(right)} of 1\n" in said().replace("  ", " ")


def test_only_what_was_said_before_the_answer_counts(tmp_path: Path) -> None:
    guess("01", 8, 32)
    guess("01", 32, 32)
    guess("02", None, 32)
    guess("02", 32, 32)
    Predict("03", "How many?", arm="a", unit="tokens").commit(5)
    assert "\n0 of 1 predictions right." in said()
    _, lines = table(tmp_path)
    counts = {n: (lines[n]["predictions_made"], lines[n]["predictions_right"]) for n in lines}
    assert counts["01"] == ("1", "0")
    assert counts["02"] == ("0", "0")
    assert counts["03"] == ("1", "0")


def test_a_prediction_may_be_changed_until_the_answer_is_shown() -> None:
    Predict("01", "How many?", arm="a", unit="calls").commit(1)
    guess("01", 30, 32)
    assert "\n1 of 1 predictions right." in said()


def test_forgetting_a_lesson_forgets_its_predictions() -> None:
    guess("01", 8, 32)
    progress.forget("01")
    assert "prediction" not in said()


@pytest.mark.parametrize("was", [float("nan"), float("inf")])
def test_what_could_not_be_measured_is_not_compared(was: float) -> None:
    guess("01", 8, was)
    assert "prediction" not in said()
    guess("01", 8, 10)
    assert "\n1 of 1 predictions right." in said()


@pytest.mark.parametrize(
    ("guesses", "sentence"),
    [
        ([(10, 100)] * 3, "Too few were off to say whether you tend to guess too low or too high."),
        ([(10, 100)] * 4, "You tend to guess too low: 4 of the 4 that were off."),
        ([(900, 100)] * 4, "You tend to guess too high: 4 of the 4 that were off."),
        (
            [(10, 100)] * 3 + [(900, 100)] + [(120, 100)] * 5,
            "You tend to guess too low: 3 of the 4 that were off.",
        ),
        (
            [(10, 100)] * 3 + [(900, 100)] * 2,
            "You guess too low about as often as too high (3 and 2 times).",
        ),
        ([(1, 2)] * 4, "You tend to guess too low: 4 of the 4 that were off."),
    ],
)
def test_a_tendency_is_claimed_where_there_is_one(
    guesses: list[tuple[float, float]], sentence: str
) -> None:
    for number, (said_it, was) in enumerate(guesses):
        guess("05", said_it, was, arm=f"arm {number}")
    assert sentence in said()


@pytest.mark.parametrize(
    ("guesses", "factor"),
    [
        ([(10, 100), (100, 100), (400, 100)], "4"),
        ([(25, 10)], "2.5"),
        ([(0, 100)], "more than 100"),
        ([(10, 10)], "1"),
    ],
)
def test_the_median_says_how_far_off_numbers_are(
    guesses: list[tuple[float, float]], factor: str
) -> None:
    for number, (said_it, was) in enumerate(guesses):
        guess("05", said_it, was, arm=f"arm {number}")
    assert f"The median of your numbers is off by a factor of {factor}. " in said()


def test_a_choice_has_no_factor() -> None:
    guess("05", 1, 2, unit="programs")
    assert "factor of" not in said().partition("Right means")[0]


DAMAGED: list[object] = [None, 3, [], {}, {"said": "8", "was": 32}, {"said": -1, "was": 3}]


@pytest.mark.parametrize("noted", DAMAGED)
def test_a_damaged_note_is_no_prediction(noted: object, tmp_path: Path) -> None:
    progress.note("01", "outcome: a, calls", noted)
    progress.note("09", "chatbot", noted)
    assert "prediction" not in said()
    assert table(tmp_path)[1]["01"]["predictions_made"] == "0"


def test_the_chatbot_s_rows_are_counted_where_there_are_any() -> None:
    rows = {f"0{number}": number <= 5 for number in range(1, 9)}
    progress.note("09", "chatbot", rows)
    solve("01", "02")
    sentence = f"2 of {len(GRADED)} exercises solved, chatbot 5 of 8."
    assert sentence in said()
    assert sentence in CourseMap()._repr_html_()
    progress.note("09", "chatbot", {})
    assert "chatbot 0 of 8." in said()


def test_the_map_in_a_notebook_has_a_column_for_predictions() -> None:
    guess("01", 30, 32)
    guess("01", 3, 32, arm="other")
    page = CourseMap()._repr_html_()
    assert "Predictions right</th>" in page
    assert ">1 of 2</td>" in page
    assert "1 of 2 predictions right." in page


def test_the_csv_has_a_line_for_each_lesson(tmp_path: Path) -> None:
    solve("03")
    guess("01", 30, 32)
    header, lines = table(tmp_path, name="  Zoë  von\tIV ")
    assert header == [
        *("name", "lesson", "title", "exercise", "solved", "solved_on"),
        *("predictions_made", "predictions_right"),
    ]
    assert [*lines] == [each.number for each in READY]
    assert [*lines["03"].values()] == [
        *("Zoë von IV", "03", "Say it once, say it short", "build", "yes", TODAY, "0", "0")
    ]
    assert [*lines["01"].values()][3:] == ["handle", "no", "", "1", "1"]
    assert [*lines["10"].values()][3:] == ["", "no", "", "0", "0"]


def test_the_name_is_empty_unless_it_is_given(tmp_path: Path) -> None:
    assert {line["name"] for line in table(tmp_path)[1].values()} == {""}


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", '=HYPERLINK("http://x")'])
def test_no_cell_is_a_formula(tmp_path: Path, name: str) -> None:
    progress.note("01", "exercise", "=cmd")
    done = call(tmp_path, "--csv", name=name)
    cells = [cell for line in csv.reader(io.StringIO(done.stdout.decode())) for cell in line]
    assert f"'{name}" in cells
    assert "'=cmd" in cells
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@"))]


def test_a_class_is_one_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for learner, number in (("ann", "01"), ("Bôb", "02"), ("=c", "03")):
        monkeypatch.setenv("LLM_ANTIPATTERNS_HOME", str(tmp_path / learner))
        solve(number)
    done = call(tmp_path, "--csv", "ann", "Bôb/progress", "./=c/", name="me")
    assert (done.returncode, done.stderr) == (0, b"")
    lines = list(csv.DictReader(io.StringIO(done.stdout.decode())))
    assert len(lines) == 3 * len(READY)
    solved = [(line["name"], line["lesson"]) for line in lines if line["solved"] == "yes"]
    assert solved == [("ann", "01"), ("Bôb", "02"), ("'=c", "03")]


def test_a_folder_without_progress_is_one_sentence_and_no_table(tmp_path: Path) -> None:
    solve("01")
    (tmp_path / "empty").mkdir()
    done = call(tmp_path, "--csv", "home", "empty")
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr == b"'empty' holds no progress of a learner.\n"


def test_progress_that_cannot_be_read_is_not_taken_for_none(tmp_path: Path, home: Path) -> None:
    solve("01")
    (home / "progress").chmod(0o000)
    for args in (["--csv"], ["--certificate", "mine.html"]):
        done = call(tmp_path, *args, obstacle=permissions_count)
        assert (done.returncode, done.stdout) == (2, b"")
        assert b"Permission denied" in done.stderr
    (home / "progress").chmod(0o755)
    assert not (tmp_path / "mine.html").exists()


class Page(HTMLParser):
    """What a reader sees, the tags, and what a browser would load."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.shown, self.tags = "", set[str]()
        self.loads: list[str | None] = []
        self.feed(page)
        self.shown = " ".join(re.sub(r"<style>.*?</style>", "", self.shown).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.loads += [value for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.shown += f"{data} "


def certificate(here: Path, name: str = "") -> tuple[str, Page]:
    done = call(here, "--certificate", "mine.html", name=name)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(f"Your certificate is {here / 'mine.html'}.".encode("ascii"))
    page = (here / "mine.html").read_text("utf-8")
    return page, Page(page)


def test_the_certificate_says_honestly_what_is_solved(tmp_path: Path) -> None:
    solve("01", "05")
    guess("01", 30, 32)
    page, read = certificate(tmp_path)
    assert f"2 of {len(GRADED)} exercises solved" in read.shown
    assert page.count(f'class="solved">{TODAY}<') == 2
    possible = len(READY) + len(GRADED)  # each is run, and some are graded
    assert page.count("not yet") == possible - 4
    assert "1 of 1 predictions right." in read.shown
    assert f"Made on {TODAY}" in read.shown
    assert "nobody else has checked it" in read.shown


def test_the_certificate_of_the_whole_course(tmp_path: Path) -> None:
    solve(*(each.number for each in READY))
    _, read = certificate(tmp_path)
    assert f"All {len(GRADED)} exercises solved" in read.shown
    assert "not yet" not in read.shown


def test_the_certificate_is_complete_in_itself(tmp_path: Path) -> None:
    page, read = certificate(tmp_path)
    assert read.loads == []
    assert not read.tags & {"script", "img", "link", "iframe", "form"}
    assert "default-src 'none'" in page
    assert "url(" not in page
    assert "@import" not in page


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "Zoë & 'Q\"", "</title><b>"])
def test_a_name_is_text(tmp_path: Path, name: str) -> None:
    solve("01")
    progress.note("02", "exercise", "<i>2020</i>")
    page, read = certificate(tmp_path, name)
    assert name in read.shown
    assert not read.tags & {"script", "b", "i"}
    assert page.count("<title>") == page.count("</title>") == 1


def test_a_certificate_is_replaced_and_nothing_else(tmp_path: Path) -> None:
    certificate(tmp_path, "Ann")
    solve("01")
    page, _ = certificate(tmp_path, "Bob")
    assert "Bob" in page
    assert "Ann" not in page
    (tmp_path / "thesis.html").write_text("<html>mine</html>")
    done = call(tmp_path, "--certificate", "thesis.html")
    assert done.returncode == 2
    assert b"is not a certificate and stays as it is: choose another name." in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert (tmp_path / "thesis.html").read_text() == "<html>mine</html>"


def test_a_certificate_for_which_there_is_no_room_is_one_sentence(tmp_path: Path) -> None:
    done = call(tmp_path, "--certificate", "mine.html", obstacle=full_disk)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert certificate(tmp_path)[1].shown, "what was cut off is replaced"
