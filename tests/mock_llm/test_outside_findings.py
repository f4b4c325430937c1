"""What testers from outside found: each was a status 500, a frozen server, or an answer 200."""

from __future__ import annotations

from time import perf_counter, thread_time
from typing import Any

import httpx
import pytest

from helpers.mock_llm import MockLLM
from helpers.mock_llm.model.tokens import encode

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


# Freezes


def test_tools_have_a_budget_in_common(llm: MockLLM, http: httpx.Client) -> None:
    """128 tools of 27 kB took 5 s."""
    tools = []
    for number in range(128):
        names = [f"p{number}_{index}" for index in range(400)]
        fields = {name: {"type": "string", "description": "x" * 20} for name in names}
        schema = {"type": "object", "properties": fields, "required": names}
        tools.append({"name": f"f{number}", "parameters": schema})
    hi = [{"role": "user", "content": "Hi"}]
    for route, model, own in (
        ("chat/completions", "gpt-4.1", [{"type": "function", "function": t} for t in tools]),
        ("responses", "gpt-4.1", [{"type": "function", **t} for t in tools]),
        (
            "messages",
            "claude-opus-5-5",
            [{"name": t["name"], "input_schema": t["parameters"]} for t in tools],
        ),
    ):
        start = {"input": hi} if route == "responses" else {"messages": hi, "max_tokens": 9}
        for count, status in ((20, 200), (128, 400)):
            answer = http.post(
                f"{llm.url}/{route}",
                json={"model": model, "tools": own[:count]} | start,
                headers={"anthropic-version": "2023-06-01"},
            )
            assert answer.status_code == status, answer.text
        assert "too large together" in answer.json()["error"]["message"]


@pytest.mark.parametrize("unit", ["a", "=", " " * 9_999 + "a"])
def test_the_time_to_tokenize_grows_with_the_length_alone(unit: str) -> None:
    """10 MB of one letter took 14 s, and as much of long blanks minutes."""
    encode("ready")
    times = []
    for word in ("aaaaaaaa ", unit):
        start = thread_time()
        encode(word * (2_000_000 // len(word)))
        times.append(thread_time() - start)
    assert times[1] < 4 * times[0]


def test_a_text_has_a_maximum_length(llm: MockLLM, http: httpx.Client) -> None:
    text = "a" * (10 * 2**20 + 1)
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": text}]}
    error = http.post(f"{llm.url}/chat/completions", json=body).json()["error"]
    assert error["message"] == (
        "Invalid 'messages[0].content': string too long. Expected a string with maximum length "
        "10485760, but got a string with length 10485761 instead."
    )
    assert error["code"] == "string_above_max_length"


@pytest.mark.parametrize("model", ["", '"model":"gpt-4o",'])
def test_a_deployment_names_the_model_of_any_body(
    llm: MockLLM, http: httpx.Client, model: str
) -> None:
    url = f"{llm.url.removesuffix('/v1')}/openai/deployments/gpt-4.1-mini/chat/completions"
    answer = http.post(
        url, content=f' {{{model}"messages":[{{"role":"user","content":"Hi"}}] }} \n'
    )
    assert answer.json()["model"] == "gpt-4.1-mini"
    assert http.post(url, content="{ }").json()["error"]["param"] == "messages"
    assert "JSON" in http.post(url, content='{"messages":"}').json()["error"]["message"]
    assert http.post(url, content="[]").json()["error"]["code"] == "invalid_type"


def test_a_long_body_for_a_deployment_takes_no_longer(llm: MockLLM, http: httpx.Client) -> None:
    """30 MB of small values were read and written on the loop: 2.6 s."""
    root, body = llm.url.removesuffix("/v1"), b'{"messages":[' + b"[]," * 10_000_000 + b"[]]}"
    times = []
    for path in ("/v1/chat/completions", "/openai/deployments/gpt-4o/chat/completions"):
        start = perf_counter()
        answer = http.post(root + path, content=body)
        times.append(perf_counter() - start)
        assert "too many values" in answer.json()["error"]["message"]
    assert times[1] < 5 * times[0]


# Words


@pytest.mark.parametrize(
    "item",
    [
        {"role": "user", "content": "x", "output": [1]},
        {"role": "user", "content": "x", "output": [{"type": "input_image", "image_url": 5}]},
        {"type": "web_search_call", "role": [1], "content": [{"type": [1]}]},
    ],
)
def test_fields_that_an_item_does_not_have_are_let_through(
    llm: MockLLM, http: httpx.Client, item: dict[str, Any]
) -> None:
    answer = http.post(f"{llm.url}/responses", json={"model": "gpt-4o", "input": [item]})
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"messages": [{"role": None, "content": "x"}]}, "messages.0.role: {}"),
        (
            {"messages": [{"role": "user", "content": [{"type": None}]}]},
            "messages.0.content.0.type: {}",
        ),
        ({"thinking": {"type": 5}}, "thinking.type: {}"),
        (
            {"messages": [{"role": "user", "content": {}}]},
            "messages.0.content: Input should be a valid array",
        ),
    ],
)
def test_no_value_of_pythons_is_named(
    llm: MockLLM, http: httpx.Client, parameters: dict[str, Any], message: str
) -> None:
    hi = [{"role": "user", "content": "Hi"}]
    body = {"model": "claude-opus-5-5", "max_tokens": 5, "messages": hi} | parameters
    answer = http.post(
        f"{llm.url}/messages", json=body, headers={"anthropic-version": "2023-06-01"}
    )
    error = answer.json()["error"]
    assert error["message"] == message.format("Input should be a valid string")


@pytest.mark.parametrize(
    ("parameters", "message", "code"),
    [
        (
            {"temperature": 3},
            "Invalid 'temperature': decimal above maximum value. Expected a value <= 2, but got 3 "
            "instead.",
            "decimal_above_max_value",
        ),
        (
            {"seed": 1.5},
            "Invalid type for 'seed': expected an integer, but got a decimal number instead.",
            "invalid_type",
        ),
        (
            {"messages": [{"role": "user", "content": {"text": "Hi"}}]},
            "Invalid type for 'messages[0].content': expected one of a string or array of objects, "
            "but got an object instead.",
            "invalid_type",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": None}]}]},
            "Invalid type for 'messages[0].content[0].type': expected one of 'text', 'refusal', "
            "'image_url', 'input_audio', or 'file', but got null instead.",
            "invalid_type",
        ),
    ],
)
def test_a_chat_request_is_refused_in_the_providers_words(
    chat: Chat, parameters: dict[str, Any], message: str, code: str
) -> None:
    error = chat(**parameters).json()["error"]
    assert (error["message"], error["code"]) == (message, code)


@pytest.mark.parametrize(
    ("parameters", "param", "message"),
    [
        (
            {"prompt": "word " * 4_090},
            None,
            "This model's maximum context length is 4096 tokens, however you requested 4107 tokens "
            "(4091 in your prompt; 16 for the completion). Please reduce your prompt; or "
            "completion length.",
        ),
        (
            {"prompt": 5},
            "prompt",
            "Invalid type for 'prompt': expected one of a string, array of strings, array of "
            "integers, or array of integer arrays, but got an integer instead.",
        ),
        (
            {"prompt": ["a", [1]]},
            "prompt[1]",
            "Invalid type for 'prompt[1]': expected a string, but got an array instead.",
        ),
        (
            {"prompt": [[1], "a"]},
            "prompt[1]",
            "Invalid type for 'prompt[1]': expected an array of integers, but got a string "
            "instead.",
        ),
        (
            {"logit_bias": {"x": 1}},
            "logit_bias",
            "Invalid key in 'logit_bias': x. You should only be submitting non-negative integers.",
        ),
        (
            {"model": "ft:davinci-002:us:1", "suffix": "x"},
            "suffix",
            "This model does not support the suffix parameter.",
        ),
    ],
    ids=lambda value: str(value)[:40],
)
def test_the_legacy_route_has_its_own_words(
    llm: MockLLM, http: httpx.Client, parameters: dict[str, Any], param: str | None, message: str
) -> None:
    body = {"model": "gpt-3.5-turbo-instruct", "prompt": "Hi"} | parameters
    answer = http.post(f"{llm.url}/completions", json=body)
    error = answer.json()["error"]
    assert answer.status_code == 400
    assert (error["param"], error["message"]) == (param, message)


@pytest.mark.parametrize(
    "schema", [{"minProperties": 3, "maxProperties": 2}, {"required": ["a"], "maxProperties": 0}]
)
def test_an_object_that_cannot_be_is_refused(chat: Chat, schema: dict[str, Any]) -> None:
    format = {"name": "f", "schema": {"type": "object"} | schema}
    answer = chat(response_format={"type": "json_schema", "json_schema": format})
    assert answer.status_code == 400
    assert "no object has" in answer.json()["error"]["message"]


@pytest.mark.parametrize(("name", "value"), [("order", "up"), ("after", "msg_0"), ("limit", "-1")])
def test_the_values_of_a_query_are_checked(
    llm: MockLLM, http: httpx.Client, name: str, value: str
) -> None:
    made = http.post(f"{llm.url}/responses", json={"model": "gpt-4o", "input": "Hi"}).json()["id"]
    answer = http.get(f"{llm.url}/responses/{made}/input_items", params={name: value})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == name
