"""OpenAI's Responses API, as its own client reads it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, get_args, get_type_hints

import httpx
import jsonschema
import openai
import pydantic
import pytest
import typing_extensions
from openai.types import responses
from openai.types.responses import input_token_count_params, response_create_params

from helpers.mock_llm import MockLLM, Profile
from helpers.mock_llm.openai.responses_request import (
    CountRequest,
    Item,
    ResponseRequest,
    ToolDefinition,
)
from helpers.mock_llm.tokens import count_prompt_tokens, encoding

from .conftest import eventually, only_request

MODEL = "gpt-5"
WEATHER: Any = {
    "type": "function",
    "name": "get_weather",
    "strict": True,
    "parameters": {
        "type": "object",
        "properties": {"place": {"type": "string"}, "days": {"type": "integer"}},
        "required": ["place", "days"],
        "additionalProperties": False,
    },
}
SHELL: Any = {"type": "custom", "name": "run", "description": "Runs a command."}


@pytest.fixture
def client(llm: MockLLM) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=llm.url, api_key="any", max_retries=0) as client:
        yield client


Send = Callable[..., httpx.Response]


@pytest.fixture
def send(llm: MockLLM, http: httpx.Client) -> Send:
    """Post a request with any parameters; None leaves one out."""

    def post(**parameters: Any) -> httpx.Response:
        body = {"model": MODEL, "input": "Hello"} | parameters
        body = {key: value for key, value in body.items() if value is not None}
        return http.post(f"{llm.url}/responses", json=body)

    return post


def events(response: httpx.Response) -> list[Any]:
    """The data of each server-sent event; checks that it is named and numbered."""
    *frames, rest = response.text.split("\n\n")
    assert rest == ""
    found = []
    for number, frame in enumerate(frames):
        name, data = frame.split("\n")
        found.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {found[-1]['type']}"
        assert found[-1]["sequence_number"] == number
    return found


def error_of(response: httpx.Response) -> dict[str, Any]:
    body = response.json()
    assert set(body) == {"error"}
    error: dict[str, Any] = body["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error


def test_a_whole_response_has_the_providers_fields(client: openai.OpenAI) -> None:
    response = client.responses.create(model=MODEL, input="Hello", metadata={"a": "b"})
    assert (response.object, response.status, response.model) == ("response", "completed", MODEL)
    assert response.id.startswith("resp_")
    [message] = response.output
    assert message.type == "message"
    assert message.status == "completed"
    assert response.output_text
    assert response.metadata == {"a": "b"}
    usage = response.usage
    assert usage is not None
    assert usage.output_tokens == len(encoding().encode(response.output_text))
    assert usage.input_tokens == count_prompt_tokens([{"role": "user", "content": "Hello"}])
    assert usage.total_tokens == usage.input_tokens + usage.output_tokens
    assert usage.input_tokens_details.cached_tokens == 0
    responses.Response.model_validate(response.to_dict())


def test_the_stream_has_the_documented_order(send: Send) -> None:
    sent = events(send(stream=True))
    kinds = [event["type"].removeprefix("response.") for event in sent]
    assert kinds[:4] == ["created", "in_progress", "output_item.added", "content_part.added"]
    assert kinds[-4:] == ["output_text.done", "content_part.done", "output_item.done", "completed"]
    assert set(kinds[4:-4]) == {"output_text.delta"}
    deltas = sent[4:-4]
    assert all(event["logprobs"] == [] for event in deltas)
    text = "".join(event["delta"] for event in deltas)
    final = sent[-1]["response"]
    assert final["output"][0]["content"][0]["text"] == text == sent[-4]["text"]
    assert {event["item_id"] for event in deltas} == {final["output"][0]["id"]}
    whole = send().json()
    assert whole["output"][0]["content"][0]["text"] == text
    assert final["usage"] == whole["usage"]
    assert sent[0]["response"]["usage"] is None


def test_every_event_has_the_clients_type(client: openai.OpenAI) -> None:
    adapter: Any = pydantic.TypeAdapter(responses.ResponseStreamEvent)
    parameters: Any = {"tools": [WEATHER, SHELL], "tool_choice": "required"}
    each: list[Any] = [{}, parameters]
    for more in each:
        for event in client.responses.create(model=MODEL, input="Hello", stream=True, **more):
            checked = adapter.validate_python(event.to_dict())
            assert type(checked) is type(event)


def test_the_clients_stream_helper_adds_the_response_up(client: openai.OpenAI) -> None:
    whole = client.responses.create(model=MODEL, input="Hello")
    with client.responses.stream(model=MODEL, input="Hello") as stream:
        text = "".join(
            event.delta for event in stream if event.type == "response.output_text.delta"
        )
        final = stream.get_final_response()
    assert text == whole.output_text == final.output_text
    assert final.usage == whole.usage


@pytest.mark.anyio
async def test_sdk_async(llm: MockLLM) -> None:
    async with openai.AsyncOpenAI(base_url=llm.url, api_key="any") as client:
        whole = await client.responses.create(model=MODEL, input="Hello")
        raw = await client.responses.create(model=MODEL, input="Hello", stream=True)
        kinds = [event.type async for event in raw]
        async with client.responses.stream(model=MODEL, input="Hello") as stream:
            final = await stream.get_final_response()
        again = await client.responses.retrieve(whole.id)
        counted = await client.responses.input_tokens.count(model=MODEL, input="Hello")
        with pytest.raises(openai.NotFoundError):
            await client.responses.create(model="llama", input="Hello")
    assert final.output_text == whole.output_text == again.output_text
    assert kinds[-1] == "response.completed"
    assert whole.usage is not None
    assert counted.input_tokens == whole.usage.input_tokens


@pytest.mark.parametrize("stream", [False, True])
def test_a_small_limit_makes_it_incomplete(send: Send, stream: bool) -> None:
    answer = send(max_output_tokens=16, stream=stream)
    response = events(answer)[-1]["response"] if stream else answer.json()
    assert response["status"] == "incomplete"
    assert response["incomplete_details"] == {"reason": "max_output_tokens"}
    assert response["output"][0]["status"] == "incomplete"
    assert response["usage"]["output_tokens"] == 16
    if stream:
        assert events(answer)[-1]["type"] == "response.incomplete"


def test_a_function_call_streams_its_arguments(send: Send) -> None:
    sent = events(send(tools=[WEATHER], stream=True))
    added, done = (
        next(event["item"] for event in sent if event["type"] == f"response.output_item.{kind}")
        for kind in ("added", "done")
    )
    assert (added["type"], added["name"], added["arguments"]) == (
        "function_call",
        "get_weather",
        "",
    )
    assert added["id"].startswith("fc_")
    assert added["call_id"].startswith("call_")
    pieces = [e["delta"] for e in sent if e["type"] == "response.function_call_arguments.delta"]
    assert len(pieces) > 3
    jsonschema.validate(json.loads("".join(pieces)), WEATHER["parameters"])
    assert done["arguments"] == "".join(pieces)
    assert send(tools=[WEATHER]).json()["output"] == [done]


def test_a_custom_tool_is_given_text(send: Send) -> None:
    sent = events(send(tools=[SHELL], tool_choice={"type": "custom", "name": "run"}, stream=True))
    pieces = [e["delta"] for e in sent if e["type"] == "response.custom_tool_call_input.delta"]
    [call] = sent[-1]["response"]["output"]
    assert call["type"] == "custom_tool_call"
    assert call["input"] == "".join(pieces) != ""


def test_an_agents_loop_ends(client: openai.OpenAI) -> None:
    first = client.responses.create(model=MODEL, input="Hello", tools=[WEATHER, SHELL])
    calls = [item for item in first.output if item.type in ("function_call", "custom_tool_call")]
    outputs: Any = [
        {"type": f"{call.type}_output", "call_id": call.call_id, "output": "sunny"}
        for call in calls
    ]
    second = client.responses.create(
        model=MODEL, input=outputs, tools=[WEATHER, SHELL], previous_response_id=first.id
    )
    assert calls
    assert second.output_text
    assert [item.type for item in second.output] == ["message"]
    itself: Any = [{"role": "user", "content": "Hello"}, *[c.to_dict() for c in calls], *outputs]
    third = client.responses.create(model=MODEL, input=itself, tools=[WEATHER, SHELL])
    assert third.output_text == second.output_text


def test_the_choice_of_tools_is_obeyed(send: Send) -> None:
    other = WEATHER | {"name": "get_time"}

    def called(choice: Any, prompt: str = "Hello", **parameters: Any) -> list[str]:
        answer = send(input=prompt, tools=[WEATHER, other], tool_choice=choice, **parameters)
        return [item["name"] for item in answer.json()["output"] if "name" in item]

    assert called("none") == []
    assert called({"type": "function", "name": "get_time"}) == ["get_time"]
    allowed = {
        "type": "allowed_tools",
        "mode": "required",
        "tools": [{"type": "function", "name": "get_time"}],
    }
    assert called(allowed) == ["get_time"]
    prompts = [f"Question {number}" for number in range(12)]
    assert any(len(called("required", prompt)) == 2 for prompt in prompts)
    assert all(
        len(called("required", prompt, parallel_tool_calls=False)) == 1 for prompt in prompts
    )


def test_the_providers_own_tools_are_accepted_and_not_called(send: Send) -> None:
    tools = [
        {"type": "web_search"},
        {"type": "file_search", "vector_store_ids": ["vs_1"]},
        {"type": "code_interpreter", "container": {"type": "auto"}},
        {"type": "mcp", "server_label": "a", "server_url": "https://localhost"},
    ]
    answer = send(tools=tools).json()
    assert answer["tools"] == tools
    assert [item["type"] for item in answer["output"]] == ["message"]


class City(pydantic.BaseModel):
    name: str
    people: int
    rivers: list[str]


def test_structured_output_fits_the_schema(client: openai.OpenAI) -> None:
    parsed = client.responses.parse(model=MODEL, input="Hello", text_format=City)
    assert isinstance(parsed.output_parsed, City)
    with client.responses.stream(model=MODEL, input="Hello", text_format=City) as stream:
        assert stream.get_final_response().output_parsed == parsed.output_parsed


def test_json_mode_answers_with_an_object(client: openai.OpenAI) -> None:
    format: Any = {"format": {"type": "json_object"}}
    answer = client.responses.create(model=MODEL, input="Answer in JSON.", text=format)
    assert isinstance(json.loads(answer.output_text), dict)
    with pytest.raises(openai.BadRequestError, match="must contain the word 'json'"):
        client.responses.create(model=MODEL, input="Hello", text=format)


def test_reasoning_is_an_item_of_its_own(llm: MockLLM, client: openai.OpenAI) -> None:
    llm.configure(profile=Profile(thinking_tokens=50), answer_tokens=10)
    for summary in (None, "auto"):
        reasoning: Any = {"effort": "low", "summary": summary}
        parameters: Any = {"model": MODEL, "input": "Hello", "reasoning": reasoning}
        whole = client.responses.create(**parameters, include=["reasoning.encrypted_content"])
        thought, message = whole.output
        assert (thought.type, message.type) == ("reasoning", "message")
        assert thought.encrypted_content
        assert len(thought.summary) == (summary is not None)
        assert whole.usage is not None
        assert whole.usage.output_tokens == 60
        assert whole.usage.output_tokens_details.reasoning_tokens == 50
        with client.responses.stream(**parameters) as stream:
            kinds = [event.type for event in stream]
            final = stream.get_final_response()
        assert final.output_text == whole.output_text
        deltas = kinds.count("response.reasoning_summary_text.delta")
        assert deltas == (50 if summary else 0)
    cut = client.responses.create(model=MODEL, input="Hello", max_output_tokens=16)
    assert (cut.status, [item.type for item in cut.output]) == ("incomplete", ["reasoning"])
    with client.responses.stream(model=MODEL, input="Hello", max_output_tokens=16) as stream:
        *_, last = stream
    assert last.type == "response.incomplete"


def test_a_conversation_goes_on_from_a_stored_response(client: openai.OpenAI) -> None:
    first = client.responses.create(model=MODEL, input="Hello", instructions="Be brief.")
    second = client.responses.create(model=MODEL, input="More?", previous_response_id=first.id)
    conversation: Any = [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": first.output_text},
        {"role": "user", "content": "More?"},
    ]
    itself = client.responses.create(model=MODEL, input=conversation, store=False)
    assert second.output_text == itself.output_text
    assert second.usage == itself.usage
    third = client.responses.create(model=MODEL, input="And?", previous_response_id=second.id)
    assert third.usage is not None
    assert second.usage is not None
    assert third.usage.input_tokens > second.usage.input_tokens


def test_a_streamed_response_is_stored_too(client: openai.OpenAI) -> None:
    with client.responses.stream(model=MODEL, input="Hello") as stream:
        id = stream.get_final_response().id
    assert client.responses.create(model=MODEL, input="More?", previous_response_id=id).output_text


def test_a_conversation_is_cached_like_one_that_is_sent_whole(client: openai.OpenAI) -> None:
    first = client.responses.create(model=MODEL, input="word " * 1500)
    second = client.responses.create(model=MODEL, input="More?", previous_response_id=first.id)
    assert second.usage is not None
    assert second.usage.input_tokens_details.cached_tokens == 1408


def test_stored_responses_are_read_listed_and_deleted(client: openai.OpenAI) -> None:
    items: Any = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "input_text", "text": "Hello"}]},
    ]
    made = client.responses.create(model=MODEL, input=items)
    assert client.responses.retrieve(made.id) == made
    listed = list(client.responses.input_items.list(made.id, order="asc", limit=1))
    texts = [item.content[0].text for item in listed if item.type == "message"]  # type: ignore[union-attr]
    assert texts == ["Be brief.", "Hello"]
    newest = client.responses.input_items.list(made.id)
    assert [item.id for item in newest] == [item.id for item in reversed(listed)]
    with pytest.raises(openai.BadRequestError, match="Cannot cancel a synchronous response"):
        client.responses.cancel(made.id)
    client.responses.delete(made.id)
    for gone in (
        lambda: client.responses.retrieve(made.id),
        lambda: client.responses.delete(made.id),
        lambda: client.responses.input_items.list(made.id),
    ):
        with pytest.raises(openai.NotFoundError, match=f"'{made.id}' not found"):
            gone()
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(model=MODEL, input="More?", previous_response_id=made.id)
    assert caught.value.code == "previous_response_not_found"
    assert caught.value.param == "previous_response_id"


def test_a_background_response_is_queued_and_polled(llm: MockLLM, client: openai.OpenAI) -> None:
    """ogx-ai/ogx#4751, openai/openai-agents-python#3472, CopilotKit/aimock#170"""
    llm.configure(profile=Profile(base=0.3, slots=1))
    parameters: Any = {"model": MODEL, "input": "Hello", "background": True}
    first = client.responses.create(**parameters)
    second = client.responses.create(**parameters)
    assert (first.status, first.output, first.usage) == ("queued", [], None)
    seen = {client.responses.retrieve(second.id).status}

    def over(id: str) -> bool:
        status = client.responses.retrieve(id).status
        seen.add(status)
        return status == "completed"

    eventually(lambda: over(second.id))
    assert seen == {"queued", "in_progress", "completed"}
    done = client.responses.retrieve(second.id)
    assert (done.background, done.error) == (True, None)
    synchronous = client.responses.create(model=MODEL, input="Hello")
    assert done.output_text == synchronous.output_text
    assert done.usage == synchronous.usage
    more = client.responses.create(model=MODEL, input="More?", previous_response_id=done.id)
    assert more.output_text
    assert llm.ledger().requests[0].status == 200


def test_a_background_response_is_cancelled(llm: MockLLM, client: openai.OpenAI) -> None:
    llm.configure(profile=Profile(base=60))
    made = client.responses.create(model=MODEL, input="Hello", background=True)
    assert client.responses.cancel(made.id).status == "cancelled"
    assert client.responses.retrieve(made.id).status == "cancelled"
    assert client.responses.cancel(made.id).status == "cancelled"
    llm.configure(profile="instant")
    # The slot is free again, and one that is over stays as it is.
    whole = client.responses.create(model=MODEL, input="Hello", background=True)
    eventually(lambda: client.responses.retrieve(whole.id).status == "completed")
    assert client.responses.cancel(whole.id).status == "completed"


def test_background_needs_the_store(send: Send) -> None:
    error = error_of(send(background=True, store=False))
    assert (error["type"], error["param"]) == ("invalid_request_error", "background")


def test_a_background_response_can_fail(llm: MockLLM, http: httpx.Client) -> None:
    body = {"model": MODEL, "input": "Hello", "background": True}
    headers = {"x-mock-fault": "error_event"}
    made = http.post(f"{llm.url}/responses", json=body, headers=headers).json()
    url = f"{llm.url}/responses/{made['id']}"
    eventually(lambda: http.get(url).json()["status"] == "failed")
    assert http.get(url).json()["error"]["code"] == "server_error"


def test_nothing_is_stored_unless_wanted(llm: MockLLM, client: openai.OpenAI) -> None:
    unstored = client.responses.create(model=MODEL, input="Hello", store=False)
    stored = client.responses.create(model=MODEL, input="Hello")
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(unstored.id)
    assert client.responses.retrieve(stored.id).id == stored.id
    llm.reset()
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(stored.id)


def test_items_are_found_by_reference(client: openai.OpenAI) -> None:
    first = client.responses.create(model=MODEL, input="Hello")
    items: Any = [
        {"role": "user", "content": "Hello"},
        {"type": "item_reference", "id": first.output[0].id},
        {"role": "user", "content": "More?"},
    ]
    by_reference = client.responses.create(model=MODEL, input=items)
    by_id = client.responses.create(model=MODEL, input="More?", previous_response_id=first.id)
    assert by_reference.output_text == by_id.output_text
    with pytest.raises(openai.NotFoundError, match="Item with id 'msg_none' not found"):
        client.responses.create(model=MODEL, input=[{"type": "item_reference", "id": "msg_none"}])


def test_only_the_newest_are_remembered(llm: MockLLM, http: httpx.Client) -> None:
    def ask() -> str:
        body = {"model": MODEL, "input": "Hello"}
        return str(http.post(f"{llm.url}/responses", json=body).json()["id"])

    first, second, *_, last = [ask() for _ in range(1001)]
    status = [http.get(f"{llm.url}/responses/{id}").status_code for id in (first, second, last)]
    assert status == [404, 200, 200]


def test_an_input_above_the_window_is_refused_or_shortened(
    llm: MockLLM, client: openai.OpenAI
) -> None:
    llm.configure(profile=Profile(context_window=200))
    items: Any = [{"role": "user", "content": "word " * 50} for _ in range(5)]
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(model=MODEL, input=items)
    assert (caught.value.code, caught.value.param) == ("context_length_exceeded", "input")
    shortened = client.responses.create(
        model=MODEL, input=items, truncation="auto", max_output_tokens=40
    )
    assert shortened.usage is not None
    assert 100 < shortened.usage.input_tokens <= 160


@pytest.mark.parametrize(
    ("parameters", "param", "code"),
    [
        ({"model": None}, "model", "missing_required_parameter"),
        ({"input": None}, "input", "missing_required_parameter"),
        ({"input": 4}, "input", "invalid_type"),
        ({"input": [{"role": "user"}]}, "input[0].content", "missing_required_parameter"),
        ({"input": [{"role": "boss", "content": "a"}]}, "input[0]", "invalid_value"),
        ({"input": [{"type": "thought"}]}, "input[0]", "invalid_value"),
        (
            {"input": [{"role": "user", "content": [{"type": "text_in", "text": "a"}]}]},
            "input[0].content[0].type",
            "invalid_value",
        ),
        (
            {"input": [{"role": "user", "content": [{"type": "input_text"}]}]},
            "input[0].content[0].text",
            "missing_required_parameter",
        ),
        ({"input": [{"type": "function_call_output", "call_id": "c"}]}, "input[0].output", None),
        (
            {"input": [{"type": "function_call_output", "call_id": "c", "output": "a"}]},
            "input",
            None,
        ),
        (
            {"input": [{"type": "function_call_output", "call_id": "c", "output": ["a"]}]},
            "input[0].output[0]",
            "invalid_type",
        ),
        (
            {
                "input": [
                    {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
                    {"role": "user", "content": "Well?"},
                ]
            },
            "input",
            None,
        ),
        ({"max_output_tokens": 15}, "max_output_tokens", "integer_below_min_value"),
        ({"temperature": 2.5}, "temperature", "decimal_above_max_value"),
        ({"top_logprobs": 21}, "top_logprobs", "integer_above_max_value"),
        ({"stream": "yes"}, "stream", "invalid_type"),
        ({"stream_options": {"include_obfuscation": False}}, "stream_options", None),
        ({"truncation": "some"}, "truncation", "invalid_value"),
        ({"include": ["everything"]}, "include[0]", "invalid_value"),
        ({"reasoning": {"effort": "huge"}}, "reasoning.effort", "invalid_value"),
        ({"text": {"format": {"type": "xml"}}}, "text.format.type", "invalid_value"),
        (
            {"text": {"format": {"type": "json_schema", "schema": {}}}},
            "text.format.name",
            "missing_required_parameter",
        ),
        (
            {"text": {"format": {"type": "json_schema", "name": "a", "schema": {"type": "x"}}}},
            "text.format.schema",
            "invalid_json_schema",
        ),
        ({"tools": [{"type": "function"}]}, "tools[0].name", "missing_required_parameter"),
        ({"tools": [{"type": "hammer"}]}, "tools[0].type", "invalid_value"),
        (
            {"tools": [{"type": "function", "name": "f", "parameters": {"type": "x"}}]},
            "tools[0].parameters",
            "invalid_function_parameters",
        ),
        ({"tool_choice": "required"}, "tool_choice", None),
        ({"tool_choice": {"type": "function", "name": "f"}}, "tool_choice", None),
        ({"previous_response_id": "a", "conversation": "b"}, "previous_response_id", None),
        ({"previous_response_id": "resp_a"}, "previous_response_id", "previous_response_not_found"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_a_wrong_parameter_is_named(
    send: Send, parameters: dict[str, Any], param: str, code: str | None
) -> None:
    response = send(**parameters)
    error = error_of(response)
    assert response.status_code == 400
    assert (error["type"], error["param"]) == ("invalid_request_error", param)
    assert code in (None, error["code"])


@pytest.mark.parametrize(
    ("parameters", "param"),
    [
        ({"conversation": "conv_1"}, None),
        ({"prompt": {"id": "pmpt_1"}}, None),
        ({"model": "llama"}, "model"),
    ],
)
def test_what_does_not_exist_is_a_404(
    send: Send, parameters: dict[str, Any], param: str | None
) -> None:
    response = send(**parameters)
    assert response.status_code == 404
    assert error_of(response)["param"] == param


def test_an_unknown_parameter_is_named(send: Send) -> None:
    response = send(massages=[])
    error = error_of(response)
    assert response.status_code == 400
    assert error["message"] == "Unknown parameter: 'massages'."
    assert (error["param"], error["code"]) == ("massages", "unknown_parameter")


def test_a_parameter_of_chat_is_told_where_it_has_moved(send: Send) -> None:
    """OpenHands/software-agent-sdk#755"""
    error = error_of(send(reasoning_effort="low"))
    assert error["message"].startswith(
        "Unsupported parameter: 'reasoning_effort'. In the Responses API, this parameter has moved "
        "to 'reasoning.effort'."
    )
    assert (error["param"], error["code"]) == (None, "unsupported_parameter")


def test_a_strict_tool_needs_a_strict_schema(send: Send) -> None:
    loose = {"type": "object", "properties": {"place": {"type": "string"}}}
    tool = {"type": "function", "name": "f", "parameters": loose}
    assert send(tools=[tool]).json()["tools"][0]["strict"] is True
    refused = send(tools=[tool | {"strict": True}])
    assert refused.status_code == 400
    assert error_of(refused)["code"] == "invalid_function_parameters"
    format = {"type": "json_schema", "name": "a", "schema": loose}
    assert send(text={"format": format}).status_code == 200
    assert send(text={"format": format | {"strict": True}}).status_code == 400


def test_log_probabilities_come_when_included(client: openai.OpenAI) -> None:
    parameters: Any = {
        "model": "gpt-4o",
        "input": "Hello",
        "include": ["message.output_text.logprobs"],
        "top_logprobs": 2,
    }
    whole: Any = client.responses.create(**parameters)
    logprobs = whole.output[0].content[0].logprobs
    assert "".join(each.token for each in logprobs) == whole.output_text
    assert all(len(each.top_logprobs) == 2 for each in logprobs)
    deltas = [
        event
        for event in client.responses.create(**parameters, stream=True)
        if event.type == "response.output_text.delta"
    ]
    assert [event.delta for event in deltas] == [e.logprobs[0].token for e in deltas]


@pytest.mark.parametrize("body", [b"", b"{", b"null", b"[]", b"\xff", b"[" * 100_000])
def test_a_body_that_makes_no_sense_is_a_400(llm: MockLLM, http: httpx.Client, body: bytes) -> None:
    response = http.post(f"{llm.url}/responses", content=body)
    assert response.status_code == 400
    assert error_of(response)["type"] == "invalid_request_error"


def test_a_wrong_key_is_a_401(http: httpx.Client) -> None:
    with (
        MockLLM(api_key="sk-right") as llm,
        openai.OpenAI(base_url=llm.url, api_key="sk-wrong") as client,
        pytest.raises(openai.AuthenticationError) as caught,
    ):
        client.responses.create(model=MODEL, input="Hello")
    assert caught.value.code == "invalid_api_key"


def test_every_documented_parameter_is_known() -> None:
    documented = {
        *response_create_params.ResponseCreateParamsBase.__annotations__,
        *response_create_params.ResponseCreateParamsStreaming.__annotations__,
    }
    assert documented <= set(ResponseRequest.model_fields)
    counted = input_token_count_params.InputTokenCountParams.__annotations__
    assert set(counted) <= set(CountRequest.model_fields)


@pytest.mark.parametrize(
    ("union", "ours"),
    [(responses.ResponseInputItemParam, Item), (responses.ToolParam, ToolDefinition)],
    ids=["items", "tools"],
)
def test_every_documented_kind_is_known(union: Any, ours: Any) -> None:
    def names(kind: Any) -> set[str]:
        if isinstance(kind, str):
            return {kind}
        if typing_extensions.is_typeddict(kind):
            return names(get_type_hints(kind)["type"])
        return {name for inner in get_args(kind) for name in names(inner)}

    assert names(union) <= names(ours)


def test_documented_parameters_are_accepted(send: Send) -> None:
    response = send(
        model="mock-model",
        access_programs={"cyber": "standard"},
        background=False,
        background_options={"completion_window": "soonest"},
        client_metadata={"session": "a"},
        context_management=[{"type": "compaction"}],
        image={"context_compression": "auto"},
        include=["message.output_text.logprobs"],
        instructions="Be brief.",
        max_output_tokens=100,
        max_tool_calls=2,
        metadata={"a": "b"},
        moderation={"model": "omni"},
        parallel_tool_calls=False,
        prompt_cache_key="a",
        prompt_cache_options={"mode": "implicit"},
        prompt_cache_retention="24h",
        reasoning={"effort": "low", "summary": "auto"},
        safety_identifier="ada",
        service_tier="auto",
        store=True,
        stream=True,
        stream_options={"include_obfuscation": False},
        temperature=1,
        text={"format": {"type": "text"}, "verbosity": "low"},
        tool_choice="auto",
        tools=[WEATHER],
        top_logprobs=2,
        top_p=1,
        truncation="disabled",
        user="ada",
    )
    assert response.status_code == 200
    assert events(response)[-1]["type"] == "response.completed"


def test_the_ledger_has_the_request(llm: MockLLM, client: openai.OpenAI) -> None:
    usage = client.responses.create(model=MODEL, input="Hello").usage
    request = only_request(llm)
    assert usage is not None
    assert (request.path, request.model, request.status) == ("/v1/responses", MODEL, 200)
    assert request.prompt_tokens == usage.input_tokens
    assert request.completion_tokens == usage.output_tokens


def test_a_stream_that_fails_says_so(llm: MockLLM, http: httpx.Client) -> None:
    body = {"model": MODEL, "input": "Hello", "stream": True}
    headers = {"x-mock-fault": "error_event; after_tokens=3"}
    sent = events(http.post(f"{llm.url}/responses", json=body, headers=headers))
    *_, third, error, failed = sent
    assert third["type"] == "response.output_text.delta"
    assert set(error) == {"type", "code", "message", "param", "sequence_number"}
    assert (error["type"], error["code"]) == ("error", "server_error")
    assert (failed["type"], failed["response"]["status"]) == ("response.failed", "failed")
    assert failed["response"]["error"]["code"] == "server_error"
    assert failed["response"]["id"] == sent[0]["response"]["id"]


@pytest.mark.parametrize("stream", [False, True])
def test_answers_that_break_off_keep_their_format(client: openai.OpenAI, stream: bool) -> None:
    def ask(kind: str, **parameters: Any) -> Any:
        parameters |= {"model": MODEL, "input": "Hello", "extra_headers": {"x-mock-fault": kind}}
        if not stream:
            return client.responses.create(**parameters)
        return [*client.responses.create(**parameters, stream=True)][-1]

    unfinished = ask("no_finish")
    if stream:
        assert unfinished.type == "response.output_text.delta"
    else:
        assert unfinished.status == "in_progress"
    empty = ask("empty_choices")
    empty = empty.response if stream else empty
    assert (empty.output, empty.status) == ([], "completed")
    format = {"type": "json_schema", "name": "city", "schema": City.model_json_schema()}
    broken = ask("broken_answer", text={"format": format})
    broken = broken.response if stream else broken
    assert broken.status == "completed"
    with pytest.raises(ValueError, match="JSON"):
        City.model_validate_json(broken.output_text)


def test_the_clients_errors_are_typed(client: openai.OpenAI) -> None:
    kinds: list[tuple[str, type[openai.APIStatusError]]] = [
        ("rate_limit_exceeded", openai.RateLimitError),
        ("insufficient_quota", openai.RateLimitError),
        ("500", openai.InternalServerError),
        ("503", openai.InternalServerError),
    ]
    for kind, error in kinds:
        with pytest.raises(error):
            client.responses.create(
                model=MODEL, input="Hello", extra_headers={"x-mock-fault": kind}
            )
        with pytest.raises(error):
            client.embeddings.create(
                model="text-embedding-3-small", input="Hello", extra_headers={"x-mock-fault": kind}
            )


def messages(*contents: Any) -> list[Any]:
    """A conversation that the user begins."""
    roles = ("user", "assistant")
    return [
        {"role": roles[index % 2], "content": content} for index, content in enumerate(contents)
    ]


CALL = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
OUTPUT = {"type": "function_call_output", "call_id": "c", "output": "42"}
THOUGHT = {"type": "reasoning", "id": "rs_1", "summary": []}
HELLO = {"role": "user", "content": "Hello"}
MISSING = "missing_required_parameter"
MCP = {"type": "mcp", "server_label": "docs", "server_url": "https://localhost/mcp"}
SAID = {"type": "message", "role": "assistant", "id": "msg_1", "content": "Yes."}


@pytest.mark.parametrize(
    ("parameters", "param", "code", "message"),
    [
        # ThinkInAIXYZ/deepchat#655, OpenHands/software-agent-sdk#1837
        (
            {"model": "o3", "temperature": 0.2},
            "temperature",
            "unsupported_parameter",
            "Unsupported parameter: 'temperature' is not supported with this model.",
        ),
        ({"model": "gpt-5", "temperature": 0.2}, "temperature", "unsupported_parameter", None),
        ({"model": "o3-mini", "temperature": 0.2}, "temperature", "unsupported_parameter", None),
        ({"model": "gpt-5", "top_p": 0.2}, "top_p", "unsupported_parameter", None),
        # RageAgainstThePixel/OpenAI-DotNet#500, BoundaryML/baml#2708
        (
            {"model": "gpt-4o", "reasoning": {"effort": "low"}},
            "reasoning.effort",
            "unsupported_parameter",
            "Unsupported parameter: 'reasoning.effort' is not supported with this model.",
        ),
        # openai/codex#6647
        (
            {"model": "gpt-5.1-codex", "reasoning": {"effort": "none"}},
            "reasoning.effort",
            "unsupported_value",
            "Unsupported value: 'none' is not supported with the 'gpt-5.1-codex' model. Supported "
            "values are: 'low', 'medium', and 'high'.",
        ),
        # openai/openai-agents-python#2089, anomalyco/opencode#4451
        (
            {"model": "gpt-5.1", "reasoning": {"effort": "minimal"}},
            "reasoning.effort",
            "unsupported_value",
            "Unsupported value: 'minimal' is not supported with the 'gpt-5.1' model. Supported "
            "values are: 'none', 'low', 'medium', and 'high'.",
        ),
        (
            {"model": "gpt-4o", "max_output_tokens": 16_385},
            "max_output_tokens",
            "integer_above_max_value",
            None,
        ),
        # UKGovernmentBEIS/inspect_ai#2739
        ({"include": ["message.output_text.logprobs"]}, "include", None, None),
        # vybestack/llxprt-code#2135
        ({"prompt_cache_key": "k" * 65}, "prompt_cache_key", "string_above_max_length", None),
        # jeremychone/rust-genai#119, langchain-ai/langchainjs#11169
        (
            {"input": messages("Hello", [{"type": "input_text", "text": "Yes."}], "More?")},
            "input[1].content[0]",
            "invalid_value",
            "Invalid value: 'input_text'. Supported values are: 'output_text' and 'refusal'.",
        ),
        # kangminlee-maker/local-OAuth-CLI-API-adapter, answers of 2026-08-31
        (
            {"input": messages([{"type": "output_text", "text": "Hello"}])},
            "input[0].content[0]",
            "invalid_value",
            "Invalid value: 'output_text'. Supported values are: 'input_text', 'input_image', "
            "'input_file', 'scoped_content', and 'input_audio'.",
        ),
        (
            {"input": [CALL, OUTPUT | {"output": [{"type": "output_text", "text": "42"}]}]},
            "input[1].output[0]",
            "invalid_value",
            "Invalid value: 'output_text'. Supported values are: 'input_text', 'input_image', "
            "'input_file', and 'scoped_content'.",
        ),
        *(
            (
                {"input": [item]},
                "input[0]",
                "invalid_value",
                f"Invalid value: '{got}'. Supported values are: 'assistant', 'system', "
                "'developer', and 'user'.",
            )
            for item, got in (
                ({}, ""),
                ({"content": "x"}, ""),
                ({"role": None, "content": "x"}, ""),
                ({"role": "boss", "content": "x"}, "boss"),
            )
        ),
        (
            {"input": [7]},
            "input[0]",
            "invalid_type",
            "Invalid type for 'input[0]': expected an input item, but got an integer instead.",
        ),
        (
            {"input": 7},
            "input",
            "invalid_type",
            "Invalid type for 'input': expected one of a string or array of input items, but got "
            "an integer instead.",
        ),
        # Source: the SDK's types.
        ({"input": [CALL | {"id": 5}, OUTPUT]}, "input[0].id", "invalid_type", None),
        ({"input": [HELLO | {"id": 5}]}, "input[0].id", "invalid_type", None),
        ({"input": [{"type": "web_search_call", "id": 5}]}, "input[0].id", "invalid_type", None),
        (
            {"input": messages([{"type": None}])},
            "input[0].content[0].type",
            "invalid_type",
            None,
        ),
        ({"conversation": {}}, "conversation.id", "missing_required_parameter", None),
        ({"prompt": {}}, "prompt.id", "missing_required_parameter", None),
        *(
            ({"tools": [tool]}, f"tools[0].{field}", code, None)
            for tool, field, code in (
                ({"type": "mcp", "server_url": "x"}, "server_label", MISSING),
                ({"type": "mcp", "server_label": "x"}, "server_url", MISSING),
                ({"type": "mcp", "server_label": 5}, "server_label", "invalid_type"),
                (MCP | {"allowed_tools": 5}, "allowed_tools", "invalid_type"),
                ({"type": "code_interpreter"}, "container", MISSING),
                ({"type": "code_interpreter", "container": 5}, "container", "invalid_type"),
                (
                    {"type": "file_search", "vector_store_ids": "vs_1"},
                    "vector_store_ids",
                    "invalid_type",
                ),
                (
                    {"type": "web_search", "search_context_size": "huge"},
                    "search_context_size",
                    "invalid_value",
                ),
                (
                    {"type": "custom", "name": "f", "format": {"type": "xml"}},
                    "format.type",
                    "invalid_value",
                ),
                (
                    {
                        "type": "custom",
                        "name": "f",
                        "format": {"type": "grammar", "syntax": "lark"},
                    },
                    "format.definition",
                    MISSING,
                ),
                ({"type": "computer_use_preview"}, "display_height", MISSING),
            )
        ),
        *(
            (
                {"tools": [WEATHER], "tool_choice": choice},
                "tool_choice",
                None,
                f"Tool choice '{name}' not found in 'tools' parameter.",
            )
            for choice, name in (
                ({"type": "web_search_preview"}, "web_search_preview"),
                ({"type": "mcp", "server_label": "docs"}, "mcp"),
                (
                    {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "shell"}]},
                    "shell",
                ),
            )
        ),
        (
            {
                "tools": [WEATHER],
                "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"name": "f"}]},
            },
            "tool_choice.tools[0].type",
            MISSING,
            None,
        ),
        # microsoft/agent-framework#3795
        (
            {"input": messages([{"type": "text", "text": "Hello"}])},
            "input[0].content[0].type",
            "invalid_value",
            None,
        ),
        (
            {"input": messages([{"type": "input_image"}])},
            "input[0].content[0].image_url",
            "missing_required_parameter",
            None,
        ),
        (
            {"input": messages([{"type": "input_image", "image_url": {"url": "https://a.b"}}])},
            "input[0].content[0].image_url",
            "invalid_type",
            "Invalid type for 'input[0].content[0].image_url': expected an image URL, but got an "
            "object instead.",
        ),
        (
            {
                "input": messages(
                    [{"type": "input_image", "image_url": "data:application/pdf;base64,YQ=="}]
                )
            },
            "input[0].content[0].image_url",
            "invalid_value",
            None,
        ),
        # jlcodes99/cockpit-tools#2090, openai/codex#33176
        *(
            (
                {"input": [HELLO, item | {"id": "item_1"}, *rest]},
                "input[1].id",
                "invalid_id_prefix",
                f"Invalid 'input[1].id': 'item_1'. Expected an ID that begins with '{prefix}'.",
            )
            for item, rest, prefix in (
                (THOUGHT, [SAID], "rs"),
                (CALL, [OUTPUT], "fc"),
                (SAID, [HELLO], "msg"),
            )
        ),
        (
            {"input": [HELLO, SAID | {"id": "msg_" + "1" * 61}]},
            "input[1].id",
            "string_above_max_length",
            None,
        ),
        # AnswerDotAI/fastllm#45, orchidfiles/ungate#26, decolua/9router#393
        (
            {"input": [HELLO, CALL | {"call_id": "c" * 65}]},
            "input[1].call_id",
            "string_above_max_length",
            "Invalid 'input[1].call_id': string too long. Expected a string with maximum length "
            "64, but got a string with length 65 instead.",
        ),
        (
            {"input": [HELLO, CALL | {"name": "a.b"}, OUTPUT]},
            "input[1].name",
            "invalid_value",
            None,
        ),
        # OpenRouterTeam/ai-sdk-provider#254, vercel/ai#13307
        (
            {"input": [HELLO, SAID, HELLO, SAID]},
            "input",
            None,
            "Duplicate item found with id msg_1. Remove duplicate items from your input and try "
            "again.",
        ),
        # vercel/ai#7099, openai/openai-node#1567, openai/openai-agents-python#1611
        *(
            (
                {"input": [HELLO, THOUGHT, *rest]},
                "input",
                None,
                "Item 'rs_1' of type 'reasoning' was provided without its required following item.",
            )
            for rest in ([], [HELLO])
        ),
        # Source: the SDK's types of the input items.
        ({"input": [HELLO, SAID | {"status": "done"}]}, "input[1].status", "invalid_value", None),
        ({"input": [SAID | {"phase": "begin"}]}, "input[0].phase", "invalid_value", None),
        (
            {"input": [HELLO, CALL, OUTPUT | {"status": "success"}]},
            "input[2].status",
            "invalid_value",
            "Invalid value: 'success'. Supported values are: 'in_progress', 'completed', and "
            "'incomplete'.",
        ),
        # newo-ether/Agora#141
        (
            {"input": [HELLO, {"type": "reasoning", "id": "rs_1"}]},
            "input[1].summary",
            "missing_required_parameter",
            None,
        ),
        # A choice and a format in the form of chat.
        (
            {"tools": [WEATHER], "tool_choice": {"type": "function", "function": {"name": "f"}}},
            "tool_choice.name",
            "missing_required_parameter",
            "Missing required parameter: 'tool_choice.name'.",
        ),
        (
            {"text": {"format": {"type": "json_schema", "json_schema": {"name": "a"}}}},
            "text.format.name",
            "missing_required_parameter",
            None,
        ),
        (
            {"tools": [WEATHER], "tool_choice": {"type": "allowed_tools"}},
            "tool_choice.mode",
            "missing_required_parameter",
            None,
        ),
        (
            {"tools": [{"type": "file_search"}]},
            "tools[0].vector_store_ids",
            "missing_required_parameter",
            None,
        ),
        ({"previous_response_id": "a"}, "previous_response_id", "invalid_id_prefix", None),
        ({"conversation": "a"}, "conversation", "invalid_id_prefix", None),
        # ProjectTech4DevAI/kaapi-backend#317
        (
            {"previous_response_id": "@results.ress"},
            "previous_response_id",
            "invalid_value",
            "Invalid 'previous_response_id': '@results.ress'. Expected an ID that contains "
            "letters, numbers, underscores, or dashes, but this value contained additional "
            "characters.",
        ),
    ],
    ids=lambda value: str(value)[:50],
)
def test_what_the_provider_refuses_is_refused(
    send: Send, parameters: dict[str, Any], param: str, code: str | None, message: str | None
) -> None:
    response = send(**parameters)
    assert response.status_code == 400, response.text[:300]
    error = error_of(response)
    assert (error["param"], error["code"]) == (param, code)
    assert message in (None, error["message"])


def test_what_the_provider_takes_is_taken(send: Send) -> None:
    image = {"type": "input_image", "image_url": "https://localhost/cat.png", "detail": "auto"}
    for items in (
        [HELLO, THOUGHT, SAID, HELLO],
        [HELLO, THOUGHT, CALL | {"id": "fc_1"}, OUTPUT],
        messages([{"type": "input_text", "text": "What is it?"}, image]),
        messages("Hello", [{"type": "output_text", "text": "Yes.", "annotations": []}], "More?"),
    ):
        assert send(input=items).status_code == 200
    assert send(client_metadata={"a": "b"}).status_code == 200  # OpenAI's Codex CLI sends it
    assert send(tools=[], tool_choice=None).status_code == 200
    for tool, choice in (
        (MCP | {"allowed_tools": ["find"]}, {"type": "mcp", "server_label": "docs"}),
        ({"type": "web_search_preview_2025_03_11"}, {"type": "web_search_preview"}),
        ({"type": "code_interpreter", "container": {"type": "auto"}}, {"type": "code_interpreter"}),
        ({"type": "custom", "name": "f", "format": {"type": "text"}}, "required"),
    ):
        response = send(tools=[tool], tool_choice=choice)
        assert response.status_code == 200, response.text


@pytest.mark.parametrize("effort", ["none", "low"])
def test_reasoning_that_is_switched_off_costs_nothing(
    llm: MockLLM, send: Send, effort: str
) -> None:
    llm.configure(profile=Profile(thinking_tokens=50))
    usage = send(reasoning={"effort": effort}).json()["usage"]
    expected = 0 if effort == "none" else 50
    assert usage["output_tokens_details"]["reasoning_tokens"] == expected


@pytest.mark.parametrize("parameters", [{}, {"tools": [WEATHER]}], ids=["text", "call"])
def test_deltas_are_padded_unless_that_is_turned_off(send: Send, parameters: Any) -> None:
    """Source: the SDK's docstring of ``include_obfuscation``."""
    sent = [e for e in events(send(stream=True, **parameters)) if e["type"].endswith(".delta")]
    assert sent
    assert all(event["obfuscation"] for event in sent)
    plain = events(send(stream=True, stream_options={"include_obfuscation": False}, **parameters))
    assert not any("obfuscation" in event for event in plain)
