"""The provider's live view in headless Chromium: alone, below a cell, and through two proxies."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import FrameLocator, Page, expect, sync_playwright

from helpers import MockLLM
from tests.browser.test_browser import ARTEFACTS, CHROMIUM_OPTIONS, chromium

pytestmark = pytest.mark.browser
HOSTILE = "<img src=x onerror=alert()>"
TOKEN = "a-token-of-this-test"


@pytest.fixture(params=["light", "dark"])
def page(request: pytest.FixtureRequest) -> Iterator[Page]:
    ARTEFACTS.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium(), args=[*CHROMIUM_OPTIONS, RESOLVE]
        )
        page = browser.new_page(viewport={"width": 1600, "height": 900}, color_scheme=request.param)
        page.on("pageerror", lambda error: pytest.fail(str(error)))
        yield page
        page.screenshot(path=ARTEFACTS / f"view_{request.param}.png")
        browser.close()


# A hub's name, which is not one of this machine's own.
RESOLVE = "--host-resolver-rules=MAP hub.test 127.0.0.1"


@pytest.fixture
def llm() -> Iterator[MockLLM]:
    with MockLLM(profile="medium", speed=5) as llm:
        yield llm


@pytest.fixture
def jupyter(tmp_path: Path) -> Iterator[str]:
    """A Jupyter server with jupyter-server-proxy and the course's extension; ends in "/"."""
    options = [
        *("--ServerApp.ip=127.0.0.1", "--ServerApp.port=0", "--no-browser", "--allow-root"),
        f"--IdentityProvider.token={TOKEN}",
        f"--ServerApp.root_dir={tmp_path}",
        "--ServerApp.allow_remote_access=True",
        "--ServerApp.jpserver_extensions=helpers.classroom.provider_proxy=True",
    ]
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyter_server", *options],
            env=os.environ | {"HOME": str(tmp_path)},
            stdout=log,
            stderr=log,
        )
    try:
        yield _address(tmp_path / "log", server)
    finally:
        server.terminate()
        server.wait(timeout=30)


def _address(log: Path, server: subprocess.Popen[bytes]) -> str:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and server.poll() is None:
        if found := re.search(r"http://127\.0\.0\.1:\d+/", log.read_text()):
            return found.group()
        time.sleep(0.1)
    raise AssertionError(f"Jupyter did not start:\n{log.read_text()}")


def ask(llm: MockLLM, *, fault: str = "", model: str = "gpt-4o") -> httpx.Response | None:
    body = {"model": model, "messages": [{"role": "user", "content": "Hello"}], "stream": True}
    headers = {"x-mock-fault": fault} if fault else {}
    try:
        return httpx.post(f"{llm.url}/chat/completions", json=body, headers=headers)
    except httpx.RemoteProtocolError:
        return None


def expect_counts(view: Page | FrameLocator, **counts: int) -> None:
    for name, number in counts.items():
        expect(view.locator(f"#{name.replace('_', '-')}")).to_have_text(str(number))


@contextmanager
def a_stream_in_flight(llm: MockLLM) -> Iterator[None]:
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hi"}], "stream": True}
    headers = {"x-mock-fault": "hang_mid_stream; after_tokens=3"}
    with (
        httpx.Client() as client,
        client.stream("POST", f"{llm.url}/chat/completions", json=body, headers=headers),
    ):
        yield


def watch_requests(view: Page | FrameLocator, llm: MockLLM) -> None:
    """What every way to open the view must show."""
    expect(view.get_by_role("status")).to_have_text("live")
    with a_stream_in_flight(llm):
        expect_counts(view, connections=1, in_flight=1, streams=1, left=0)
    expect_counts(view, connections=0, in_flight=0, streams=0, left=1)
    ask(llm)
    expect_counts(view, answered=1)
    ask(llm, fault="cut; after_tokens=5")
    expect_counts(view, failed=1)
    ask(llm, fault="rate_limit_exceeded")
    expect_counts(view, answered=1, limited=1)
    expect(view.locator("#latest li").first).to_have_text("request 4: 429 (gpt-4o)")
    expect(view.get_by_role("img")).to_have_accessible_name(
        "0 requests in flight on 0 connections, 1 answered, 1 times 429, "
        "1 faults and errors, 1 left by the client."
    )
    expect(view.locator("svg text", has_text="429")).to_be_visible()
    assert len(llm.ledger().connections) == 4  # a browser's are none of the application's
    llm.reset()
    expect_counts(view, answered=0, limited=0, failed=0, left=0)


def test_the_view_follows_the_requests(page: Page, llm: MockLLM) -> None:
    page.goto(llm.view().url)
    watch_requests(page, llm)


def test_it_shows_what_happened_before_it_was_opened(page: Page, llm: MockLLM) -> None:
    ask(llm)
    ask(llm, fault="cut; after_tokens=5")
    with a_stream_in_flight(llm):
        page.goto(llm.view().url)
        expect_counts(page, connections=1, in_flight=1, streams=1, answered=1, failed=1)


def test_what_clients_send_is_text(page: Page, llm: MockLLM) -> None:
    page.goto(llm.view().url)
    expect(page.get_by_role("status")).to_have_text("live")
    ask(llm, model=HOSTILE)
    expect_counts(page, failed=1)
    expect(page.locator("#latest")).to_contain_text("404")
    assert page.locator("img[src=x]").count() == 0


def test_without_the_token_it_says_what_to_do_and_asks_once(page: Page, llm: MockLLM) -> None:
    page.goto(llm.view().url.partition("#")[0])
    expect(page.get_by_role("status")).to_contain_text("the address that llm.view() shows")
    page.wait_for_timeout(2500)
    assert len(llm.ledger().connections) <= 1


def test_it_says_that_the_provider_has_ended(page: Page) -> None:
    with MockLLM() as llm:
        page.goto(llm.view().url)
        expect(page.get_by_role("status")).to_have_text("live")
    expect(page.get_by_role("status")).to_contain_text("The page tries again by itself.")


@pytest.mark.parametrize(
    ("host", "prefix"),
    [("127.0.0.1", "proxy"), ("localhost", "proxy"), ("hub.test", "llm-provider")],
)
def test_it_works_through_jupyter_server_proxy(
    page: Page, llm: MockLLM, jupyter: str, host: str, prefix: str
) -> None:
    """A hub's own name needs the extension, which calls the provider by one of this machine's."""
    root = jupyter.replace("127.0.0.1", host)
    page.goto(f"{root}api/status?token={TOKEN}")
    page.goto(f"{root}{prefix}/{urlsplit(llm.http_url).port}/_mock/view#{llm.token}")
    watch_requests(page, llm)


def test_jupyter_server_proxy_alone_is_refused_under_a_foreign_name(
    page: Page, llm: MockLLM, jupyter: str
) -> None:
    root = jupyter.replace("127.0.0.1", "hub.test")
    page.goto(f"{root}api/status?token={TOKEN}")
    answer = page.goto(f"{root}proxy/{urlsplit(llm.http_url).port}/_mock/view#{llm.token}")
    assert answer is not None
    assert answer.status == 403
