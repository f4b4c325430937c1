"""The static site and the slides in headless Chromium, without a network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from docs import site as pages
from docs import slides
from tests.browser.axe import findings
from tests.browser.test_browser import CHROMIUM_OPTIONS, chromium

pytestmark = pytest.mark.browser

_TOO_LARGE = """() => {
  const slide = Reveal.getCurrentSlide();
  const edges = slide.getBoundingClientRect();
  const out = [...slide.querySelectorAll("*")].filter(each => {
    if (each.closest("aside")) return false;
    const box = each.getBoundingClientRect();
    const isCut = getComputedStyle(each).display !== "inline" && each.clientWidth
      && each.scrollWidth > each.clientWidth + 1;
    return box.bottom > edges.bottom || box.right > edges.right + 1 || isCut;
  });
  return out.map(each => each.outerHTML.slice(0, 100));
}"""
_CUT = """() => [...document.querySelectorAll("article img, article table, article svg")]
  .filter(each => each.offsetParent || each.tagName === "svg")
  .filter(each => each.getBoundingClientRect().right > document.documentElement.clientWidth + 1)
  .filter(each => !each.closest(".pst-scrollable-table-container, div.cell_output"))
  .map(each => each.outerHTML.slice(0, 100))"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("built")
    assert pages.build(folder / "site") == 0
    slides.write(folder / "slides")
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium(), args=list(CHROMIUM_OPTIONS)
        )
        yield browser
        browser.close()


def _offline(browser: Browser, *, width: int = 1440, dark: bool = False) -> Page:
    page = browser.new_page(
        viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light"
    )
    page.context.set_offline(True)
    return page


def _site(built: Path) -> list[Path]:
    return sorted((built / "site").glob("*.html"))


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_axe_finds_no_serious_obstacle(built: Path, browser: Browser, dark: bool) -> None:
    page = _offline(browser, dark=dark)
    found = {}
    # The dark colors are the same on all pages; these have every kind of output.
    some = ("index", "01_", "07_", "checks")
    for file in _site(built):
        if not dark or file.name.startswith(some):
            page.goto(file.as_uri())
            found[file.name] = findings(page)
    assert {name: each for name, each in found.items() if each} == {}
    page.close()


def test_search_needs_no_network(built: Path, browser: Browser) -> None:
    page = _offline(browser)
    page.goto((built / "site" / "index.html").as_uri())
    page.keyboard.press("Control+k")
    page.keyboard.type("thundering herd")
    page.keyboard.press("Enter")
    found = page.locator("#search-results a", has_text="05 · Wait as long as the server asks")
    expect(found.first).to_be_visible(timeout=20_000)
    page.close()


def test_a_link_opens_the_folded_section(built: Path, browser: Browser) -> None:
    page = _offline(browser)
    address = (built / "site" / "01_event_loop.html").as_uri()
    page.goto(f"{address}#in-a-service")
    section = page.locator("#in-a-service")
    expect(section.locator("pre").first).to_be_visible()
    expect(page.locator("#catch-it pre").first).to_be_hidden()
    page.locator("nav.page-toc a[href='#catch-it']").click()
    expect(page.locator("#catch-it pre").first).to_be_visible()
    page.close()


@pytest.mark.parametrize("width", [1440, 720], ids=["100 %", "200 %"])
def test_nothing_on_a_page_is_cut_off(built: Path, browser: Browser, width: int) -> None:
    """At 200 % zoom, half as many pixels are left. Wide tables and outputs scroll."""
    page = _offline(browser, width=width)
    for file in _site(built):
        page.goto(file.as_uri())
        page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
        assert page.evaluate(_CUT) == [], file.name
        assert page.evaluate("document.documentElement.scrollWidth") <= width, file.name
    page.close()


def test_every_slide_fits_its_screen(built: Path, browser: Browser) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 720})
    page.context.set_offline(True)
    decks = sorted((built / "slides").glob("[01]*.html"))
    assert len(decks) >= 9
    for deck in decks:
        page.goto(deck.as_uri())
        page.wait_for_function("window.Reveal && Reveal.isReady()")
        for index in range(page.evaluate("Reveal.getTotalSlides()")):
            page.evaluate("index => Reveal.slide(index)", index)
            assert page.evaluate(_TOO_LARGE) == [], f"{deck.name}, slide {index + 1}"
    page.close()
