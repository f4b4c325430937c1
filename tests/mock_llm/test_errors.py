"""Wrong input gets the provider's status and error shape."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from helpers.mock_llm import MockLLM, Profile

from .conftest import Chat, only_request

MESSAGES = [{"role": "user", "content": "Hello"}]


def error_of(response: httpx.Response) -> dict[str, Any]:
    """The error object; checks that it has the provider's four keys and no others."""
    body = response.json()
    assert set(body) == {"error"}
    error: dict[str, Any] = body["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert response.headers["content-type"] == "application/json"
    return error


@pytest.mark.parametrize(
    ("parameters", "param", "code"),
    [
        ({"messages": []}, "messages", "empty_array"),
        ({"messages": "Hello"}, "messages", "invalid_type"),
        ({"messages": [{"content": "a"}]}, "messages[0].role", "missing_required_parameter"),
        ({"messages": [{"role": "user"}]}, "messages[0].content", "missing_required_parameter"),
        ({"messages": [{"role": "user", "content": None}]}, "messages[0].content", "invalid_type"),
        ({"messages": [{"role": "user", "content": 1}]}, "messages[0].content", "invalid_type"),
        ({"messages": [{"role": "boss", "content": "a"}]}, "messages[0].role", "invalid_value"),
        (
            {"messages": [*MESSAGES, {"role": "tool", "content": "a"}]},
            "messages.[1].tool_call_id",
            None,
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": 1}]}]},
            "messages[0].content[0].text",
            "invalid_type",
        ),
        ({"model": 4}, "model", "invalid_type"),
        ({"temperature": "hot"}, "temperature", "invalid_type"),
        ({"temperature": 2.5}, "temperature", "decimal_above_max_value"),
        ({"top_p": -0.5}, "top_p", "decimal_below_min_value"),
        ({"n": 0}, "n", "integer_below_min_value"),
        ({"max_tokens": 1.5}, "max_tokens", "invalid_type"),
        ({"stream": "yes"}, "stream", "invalid_type"),
        ({"service_tier": "best"}, "service_tier", "invalid_value"),
        ({"stream_options": {"include_usage": True}}, "stream_options", None),
        ({"tempreature": 1}, None, None),
    ],
)
def test_a_wrong_parameter_is_named(
    chat: Chat, parameters: dict[str, Any], param: str | None, code: str | None
) -> None:
    response = chat(**parameters)
    error = error_of(response)
    assert response.status_code == 400
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", param, code)


def test_an_unknown_parameter_is_named_in_the_message(chat: Chat) -> None:
    message = error_of(chat(tempreature=1))["message"]
    assert message == "Unrecognized request argument supplied: tempreature"


@pytest.mark.parametrize("missing", ["model", "messages"])
def test_a_missing_parameter_is_named(llm: MockLLM, http: httpx.Client, missing: str) -> None:
    body: dict[str, Any] = {"model": "gpt-4o", "messages": MESSAGES}
    del body[missing]
    response = http.post(f"{llm.url}/chat/completions", json=body)
    assert response.status_code == 400
    assert error_of(response)["param"] == missing
    assert error_of(response)["code"] == "missing_required_parameter"


def with_temperature(value: str) -> bytes:
    whole = json.dumps({"model": "gpt-4o", "messages": MESSAGES, "temperature": 0})
    return whole.replace("0}", value + "}").encode()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"text"',
        b"\xff\xfe\x00",
        b'{"model": "gpt-\xff", "messages": []}',
        b'{"model": "gpt-4o", "messages": [{"role": "user", "content": "\\ud800"}]}',
        b'{"model": "\\ud800", "messages": [{"role": "user", "content": "Hello"}]}',
        with_temperature("NaN"),
        with_temperature("Infinity"),
        with_temperature("9" * 5000),
        with_temperature("9" * 400),
        with_temperature("1e999"),
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"model": "gpt-4o", "messages": ' + b"[" * 190 + b"]" * 190 + b"}",
    ],
    ids=lambda body: repr(body[:30]),
)
def test_a_body_that_makes_no_sense_is_a_400(llm: MockLLM, http: httpx.Client, body: bytes) -> None:
    response = http.post(f"{llm.url}/chat/completions", content=body)
    assert response.status_code == 400
    assert error_of(response)["type"] == "invalid_request_error"


@pytest.mark.parametrize("model", ["llama-3", "", "gpt4", "gpt-4o\n", "omni", "gpt-é", "x" * 1000])
def test_an_unknown_model_is_a_404(chat: Chat, model: str) -> None:
    response = chat(model=model)
    assert response.status_code == 404
    error = error_of(response)
    assert (error["param"], error["code"]) == ("model", "model_not_found")


def test_an_unknown_model_has_no_card(llm: MockLLM, http: httpx.Client) -> None:
    response = http.get(f"{llm.url}/models/llama-3")
    assert (response.status_code, error_of(response)["code"]) == (404, "model_not_found")


@pytest.mark.parametrize("parameters", [{"max_tokens": 95}, {"prompt": "word " * 100}])
def test_more_than_the_context_window_is_a_400(
    llm: MockLLM, chat: Chat, parameters: dict[str, Any]
) -> None:
    llm.configure(profile=Profile(context_window=100))
    response = chat(**parameters)
    assert response.status_code == 400
    error = error_of(response)
    assert (error["param"], error["code"]) == ("messages", "context_length_exceeded")
    assert "maximum context length is 100 tokens" in error["message"]
    assert chat().status_code == 200


def test_an_unknown_route_is_a_404(llm: MockLLM, http: httpx.Client) -> None:
    for url in (f"{llm.url}/chat", llm.url, llm.url.removesuffix("/v1")):
        response = http.get(url)
        assert response.status_code == 404
        assert "Invalid URL" in error_of(response)["message"]


@pytest.mark.parametrize(
    ("method", "route", "allow"),
    [
        ("GET", "chat/completions", "POST"),
        ("DELETE", "models", "GET"),
        ("POST", "models/gpt-4o", "GET"),
    ],
)
def test_the_wrong_method_is_a_405(
    llm: MockLLM, http: httpx.Client, method: str, route: str, allow: str
) -> None:
    response = http.request(method, f"{llm.url}/{route}")
    assert response.status_code == 405
    assert response.headers["allow"] == allow
    error_of(response)


@pytest.fixture(scope="module")
def guarded() -> Iterator[MockLLM]:
    with MockLLM(api_key="sk-the-right-key-1234") as llm:
        yield llm


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"authorization": "Bearer sk-the-wrong-key-5678"}, 401),
        ({"authorization": "Basic sk-the-right-key-1234"}, 401),
        ({"authorization": b"Bearer \xff\xfe"}, 401),
        ({"authorization": "Bearer sk-the-right-key-1234"}, 200),
    ],
)
def test_a_key_is_required_when_the_server_was_given_one(
    guarded: MockLLM, http: httpx.Client, headers: dict[str, Any], status: int
) -> None:
    body = {"model": "gpt-4o", "messages": MESSAGES}
    response = http.post(f"{guarded.url}/chat/completions", json=body, headers=headers)
    assert response.status_code == status
    assert http.get(f"{guarded.url}/models", headers=headers).status_code == status
    if status == 401:
        assert error_of(response)["code"] == "invalid_api_key"
        assert "wrong-key" not in response.text


def test_a_body_over_32_mib_is_a_413(llm: MockLLM, http: httpx.Client) -> None:
    body = b'{"model": "' + b"x" * (32 * 1024 * 1024)
    response = http.post(f"{llm.url}/chat/completions", content=body)
    assert response.status_code == 413
    error_of(response)
    assert only_request(llm).status == 413
