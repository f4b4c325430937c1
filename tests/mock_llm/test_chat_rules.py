"""What the provider refuses by model, role, id and length, with the public thread that says so."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from helpers.mock_llm import MockLLM

from .conftest import Chat
from .test_chat_request import ANSWERED, ASKED, CALL, SCHEMA, TOOL, USER
from .test_errors import error_of
from .test_structured import CLOSED, WORD, schema_format

UNSUPPORTED = "Unsupported parameter: '{}' is not supported with this model."
ONLY_DEFAULT = (
    "Unsupported value: 'temperature' does not support 0.2 with this model. Only the default (1) "
    "value is supported."
)
PNG = "data:image/png;base64,aW1nIGJ5dGVzIGhlcmU="


def image(url: str = PNG) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


def called(**call: Any) -> list[Any]:
    """A conversation with one call, some of whose fields are others, and its answer."""
    asked = {"role": "assistant", "tool_calls": [CALL | call]}
    return [USER, asked, ANSWERED | {"tool_call_id": call.get("id", "c1")}]


@pytest.mark.parametrize(
    ("model", "parameters", "param", "code", "message"),
    [
        # jackmpcollins/magentic#453, anomalyco/opencode#37964, koosoli/ESPHomeDesigner#379
        ("gpt-5", {"max_tokens": 9}, "max_tokens", "unsupported_parameter", None),
        ("gpt-5.4-mini", {"max_tokens": 9}, "max_tokens", "unsupported_parameter", None),
        ("o3", {"max_tokens": 9}, "max_tokens", "unsupported_parameter", None),
        # QwenLM/qwen-code#921, tmc/langchaingo#1355, glebm/i18n-tasks#672
        ("gpt-5", {"temperature": 0.2}, "temperature", "unsupported_value", ONLY_DEFAULT),
        ("gpt-5-mini", {"temperature": 0.2}, "temperature", "unsupported_value", ONLY_DEFAULT),
        # BeehiveInnovations/pal-mcp-server#78
        ("o3", {"temperature": 0.2}, "temperature", "unsupported_value", ONLY_DEFAULT),
        # cline/cline#341, ai-christianson/RA.Aid#70
        (
            "o3-mini",
            {"temperature": 0.2},
            "temperature",
            "unsupported_parameter",
            UNSUPPORTED.format("temperature"),
        ),
        # sashabaranov/go-openai#1061
        ("gpt-5", {"top_p": 0.5}, "top_p", "unsupported_parameter", UNSUPPORTED.format("top_p")),
        ("gpt-5", {"logprobs": True}, "logprobs", "unsupported_parameter", None),
        # nextai-translator/nextai-translator#1781
        ("gpt-5-mini", {"presence_penalty": 1}, "presence_penalty", "unsupported_parameter", None),
        # danny-avila/LibreChat#10737
        ("o3", {"logit_bias": {"1": 1}}, "logit_bias", "unsupported_parameter", None),
        # huggingface/smolagents#1662, crewAIInc/crewAI#5144
        ("gpt-5", {"stop": "a"}, "stop", "unsupported_parameter", UNSUPPORTED.format("stop")),
        ("gpt-5.2", {"stop": "a"}, "stop", "unsupported_parameter", None),
        # langchain-ai/langchain#29704, evalstate/fast-agent#279
        (
            "o4-mini",
            {"tools": [TOOL], "parallel_tool_calls": False},
            "parallel_tool_calls",
            "unsupported_parameter",
            None,
        ),
        # yetone/avante.nvim#1359
        ("gpt-4o", {"reasoning_effort": "low"}, "reasoning_effort", "unsupported_parameter", None),
        # livekit/agents#3966, nextai-translator/nextai-translator#1841
        (
            "gpt-5.1",
            {"reasoning_effort": "minimal"},
            "reasoning_effort",
            "unsupported_value",
            "Unsupported value: 'reasoning_effort' does not support 'minimal' with this model. "
            "Supported values are: 'none', 'low', 'medium', and 'high'.",
        ),
        # egoist/chatwise-releases#1257
        (
            "gpt-5.2-chat-latest",
            {"reasoning_effort": "high"},
            "reasoning_effort",
            "unsupported_value",
            "Unsupported value: 'reasoning_effort' does not support 'high' with this model. "
            "Supported values are: 'medium'.",
        ),
        # tailcallhq/forgecode#1185
        (
            "gpt-4o",
            {"max_tokens": 20480},
            "max_tokens",
            "invalid_value",
            "max_tokens is too large: 20480. This model supports at most 16384 completion tokens, "
            "whereas you provided 20480.",
        ),
        # tmc/langchaingo#1484, QwenLM/qwen-code#243, BerriAI/litellm#23108
        (
            "gpt-4o",
            {"metadata": {"a": "b"}},
            "metadata",
            None,
            "The 'metadata' parameter is only allowed when 'store' is enabled.",
        ),
        # theopenco/llmgateway#3110, alibaba/open-code-review#1007
        (
            "gpt-4o",
            {"prompt_cache_key": "k" * 65},
            "prompt_cache_key",
            "string_above_max_length",
            None,
        ),
        # getsentry/sentry-mcp#106, OpenHands/OpenHands#4838, aaif-goose/goose#739
        (
            "gpt-4o",
            {"tools": [{"type": "function", "function": {"name": "f", "description": "d" * 1025}}]},
            "tools[0].function.description",
            "string_above_max_length",
            None,
        ),
        # langchain-ai/langchain#22600, run-llama/multi-agent-concierge#16
        (
            "gpt-4o",
            {"messages": [USER, ASKED, {"role": "tool", "content": "42"}]},
            "messages.[2].tool_call_id",
            None,
            "Missing parameter 'tool_call_id': messages with role 'tool' must have a "
            "'tool_call_id'.",
        ),
        # agno-agi/agno#5116, anomalyco/opencode#1211, neuron-core/neuron-ai#46
        (
            "gpt-4o",
            {"messages": [USER, ASKED, ANSWERED, ANSWERED]},
            "messages.[3].tool_call_id",
            None,
            "Invalid parameter: Duplicate value for 'tool_call_id' of 'c1', in messages[2] and "
            "messages[3].",
        ),
        # openclaw/openclaw#47136
        (
            "gpt-4o",
            {"messages": [USER, {"role": "assistant", "tool_calls": [CALL, CALL]}, ANSWERED]},
            "messages.[1].tool_calls",
            None,
            None,
        ),
        # vercel/ai#5171, agno-agi/agno#5382, microsoft/autogen#6377
        (
            "gpt-4o",
            {"messages": called(id="c" * 41)},
            "messages[1].tool_calls[0].id",
            "string_above_max_length",
            None,
        ),
        (
            "gpt-4o",
            {"messages": called(id="")},
            "messages[1].tool_calls[0].id",
            "empty_string",
            None,
        ),
        # vercel/ai#2178, langchain-ai/langchain#22600
        (
            "gpt-4o",
            {"messages": called(id=None)},
            "messages[1].tool_calls[0].id",
            "invalid_type",
            None,
        ),
        # openai/openai-node#1030, OpenHands/OpenHands#7700
        *(
            (
                "gpt-4o",
                {"messages": [USER, {"role": role, "content": [image()]}]},
                "messages[1]",
                "invalid_value",
                "Invalid 'messages[1]'. Image URLs are only allowed for messages with role 'user', "
                f"but this message with role '{role}' contains an image URL.",
            )
            for role in ("assistant", "system", "developer")
        ),
        (
            "gpt-4o",
            {"messages": [USER, {"role": "user", "content": [{"type": "refusal", "refusal": ""}]}]},
            "messages[1].content[0].type",
            "invalid_value",
            None,
        ),
        # anomalyco/opencode#23983 quotes the sentence
        (
            "gpt-4o",
            {
                "messages": [
                    {"role": "user", "content": [image("data:application/pdf;base64,YQ==")]}
                ]
            },
            "messages[0].content[0].image_url.url",
            "invalid_value",
            None,
        ),
        (
            "gpt-4o",
            {"messages": [{"role": "user", "content": [image("/home/cat.png")]}]},
            "messages[0].content[0].image_url.url",
            "invalid_value",
            None,
        ),
        (
            "gpt-4o",
            {"messages": [USER | {"content": []}]},
            "messages[0].content",
            "empty_array",
            None,
        ),
        # chatanywhere/GPT_API_free#403
        *(
            (
                "gpt-4o",
                {
                    "tools": [
                        {"type": "function", "function": {"name": "f", "parameters": parameters}}
                    ]
                },
                "tools[0].function.parameters",
                "invalid_function_parameters",
                "Invalid schema for function 'f': schema must have type 'object' and not have "
                "'oneOf'/'anyOf'/'allOf'/'enum'/'not' at the top level.",
            )
            for parameters in (
                SCHEMA | {"oneOf": [{"required": ["a"]}]},
                SCHEMA | {"anyOf": [{"required": ["a"]}]},
                SCHEMA | {"enum": [{"a": "b"}]},
            )
        ),
    ],
    ids=lambda value: json.dumps(value)[:40],
)
def test_what_the_provider_refuses_is_refused(
    chat: Chat,
    model: str,
    parameters: dict[str, Any],
    param: str,
    code: str | None,
    message: str | None,
) -> None:
    response = chat(**{"model": model} | parameters)
    assert response.status_code == 400, response.text[:300]
    error = error_of(response)
    assert (error["param"], error["code"]) == (param, code)
    assert message in (None, error["message"])


@pytest.mark.parametrize(
    ("model", "parameters"),
    [
        ("gpt-5", {"temperature": 1, "top_p": 1, "max_completion_tokens": 9}),
        ("gpt-5", {"reasoning_effort": "minimal", "verbosity": "low"}),
        ("gpt-5.1", {"temperature": 0.2, "top_p": 0.5}),
        ("gpt-5.2", {"temperature": 0.2, "reasoning_effort": "none", "logprobs": True}),
        ("gpt-5.2", {"reasoning_effort": "xhigh"}),
        ("gpt-5.5", {"stop": "a"}),  # BerriAI/litellm#28650
        ("gpt-5-chat-latest", {"temperature": 0.2, "max_tokens": 9}),
        ("gpt-4o", {"temperature": 0.2, "max_tokens": 16_384, "stop": "a"}),
        ("mock-1", {"temperature": 0.2, "max_tokens": 9, "reasoning_effort": "max"}),
        ("gpt-4o", {"metadata": {"a": "b"}, "store": True}),
        ("gpt-4o", {"messages": called(id="c" * 40)}),
        # openai/openai-openapi#523: taken, and ignored
        (
            "gpt-5.2",
            {"messages": [*called()[:2], ANSWERED | {"content": [image()]}]},
        ),
    ],
)
def test_what_the_provider_takes_is_taken(
    chat: Chat, model: str, parameters: dict[str, Any]
) -> None:
    response = chat(**{"model": model} | parameters)
    assert response.status_code == 200, response.text


@pytest.mark.parametrize(
    ("model", "longest"),
    [("gpt-4o", 128_000), ("gpt-4.1-mini", 1_047_576), ("mock-1", 128_000)],
)
def test_windows_are_the_models_own(chat: Chat, model: str, longest: int) -> None:
    """Source: litellm's model map."""
    response = chat("word " * (longest + 10), model=model)
    assert error_of(response)["code"] == "context_length_exceeded"
    assert f"maximum context length is {longest} tokens" in error_of(response)["message"]


def test_a_long_prompt_fits_a_large_window(chat: Chat) -> None:
    prompt = "word " * 200_000
    assert chat(prompt, model="gpt-4.1").status_code == 200
    assert chat(prompt, model="gpt-5").status_code == 200
    response = chat("word " * 272_100, model="gpt-5")
    assert "Input tokens exceed the configured limit of 272000" in error_of(response)["message"]


def nested(levels: int) -> dict[str, Any]:
    """A strict schema of so many objects within each other."""
    schema: dict[str, Any] = CLOSED | {"properties": {}, "required": []}
    for _ in range(levels - 1):
        schema = CLOSED | {"properties": {"a": schema}, "required": ["a"]}
    return schema


def wide(**properties: Any) -> dict[str, Any]:
    return CLOSED | {"properties": properties, "required": list(properties)}


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        # tidyverse/ellmer#671, openai/openai-java#732
        (nested(11), "11 levels of nesting exceeds limit of 10"),
        (nested(40), "40 levels of nesting exceeds limit of 10"),
        # openai/openai-java#1001, and the guide to structured outputs
        (wide(a={"type": "string", "enum": [str(k) for k in range(1001)]}), "1001 enum values"),
        (wide(a={"type": "string", "enum": [f"{k:062}" for k in range(300)]}), "18600 characters"),
        (wide(**{f"{k:01000}": WORD for k in range(150)}), "150000 characters"),
        (wide(**{f"a{k}": WORD for k in range(5001)}), ""),
        (wide(a=WORD) | {"anyOf": [{"type": "string"}]}, "at the top level"),
    ],
    ids=["11 levels", "40 levels", "values", "long enum", "names", "properties", "root anyOf"],
)
def test_strict_schemas_have_limits(chat: Chat, schema: dict[str, Any], words: str) -> None:
    response = chat(response_format=schema_format(schema, strict=True))
    assert response.status_code == 400
    assert words in error_of(response)["message"]


def test_a_strict_schema_within_the_limits_is_taken(chat: Chat) -> None:
    schema = wide(
        a=nested(9),
        b={"type": "string", "enum": [str(k) for k in range(900)]},
        **{f"c{k}": WORD for k in range(100)},
    )
    assert chat(response_format=schema_format(schema, strict=True)).status_code == 200


FUNCTION = {"name": "f", "parameters": {"type": "object", "properties": {}}}


@pytest.mark.parametrize(
    ("param", "parameters"),
    [
        (
            "messages[1].tool_calls[0].id",
            {"messages": [USER, {"role": "assistant", "tool_calls": [
                {"type": "function", "function": {"name": "f", "arguments": "{}"}}]}]},
        ),
        (
            "messages[1].tool_calls[0].id",
            {"messages": [USER, {"role": "assistant", "tool_calls": [
                {"type": "custom", "custom": {"name": "f", "input": "x"}}]}]},
        ),
        (
            "tools[0].cache_control",
            {"tools": [{"type": "function", "function": FUNCTION, "cache_control": {}}]},
        ),
        (
            "tools[0].strict",
            {"tools": [{"type": "function", "function": FUNCTION, "strict": True}]},
        ),
        (
            "tools[0].function.strikt",
            {"tools": [{"type": "function", "function": FUNCTION | {"strikt": True}}]},
        ),
        (
            "response_format.strict",
            {"response_format": schema_format(SCHEMA) | {"strict": True}},
        ),
        (
            "tool_choice.name",
            {"tools": [{"type": "function", "function": FUNCTION}],
             "tool_choice": {"type": "function", "function": {"name": "f"}, "name": "f"}},
        ),
        ("prediction.content[0].text", {"prediction": {"type": "content", "content": [
            {"type": "text"}]}}),
    ],
    ids=lambda value: str(value)[:40],
)  # fmt: skip
def test_the_parameter_named_is_the_one_that_is_wrong(
    chat: Chat, param: str, parameters: dict[str, Any]
) -> None:
    """A name such as "function" is a union's branch and a key: vercel/ai#2178."""
    assert error_of(chat(**parameters))["param"] == param


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", "1E+400"])
@pytest.mark.parametrize("route", ["chat/completions", "responses", "embeddings"])
def test_json_is_json(llm: MockLLM, http: httpx.Client, route: str, number: str) -> None:
    """loklak/loklak_server#256, vllm-project/vllm#10234: refused, and never echoed."""
    fields: dict[str, Any] = {
        "chat/completions": {"messages": [USER | {"x": "?"}]},
        "responses": {"input": "x", "tools": [{"type": "mcp", "server_label": "x", "x": "?"}]},
        "embeddings": {"input": "x", "user": "?"},
    }
    body = json.dumps({"model": "gpt-4o"} | fields[route]).replace('"?"', number)
    response = http.post(f"{llm.url}/{route}", content=body)
    assert response.status_code == 400
    assert "could not parse the JSON body" in error_of(response)["message"]


def test_a_text_may_speak_of_numbers_that_json_does_not_have(chat: Chat) -> None:
    assert chat("NaN, Infinity, 1e999 and " + "9" * 400).status_code == 200
