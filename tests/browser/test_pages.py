"""The checklist and the certificate on paper, and the certificate on a screen."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from nbconvert import HTMLExporter
from playwright.sync_api import Browser, Page, PdfMargins, sync_playwright

from helpers.lessons.catalogue import CHECKLIST, LESSONS
from helpers.lessons.records.calibration import Guess
from helpers.lessons.records.certificate import render
from helpers.lessons.records.record import LessonRecord, Record
from tests.browser.test_browser import ARTEFACTS, CHROMIUM_OPTIONS, chromium

pytestmark = pytest.mark.browser

# Chromium's own when a person prints.
MARGIN = PdfMargins(top="1cm", right="1cm", bottom="1cm", left="1cm")
NAME = "Zoë <b>von</b> Langenscheidt-Mühlenbeck"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    ARTEFACTS.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium(), args=list(CHROMIUM_OPTIONS)
        )
        yield browser
        browser.close()


def pages_on_paper(page: Page, paper: str) -> int:
    printed = page.pdf(format=paper, margin=MARGIN)
    return len(re.findall(rb"/Type\s*/Page\b", printed))


_TWICE = """() => {
  const table = document.querySelector("table");
  table.after(table.cloneNode(true));
}"""


@pytest.mark.parametrize("paper", ["A4", "Letter"])
def test_the_checklist_is_one_printed_page(browser: Browser, tmp_path: Path, paper: str) -> None:
    """As JupyterLab prints it, which is by nbconvert."""
    exporter: Any = HTMLExporter
    html, _ = exporter().from_filename(str(CHECKLIST.notebook))
    (tmp_path / "page.html").write_text(html, "utf-8")
    page = browser.new_page()
    page.route("http*://**", lambda route: route.abort())
    page.goto((tmp_path / "page.html").as_uri())
    page.screenshot(path=ARTEFACTS / "99.png", full_page=True)
    assert pages_on_paper(page, paper) == 1
    page.evaluate(_TWICE)
    assert pages_on_paper(page, paper) == 2, "twice the table is more than a page"
    page.close()


def certificate(tmp_path: Path) -> str:
    """Its address; everything is solved and predicted, so that it is as long as it can be."""
    guesses = (Guess(1, 32, "calls"), Guess(9, 32, "calls"))
    lessons = [
        LessonRecord(each, "2026-01-31", "2026-02-01" if each.graded else None, 2, guesses)
        for each in LESSONS
    ]
    file = tmp_path / "mine.html"
    file.write_text(render(Record(tuple(lessons), repaired=8), NAME), "utf-8")
    return file.as_uri()


@pytest.mark.parametrize("paper", ["A4", "Letter"])
def test_the_certificate_is_one_printed_page(browser: Browser, tmp_path: Path, paper: str) -> None:
    page = browser.new_page()
    page.goto(certificate(tmp_path))
    assert pages_on_paper(page, paper) == 1
    page.close()


_RATIO = """element => {
  const light = color => color.match(/[\\d.]+/g).slice(0, 3).map(Number)
    .map(c => c / 255).map(c => c <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [.2126, .7152, .0722][i], 0);
  const ink = light(getComputedStyle(element).color);
  const paper = light(getComputedStyle(document.body).backgroundColor);
  return (Math.max(ink, paper) + .05) / (Math.min(ink, paper) + .05);
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 320])
def test_the_certificate_can_be_read(
    browser: Browser, tmp_path: Path, scheme: str, width: int
) -> None:
    page = browser.new_page(
        viewport={"width": width, "height": 900},
        color_scheme="dark" if scheme == "dark" else "light",
    )
    page.goto(certificate(tmp_path))
    assert page.get_by_role("heading", level=1).inner_text() == NAME
    for element in page.locator("p, h1, th, td, small, footer").all():
        assert element.evaluate(_RATIO) >= 4.5, element.inner_text()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.screenshot(path=ARTEFACTS / f"certificate_{scheme}_{width}.png", full_page=True)
    page.close()
