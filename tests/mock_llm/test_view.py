"""The live view: its page is for any browser of this machine, the rest only with the token."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import httpx
import pytest

from helpers.mock_llm import MockLLM

from .conftest import Chat

FILES = {"view": "text/html", "view.css": "text/css", "view.js": "text/javascript"}


def address(llm: MockLLM, name: str) -> str:
    return f"{llm.http_url.removesuffix('/v1')}/_mock/{name}"


@pytest.mark.parametrize("name", FILES)
def test_the_page_needs_no_token_and_holds_none(
    llm: MockLLM, http: httpx.Client, name: str
) -> None:
    answer = http.get(address(llm, name))
    assert answer.status_code == 200
    assert answer.headers["content-type"] == f"{FILES[name]}; charset=utf-8"
    assert llm.token not in answer.text
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
    assert "unsafe" not in policy
    assert http.post(address(llm, name)).status_code == 405


@pytest.mark.parametrize("name", FILES)
def test_the_page_names_nothing_elsewhere(llm: MockLLM, http: httpx.Client, name: str) -> None:
    """Only relative addresses work behind a proxy, and without the internet."""
    text = http.get(address(llm, name)).text.replace('"http://www.w3.org/2000/svg"', "")
    assert "://" not in text
    assert re.findall(r'(?:href|src|fetch)(?:=|\()"(?!data:)(\W)', text) == []


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    "headers",
    [
        {"host": "hub.example.org"},
        {"origin": "https://evil.example"},
        {"sec-fetch-site": "cross-site"},
    ],
)
def test_other_web_pages_do_not_get_it(
    llm: MockLLM, http: httpx.Client, name: str, headers: dict[str, str]
) -> None:
    assert http.get(address(llm, name), headers=headers).status_code == 403


def test_the_view_stays_out_of_the_ledger(llm: MockLLM, http: httpx.Client, chat: Chat) -> None:
    for name in FILES:
        with httpx.Client() as browser:
            browser.get(address(llm, name))
    assert (llm.ledger().requests, llm.ledger().connections) == ([], [])


def test_the_link_carries_the_token_where_no_server_sees_it(llm: MockLLM) -> None:
    url = urlsplit(llm.view().url)
    assert (url.path, url.query, url.fragment) == ("/_mock/view", "", llm.token)
    assert f"http://{url.netloc}/v1" == llm.http_url
    assert str(llm.view()) == llm.view().url


def test_a_cell_shows_the_view(llm: MockLLM) -> None:
    shown = llm.view()._repr_html_()
    assert f'href="{llm.view().url}"' in shown
    assert '<iframe title="The provider\'s live view"' in shown


def test_on_a_hub_the_link_leads_through_the_learners_server(
    llm: MockLLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUPYTERHUB_SERVICE_PREFIX", "/user/ada/")
    port = urlsplit(llm.http_url).port
    assert llm.view().url == f"/user/ada/llm-provider/{port}/_mock/view#{llm.token}"


def test_a_view_needs_a_server_that_runs() -> None:
    with pytest.raises(RuntimeError, match="not started"):
        MockLLM().view()
