"""Progress and predictions survive restarts, several kernels, and disks that fail."""

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from helpers.lessons import progress
from helpers.lessons.catalogue import LESSONS
from helpers.lessons.course_map import CourseMap
from helpers.lessons.predictions import Predict
from helpers.lessons.verdict import verdict
from helpers.lessons.what_if import WhatIf
from helpers.report import Prediction, VerdictFailed, equals
from tests.obstacles import full_disk, permissions_count

EXERCISES = sum(each.name is not None and each.graded for each in LESSONS)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LLM_ANTIPATTERNS_HOME", str(tmp_path))
    return tmp_path


def test_what_is_noted_is_read_again() -> None:
    assert progress.read("01") == {}
    progress.note("01", "prediction", 1.5)
    progress.note_now("01", "exercise")
    assert progress.read("01")["prediction"] == 1.5
    assert len(progress.read("01")["exercise"]) == len("2026-01-31")
    progress.forget("01")
    assert progress.read("01") == {}


def test_the_first_time_counts() -> None:
    progress.note("01", "verdict", "2020-02-02")
    progress.note_now("01", "verdict")
    assert progress.read("01")["verdict"] == "2020-02-02"


@pytest.mark.parametrize("text", ['{"verdict": "2026', "[1, 2]", "\x00", "\ud800"])
def test_a_damaged_line_is_skipped_and_kept(text: str) -> None:
    progress.note("01", "prediction", 1.5)
    file = progress.progress_folder() / "01.jsonl"
    damaged = text.encode("utf-8", "surrogatepass")
    with file.open("ab") as appended:
        appended.write(damaged)
    progress.note("01", "exercise", "2026-01-31")
    assert progress.read("01") == {"prediction": 1.5, "exercise": "2026-01-31"}
    assert damaged in file.read_bytes()


def test_the_first_edition_s_progress_is_read_and_forgotten() -> None:
    progress.progress_folder().mkdir(parents=True)
    old = progress.progress_folder() / "01.json"
    old.write_text('{\n "verdict": "2020-02-02",\n "prediction": 1.5\n}')
    progress.note("01", "prediction", 2.5)
    assert progress.read("01") == {"verdict": "2020-02-02", "prediction": 2.5}
    progress.forget("01")
    assert progress.read("01") == {}


NOTE = """
import sys
from helpers.lessons import progress
for number in range(100):
    progress.note("01", f"{sys.argv[1]} {number}", "x" * 200)
"""


def python(
    code: str, *args: str, obstacle: Callable[[], None] | None = None
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *args]
    return subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=obstacle)


def test_processes_that_note_at_the_same_time_lose_nothing() -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda name: python(NOTE, name), "abcd"))
    assert progress.read("01").keys() == {f"{name} {n}" for name, n in product("abcd", range(100))}


def test_a_full_disk_is_one_sentence_and_keeps_what_was_noted() -> None:
    done = python(NOTE, "a", obstacle=full_disk)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    (sentence,) = done.stdout.splitlines()
    assert sentence.startswith("Your progress cannot be kept: ")
    assert sentence.endswith("Set LLM_ANTIPATTERNS_HOME to a folder that you may write to.")
    noted = progress.read("01")
    assert {"a 0", "a 1"} <= noted.keys()
    progress.note("01", "after", 1)
    assert progress.read("01").keys() == noted.keys() | {"after"}


def test_a_protected_folder_is_one_sentence() -> None:
    progress.note("01", "before", 1)
    progress.progress_folder().chmod(0o000)
    done = python(NOTE, "a", obstacle=permissions_count)
    progress.progress_folder().chmod(0o755)
    assert done.stderr == ""
    assert "Your progress cannot be kept: Permission denied" in done.stdout
    assert len(done.stdout.splitlines()) == 1
    assert "before" in progress.read("01")


def test_a_folder_in_place_of_the_file_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    (progress.progress_folder() / "01.jsonl").mkdir(parents=True)
    done = python(NOTE, "a")
    assert done.stderr == ""
    assert "Your progress cannot be kept: Is a directory" in done.stdout
    assert len(done.stdout.splitlines()) == 1
    verdict("01", equals("requests in flight", 12, 12))  # a lesson goes on all the same
    assert "PASS" in capsys.readouterr().out


def test_a_prediction_is_kept_for_the_next_session() -> None:
    assert Predict("01", "How long?", arm="wrong").made is None
    Predict("01", "How long?", arm="wrong").commit(1.5)
    made = Predict("01", "How long?", arm="wrong").made
    assert made is not None
    assert (made.arm, made.value, made.unit) == ("wrong", 1.5, "s")


def test_a_prediction_of_an_older_version_is_still_read() -> None:
    progress.note("01", "prediction", 1.5)
    assert Predict("01", "How long?", arm="wrong").made == Prediction("wrong", 1.5, "s")
    assert Predict("01", "How many?", arm="wrong", unit="connections").made is None


def test_predictions_of_other_arms_and_units_are_kept_apart() -> None:
    said = [
        Prediction(arm, value, unit)
        for value, (arm, unit) in enumerate(product(("wrong", "right"), ("s", "connections")))
    ]
    for each in said:
        Predict("01", "How many?", arm=each.arm, unit=each.unit).commit(each.value)
    assert [Predict("01", "?", arm=each.arm, unit=each.unit).made for each in said] == said


@pytest.mark.parametrize(
    ("unit", "value", "said"),
    [
        ("connections", 12, "you said 12 connections"),
        ("connections", 1, "you said 1 connection"),
        ("tokens", 1_500_000, "you said 1,500,000 tokens"),
        ("s", 1.25, "you said 1.25 s"),
    ],
)
def test_a_prediction_is_said_with_its_unit(unit: str, value: float, said: str) -> None:
    predict = Predict("01", "How many?", arm="wrong", unit=unit)
    predict.commit(value)
    assert said in repr(predict)


def test_without_widgets_a_prediction_and_a_panel_are_text() -> None:
    async def experiment(calls: int) -> None: ...

    for shown in (Predict("01", "How long?", arm="wrong"), WhatIf(experiment, calls=(1, 12, 1))):
        bundle = shown._repr_mimebundle_()
        assert "application/vnd.jupyter.widget-view+json" in bundle
        assert bundle["text/plain"] == repr(shown)
        assert "VBox" not in bundle["text/plain"]


def test_without_ipywidgets_both_say_how_to_go_on_in_code(monkeypatch: pytest.MonkeyPatch) -> None:
    async def experiment(calls: int, share: float) -> None: ...

    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    asked = Predict("01", "How long?", arm="wrong")
    panel = WhatIf(experiment, calls=(1, 12, 3), share=(0.0, 1.0, 0.5))
    for shown, code in (
        (asked, "guess.commit(…)"),
        (panel, "await experiment(calls=3, share=0.5)"),
    ):
        bundle = shown._repr_mimebundle_()
        assert bundle.keys() == {"text/plain"}
        assert bundle["text/plain"].endswith(f": {code}")


def test_the_field_is_empty_until_there_is_a_prediction() -> None:
    def field(asked: Predict) -> Any:
        _, row = asked._form().children
        return row.children[0]

    assert field(Predict("01", "How many?", arm="wrong", unit="tokens")).value == ""
    Predict("01", "How many?", arm="wrong", unit="tokens").commit("0")
    assert field(Predict("01", "How many?", arm="wrong", unit="tokens")).value == "0"


def test_an_empty_field_commits_nothing() -> None:
    asked = Predict("01", "How long?", arm="wrong")
    _, row = asked._form().children
    _, _, button, said = row.children
    button.click()
    assert said.value == "A prediction is a number: enter one."
    assert asked.made is None


@pytest.mark.parametrize(
    ("unit", "said", "measured", "sentence"),
    [
        ("connections", 8, 32, "You said 8 connections. It was 32.\n"),
        ("s", 0.25, 3.04, "You said 0.25 s. It was 3.0 s.\n"),
        ("s", None, 3.04, "It was 3.0 s.\n"),
        ("connections", None, 32, "It was 32 connections.\n"),
    ],
)
def test_a_prediction_meets_what_was_measured(
    unit: str,
    said: float | None,
    measured: float,
    sentence: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked = Predict("01", "How many?", arm="wrong", unit=unit)
    if said is not None:
        asked.commit(said)
    asked.reveal(measured)
    assert capsys.readouterr().out == sentence


@pytest.mark.parametrize("value", ["soon", "", None, -1, float("nan"), float("inf")])
def test_a_prediction_is_a_number(value: object) -> None:
    with pytest.raises(ValueError, match="A prediction is a number"):
        Predict("01", "How long?", arm="wrong").commit(value)


def test_a_verdict_that_holds_is_remembered() -> None:
    with pytest.raises(VerdictFailed):
        verdict("01", equals("requests in flight", 1, 12))
    assert progress.read("01") == {}
    verdict("01", equals("requests in flight", 12, 12))
    assert "verdict" in progress.read("01")


def test_the_map_without_html_says_which_lesson_to_open() -> None:
    for number, name in (("01", "01_event_loop"), ("02", "02_shared_client")):
        *lines, done, following = repr(CourseMap()).splitlines()
        assert len(lines) == len(LESSONS)
        assert done == f"{int(number) - 1} of {EXERCISES} exercises solved."
        assert following == f"Next: open {name}.ipynb"
        progress.note_now(number, "verdict")
        assert repr(CourseMap()).endswith(following)
        progress.note_now(number, "exercise")


def test_in_vs_code_the_text_is_there_whatever_becomes_of_the_widgets(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def experiment(calls: int) -> None: ...

    monkeypatch.setattr(sys.modules["__main__"], "__vsc_ipynb_file__", "a.ipynb", raising=False)
    for shown in (Predict("01", "How long?", arm="wrong"), WhatIf(experiment, calls=(1, 12, 1))):
        assert "application/vnd.jupyter.widget-view+json" in shown._repr_mimebundle_()
        assert capsys.readouterr().out == f"{shown!r}\n"


def test_the_map_shows_how_far_one_has_come() -> None:
    assert "✓" not in repr(CourseMap())
    progress.note_now("01", "verdict")
    progress.note_now("01", "exercise")
    page = CourseMap()._repr_html_()
    assert "✓ done" in page
    assert "✓ solved" in page
    assert '<a href="01_event_loop.ipynb">' in page
    assert page.count("planned") == 2 * sum(each.name is None for each in LESSONS)
