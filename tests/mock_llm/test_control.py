"""Only whoever started the server steers it, and no web page reaches it."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from helpers.mock_llm import MockLLM, Profile

from .conftest import Chat


def root(llm: MockLLM) -> str:
    return llm.url.removesuffix("/v1")


ROUTES = [("GET", "ledger"), ("POST", "reset"), ("POST", "configure")]


@pytest.mark.parametrize(("method", "route"), ROUTES)
@pytest.mark.parametrize("token", [None, "", "wrong", b"\xff"])
def test_control_needs_the_token(
    llm: MockLLM, http: httpx.Client, method: str, route: str, token: Any
) -> None:
    headers = {} if token is None else {"x-mock-token": token}
    response = http.request(method, f"{root(llm)}/_mock/{route}", headers=headers, content="{}")
    assert response.status_code == 403
    assert response.json()["error"]["code"] == "invalid_mock_token"


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://127.0.0.1.evil.example", "http://[::"]
)
def test_control_refuses_a_foreign_origin(llm: MockLLM, http: httpx.Client, origin: str) -> None:
    headers = {"x-mock-token": llm.token, "origin": origin}
    assert http.get(f"{root(llm)}/_mock/ledger", headers=headers).status_code == 403


HOSTS = {
    "localhost": True,
    "LOCALHOST:80": True,
    "127.0.0.1:1": True,
    "127.8.9.10": True,
    "[::1]:8000": True,
    "evil.example": False,
    "localhost.evil.example": False,
    "127.0.0.1.nip.io": False,
    "127.0.0.1@evil.example": False,
    "evil.example@127.0.0.1": False,
    "0.0.0.0": False,
    "192.168.0.1": False,
    "[::1": False,
    "localhost:x": False,
    "": False,
}


@pytest.mark.parametrize(("host", "admitted"), HOSTS.items())
@pytest.mark.parametrize("route", ["v1/models", "_mock/ledger"])
def test_only_loopback_hosts_are_answered(
    llm: MockLLM, http: httpx.Client, host: str, admitted: bool, route: str
) -> None:
    headers = {"host": host, "x-mock-token": llm.token}
    response = http.get(f"{root(llm)}/{route}", headers=headers)
    assert response.status_code == (200 if admitted else 403)
    assert not [name for name in response.headers if name.startswith("access-control-")]


def test_control_stays_out_of_the_books(llm: MockLLM, chat: Chat) -> None:
    for _ in range(3):
        llm.ledger()
    assert (llm.ledger().requests, llm.ledger().connections) == ([], [])
    chat()
    ledger = llm.ledger()
    assert (len(ledger.requests), len(ledger.connections), ledger.peak_in_flight) == (1, 1, 1)


def test_reset_clears_the_books_but_not_what_is_still_open(llm: MockLLM) -> None:
    with httpx.Client() as client:
        client.get(f"{llm.url}/models")
        llm.reset()
        ledger = llm.ledger()
        assert ledger.requests == []
        assert ledger.peak_in_flight == 0
        assert [connection.requests for connection in ledger.connections] == [0]
        client.get(f"{llm.url}/models")
        ledger = llm.ledger()
        assert [request.id for request in ledger.requests] == [1]
        assert [connection.requests for connection in ledger.connections] == [1]


@pytest.mark.parametrize(
    "changes",
    [
        {"profile": "fast"},
        {"speed": 0},
        {"speed": float("nan")},
        {"speed": "2"},
        {"speed": 1e-323, "profile": "small"},
        {"seed": 1.5},
        {"answer_tokens": 0},
        {"answer_tokens": True},
    ],
)
def test_values_that_cannot_be_are_one_clear_sentence(
    llm: MockLLM, changes: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]+$"):
        llm.configure(**changes)
    with pytest.raises(ValueError, match=r"^[^\n]+$"):
        MockLLM(**changes)


def test_an_unknown_profile_names_the_others() -> None:
    with pytest.raises(ValueError, match="instant, small, medium, large, reasoning"):
        MockLLM("huge")


@pytest.mark.parametrize(
    "fields",
    [
        {"base": -1},
        {"base": float("inf")},
        {"prefill_rate": 0},
        {"decode_rate": float("nan")},
        {"slots": 0},
        {"slots": 1.5},
        {"jitter": 1},
        {"thinking_tokens": -1},
        {"context_window": 0},
    ],
)
def test_a_profile_that_cannot_be_is_refused(fields: dict[str, Any]) -> None:
    [name] = fields
    with pytest.raises(ValueError, match=name):
        Profile(**fields)


@pytest.mark.parametrize("body", ["", "[]", "{", '{"colour": 1}', '{"profile": {"colour": 1}}'])
def test_settings_that_make_no_sense_are_a_400(llm: MockLLM, http: httpx.Client, body: str) -> None:
    response = http.post(
        f"{root(llm)}/_mock/configure", content=body, headers={"x-mock-token": llm.token}
    )
    assert response.status_code == 400
    assert "Invalid settings" in response.json()["error"]["message"]
