"""What axe-core says about the room's page and the audit's report."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from helpers.audit import audit_command
from helpers.audit.reports import html
from tests.browser.axe import findings
from tests.browser.test_browser import CHROMIUM_OPTIONS, chromium
from tests.classroom.served import QUESTION, check, message, served_room

pytestmark = pytest.mark.browser
SCHEMES = ["light", "dark"]
# Asks once without a time limit, so that some checks pass, one fails and others are not seen.
PROGRAM = """
import os, httpx
body = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": "Hello?"}]}
url = os.environ["OPENAI_BASE_URL"] + "/chat/completions"
print(httpx.post(url, json=body, timeout=60).raise_for_status().text)
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium(), args=list(CHROMIUM_OPTIONS)
        )
        yield browser
        browser.close()


def _page(browser: Browser, scheme: str) -> Page:
    return browser.new_page(color_scheme="dark" if scheme == "dark" else "light")


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_rooms_page(browser: Browser, scheme: str) -> None:
    page = _page(browser, scheme)
    with served_room() as room:
        page.goto(room.page)
        expect(page.get_by_role("heading", level=2).first).to_be_visible()
        assert findings(page) == []
        for learner, value in enumerate([1, 12, 12]):
            room.predict(learner, value, name="Ada")
        room.predict(1, 2, question="Second?")
        room.post("measured", message(1, value=1))
        room.post("checks", check(1, solved=True, name="Ada"))
        expect(page.get_by_role("heading", name=re.compile(f"{QUESTION}|Second"))).to_be_visible()
        expect(page.get_by_role("table")).to_contain_text("Ada")
        assert findings(page) == []
    page.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("audit")
    (folder / "program.py").write_text(PROGRAM)
    command = f"{sys.executable} {folder / 'program.py'}"
    audited = audit_command(command, deadline=2, only=["02", "04"])
    assert {"fail", "not seen"} <= {each.verdict for each in audited.checks}
    file = folder / "audit.html"
    file.write_text(html.render(audited), "utf-8")
    return file


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_audits_report(browser: Browser, report: Path, scheme: str) -> None:
    page = _page(browser, scheme)
    page.goto(report.as_uri())
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    assert findings(page) == []
    page.close()


def test_axe_finds_what_is_wrong(browser: Browser) -> None:
    page = _page(browser, "light")
    page.set_content("<html lang=en><title>x</title><main><h1>x</h1><img src=x.png></main>")
    assert [each.partition(":")[0] for each in findings(page)] == ["image-alt"]
    page.close()
