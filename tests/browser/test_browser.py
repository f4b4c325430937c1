"""The lessons as a learner sees them, in headless Chromium. Screenshots go to artefacts/.

Lesson 01 is run; of every lesson the committed pages are looked at.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect, sync_playwright

from helpers.lessons.catalogue import LESSONS, Lesson, lesson, notebooks_folder
from tests.environment import ROOT

pytestmark = pytest.mark.browser

ARTEFACTS = ROOT / "artefacts"
LESSON = lesson("01").notebook.name
_SETTINGS = {
    # All cells in the page, not only the visible ones; no question about news on the first start.
    "notebook-extension/tracker.jupyterlab-settings": {"windowingMode": "none"},
    "apputils-extension/notification.jupyterlab-settings": {"fetchNews": "false"},
}
CHROMIUM_OPTIONS = (
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--no-sandbox",  # CI runs as root
)


def chromium() -> str:
    found = shutil.which("chromium") or shutil.which("google-chrome")
    if found is None:
        sentence = "Chromium is not installed: on Debian and Ubuntu, `apt-get install chromium`."
        if os.environ.get("CI"):
            pytest.fail(sentence)
        pytest.skip(sentence)
    return found


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a JupyterLab on a copy of the lessons."""
    home = tmp_path_factory.mktemp("lab")
    shutil.copytree(notebooks_folder(), home / "notebooks")
    for name, settings in _SETTINGS.items():
        file = home / "settings" / "@jupyterlab" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(settings))
    environment = os.environ | {
        "HOME": str(home),
        "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"),
        "LLM_ANTIPATTERNS_HOME": str(home),
    }
    command = [sys.executable, "-m", "helpers.cli", "lab", "--no-browser", "--port=0"]
    command.append(f"--ServerApp.root_dir={home / 'notebooks'}")
    with (home / "log").open("w") as log:
        server = subprocess.Popen(command, cwd=home, env=environment, stderr=log, stdout=log)
    try:
        yield _address(home / "log", server)
    finally:
        server.terminate()
        server.wait(timeout=30)


def _address(log: Path, server: subprocess.Popen[bytes]) -> str:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and server.poll() is None:
        found = re.search(r"http://(127\.0\.0\.1|localhost):\d+/lab\S*token=\w+", log.read_text())
        if found:
            return found.group()
        time.sleep(0.1)
    raise AssertionError(f"JupyterLab did not start:\n{log.read_text()}")


@pytest.fixture(scope="module")
def page(lab: str) -> Iterator[Page]:
    ARTEFACTS.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium(), args=list(CHROMIUM_OPTIONS)
        )
        page = browser.new_page(viewport={"width": 1440, "height": 1000})
        yield page
        page.screenshot(path=ARTEFACTS / "last.png")
        browser.close()


def _show(page: Page, lab: str, name: str) -> Locator:
    """The notebook with its committed outputs."""
    # "reset" closes what an earlier page left open.
    page.goto(re.sub(r"/lab[^?]*", f"/lab/tree/{name}", lab) + "&reset", timeout=60_000)
    book = page.locator(".jp-Notebook:visible")
    expect(book.locator(".jp-CodeCell").first).to_be_visible(timeout=60_000)
    _wait_for_kernel(page)
    return book


def _open(page: Page, lab: str, name: str) -> Locator:
    """The notebook without outputs, its kernel fresh."""
    book = _show(page, lab, name)
    _menu(page, "Kernel", "Restart Kernel and Clear Outputs of All Cells")
    page.get_by_role("button", name="Confirm Kernel Restart").click()
    expect(book.locator(".jp-OutputArea-output")).to_have_count(0)
    _wait_for_kernel(page)
    return book


def _wait_for_kernel(page: Page) -> None:
    expect(page.locator("#jp-main-statusbar")).to_contain_text("| Idle", timeout=60_000)


def _menu(page: Page, *path: str) -> None:
    page.get_by_role("menuitem", name=path[0], exact=True).first.click()
    page.locator(".lm-Menu-itemLabel", has_text=re.compile(f"^{re.escape(path[1])}")).first.click()


def _run_all(page: Page) -> None:
    _menu(page, "Run", "Run All Cells")


def _code_cell(book: Locator, text: str) -> Locator:
    return book.locator(".jp-CodeCell", has=book.page.locator(".cm-content", has_text=text)).first


def _unfold(book: Locator, title: str) -> None:
    """Open a section that is folded when the page opens."""
    heading = book.locator(".jp-MarkdownCell", has=book.page.get_by_role("heading", name=title))
    heading.hover()
    heading.locator(".jp-collapseHeadingButton").click()


def _wait_until_done(book: Locator, seconds: int) -> None:
    waiting = book.locator(".jp-InputPrompt", has_text="[*]:")
    expect(waiting).to_have_count(0, timeout=seconds * 1000)


def _no_errors(book: Locator) -> None:
    errors = book.locator('[data-mime-type="application/vnd.jupyter.error"]')
    assert [errors.nth(i).inner_text() for i in range(errors.count())] == []


_SAID = """cell => {
  const frame = cell.querySelector("svg[role=img]");
  return frame ? frame.getAttribute("aria-label") : cell.querySelector("img[alt]")?.alt;
}"""


def _watch(cell: Locator) -> list[str]:
    """What the cell's live view says, frame by frame, until the arm is over."""
    frames: list[str] = []
    for _ in range(600):
        said = cell.evaluate(_SAID)
        if said and said not in frames:
            frames.append(said)
            if len(frames) == 5:
                cell.page.screenshot(path=ARTEFACTS / "01_live.png")
        if frames and "returned after" in frames[-1]:
            return frames
        cell.page.wait_for_timeout(50)
    raise AssertionError(f"the arm did not end: {frames}")


def test_the_first_page(page: Page, lab: str) -> None:
    book = _open(page, lab, "00_start_here.ipynb")
    _run_all(page)
    said = book.locator("pre", has_text="This machine can run the course.")
    expect(said).to_be_visible(timeout=60_000)
    _wait_until_done(book, 60)
    _no_errors(book)
    expect(book.locator("figure img")).to_be_visible()
    link = book.get_by_role("link", name="Keep the event loop free", exact=True)
    expect(link).to_be_visible()
    page.screenshot(path=ARTEFACTS / "00.png")


@pytest.mark.parametrize(
    ("term", "heading"),
    [
        ("retry storm", "Predict, then run"),
        ("head-of-line blocking", "What does HTTP/2 change?"),
        ("back-pressure", "The right way"),
    ],
)
def test_a_term_of_the_glossary_leads_to_its_section(
    page: Page, lab: str, term: str, heading: str
) -> None:
    page.goto(re.sub(r"/lab[^?]*", "/lab/tree/98_glossary.ipynb", lab) + "&reset", timeout=60_000)
    cell = page.get_by_role("cell", name=term, exact=True)
    row = page.locator(".jp-Notebook:visible tr").filter(has=cell)
    row.get_by_role("link").click(timeout=60_000)
    section = page.locator(".jp-Notebook:visible").get_by_role("heading", name=heading)
    expect(section).to_be_attached(timeout=60_000)
    # JupyterLab scrolls to a section only in a notebook that is open already.
    page.get_by_role("tab", name="98_glossary.ipynb").click()
    row.get_by_role("link").click()
    expect(section).to_be_in_viewport(timeout=30_000)
    page.screenshot(path=ARTEFACTS / f"98_{term.replace(' ', '_')}.png")


def test_a_learner_predicts_runs_and_looks(page: Page, lab: str) -> None:
    book = _open(page, lab, LESSON)
    question = _code_cell(book, "guess = Predict(")
    question.locator(".cm-content").click()
    _menu(page, "Run", "Run All Above Selected Cell")
    question.locator(".cm-content").click()
    page.keyboard.press("Control+Enter")
    question.locator(".widget-text input").fill("1.5", timeout=60_000)
    question.get_by_role("button", name="Commit").click()
    expect(question.get_by_text("You said 1.5 s. Now run the next cell.")).to_be_visible(
        timeout=30_000
    )
    page.screenshot(path=ARTEFACTS / "01_prediction.png")

    _run_all(page)
    cell = _code_cell(book, "wrong_run = await run(wrong")
    cell.scroll_into_view_if_needed()
    frames = _watch(cell)
    assert len(frames) >= 5, frames
    assert any(re.search(r"blocked now: cell \d+, line 5", frame) for frame in frames), frames
    page.screenshot(path=ARTEFACTS / "01_last_frame.png")

    _wait_until_done(book, 120)
    _no_errors(book)
    expect(question.get_by_text("You said 1.5 s.")).to_be_visible()  # kept while all ran again
    picture = book.locator("figure img")
    picture.scroll_into_view_if_needed()
    expect(picture).to_be_visible()
    assert (picture.get_attribute("alt") or "").startswith("wrong kept 1 request in flight")
    assert picture.evaluate("image => image.naturalWidth") > 600
    page.screenshot(path=ARTEFACTS / "01_figure.png")
    book.locator(".jp-Cell:visible").last.scroll_into_view_if_needed()
    page.screenshot(path=ARTEFACTS / "01_end.png")


def test_a_click_in_the_what_if_panel_runs_the_arms(page: Page, lab: str) -> None:
    book = page.locator(".jp-Notebook:visible")
    button = book.get_by_role("button", name="Run the arms")
    expect(button).to_be_hidden()
    _unfold(book, "When is the wrong way fine?")
    button.scroll_into_view_if_needed()
    panel = book.locator(".jp-CodeCell", has=page.get_by_role("button", name="Run the arms"))
    button.click()
    expect(panel.locator("table")).to_contain_text("peak requests in flight", timeout=60_000)
    expect(button).to_be_enabled(timeout=60_000)
    panel.scroll_into_view_if_needed()
    page.screenshot(path=ARTEFACTS / "01_what_if.png")


def test_hints_open_one_at_a_time(page: Page, lab: str) -> None:
    book = page.locator(".jp-Notebook:visible")
    hint = book.locator("details", has_text="Hint 1").first
    hint.scroll_into_view_if_needed()
    expect(hint.locator("p")).to_be_hidden()
    hint.locator("summary").click()
    expect(hint.locator("p")).to_be_visible()
    page.screenshot(path=ARTEFACTS / "01_exercise.png")


def test_the_core_of_a_lesson_by_keyboard_alone(page: Page, lab: str) -> None:
    """Nobody touches the mouse: restart, run, predict, and run on to the check of the exercise."""
    book = _show(page, lab, LESSON)
    page.keyboard.press("Escape")
    page.keyboard.type("00")
    expect(page.get_by_role("button", name="Confirm Kernel Restart")).to_be_visible()
    page.keyboard.press("Enter")
    _wait_for_kernel(page)
    question = _code_cell(book, "guess = Predict(")
    _run_on(page, question)
    field = question.locator(".widget-text input")
    expect(field).to_be_visible(timeout=60_000)
    page.keyboard.press("ArrowUp")
    _tab_to(page, field)
    page.keyboard.press("Control+a")
    page.keyboard.type("1.5")
    _tab_to(page, question.get_by_role("button", name="Commit"))
    page.keyboard.press("Enter")
    expect(question.get_by_text("You said 1.5 s. Now run the next cell.")).to_be_visible(
        timeout=30_000
    )

    checked = _code_cell(book, 'await check("01", handle)')
    _run_on(page, checked)
    _wait_until_done(book, 120)
    _no_errors(book)
    expect(book.get_by_text(re.compile(r"^You said 1.5 s. It was \d")).first).to_be_visible()
    verdict = _code_cell(book, "verdict(").locator("pre", has_text="PASS answers, right: 12")
    expect(verdict).to_be_visible()
    hint = checked.locator("details", has_text="Hint 1")
    page.keyboard.press("ArrowUp")
    _tab_to(page, hint.locator("summary"))
    page.keyboard.press("Enter")
    expect(hint.locator("p").first).to_be_visible()


def _run_on(page: Page, last: Locator) -> None:
    """Shift+Enter until a cell has been run."""
    for _ in range(40):
        is_last = last.evaluate("cell => cell.classList.contains('jp-mod-active')")
        page.keyboard.press("Shift+Enter")
        if is_last:
            return
    raise AssertionError("the cell was not reached")


def _tab_to(page: Page, target: Locator) -> None:
    for _ in range(12):
        if target.evaluate("each => each === document.activeElement"):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"Tab does not lead to {target}")


# A wide table scrolls within its output; a figure that does not fit would be cut off.
_HALF_OUT = """book => [...book.querySelectorAll("figure img")]
  .filter(each => each.offsetParent)
  .filter(each => each.offsetWidth > each.closest(".jp-OutputArea").clientWidth)
  .map(each => each.alt)"""


@pytest.mark.parametrize("zoom", [1, 2])
@pytest.mark.parametrize(
    "lesson", [each for each in LESSONS if each.name], ids=lambda each: each.stem
)
def test_every_figure_fits_the_window(page: Page, lab: str, lesson: Lesson, zoom: int) -> None:
    """At a usual width, and at 200 % zoom, which leaves the page half the pixels."""
    page.set_viewport_size({"width": 1440 // zoom, "height": 1000 // zoom})
    book = _show(page, lab, lesson.notebook.name)
    if zoom > 1 and page.locator("#jp-left-stack:visible").count():
        page.keyboard.press("Control+b")  # as a person who needs the space would
    expect(book.locator("figure img").first).to_be_visible()
    assert book.evaluate(_HALF_OUT) == []
    for index, shown in enumerate(book.locator("figure img, .jp-RenderedHTMLCommon table").all()):
        if shown.is_visible():
            shown.scroll_into_view_if_needed()
            page.screenshot(path=ARTEFACTS / f"{lesson.number}_{index:02}_zoom_{zoom}.png")
