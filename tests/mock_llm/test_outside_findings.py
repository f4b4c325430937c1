"""What testers from outside found: each was a status 500, a frozen server, or an answer 200."""

from __future__ import annotations

from time import perf_counter
from typing import Any

import httpx
import pytest

from helpers.mock_llm import MockLLM

from .conftest import Chat


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "array", "minItems": 3.0, "items": {}},
        {"type": "array", "minItems": 1, "maxItems": 2.0, "items": {"type": "integer"}},
        {"type": "string", "pattern": "^a{2}$", "minLength": 2.0},
        {"type": "object", "minProperties": 1e0, "additionalProperties": {"type": "string"}},
    ],
)
def test_a_count_may_be_written_as_a_decimal(chat: Chat, schema: dict[str, Any]) -> None:
    """JSON schema 2020-12, 6.4.1: 3.0 is an integer."""
    parameters = {"type": "object", "properties": {"a": schema}, "required": ["a"]}
    tool = {"type": "function", "function": {"name": "f", "parameters": parameters}}
    answer = chat(tools=[tool], tool_choice="required")
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("token", [-1, 200_019, 300_000, 2**63])
def test_a_token_that_does_not_exist_is_refused(
    llm: MockLLM, http: httpx.Client, token: int
) -> None:
    body = {"model": "gpt-3.5-turbo-instruct", "prompt": [token]}
    answer = http.post(f"{llm.url}/completions", json=body)
    assert answer.status_code == 400
    assert "prompt" in answer.json()["error"]["message"]


def test_echoes_have_a_budget(llm: MockLLM, http: httpx.Client) -> None:
    """15 kB held the server for 20 s of its processor's time."""
    body = {"model": "gpt-3.5-turbo-instruct", "prompt": "word " * 3_000, "max_tokens": 1}
    start = perf_counter()
    answer = http.post(f"{llm.url}/completions", json=body | {"n": 128, "echo": True})
    assert answer.status_code == 400
    assert perf_counter() - start < 5
    answer = http.post(f"{llm.url}/completions", json=body | {"n": 2, "echo": True, "logprobs": 5})
    assert [len(choice["logprobs"]["tokens"]) for choice in answer.json()["choices"]] == [
        len(choice["logprobs"]["token_logprobs"]) for choice in answer.json()["choices"]
    ]


@pytest.mark.parametrize("limit", ["9" * 5_000, "\u0661", "0", "x"])
def test_a_limit_that_is_no_count_is_refused(llm: MockLLM, http: httpx.Client, limit: str) -> None:
    models = http.get(
        f"{llm.url}/models", params={"limit": limit}, headers={"anthropic-version": "2023-06-01"}
    )
    assert models.status_code == 400
    made = http.post(f"{llm.url}/responses", json={"model": "gpt-4o", "input": "Hi"}).json()["id"]
    items = http.get(f"{llm.url}/responses/{made}/input_items", params={"limit": limit})
    assert items.status_code == 400


def test_digits_and_exponent_together_are_beyond_any_float(
    llm: MockLLM, http: httpx.Client
) -> None:
    number = "1" + "0" * 250 + "e99"
    body = (
        f'{{"model":"gpt-4o","temperature":{number},"messages":[{{"role":"user","content":"x"}}]}}'
    )
    answer = http.post(f"{llm.url}/chat/completions", content=body)
    assert answer.status_code == 400
    assert "Infinity" not in answer.text
    assert "JSON" in answer.json()["error"]["message"]
