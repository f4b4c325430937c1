"""The workshop plans fit, and TEACHING.md has those of today."""

import re
import tomllib

import pytest

from helpers.lessons.catalogue import LESSONS
from tests.schedule import NOTEBOOKS, PAGE, minutes_of_core, page, plans


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text("utf-8") == page(), "run `make schedule` and commit the page"


def test_each_plan_fits() -> None:
    assert plans().count("to spare") == len(
        tomllib.loads((NOTEBOOKS / "schedule.toml").read_text("utf-8"))["plans"]
    )


def test_the_page_names_each_lesson_s_misconception() -> None:
    rows = re.findall(r"^\| (\d\d) \|", PAGE.read_text("utf-8"), re.M)
    taught = [each.number for each in LESSONS if each.name and each.number < "09"]
    assert rows == taught


def test_a_lesson_without_stated_minutes_is_refused() -> None:
    with pytest.raises(ValueError, match="does not state its minutes"):
        minutes_of_core("00")
