"""The workshop's page in headless Chromium."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect, sync_playwright

from tests.browser.test_browser import ARTEFACTS, CHROMIUM_OPTIONS, chromium
from tests.classroom.served import QUESTION, check, message, served_room

pytestmark = pytest.mark.browser
HOSTILE = "<img src=x onerror=alert()>"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_histogram_comes_before_the_measured_value(scheme: str) -> None:
    with served_room() as room, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium(), args=list(CHROMIUM_OPTIONS)
        )
        page = browser.new_page(
            viewport={"width": 1440, "height": 900},
            color_scheme="dark" if scheme == "dark" else "light",
        )
        page.goto(room.page)
        expect(page.get_by_role("heading", level=2).first).to_have_text(
            "Nobody has predicted anything yet."
        )
        for learner, value in enumerate([1, 1, 12, 12, 12, 4]):
            assert room.predict(learner, value, name=HOSTILE).status_code == 204
        expect(page.get_by_role("heading", name=QUESTION)).to_be_visible()
        histogram = page.get_by_role("img")
        expect(histogram).to_have_accessible_name("6 predictions in requests; the median is 12.")
        expect(histogram).not_to_contain_text("measured")
        room.post("measured", message(1, value=1))
        expect(histogram).to_contain_text("measured")
        room.post("checks", check(1, solved=True, name=HOSTILE))
        expect(page.get_by_role("table")).to_contain_text(HOSTILE)
        assert page.locator("table img").count() == 0
        ARTEFACTS.mkdir(exist_ok=True)
        page.screenshot(path=ARTEFACTS / f"room_{scheme}.png")
        browser.close()


def test_questions_are_chosen_by_keyboard() -> None:
    with served_room() as room, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium(), args=list(CHROMIUM_OPTIONS)
        )
        page = browser.new_page()
        page.goto(room.page)
        room.predict(1, 1, question="First?")
        room.predict(1, 2, question="Second?")
        expect(page.get_by_role("heading", name="Second?")).to_be_visible()
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="First?")).to_be_visible()
        room.predict(2, 3, question="Third?")
        expect(page.get_by_role("button", name="Third?")).to_be_visible()
        expect(page.get_by_role("heading", name="First?")).to_be_visible()
        expect(page.get_by_role("button", name="First?")).to_be_focused()
        browser.close()
