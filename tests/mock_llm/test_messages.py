"""Anthropic's Messages API, as its own client reads it."""

from __future__ import annotations

import json
import typing
from collections.abc import Callable, Iterator
from typing import Any

import anthropic
import httpx
import jsonschema
import pydantic
import pytest
import typing_extensions
from anthropic.types import (
    ContentBlockParam,
    ToolUnionParam,
    message_count_tokens_params,
    message_create_params,
)
from anthropic.types.beta import BetaContentBlockParam, BetaToolUnionParam
from anthropic.types.beta import message_count_tokens_params as beta_message_count_tokens_params
from anthropic.types.beta import message_create_params as beta_message_create_params

from helpers.mock_llm import MockLLM
from helpers.mock_llm.anthropic import blocks
from helpers.mock_llm.anthropic.messages_request import CountRequest, MessageRequest
from helpers.mock_llm.anthropic.tools import SERVER_TOOLS, ServerTool
from helpers.mock_llm.tokens import encoding

from .conftest import only_request

VERSION = {"anthropic-version": "2023-06-01"}


def base_url(llm: MockLLM) -> str:
    """Anthropic's client adds /v1 itself."""
    return llm.url.removesuffix("/v1")


@pytest.fixture
def client(llm: MockLLM) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=base_url(llm), api_key="any", max_retries=0) as client:
        yield client


def error_of(response: httpx.Response) -> dict[str, Any]:
    """The error object; checks the frame around it."""
    body = response.json()
    assert set(body) == {"type", "error", "request_id"}
    assert body["type"] == "error"
    assert body["request_id"] == response.headers["request-id"]
    error: dict[str, Any] = body["error"]
    assert set(error) == {"type", "message"}
    return error


def test_the_models_are_listed_in_pages(client: anthropic.Anthropic) -> None:
    everything = [model.id for model in client.models.list()]
    assert "claude-sonnet-5-5" in everything
    assert "gpt-4o" not in everything
    assert [model.id for model in client.models.list(limit=1)] == everything
    backwards = client.models.list(limit=1, before_id=everything[2])
    assert [model.id for model in backwards.data] == [everything[1]]
    assert backwards.has_more
    assert client.models.retrieve("claude-next").type == "model"
    with pytest.raises(anthropic.NotFoundError, match="model: gpt-4o"):
        client.models.retrieve("gpt-4o")
    with pytest.raises(anthropic.BadRequestError, match="limit"):
        client.models.list(limit=0)


def test_an_unknown_path_is_refused_in_the_clients_dialect(
    llm: MockLLM, http: httpx.Client
) -> None:
    response = http.get(f"{llm.url}/nothing/here/at/all", headers=VERSION)
    assert response.status_code == 404
    assert error_of(response) == {"type": "not_found_error", "message": "Not found"}


@pytest.mark.parametrize("headers", [{}, {"x-api-key": "wrong"}, {"authorization": "Bearer wrong"}])
def test_a_missing_or_wrong_key_is_a_401(http: httpx.Client, headers: dict[str, str]) -> None:
    with MockLLM(api_key="sk-right") as llm:
        response = http.get(f"{llm.url}/models", headers=VERSION | headers)
        right = http.get(f"{llm.url}/models", headers=VERSION | {"x-api-key": "sk-right"})
        bearer = VERSION | {"authorization": "Bearer sk-right"}
        assert http.get(f"{llm.url}/models", headers=bearer).status_code == 200
    assert right.status_code == 200
    assert response.status_code == 401
    assert error_of(response)["type"] == "authentication_error"


MODEL = "claude-sonnet-5-5"
HELLO: Any = [{"role": "user", "content": "Hello"}]
WEATHER: Any = {
    "name": "get_weather",
    "description": "The weather of a place.",
    "input_schema": {
        "type": "object",
        "properties": {"place": {"type": "string"}, "days": {"type": "integer", "minimum": 1}},
        "required": ["place", "days"],
        "additionalProperties": False,
    },
}
TIME: Any = {"name": "get_time", "input_schema": {"type": "object", "properties": {}}}


def text_of(message: Any) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


def events(response: httpx.Response) -> list[Any]:
    """The data of each server-sent event; checks that its name is its type."""
    *frames, rest = response.text.split("\n\n")
    assert rest == ""
    found = []
    for frame in frames:
        name, data = frame.split("\n")
        found.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {found[-1]['type']}"
    return found


@pytest.fixture
def send(llm: MockLLM, http: httpx.Client) -> Callable[..., httpx.Response]:
    """Post a request with any parameters; None leaves one out."""

    def post(path: str = "/messages", **parameters: Any) -> httpx.Response:
        body = {"model": MODEL, "max_tokens": 100, "messages": HELLO} | parameters
        body = {key: value for key, value in body.items() if value is not None}
        return http.post(f"{llm.url}{path}", json=body, headers=VERSION)

    return post


Send = Callable[..., httpx.Response]


def test_a_whole_message_has_the_providers_fields(client: anthropic.Anthropic) -> None:
    message = client.messages.create(model=MODEL, max_tokens=100, messages=HELLO)
    assert (message.type, message.role, message.model) == ("message", "assistant", MODEL)
    assert message.id.startswith("msg_")
    assert (message.stop_reason, message.stop_sequence) == ("end_turn", None)
    assert message.usage.output_tokens == len(encoding().encode(text_of(message)))
    assert message.usage.service_tier == "standard"
    assert message._request_id is not None
    assert message._request_id.startswith("req_")


def test_the_stream_has_the_documented_order(send: Send) -> None:
    sent = events(send(stream=True))
    kinds = [event["type"] for event in sent]
    assert kinds[:3] == ["message_start", "content_block_start", "ping"]
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert set(kinds[3:-3]) == {"content_block_delta"}
    whole = send().json()
    assert "".join(event["delta"]["text"] for event in sent[3:-3]) == whole["content"][0]["text"]
    assert sent[0]["message"]["usage"]["input_tokens"] == whole["usage"]["input_tokens"]
    assert sent[-2]["usage"] == whole["usage"]
    assert sent[-2]["delta"] == {"stop_reason": "end_turn", "stop_sequence": None}


def test_the_clients_stream_helper_adds_the_message_up(client: anthropic.Anthropic) -> None:
    whole = client.messages.create(model=MODEL, max_tokens=100, messages=HELLO)
    with client.messages.stream(model=MODEL, max_tokens=100, messages=HELLO) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text == text_of(whole) == text_of(final)
    assert final.usage.output_tokens == whole.usage.output_tokens
    assert final.stop_reason == "end_turn"


@pytest.mark.anyio
async def test_sdk_async(llm: MockLLM) -> None:
    async with anthropic.AsyncAnthropic(base_url=base_url(llm), api_key="any") as client:
        whole = await client.messages.create(model=MODEL, max_tokens=100, messages=HELLO)
        raw = await client.messages.create(model=MODEL, max_tokens=100, messages=HELLO, stream=True)
        kinds = [event.type async for event in raw]
        async with client.messages.stream(model=MODEL, max_tokens=100, messages=HELLO) as stream:
            final = await stream.get_final_message()
        counted = await client.messages.count_tokens(model=MODEL, messages=HELLO)
        with pytest.raises(anthropic.NotFoundError):
            await client.messages.create(model="claude", max_tokens=100, messages=HELLO)
    assert text_of(final) == text_of(whole)
    assert kinds[-1] == "message_stop"
    assert counted.input_tokens == whole.usage.input_tokens


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("parameters", "reason", "sequence"),
    [
        ({"max_tokens": 5}, "max_tokens", None),
        ({"max_tokens": 0}, "max_tokens", None),
        ({"stop_sequences": ["zzz", "."]}, "stop_sequence", "."),
        ({"tools": [WEATHER]}, "tool_use", None),
        ({"tools": [WEATHER], "max_tokens": 3}, "max_tokens", None),
        ({"tools": [WEATHER], "tool_choice": {"type": "none"}}, "end_turn", None),
    ],
)
def test_the_reason_to_stop_is_told(
    client: anthropic.Anthropic,
    stream: bool,
    parameters: dict[str, Any],
    reason: str,
    sequence: str | None,
) -> None:
    parameters = {"model": MODEL, "max_tokens": 100, "messages": HELLO} | parameters
    if stream:
        with client.messages.stream(**parameters) as events:
            message: Any = events.get_final_message()
    else:
        message = client.messages.create(**parameters)
    assert (message.stop_reason, message.stop_sequence) == (reason, sequence)
    if reason == "max_tokens":
        assert message.usage.output_tokens == parameters["max_tokens"]


def test_a_tool_call_streams_in_pieces_of_json(send: Send) -> None:
    sent = events(send(tools=[WEATHER], stream=True))
    [start] = [event for event in sent if event["type"] == "content_block_start"]
    block = start["content_block"]
    assert (block["type"], block["name"], block["input"]) == ("tool_use", "get_weather", {})
    assert block["id"].startswith("toolu_")
    pieces = [event["delta"] for event in sent if event["type"] == "content_block_delta"]
    assert {piece["type"] for piece in pieces} == {"input_json_delta"}
    assert len(pieces) > 3
    input = json.loads("".join(piece["partial_json"] for piece in pieces))
    jsonschema.validate(input, WEATHER["input_schema"])
    assert send(tools=[WEATHER]).json()["content"] == [block | {"input": input}]


def test_an_agents_loop_ends(client: anthropic.Anthropic) -> None:
    messages: Any = list(HELLO)
    first = client.messages.create(
        model=MODEL, max_tokens=500, messages=messages, tools=[WEATHER, TIME]
    )
    results = [
        {"type": "tool_result", "tool_use_id": block.id, "content": "sunny"}
        for block in first.content
        if block.type == "tool_use"
    ]
    messages += [first.to_param(), {"role": "user", "content": results}]
    second = client.messages.create(
        model=MODEL, max_tokens=500, messages=messages, tools=[WEATHER, TIME]
    )
    assert results
    assert first.stop_reason == "tool_use"
    assert second.stop_reason == "end_turn"
    assert text_of(second)


def test_the_choice_of_tools_is_obeyed(client: anthropic.Anthropic) -> None:
    def called(choice: Any, prompt: str = "Hello") -> list[str]:
        message = client.messages.create(
            model=MODEL,
            max_tokens=500,
            messages=[{"role": "user", "content": prompt}],
            tools=[WEATHER, TIME],
            tool_choice=choice,
        )
        return [block.name for block in message.content if block.type == "tool_use"]

    assert called({"type": "tool", "name": "get_time"}) == ["get_time"]
    assert called({"type": "none"}) == []
    prompts = [f"Question {number}" for number in range(12)]
    assert any(len(called({"type": "any"}, prompt)) == 2 for prompt in prompts)
    alone = {"type": "any", "disable_parallel_tool_use": True}
    assert all(len(called(alone, prompt)) == 1 for prompt in prompts)


class City(pydantic.BaseModel):
    name: str
    people: int
    rivers: list[str]


def test_structured_output_fits_the_schema(client: anthropic.Anthropic) -> None:
    parsed = client.messages.parse(model=MODEL, max_tokens=500, messages=HELLO, output_format=City)
    assert isinstance(parsed.parsed_output, City)
    with client.messages.stream(
        model=MODEL, max_tokens=500, messages=HELLO, output_format=City
    ) as stream:
        assert stream.get_final_message().parsed_output == parsed.parsed_output


def test_thinking_is_shown_or_left_out(client: anthropic.Anthropic) -> None:
    def think(**thinking: Any) -> Any:
        wanted: Any = thinking
        return client.messages.create(model=MODEL, max_tokens=2000, messages=HELLO, thinking=wanted)

    shown, answer = (message := think(type="enabled", budget_tokens=1024)).content
    assert (shown.type, answer.type) == ("thinking", "text")
    assert shown.signature
    tokens = len(encoding().encode(shown.thinking))
    assert tokens > 10
    assert message.usage.output_tokens_details.thinking_tokens == tokens
    assert message.usage.output_tokens == tokens + len(encoding().encode(answer.text))
    hidden, answer = (message := think(type="adaptive", display="omitted")).content
    assert (hidden.type, hidden.thinking, answer.type) == ("thinking", "", "text")
    assert message.usage.output_tokens_details.thinking_tokens == tokens
    assert [block.type for block in think(type="disabled").content] == ["text"]


@pytest.mark.parametrize("display", ["summarized", "omitted"])
@pytest.mark.parametrize("limit", [5, 2000])
def test_thinking_streams_like_the_whole(
    client: anthropic.Anthropic, display: Any, limit: int
) -> None:
    parameters: Any = {
        "model": MODEL,
        "max_tokens": limit,
        "messages": HELLO,
        "thinking": {"type": "adaptive", "display": display},
    }
    whole = client.messages.create(**parameters)
    with client.messages.stream(**parameters) as stream:
        final = stream.get_final_message()
    assert final.to_dict()["content"] == whole.to_dict()["content"]
    assert final.usage.output_tokens == whole.usage.output_tokens


def test_tokens_are_counted_without_an_answer(llm: MockLLM, client: anthropic.Anthropic) -> None:
    parameters: Any = {
        "model": MODEL,
        "system": "Be brief.",
        "tools": [WEATHER],
        "messages": [
            {"role": "user", "content": "What is this?"},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "Let me see.", "signature": "abc"},
                    {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"a": 1}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {
                        "type": "tool_result",
                        "tool_use_id": "toolu_1",
                        "content": [{"type": "text", "text": "sunny"}],
                    },
                    {"type": "image", "source": {"type": "url", "url": "https://localhost/a.png"}},
                    {
                        "type": "document",
                        "source": {"type": "text", "media_type": "text/plain", "data": "A text."},
                    },
                ],
            },
        ],
    }
    counted = client.messages.count_tokens(**parameters)
    assert only_request(llm).completion_tokens is None
    message = client.messages.create(max_tokens=100, **parameters)
    assert counted.input_tokens == message.usage.input_tokens
    parameters["messages"][0]["content"] += " And this?"
    assert client.messages.count_tokens(**parameters).input_tokens > counted.input_tokens


def test_only_what_is_marked_is_cached(client: anthropic.Anthropic) -> None:
    def ask(question: str, cache: Any = None, system: str = "word " * 1500) -> Any:
        block = {"type": "text", "text": system}
        if cache:
            block["cache_control"] = cache
        return client.messages.create(
            model=MODEL,
            max_tokens=10,
            system=[block],  # type: ignore[list-item]
            messages=[{"role": "user", "content": question}],
        ).usage

    plain = ask("One?")
    assert ask("One?").cache_read_input_tokens == 0
    assert plain.cache_creation_input_tokens == 0
    mark = {"type": "ephemeral"}
    first, second = ask("One?", mark), ask("Two, then?", mark)
    assert first.cache_read_input_tokens == 0
    assert first.cache_creation_input_tokens > 1500
    assert second.cache_read_input_tokens == first.cache_creation_input_tokens
    assert second.cache_creation_input_tokens == 0
    for usage in (first, second):
        parts = usage.input_tokens + usage.cache_creation_input_tokens
        assert (
            parts + usage.cache_read_input_tokens
            == ask("One?" if usage is first else "Two, then?").input_tokens
        )
    assert ask("One?").cache_read_input_tokens == 0
    assert ask("One?", mark, system="too short").cache_creation_input_tokens == 0
    hour = ask("One?", {"type": "ephemeral", "ttl": "1h"}, system="hour " * 1500)
    assert hour.cache_creation.ephemeral_1h_input_tokens == hour.cache_creation_input_tokens
    assert hour.cache_creation.ephemeral_5m_input_tokens == 0


def test_a_growing_conversation_is_read_from_the_cache(client: anthropic.Anthropic) -> None:
    messages: list[Any] = [{"role": "user", "content": "word " * 1500}]
    read = []
    for turn in range(3):
        usage = client.messages.create(
            model=MODEL, max_tokens=10, messages=messages, cache_control={"type": "ephemeral"}
        ).usage
        read.append((usage.cache_read_input_tokens or 0, usage.cache_creation_input_tokens or 0))
        messages += [
            {"role": "assistant", "content": f"Answer {turn}"},
            {"role": "user", "content": f"Question {turn}?"},
        ]
    (first, written), (second, more), (third, _) = read
    assert first == 0
    assert second == written
    assert third == written + more


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"max_tokens": None}, "max_tokens: Field required"),
        ({"max_tokens": -1}, "max_tokens: must be greater than or equal to 0"),
        ({"max_tokens": "many"}, "max_tokens: Input should be a valid integer"),
        ({"messages": []}, "messages: at least one message is required"),
        ({"messages": "Hello"}, "messages: Input should be a valid array"),
        ({"messages": [{"role": "boss", "content": "a"}]}, 'Unexpected role "boss"'),
        ({"messages": [{"role": "user"}]}, "messages.0.content: Field required"),
        ({"messages": [{"role": "user", "content": ""}]}, "messages.0: user messages must have"),
        (
            {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
            "messages.0.content.0.text.text: Field required",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": 4}]}]},
            "messages.0.content.0.text.text: Input should be a valid string",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": ""}]}]},
            "messages: text content blocks must be non-empty",
        ),
        (
            {"messages": [*HELLO, {"role": "assistant", "content": "Well "}]},
            "final assistant content cannot end with trailing whitespace",
        ),
        (
            {
                "messages": [
                    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1"}]}
                ]
            },
            "messages.0.content.0: unexpected `tool_use_id`",
        ),
        (
            {
                "messages": [
                    *HELLO,
                    {
                        "role": "assistant",
                        "content": [{"type": "tool_use", "id": "t1", "name": "f", "input": {}}],
                    },
                    {"role": "user", "content": "Well?"},
                ]
            },
            "messages.1: `tool_use` ids were found without `tool_result`",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "poem"}]}]},
            "messages.0.content.0: Input tag 'poem' found using 'type' does not match any",
        ),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {
                                "type": "tool_result",
                                "tool_use_id": "t1",
                                "content": [{"type": "text", "text": 4}],
                            }
                        ],
                    }
                ]
            },
            "messages.0.content.0.tool_result.content.0.text.text: Input should be a valid string",
        ),
        ({"temperature": 1.5}, "temperature: range: 0..1"),
        ({"stop_sequences": [" "]}, "stop_sequences: each stop sequence"),
        ({"tempreature": 1}, "tempreature: Extra inputs are not permitted"),
        ({"metadata": {"user": "a"}}, "metadata.user: Extra inputs are not permitted"),
        ({"service_tier": "best"}, "service_tier: Input should be 'auto' or 'standard_only'"),
        ({"tools": [{"name": "f"}]}, "tools.0.custom.input_schema: Field required"),
        ({"tools": [{"name": "f g", "input_schema": {"type": "object"}}]}, "tools.0.custom.name"),
        ({"tools": [TIME, TIME]}, "Tool names must be unique"),
        (
            {"tools": [{"name": "f", "input_schema": {"type": "object", "properties": 4}}]},
            "tools.0.custom.input_schema: JSON schema is invalid",
        ),
        ({"tool_choice": {"type": "any"}}, "only be specified while providing tools"),
        ({"tools": [TIME], "tool_choice": {"type": "tool", "name": "f"}}, "'f' not found"),
        ({"tools": [TIME], "tool_choice": {"type": "tool"}}, "tool_choice.tool.name"),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 500}},
            "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024",
        ),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, "must be greater than"),
        ({"thinking": {"type": "enabled"}}, "budget_tokens: Field required"),
        ({"thinking": {"type": "adaptive"}, "temperature": 0.5}, "may only be set to 1"),
        (
            {"thinking": {"type": "adaptive"}, "tools": [TIME], "tool_choice": {"type": "any"}},
            "tool_choice forces tool use",
        ),
        (
            {
                "system": [
                    {"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}
                    for _ in range(5)
                ]
            },
            "A maximum of 4 blocks with cache_control may be provided. Found 5.",
        ),
        (
            {"model": "mock-1", "max_tokens": 200_000},
            "input length and `max_tokens` exceed context limit",
        ),
        (
            {"model": "mock-1", "messages": [{"role": "user", "content": "a " * 130_000}]},
            "prompt is too long",
        ),
    ],
    ids=lambda value: str(value)[:50],
)
def test_what_the_provider_refuses_is_refused(
    send: Send, parameters: dict[str, Any], words: str
) -> None:
    response = send(**parameters)
    assert response.status_code == 400
    error = error_of(response)
    assert error["type"] == "invalid_request_error"
    assert words in error["message"]


@pytest.mark.parametrize("body", [b"", b"{", b"null", b"[]", b"\xff", b"[" * 100_000])
def test_a_body_that_makes_no_sense_is_a_400(llm: MockLLM, http: httpx.Client, body: bytes) -> None:
    response = http.post(f"{llm.url}/messages", content=body, headers=VERSION)
    assert response.status_code == 400
    assert error_of(response)["type"] == "invalid_request_error"


def test_the_version_is_asked_for(llm: MockLLM, http: httpx.Client) -> None:
    body = {"model": MODEL, "max_tokens": 5, "messages": HELLO}
    none = http.post(f"{llm.url}/messages", json=body)
    wrong = http.post(f"{llm.url}/messages", json=body, headers={"anthropic-version": "today"})
    assert (none.status_code, wrong.status_code) == (400, 400)
    assert error_of(none)["message"] == "anthropic-version: header is required"
    assert "not a valid version" in error_of(wrong)["message"]


@pytest.mark.parametrize("model", ["gpt-4o", "claude", "claude-é", "x" * 300])
def test_an_unknown_model_is_a_404(send: Send, model: str) -> None:
    response = send(model=model)
    assert response.status_code == 404
    assert error_of(response)["type"] == "not_found_error"


def test_a_body_above_32_mb_is_a_413(llm: MockLLM, client: anthropic.Anthropic) -> None:
    huge: Any = [{"role": "user", "content": "a" * (33 * 1024 * 1024)}]
    with pytest.raises(anthropic.ContentTooLargeError, match="request_too_large"):
        client.messages.create(model=MODEL, max_tokens=5, messages=huge)


def test_only_post_is_allowed(llm: MockLLM, http: httpx.Client) -> None:
    response = http.get(f"{llm.url}/messages", headers=VERSION)
    assert response.status_code == 405
    assert response.headers["allow"] == "POST"
    assert error_of(response)["message"] == "Method Not Allowed"


def test_errors_are_typed_in_the_client(llm: MockLLM) -> None:
    with (
        MockLLM(api_key="sk-right") as guarded,
        anthropic.Anthropic(base_url=base_url(guarded), api_key="sk-wrong") as client,
        pytest.raises(anthropic.AuthenticationError) as caught,
    ):
        client.messages.create(model=MODEL, max_tokens=5, messages=HELLO)
    assert caught.value.type == "authentication_error"
    assert caught.value.request_id is not None


def test_every_documented_parameter_is_known() -> None:
    """Two of them are sent as headers."""
    documented = {
        *message_create_params.MessageCreateParamsBase.__annotations__,
        *message_create_params.MessageCreateParamsStreaming.__annotations__,
    } - {"user_profile_id", "workspace_id"}
    beta = {
        *beta_message_create_params.MessageCreateParamsBase.__annotations__,
    } - {"user_profile_id", "workspace_id", "betas"}
    assert documented | beta <= set(MessageRequest.model_fields)
    beta_counted = {
        *beta_message_count_tokens_params.MessageCountTokensParams.__annotations__,
    } - {"user_profile_id", "workspace_id", "betas"}
    assert beta_counted <= set(CountRequest.model_fields)
    counted = {*message_count_tokens_params.MessageCountTokensParams.__annotations__} - {
        "user_profile_id",
        "workspace_id",
    }
    assert counted <= set(CountRequest.model_fields)


def tags(union: Any) -> set[str]:
    """The types of the objects that a union of the client has."""
    return {
        tag
        for part in typing.get_args(union)
        if typing.is_typeddict(part)
        for tag in typing.get_args(typing.get_type_hints(part)["type"])
        if isinstance(tag, str)
    }


def test_every_type_of_block_and_tool_is_known() -> None:
    known = {
        tag
        for block in typing.get_args(typing.get_args(blocks.Block)[0])
        for tag in typing.get_args(typing.get_type_hints(block)["type"])
    }
    assert tags(ContentBlockParam) | tags(BetaContentBlockParam) <= known
    assert tags(ToolUnionParam) | tags(BetaToolUnionParam) <= {"custom", *SERVER_TOOLS}


def test_every_field_of_a_tool_is_known() -> None:
    for part in typing.get_args(BetaToolUnionParam):
        kinds = typing.get_args(typing.get_type_hints(part)["type"])
        for kind in SERVER_TOOLS.keys() & set(kinds):
            fields: dict[str, Any] = dict.fromkeys(part.__annotations__, "x") | {"type": kind}
            if SERVER_TOOLS[kind] is not None:
                fields["name"] = SERVER_TOOLS[kind]
            assert fields.keys() <= ServerTool.model_fields.keys()
            assert ServerTool.model_construct(**fields).problem is None
            required = [
                name
                for name, hint in typing.get_type_hints(part, include_extras=True).items()
                if typing.get_origin(hint) is typing_extensions.Required
            ]
            for name in {*required} - {"type"}:
                lacking: dict[str, Any] = {
                    key: value for key, value in fields.items() if key != name
                }
                assert ServerTool.model_construct(**lacking).problem == (name, "Field required")


def test_documented_parameters_are_accepted(send: Send) -> None:
    response = send(
        cache_control={"type": "ephemeral", "ttl": "1h"},
        container={"id": "container_1"},
        inference_geo="us",
        metadata={"user_id": "ada"},
        output_config={"effort": "low"},
        service_tier="auto",
        speed="standard",
        stop_sequences=["\n\nHuman:"],
        system=[{"type": "text", "text": "Be brief."}],
        temperature=1,
        thinking={"type": "disabled"},
        tool_choice={"type": "auto", "disable_parallel_tool_use": True},
        tools=[WEATHER, {"type": "web_search_20250305", "name": "web_search", "max_uses": 2}],
    )
    assert response.status_code == 200


def fault(kind: str) -> dict[str, str]:
    return {"x-mock-fault": kind}


def test_an_error_in_mid_stream_is_raised_by_the_client(client: anthropic.Anthropic) -> None:
    pieces: list[str] = []
    with (
        client.messages.stream(
            model=MODEL,
            max_tokens=100,
            messages=HELLO,
            extra_headers=fault("error_event; after_tokens=3"),
        ) as stream,
        pytest.raises(anthropic.APIStatusError) as caught,
    ):
        pieces.extend(stream.text_stream)
    assert len(pieces) == 3
    assert isinstance(caught.value.body, dict)
    assert caught.value.body["type"] == "error"


def test_overload_has_a_status_of_its_own(client: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.APIStatusError) as caught:
        client.messages.create(
            model=MODEL, max_tokens=100, messages=HELLO, extra_headers=fault("529")
        )
    assert (caught.value.status_code, caught.value.type) == (529, "overloaded_error")
    with pytest.raises(anthropic.RateLimitError) as limited:
        client.messages.create(
            model=MODEL, max_tokens=100, messages=HELLO, extra_headers=fault("rate_limit_exceeded")
        )
    assert limited.value.type == "rate_limit_error"


@pytest.mark.parametrize("stream", [False, True])
def test_answers_that_break_off_keep_their_format(
    client: anthropic.Anthropic, stream: bool
) -> None:
    def ask(kind: str, **parameters: Any) -> Any:
        parameters |= {"model": MODEL, "max_tokens": 100, "messages": HELLO}
        parameters["extra_headers"] = fault(kind)
        if not stream:
            return client.messages.create(**parameters)
        with client.messages.stream(**parameters) as events:
            return events.get_final_message()

    assert ask("no_finish").stop_reason is None
    empty = ask("empty_choices")
    assert (empty.content, empty.stop_reason) == ([], "end_turn")
    schema = City.model_json_schema() | {"additionalProperties": False}
    broken = ask(
        "broken_answer", output_config={"format": {"type": "json_schema", "schema": schema}}
    )
    assert broken.stop_reason == "end_turn"
    with pytest.raises(ValueError, match="JSON"):
        City.model_validate_json(text_of(broken))
    called = ask("broken_answer", tools=[WEATHER])
    assert called.stop_reason == "tool_use"
    assert set(called.content[0].input) < {"place", "days"}


@anthropic.beta_tool
def look_up(place: str) -> str:
    """Looks up the weather.

    Args:
        place: where
    """
    return f"sunny in {place}"


def test_the_clients_tool_runner_runs_to_its_end(client: anthropic.Anthropic) -> None:
    runner = client.beta.messages.tool_runner(
        model=MODEL, max_tokens=500, tools=[look_up], messages=HELLO
    )
    assert [message.stop_reason for message in runner] == ["tool_use", "end_turn"]


@pytest.mark.parametrize("stream", [False, True])
def test_a_thread_goes_on_from_what_the_server_holds(
    client: anthropic.Anthropic, stream: bool
) -> None:
    def send(thread: Any, text: str) -> Any:
        message: Any = {"role": "user", "content": text}
        if not stream:
            return thread.send(message)
        with thread.stream(message) as events:
            return events.get_final_message()

    thread = client.beta.messages.thread(model=MODEL, max_tokens=100, system="Be brief.")
    first = send(thread, "Hello")
    second = send(thread, "More?")
    whole = client.messages.create(
        model=MODEL,
        max_tokens=100,
        system="Be brief.",
        messages=[
            {"role": "user", "content": "Hello"},
            {"role": "assistant", "content": text_of(first)},
            {"role": "user", "content": "More?"},
        ],
    )
    assert text_of(second) == text_of(whole)
    assert second.usage.input_tokens == whole.usage.input_tokens


def test_a_thread_that_is_lost_is_sent_anew(llm: MockLLM, client: anthropic.Anthropic) -> None:
    thread = client.beta.messages.thread(model=MODEL, max_tokens=100)
    thread.send({"role": "user", "content": "Hello"})
    llm.reset()
    thread.send({"role": "user", "content": "More?"})
    assert [request.status for request in llm.ledger().requests] == [404, 200]


def test_a_message_is_continued_once(send: Send) -> None:
    first = send(thread={"type": "create"}).json()["id"]
    go_on = {"type": "continue", "previous_message_id": first}
    assert send(thread=go_on).status_code == 200
    again = send(thread=go_on)
    unknown = send(thread=go_on | {"previous_message_id": "msg_none"})
    assert (again.status_code, unknown.status_code) == (400, 404)
    codes = [each.json()["error"]["details"]["error_code"] for each in (again, unknown)]
    assert codes == ["thread_already_continued", "thread_not_found"]
    assert send(thread={"type": "fork"}).status_code == 400
