"""Colors can be seen and read: the contrast that WCAG 2.2 asks for at level AA."""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

import helpers
from helpers.report.frame import Frame, svg
from helpers.report.palette import (
    ALARM,
    BLOCKED,
    GRAPHICS,
    INK,
    MUTED,
    PAPER,
    TEXT,
    Look,
    contrast,
    looks,
    series_looks,
)
from helpers.report.timeline import Lane

ROOMS = Path(helpers.__file__).parent
_ARMS = ["wrong", "right", "herd", "swallow", "paced", "http2", "one", "two", "three", "four"]
LOOKS = {**looks(_ARMS), **{f"series {n}": look for n, look in series_looks(list("abcd")).items()}}
PAGES = ["audit/reports/page.css", "classroom/page/page.css"]
# Of the pages' colors: what is written, and what is drawn.
WRITTEN = {"ink", "muted", "faint", "link", "bad", "good", "measured"}
DRAWN = {"bar"}


@pytest.mark.parametrize(
    ("one", "other", "ratio"),
    [("#ffffff", "#000000", 21.0), ("#777777", "#ffffff", 4.48), ("#0072B2", "#0072B2", 1.0)],
)
def test_contrast_is_that_of_the_standard(one: str, other: str, ratio: float) -> None:
    assert contrast(one, other) == pytest.approx(ratio, abs=0.01)
    assert contrast(other, one) == contrast(one, other)


@pytest.mark.parametrize("color", [INK, MUTED, ALARM])
def test_text_is_readable_on_the_paper(color: str) -> None:
    assert contrast(color, PAPER) >= TEXT


def test_the_blocked_loop_is_visible_on_the_paper() -> None:
    assert contrast(BLOCKED, PAPER) >= GRAPHICS


@pytest.mark.parametrize("name", LOOKS)
def test_an_arms_name_and_lines_are_visible(name: str) -> None:
    assert contrast(LOOKS[name].text, PAPER) >= TEXT
    assert contrast(LOOKS[name].line, PAPER) >= GRAPHICS


def test_a_color_with_enough_contrast_stays_as_it_is() -> None:
    assert LOOKS["right"].text == LOOKS["right"].line == LOOKS["right"].color.lower()


@pytest.mark.parametrize("name", LOOKS)
def test_a_live_view_has_its_own_ground_and_is_readable_on_it(name: str) -> None:
    """The page around it may be dark."""
    root = ET.fromstring(_live_view(LOOKS[name]))  # noqa: S314
    ground, *others = list(root.iter())[1:]
    assert (ground.get("fill"), ground.get("width")) == (PAPER, "900")
    written = {str(each.get("fill")) for each in others if each.tag.endswith("text")}
    assert {color for color in written if contrast(color, PAPER) < TEXT} == set()
    drawn = [each.attrib for each in others if each.tag.endswith("path")]
    faint = [look for look in drawn if not _is_visible(look) and look.get("stroke") != "#e4e4e4"]
    assert faint == []


def _live_view(look: Look) -> str:
    lanes = [Lane(0.1, 0.2, 0.5, 0.9, "answered"), Lane(0.1, 0.3, 0.6, 0.8, "left", 1)]
    return svg(Frame("arm", look, "2", "blocked now", "alarm", lanes, [], [0.5], 1.0, 1.0))


def _is_visible(look: dict[str, str]) -> bool:
    colors = [look[part] for part in ("fill", "stroke") if look.get(part, "none") != "none"]
    return any(contrast(color, PAPER) >= GRAPHICS for color in colors)


@pytest.mark.parametrize(("page", "scheme"), product(PAGES, ["light", "dark"]))
def test_the_pages_are_readable_in_light_and_dark(page: str, scheme: str) -> None:
    light, dark = re.findall(r":root \{(.*?)\}", (ROOMS / page).read_text("utf-8"), re.S)
    chosen = light if scheme == "light" else dark
    colors = dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", chosen))
    ratios = {name: contrast(color, colors["paper"]) for name, color in colors.items()}
    assert {"ink", "bar"} <= set(ratios)
    assert {name for name in WRITTEN & set(ratios) if ratios[name] < TEXT} == set()
    assert {name for name in DRAWN & set(ratios) if ratios[name] < GRAPHICS} == set()
