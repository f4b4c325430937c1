"""Answers in JSON, in JSON that fits a schema, and with log probabilities."""

from __future__ import annotations

import enum
import json
import math
from typing import Any

import jsonschema
import openai
import pydantic
import pytest
from hypothesis import HealthCheck, given, settings
from openai.types.chat import ChatCompletion, ChatCompletionMessageParam

from helpers.mock_llm import MockLLM
from helpers.mock_llm.tokens import encoding

from .conftest import Chat
from .test_chat import contents, events
from .test_json_schema import SCHEMAS

ASK: ChatCompletionMessageParam = {"role": "user", "content": "Plan my day. Answer in JSON."}
JSON_MODE = {"type": "json_object"}


def schema_format(schema: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "plan", "schema": schema} | more}


class Kind(enum.Enum):
    WORK = "work"
    REST = "rest"


class Step(pydantic.BaseModel):
    title: str
    kind: Kind
    minutes: int
    after: Step | None


class FaultPlan(pydantic.BaseModel):
    date: str
    steps: list[Step]
    sure: bool
    share: float


def content_of(answer: dict[str, Any]) -> str:
    return str(answer["choices"][0]["message"]["content"])


@pytest.mark.parametrize("seed", range(5))
def test_json_mode_is_an_object(chat: Chat, seed: int) -> None:
    answer = chat("JSON, please", response_format=JSON_MODE, seed=seed).json()
    value = json.loads(content_of(answer))
    assert isinstance(value, dict)
    assert len(value) >= 3
    assert answer["choices"][0]["finish_reason"] == "stop"


@settings(
    max_examples=50,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(schema=SCHEMAS)
def test_answers_fit_their_schema(chat: Chat, schema: dict[str, Any]) -> None:
    format = schema_format(schema)
    answer = chat("Hello", response_format=format).json()
    content = content_of(answer)
    jsonschema.validate(json.loads(content), schema, jsonschema.Draft202012Validator)
    pieces = contents(events(chat("Hello", response_format=format, stream=True)))
    assert "".join(pieces) == content
    tokens = len(encoding().encode(content))
    assert answer["usage"]["completion_tokens"] == tokens
    assert len(pieces) == tokens or not content.isascii()  # a character may take several tokens


@pytest.mark.parametrize("stream", [False, True])
def test_answers_are_utf_8_and_not_escaped(chat: Chat, stream: bool) -> None:
    """anomalyco/opencode#39694, mastra-ai/mastra#20224, xberg-io/liter-llm#152"""
    word = "日本 😀"
    properties = {"a": {"type": "string", "enum": [word]}}
    schema = {"type": "object", "properties": properties, "required": ["a"]}
    assert word.encode() in chat(response_format=schema_format(schema)).content
    tool = {"type": "function", "function": {"name": "f", "parameters": schema}}
    content = chat(tools=[tool], stream=stream).content
    assert b"\\u" not in content
    assert max(content) > 127


def test_a_limit_cuts_the_json_and_says_so(chat: Chat) -> None:
    schema = FaultPlan.model_json_schema()
    whole = content_of(chat(response_format=schema_format(schema)).json())
    cut = chat(response_format=schema_format(schema), max_completion_tokens=4).json()
    assert cut["choices"][0]["finish_reason"] == "length"
    assert whole.startswith(content_of(cut))
    with pytest.raises(ValueError, match=r"line 1 column"):
        json.loads(content_of(cut))


def test_the_servers_answer_tokens_are_about_text_only(llm: MockLLM, chat: Chat) -> None:
    llm.configure(answer_tokens=3)
    assert chat().json()["usage"]["completion_tokens"] == 3
    json.loads(
        content_of(chat(response_format=schema_format(FaultPlan.model_json_schema())).json())
    )


def test_tools_come_before_the_structured_answer(chat: Chat) -> None:
    tools = [{"type": "function", "function": {"name": "look_up"}}]
    format = schema_format(FaultPlan.model_json_schema())
    first = chat(tools=tools, response_format=format).json()["choices"][0]
    assert first["finish_reason"] == "tool_calls"
    result = {
        "role": "tool",
        "content": "",
        "tool_call_id": first["message"]["tool_calls"][0]["id"],
    }
    history = [{"role": "user", "content": "a"}, first["message"], result]
    FaultPlan.model_validate_json(
        content_of(chat(messages=history, tools=tools, response_format=format).json())
    )


def test_text_that_is_asked_for_is_text(chat: Chat) -> None:
    assert content_of(chat("a", response_format={"type": "text"}).json()) == content_of(
        chat("a").json()
    )


def test_sdk_parses_the_answer(llm: MockLLM) -> None:
    with openai.OpenAI(base_url=llm.url, api_key="any") as client:
        answer = client.chat.completions.parse(
            model="gpt-4o", messages=[ASK], response_format=FaultPlan
        )
        plan = answer.choices[0].message.parsed
        assert isinstance(plan, FaultPlan)
        with client.chat.completions.stream(
            model="gpt-4o", messages=[ASK], response_format=FaultPlan
        ) as stream:
            kinds = {event.type for event in stream}
            streamed = stream.get_final_completion()
        with pytest.raises(openai.LengthFinishReasonError):
            client.chat.completions.parse(
                model="gpt-4o", messages=[ASK], response_format=FaultPlan, max_completion_tokens=3
            )
    assert streamed.choices[0].message.parsed == plan
    assert {"content.delta", "content.done", "chunk"} <= kinds


@pytest.mark.anyio
async def test_sdk_async_parses_the_answer(llm: MockLLM) -> None:
    async with openai.AsyncOpenAI(base_url=llm.url, api_key="any") as client:
        answer = await client.chat.completions.parse(
            model="gpt-4o", messages=[ASK], response_format=FaultPlan, seed=3
        )
        async with client.chat.completions.stream(
            model="gpt-4o", messages=[ASK], response_format=FaultPlan, seed=3
        ) as stream:
            streamed = await stream.get_final_completion()
    assert isinstance(answer.choices[0].message.parsed, FaultPlan)
    assert streamed.choices[0].message.parsed == answer.choices[0].message.parsed


def refused(chat: Chat, **parameters: Any) -> tuple[str, str | None, str | None]:
    response = chat(**parameters)
    assert response.status_code == 400, response.text
    error = response.json()["error"]
    assert error["type"] == "invalid_request_error"
    return error["message"], error["param"], error["code"]


def test_json_mode_needs_the_word(chat: Chat) -> None:
    message, param, code = refused(chat, response_format=JSON_MODE)
    assert message == (
        "'messages' must contain the word 'json' in some form, to use 'response_format' of type "
        "'json_object'."
    )
    assert (param, code) == ("messages", None)
    parts = [{"type": "text", "text": "As JSON"}]
    messages = [{"role": "system", "content": parts}, {"role": "user", "content": "a"}]
    assert chat(messages=messages, response_format=JSON_MODE).status_code == 200


CLOSED: dict[str, Any] = {"type": "object", "additionalProperties": False}
WORD = {"type": "string"}


@pytest.mark.parametrize(
    ("schema", "problem"),
    [
        (
            {"type": "array"},
            "schema must be a JSON Schema of 'type: \"object\"', got 'type: \"array\"'.",
        ),
        ({}, "schema must be a JSON Schema of 'type: \"object\"', got 'type: \"None\"'."),
        (
            {"type": "object", "properties": {}},
            "In context=(), 'additionalProperties' is required to be supplied and to be false.",
        ),
        (
            CLOSED | {"properties": {"a": WORD, "b": WORD}, "required": ["a"]},
            "In context=(), 'required' is required to be supplied and to be an array including "
            "every key in properties. Missing 'b'.",
        ),
        (
            CLOSED | {"properties": {"a": WORD}, "required": ["a", "b"]},
            "In context=(), 'required' must be an array that includes every key in `properties`. "
            "Extra required key 'b' supplied.",
        ),
        (
            CLOSED | {"properties": {"a": {"type": "object"}}, "required": ["a"]},
            "In context=('properties', 'a'), 'additionalProperties' is required to be supplied "
            "and to be false.",
        ),
        (
            CLOSED | {"properties": {"a": {"allOf": [WORD]}}, "required": ["a"]},
            "In context=('properties', 'a'), 'allOf' is not permitted.",
        ),
        (
            CLOSED | {"properties": {"a": {"anyOf": [WORD, {}]}}, "required": ["a"]},
            "In context=('properties', 'a', 'anyOf', '1'), schema must have a 'type' key.",
        ),
        (
            CLOSED | {"properties": {"a": {"type": "array"}}, "required": ["a"]},
            "In context=('properties', 'a'), array schema missing items.",
        ),
        (
            CLOSED | {"properties": {"a": WORD | {"format": "uri"}}, "required": ["a"]},
            "In context=('properties', 'a'), 'uri' is not a valid format.",
        ),
        (
            CLOSED | {"properties": {"a": {"$ref": "#", "title": "A"}}, "required": ["a"]},
            None,
        ),
        (CLOSED | {"properties": []}, "[] is not of type 'object'."),
        (CLOSED | {"properties": {"a": {"$ref": "#/x"}}, "required": ["a"]}, None),
        (
            CLOSED | {"properties": {"a": WORD | {"pattern": "(?!a)"}}, "required": ["a"]},
            "In context=('properties', 'a'), 'pattern' is not supported: "
            "look-around is not supported.",
        ),
    ],
)
def test_a_strict_schema_is_held_to_the_providers_rules(
    chat: Chat, schema: dict[str, Any], problem: str | None
) -> None:
    message, param, code = refused(chat, response_format=schema_format(schema, strict=True))
    assert message.startswith("Invalid schema for response_format 'plan': ")
    assert problem is None or message.endswith(f": {problem}")
    assert (param, code) == ("response_format", None)
    function = {"name": "f", "parameters": schema, "strict": True}
    message, param, code = refused(chat, tools=[{"type": "function", "function": function}])
    assert message.startswith("Invalid schema for function 'f': ")
    assert (param, code) == ("tools[0].function.parameters", "invalid_function_parameters")


def test_a_schema_that_is_not_strict_may_be_looser(chat: Chat) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string", "default": "b"}}}
    assert chat(response_format=schema_format(schema)).status_code == 200
    assert chat(response_format=schema_format(schema, strict=False)).status_code == 200


def entries(answer: dict[str, Any]) -> list[Any]:
    listed: list[Any] = answer["choices"][0]["logprobs"]["content"]
    return listed


@pytest.mark.parametrize("top", [0, 1, 5, 20])
@pytest.mark.parametrize("format", [{"type": "text"}, JSON_MODE])
def test_log_probabilities_are_possible(chat: Chat, top: int, format: dict[str, Any]) -> None:
    wanted = {"logprobs": True, "top_logprobs": top, "response_format": format}
    answer = chat("JSON", **wanted).json()
    listed = entries(answer)
    assert "".join(entry["token"] for entry in listed) == content_of(answer)
    assert len(listed) == answer["usage"]["completion_tokens"]
    for entry in listed:
        assert bytes(entry["bytes"]).decode() == entry["token"]
        likely = [other["logprob"] for other in entry["top_logprobs"]]
        assert len(likely) == len({other["token"] for other in entry["top_logprobs"]}) == top
        assert likely == sorted(likely, reverse=True)
        assert sum(map(math.exp, likely)) <= 1
        own = [o["logprob"] for o in entry["top_logprobs"] if o["token"] == entry["token"]]
        assert entry["logprob"] < 0
        assert own in ([], [entry["logprob"]])
        assert own or all(entry["logprob"] < other for other in likely)
    streamed = [
        entry
        for chunk in events(chat("JSON", stream=True, **wanted))
        for choice in chunk["choices"]
        for entry in (choice["logprobs"] or {"content": []})["content"]
    ]
    assert streamed == listed


def test_sdk_reads_log_probabilities(llm: MockLLM) -> None:
    with openai.OpenAI(base_url=llm.url, api_key="any") as client:
        answer: ChatCompletion = client.chat.completions.create(
            model="gpt-4o", messages=[ASK], logprobs=True, top_logprobs=3, max_tokens=7
        )
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content is not None
    assert [len(entry.top_logprobs) for entry in logprobs.content] == [3] * 7


def test_no_log_probabilities_unless_asked(chat: Chat) -> None:
    assert chat().json()["choices"][0]["logprobs"] is None
    assert chat(logprobs=False).json()["choices"][0]["logprobs"] is None
