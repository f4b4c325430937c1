"""Progress and predictions survive a restart, and a broken file loses nothing."""

from itertools import product
from pathlib import Path

import pytest

from helpers.lessons import progress
from helpers.lessons.catalogue import LESSONS
from helpers.lessons.course_map import CourseMap
from helpers.lessons.predictions import Predict
from helpers.lessons.verdict import verdict
from helpers.lessons.what_if import WhatIf
from helpers.report import Prediction, VerdictFailed, equals


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


@pytest.mark.parametrize("text", ["{half a fi", "[1, 2]", "\x00"])
def test_an_unreadable_file_is_set_aside(
    text: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    progress.note("01", "prediction", 1.5)
    file = progress.progress_folder() / "01.json"
    file.write_text(text)
    assert progress.read("01") == {}
    assert "could not be read" in capsys.readouterr().out
    assert file.with_suffix(".unreadable").read_text() == text


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


@pytest.mark.parametrize("value", ["soon", None, -1, float("nan"), float("inf")])
def test_a_prediction_is_a_number(value: object) -> None:
    with pytest.raises(ValueError, match="A prediction is a number"):
        Predict("01", "How long?", arm="wrong").commit(value)


def test_a_verdict_that_holds_is_remembered() -> None:
    with pytest.raises(VerdictFailed):
        verdict("01", equals("requests in flight", 1, 12))
    assert progress.read("01") == {}
    verdict("01", equals("requests in flight", 12, 12))
    assert "verdict" in progress.read("01")


def test_the_map_shows_how_far_one_has_come() -> None:
    assert "✓" not in repr(CourseMap())
    progress.note_now("01", "verdict")
    progress.note_now("01", "exercise")
    page = CourseMap()._repr_html_()
    assert "✓ done" in page
    assert "✓ solved" in page
    assert '<a href="01_event_loop.ipynb">' in page
    assert page.count("planned") == 2 * sum(each.name is None for each in LESSONS)
