"""What a chat completion request may say is what the provider publishes, and so is the refusal."""

from __future__ import annotations

import copy
import functools
import operator
import typing
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openai.types.chat import completion_create_params
from openai.types.chat.completion_create_params import (
    CompletionCreateParamsNonStreaming,
    CompletionCreateParamsStreaming,
)

from helpers.mock_llm import MockLLM
from helpers.mock_llm.openai.chat_request import ChatRequest

from .conftest import Chat
from .test_chat import events
from .test_errors import error_of

PUBLISHED: dict[str, Any] = typing.get_type_hints(
    CompletionCreateParamsNonStreaming, vars(completion_create_params)
)
USER = {"role": "user", "content": "Hello"}
TOOL = {"type": "function", "function": {"name": "f"}}
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
ASKED = {"role": "assistant", "tool_calls": [CALL, CALL | {"id": "c2"}]}
ANSWERED = {"role": "tool", "tool_call_id": "c1", "content": "42"}
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}


def test_the_published_parameters_are_the_known_ones() -> None:
    assert set(ChatRequest.model_fields) == set(PUBLISHED)
    assert set(PUBLISHED) == set(typing.get_type_hints(CompletionCreateParamsStreaming))


VALUES: dict[str, Any] = {
    "model": "gpt-4o",
    "messages": [USER],
    "audio": {"format": "wav", "voice": {"id": "v1"}},
    "frequency_penalty": 0.5,
    "function_call": "auto",
    "functions": [{"name": "f", "description": "d", "parameters": SCHEMA}],
    "logit_bias": {"50256": -100},
    "logprobs": True,
    "max_completion_tokens": 50,
    "max_tokens": 50,
    "metadata": {"k" * 64: "v" * 512},
    "modalities": ["text"],
    "moderation": {"model": "omni-moderation-latest", "policy": {"input": {"mode": "score"}}},
    "n": 2,
    "parallel_tool_calls": False,
    "prediction": {"type": "content", "content": [{"type": "text", "text": "a"}]},
    "presence_penalty": -2,
    "prompt_cache_key": "k",
    "prompt_cache_options": {"mode": "explicit", "ttl": "30m"},
    "prompt_cache_retention": "24h",
    "reasoning_effort": "minimal",
    "response_format": {
        "type": "json_schema",
        "json_schema": {"name": "n", "description": "d", "schema": SCHEMA, "strict": False},
    },
    "safety_identifier": "s" * 128,
    "seed": 3,
    "service_tier": "auto",
    "stop": ["a", "b", "c", "d"],
    "store": True,
    "stream": False,
    "stream_options": {"include_usage": True, "include_obfuscation": False},
    "temperature": 0,
    "tool_choice": "auto",
    "tools": [TOOL],
    "top_logprobs": 20,
    "top_p": 1,
    "user": "u",
    "verbosity": "low",
    "web_search_options": {
        "search_context_size": "low",
        "user_location": {"type": "approximate", "approximate": {"city": "Oslo", "country": "NO"}},
    },
}
NEEDED: dict[str, dict[str, Any]] = {
    "function_call": {"functions": [{"name": "f"}]},
    "metadata": {"store": True},
    "parallel_tool_calls": {"tools": [TOOL]},
    "reasoning_effort": {"model": "gpt-5"},
    "stream_options": {"stream": True},
    "tool_choice": {"tools": [TOOL]},
    "top_logprobs": {"logprobs": True},
    "verbosity": {"model": "gpt-5"},
}
"""What some parameters are only allowed with."""


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_published_parameter_is_accepted(chat: Chat, name: str) -> None:
    response = chat(**{name: VALUES[name]}, **NEEDED.get(name, {}))
    assert response.status_code == 200, response.text


@pytest.mark.parametrize("name", PUBLISHED)
def test_null_is_the_same_as_absent(chat: Chat, name: str) -> None:
    """Also where the reference does not say so: guidance sends ``"tools": null``, and so do all who
    pass None to the SDK."""
    response = chat(**{name: None})
    if name not in ("model", "messages"):
        assert response.status_code == 200
    else:
        assert (response.status_code, error_of(response)["code"]) == (400, "invalid_type")
        assert error_of(response)["message"].endswith("but got null instead.")


def test_no_tools_are_the_same_as_absent_ones(chat: Chat) -> None:
    """strands sends an empty list with every agent, Xcode always, langchain's create_agent with a
    response format: ml-explore/mlx-lm#170, local-inference-lab/vllm#193."""
    assert chat(tools=[]).json()["usage"] == chat().json()["usage"]
    assert chat(functions=[]).status_code == 200


@pytest.mark.parametrize(
    ("parameters", "param", "code", "message"),
    [
        (
            {"stop": list("abcde")},
            "stop",
            "array_above_max_length",
            "Invalid 'stop': array too long. Expected an array with maximum length 4, but got an "
            "array with length 5 instead.",
        ),
        ({"stop": [1]}, "stop[0]", "invalid_type", None),
        (
            {"metadata": {str(k): "v" for k in range(17)}},
            "metadata",
            "object_above_max_properties",
            "Invalid 'metadata': too many properties. Expected an object with at most 16 "
            "properties, but got an object with 17 properties instead.",
        ),
        (
            {"metadata": {"actual": "v" * 513}},
            "metadata.actual",
            "string_above_max_length",
            "Invalid 'metadata.actual': string too long. Expected a string with maximum length "
            "512, but got a string with length 513 instead.",
        ),
        ({"metadata": {"k" * 65: "v"}}, "metadata." + "k" * 65, "string_above_max_length", None),
        ({"metadata": {"a": 1}}, "metadata.a", "invalid_type", None),
        (
            {"top_logprobs": 2},
            "top_logprobs",
            None,
            "The 'top_logprobs' parameter is only allowed when 'logprobs' is enabled.",
        ),
        ({"top_logprobs": 21, "logprobs": True}, "top_logprobs", "integer_above_max_value", None),
        (
            {"max_tokens": 1, "max_completion_tokens": 1},
            "max_tokens",
            "invalid_parameter_combination",
            "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.",
        ),
        (
            {"model": "o4-mini", "max_tokens": 1},
            "max_tokens",
            "unsupported_parameter",
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use "
            "'max_completion_tokens' instead.",
        ),
        ({"model": "o3", "stop": "a"}, "stop", "unsupported_parameter", None),
        ({"modalities": ["text", "audio"]}, "audio", "missing_required_parameter", None),
        ({"modalities": ["video"]}, "modalities[0]", "invalid_value", None),
        ({"audio": {"voice": "alloy"}}, "audio.format", "missing_required_parameter", None),
        (
            {"logit_bias": {" You": 6}},
            "logit_bias",
            None,
            "Invalid key in 'logit_bias':  You. You should only be submitting non-negative "
            "integers.",
        ),
        ({"logit_bias": {"1": 101}}, "logit_bias.1", "integer_above_max_value", None),
        ({"n": 129}, "n", "integer_above_max_value", None),
        ({"safety_identifier": "s" * 129}, "safety_identifier", "string_above_max_length", None),
        ({"stream_options": {"usage": True}}, "stream_options.usage", "unknown_parameter", None),
        ({"prediction": {"content": "a"}}, "prediction.type", "missing_required_parameter", None),
        ({"moderation": {}}, "moderation.model", "missing_required_parameter", None),
        (
            {"prompt_cache_options": {"ttl": "1h"}},
            "prompt_cache_options.ttl",
            "invalid_value",
            None,
        ),
        (
            {"verbosity": "mute"},
            "verbosity",
            "invalid_value",
            "Invalid value: 'mute'. Supported values are: 'low', 'medium', and 'high'.",
        ),
        (
            {"web_search_options": {"user_location": {"type": "exact", "approximate": {}}}},
            "web_search_options.user_location.type",
            "invalid_value",
            None,
        ),
    ],
)
def test_a_wrong_parameter_is_refused_in_the_providers_words(
    chat: Chat, parameters: dict[str, Any], param: str, code: str | None, message: str | None
) -> None:
    error = error_of(chat(**parameters))
    assert (error["param"], error["code"]) == (param, code)
    assert message in (None, error["message"])


@pytest.mark.parametrize(
    ("parameters", "param", "code", "message"),
    [
        ({"tools": [TOOL] * 129}, "tools", "array_above_max_length", None),
        (
            {"tools": [{"function": {"name": "f"}}]},
            "tools[0].type",
            "missing_required_parameter",
            "Missing required parameter: 'tools[0].type'.",
        ),
        (
            {"tools": [{"type": "function"}]},
            "tools[0].function",
            "missing_required_parameter",
            None,
        ),
        (
            {"tools": [{"type": "function", "function": {}}]},
            "tools[0].function.name",
            "missing_required_parameter",
            None,
        ),
        (
            {"tools": [{"type": "plugin"}]},
            "tools[0].type",
            "invalid_value",
            "Invalid value: 'plugin'. Supported values are: 'function' and 'custom'.",
        ),
        (
            {"tools": [{"type": "function", "function": {"name": "a b"}}]},
            "tools[0].function.name",
            "invalid_value",
            "Invalid 'tools[0].function.name': string does not match pattern. "
            "Expected a string that matches the pattern '^[a-zA-Z0-9_-]+$'.",
        ),
        (
            {"tools": [{"type": "function", "function": {"name": "a\n"}}]},
            "tools[0].function.name",
            "invalid_value",
            None,
        ),
        (
            {"tools": [{"type": "function", "function": {"name": ""}}]},
            "tools[0].function.name",
            "invalid_value",
            None,
        ),
        (
            {"tools": [{"type": "function", "function": {"name": "a" * 65}}]},
            "tools[0].function.name",
            "string_above_max_length",
            None,
        ),
        (
            {"tools": [{"type": "function", "function": {"name": "f", "parameters": []}}]},
            "tools[0].function.parameters",
            "invalid_type",
            None,
        ),
        (
            {
                "tools": [
                    {
                        "type": "function",
                        "function": {"name": "f", "parameters": {"type": "object"}},
                    }
                ]
            },
            "tools[0].function.parameters",
            "invalid_function_parameters",
            "Invalid schema for function 'f': In context=(), object schema missing properties.",
        ),
        (
            {"tools": [{"type": "function", "function": {"name": "f", "extra": 1}}]},
            "tools[0].function.extra",
            "unknown_parameter",
            "Unknown parameter: 'tools[0].function.extra'.",
        ),
        (
            {"tool_choice": "auto"},
            "tool_choice",
            None,
            "Invalid value for 'tool_choice': "
            "'tool_choice' is only allowed when 'tools' are specified.",
        ),
        (
            {"parallel_tool_calls": True},
            "parallel_tool_calls",
            None,
            "Invalid value for 'parallel_tool_calls': 'parallel_tool_calls' is only allowed when "
            "'tools' are specified.",
        ),
        (
            {"tools": [TOOL], "tool_choice": "always"},
            "tool_choice",
            "invalid_value",
            "Invalid value: 'always'. Supported values are: 'none', 'auto', and 'required'.",
        ),
        (
            {"tools": [TOOL], "tool_choice": {"type": "function", "function": {}}},
            "tool_choice.function.name",
            "missing_required_parameter",
            None,
        ),
        (
            {"tools": [TOOL], "tool_choice": {"function": {"name": "f"}}},
            "tool_choice.type",
            "missing_required_parameter",
            None,
        ),
        (
            {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "g"}}},
            "tool_choice",
            None,
            None,
        ),
        (
            {"functions": [{"name": "f"}], "function_call": {"name": "g"}},
            "function_call",
            None,
            None,
        ),
        ({"functions": [{"name": "f"}], "tools": [TOOL]}, "functions", None, None),
        ({"function_call": "auto"}, "function_call", None, None),
        (
            {"response_format": {"type": "json_schema"}},
            "response_format.json_schema",
            "missing_required_parameter",
            None,
        ),
        (
            {"response_format": {"type": "xml"}},
            "response_format.type",
            "invalid_value",
            "Invalid value: 'xml'. Supported values are: 'text', 'json_object', and 'json_schema'.",
        ),
        ({"response_format": {}}, "response_format.type", "missing_required_parameter", None),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": {}}}},
            "response_format.json_schema.name",
            "missing_required_parameter",
            None,
        ),
        ({"response_format": "json"}, "response_format", "invalid_type", None),
    ],
)
def test_wrong_tools_and_formats_are_refused_in_the_providers_words(
    chat: Chat, parameters: dict[str, Any], param: str, code: str | None, message: str | None
) -> None:
    response = chat(**parameters)
    error = error_of(response)
    assert response.status_code == 400
    assert (error["param"], error["code"]) == (param, code)
    assert message in (None, error["message"])


ORPHAN = (
    "Invalid parameter: messages with role 'tool' must be a response to a preceeding message with "
    "'tool_calls'."
)
UNANSWERED = (
    "An assistant message with 'tool_calls' must be followed by tool messages responding to each "
    "'tool_call_id'. The following tool_call_ids did not have response messages: "
)


@pytest.mark.parametrize(
    ("messages", "param", "message"),
    [
        ([USER, ANSWERED], "messages.[1].role", ORPHAN),
        ([ANSWERED], "messages.[0].role", ORPHAN),
        ([USER, ASKED], "messages.[1].role", UNANSWERED + "c1, c2"),
        ([USER, ASKED, ANSWERED], "messages.[2].role", UNANSWERED + "c2"),
        ([USER, ASKED, ANSWERED, USER], "messages.[3].role", UNANSWERED + "c2"),
        ([USER, ASKED, ANSWERED, ASKED], "messages.[3].role", UNANSWERED + "c2"),
        (
            [USER, ASKED, ANSWERED | {"tool_call_id": "c3"}],
            "messages.[2].tool_call_id",
            "Invalid parameter: 'tool_call_id' of 'c3' not found in 'tool_calls' of previous "
            "message.",
        ),
        (
            [USER, {"role": "assistant", "tool_calls": []}],
            "messages[1].tool_calls",
            "Invalid 'messages[1].tool_calls': empty array. Expected an array with minimum "
            "length 1, but got an empty array instead.",
        ),
        ([USER, {"role": "assistant"}], "messages[1].content", None),
        ([USER, {"role": "assistant", "content": None}], "messages[1].content", None),
        ([USER | {"name": "a b"}], "messages[0].name", None),
        ([USER, {"role": "function", "content": "a"}], "messages[1].name", None),
        ([{"role": "user", "content": [{"type": "text"}]}], "messages[0].content[0].text", None),
        (
            [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}],
            "messages[0].content[0].image_url.url",
            None,
        ),
        (
            [{"role": "user", "content": [{"type": "hologram"}]}],
            "messages[0].content[0].type",
            None,
        ),
        (
            [USER, {"role": "assistant", "tool_calls": [CALL | {"function": {"name": "a b"}}]}],
            "messages[1].tool_calls[0].function.name",
            None,
        ),
    ],
)
def test_messages_that_cannot_follow_each_other_are_refused(
    chat: Chat, messages: list[Any], param: str, message: str | None
) -> None:
    response = chat(messages=messages)
    error = error_of(response)
    assert (response.status_code, error["param"]) == (400, param)
    assert message in (None, error["message"])


OBJECTS = [{}, {"type": []}, {"type": "function"}, {"type": "object"}, {"$ref": "#"}, {"name": {}}]
ODD = st.sampled_from(
    [None, True, 0, -1, 1.5, 10**30, "", "auto", "\u2028", "(?=", [], [[]], [{}], ["a"], *OBJECTS]
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of everything in a JSON value."""
    inside = value.items() if isinstance(value, dict) else enumerate(value)
    for key, part in inside:
        yield (*path, key)
        if isinstance(part, dict | list):
            yield from places(part, (*path, key))


@st.composite
def odd_requests(draw: st.DrawFn) -> dict[str, Any]:
    """A sensible request in which a few values make no sense or are missing."""
    names = draw(st.lists(st.sampled_from(sorted(VALUES)), max_size=5, unique=True))
    body = {name: VALUES[name] for name in names}
    for name in names:
        body |= NEEDED.get(name, {})
    history = [USER, ASKED, ANSWERED, ANSWERED | {"tool_call_id": "c2"}]
    body = copy.deepcopy(body | {"model": "gpt-4o", "messages": history})
    for _ in range(draw(st.integers(0, 2))):
        *path, key = draw(st.sampled_from(list(places(body))))
        inside = functools.reduce(operator.getitem, path, body)
        inside[key] = copy.deepcopy(draw(ODD))
    return body


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(body=odd_requests())
def test_a_senseless_request_is_refused_or_answered(
    llm: MockLLM, http: httpx.Client, body: dict[str, Any]
) -> None:
    response = http.post(f"{llm.url}/chat/completions", json=body)
    assert response.status_code in (200, 400, 404)  # 404: a model that does not exist
    if response.status_code != 200:
        assert error_of(response)["message"]
    elif response.headers["content-type"] == "application/json":
        assert response.json()["choices"]
    else:
        assert events(response)


def test_answers_to_calls_may_come_in_any_order(chat: Chat) -> None:
    other = ANSWERED | {"tool_call_id": "c2"}
    for history in ([USER, ASKED, other, ANSWERED], [USER, ASKED, ANSWERED, other, USER]):
        assert chat(messages=history).status_code == 200


def test_sdk_raises_its_typed_error(llm: MockLLM) -> None:
    with (
        openai.OpenAI(base_url=llm.url, api_key="any") as client,
        pytest.raises(openai.BadRequestError) as caught,
    ):
        client.chat.completions.create(
            model="gpt-4o",
            messages=[{"role": "tool", "tool_call_id": "c1", "content": "42"}],
        )
    assert caught.value.param == "messages.[0].role"
