"""The model calls tools, whole and streamed, as the provider's own SDK reads it."""

from __future__ import annotations

import json
import re
from typing import Any, Literal

import jsonschema
import openai
import pydantic
import pytest
from openai.types.chat import (
    ChatCompletionMessageFunctionToolCall,
    ChatCompletionMessageParam,
    ChatCompletionToolUnionParam,
)

from helpers.mock_llm import MockLLM
from helpers.mock_llm.tokens import encoding

from .conftest import Chat
from .test_chat import events

WEATHER: dict[str, Any] = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
        "days": {"type": "integer", "minimum": 1, "maximum": 7},
    },
    "required": ["city", "unit"],
    "additionalProperties": False,
}
TOOLS: list[ChatCompletionToolUnionParam] = [
    {"type": "function", "function": {"name": "get_weather", "parameters": WEATHER}},
    {"type": "function", "function": {"name": "get-time"}},
    {"type": "function", "function": {"name": "search", "parameters": {}}},
]
ONE = TOOLS[:1]
QUESTION: ChatCompletionMessageParam = {"role": "user", "content": "Will it rain?"}


def message_of(answer: dict[str, Any]) -> dict[str, Any]:
    message: dict[str, Any] = answer["choices"][0]["message"]
    return message


def assembled(chunks: list[Any]) -> list[dict[str, Any]]:
    """The calls of a stream, put together as a client does."""
    calls: list[dict[str, Any]] = []
    for chunk in chunks:
        for delta in chunk["choices"][0]["delta"].get("tool_calls", ()):
            if delta["index"] == len(calls):
                calls.append({"id": delta["id"], "type": delta["type"], "pieces": []})
                calls[-1]["name"] = delta["function"]["name"]
            if piece := delta["function"]["arguments"]:
                calls[delta["index"]]["pieces"].append(piece)
    return calls


def test_a_tool_is_called_with_arguments_that_fit(chat: Chat) -> None:
    answer = chat("Will it rain?", tools=ONE).json()
    message = message_of(answer)
    [call] = message["tool_calls"]
    assert (message["content"], answer["choices"][0]["finish_reason"]) == (None, "tool_calls")
    assert (call["type"], call["function"]["name"]) == ("function", "get_weather")
    assert re.fullmatch("call_[0-9a-zA-Z]{24}", call["id"])
    jsonschema.validate(json.loads(call["function"]["arguments"]), WEATHER)
    tokens = encoding().encode(call["function"]["arguments"])
    assert answer["usage"]["completion_tokens"] == len(tokens)


def test_a_function_without_parameters_gets_none(chat: Chat) -> None:
    choice = {"type": "function", "function": {"name": "get-time"}}
    message = message_of(chat(tools=TOOLS, tool_choice=choice).json())
    assert [call["function"]["arguments"] for call in message["tool_calls"]] == ["{}"]


@pytest.mark.parametrize("seed", range(8))
def test_streamed_calls_are_the_whole_ones_token_by_token(chat: Chat, seed: int) -> None:
    whole = message_of(chat(tools=TOOLS, seed=seed).json())["tool_calls"]
    chunks = events(chat(tools=TOOLS, seed=seed, stream=True))
    calls = assembled(chunks)
    assert chunks[0]["choices"][0]["delta"] == {
        "role": "assistant",
        "content": None,
        "refusal": None,
    }
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"
    assert [(c["id"], c["name"]) for c in calls] == [
        (c["id"], c["function"]["name"]) for c in whole
    ]
    for call, sent in zip(calls, whole, strict=True):
        arguments = sent["function"]["arguments"]
        assert "".join(call["pieces"]) == arguments
        assert len(call["pieces"]) == len(encoding().encode(arguments))


def test_calls_depend_on_prompt_and_seed_alone(llm: MockLLM, chat: Chat) -> None:
    first = message_of(chat(tools=TOOLS, seed=1).json())
    assert message_of(chat(tools=TOOLS, seed=1).json()) == first
    others = [message_of(chat(tools=TOOLS, seed=seed).json()) for seed in range(2, 10)]
    assert first not in others


def names(answer: dict[str, Any]) -> list[str]:
    return [call["function"]["name"] for call in message_of(answer).get("tool_calls") or ()]


def test_several_tools_are_called_only_where_that_is_allowed(chat: Chat) -> None:
    parallel = [names(chat(tools=TOOLS, seed=seed).json()) for seed in range(20)]
    alone = [
        names(chat(tools=TOOLS, seed=seed, parallel_tool_calls=False).json()) for seed in range(20)
    ]
    assert {len(called) for called in parallel} == {1, 2, 3}
    assert all(len(set(called)) == len(called) for called in parallel)
    assert {len(called) for called in alone} == {1}
    assert {called[0] for called in alone} == {"get_weather", "get-time", "search"}


def test_the_choice_of_tools_is_followed(chat: Chat) -> None:
    weather = {"type": "function", "function": {"name": "get_weather"}}
    search = {"type": "function", "function": {"name": "search"}}
    some = {"mode": "required", "tools": [weather, search]}
    for seed in range(10):
        assert names(chat(tools=TOOLS, tool_choice="none", seed=seed).json()) == []
        assert names(chat(tools=TOOLS, tool_choice="required", seed=seed).json())
        forced = chat(tools=TOOLS, tool_choice=search, seed=seed).json()
        assert names(forced) == ["search"]
        assert forced["choices"][0]["finish_reason"] == "stop"  # as the provider has it
        choice = {"type": "allowed_tools", "allowed_tools": some}
        allowed = names(chat(tools=TOOLS, tool_choice=choice, seed=seed).json())
        assert set(allowed) <= {"get_weather", "search"} != set()


def test_a_loop_of_calls_ends(chat: Chat) -> None:
    """With "auto", the model calls when it is asked and answers when it has the result."""
    first = message_of(chat("Will it rain?", tools=ONE).json())
    call = first["tool_calls"][0]
    history = [QUESTION, first, {"role": "tool", "tool_call_id": call["id"], "content": "No."}]
    answer = chat(messages=history, tools=ONE).json()
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert message_of(answer)["content"]
    assert "tool_calls" not in message_of(answer)
    history += [message_of(answer), QUESTION]
    assert names(chat(messages=history, tools=ONE).json()) == ["get_weather"]
    required = chat(messages=history[:3], tools=ONE, tool_choice="required").json()
    assert names(required) == ["get_weather"]


@pytest.mark.parametrize("limit", range(1, 8))
def test_a_limit_cuts_the_arguments(chat: Chat, limit: int) -> None:
    whole = message_of(chat(tools=ONE).json())["tool_calls"][0]["function"]["arguments"]
    answer = chat(tools=ONE, max_tokens=limit).json()
    [call] = message_of(answer)["tool_calls"]
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"]["completion_tokens"] == limit
    assert whole.startswith(call["function"]["arguments"])


def test_a_tool_that_takes_text_gets_text(chat: Chat) -> None:
    tools = [{"type": "custom", "custom": {"name": "run", "format": {"type": "text"}}}]
    [call] = message_of(chat(tools=tools).json())["tool_calls"]
    assert (call["type"], call["custom"]["name"]) == ("custom", "run")
    assert call["custom"]["input"]
    deltas = [
        delta
        for chunk in events(chat(tools=tools, stream=True))
        for delta in chunk["choices"][0]["delta"].get("tool_calls", ())
    ]
    assert "".join(delta["custom"]["input"] for delta in deltas) == call["custom"]["input"]


def test_functions_are_called_the_old_way(chat: Chat) -> None:
    functions = [{"name": "get_weather", "parameters": WEATHER}]
    answer = chat("Will it rain?", functions=functions).json()
    message = message_of(answer)
    assert answer["choices"][0]["finish_reason"] == "function_call"
    assert message["function_call"]["name"] == "get_weather"
    arguments = message["function_call"]["arguments"]
    jsonschema.validate(json.loads(arguments), WEATHER)
    deltas = [
        chunk["choices"][0]["delta"].get("function_call", {})
        for chunk in events(chat("Will it rain?", functions=functions, stream=True))
    ]
    assert "".join(delta.get("arguments", "") for delta in deltas) == arguments
    assert [delta["name"] for delta in deltas if "name" in delta] == ["get_weather"]
    result = {"role": "function", "name": "get_weather", "content": "No."}
    answer = chat(messages=[QUESTION, message, result], functions=functions).json()
    assert answer["choices"][0]["finish_reason"] == "stop"
    quiet = chat(functions=functions, function_call="none").json()
    assert "function_call" not in message_of(quiet)
    named = chat(functions=functions, function_call={"name": "get_weather"}).json()
    assert message_of(named)["function_call"]["name"] == "get_weather"


def test_every_choice_calls(chat: Chat) -> None:
    whole = chat(tools=TOOLS, n=3).json()
    chunks = events(chat(tools=TOOLS, n=3, stream=True))
    for index, choice in enumerate(whole["choices"]):
        own = [c for c in chunks if [x["index"] for x in c["choices"]] == [index]]
        sent = [(c["id"], c["function"]["arguments"]) for c in choice["message"]["tool_calls"]]
        assert [(c["id"], "".join(c["pieces"])) for c in assembled(own)] == sent


class Weather(pydantic.BaseModel):
    """What the SDK makes a strict tool of."""

    city: str
    unit: Literal["celsius", "fahrenheit"]
    days: int | None


STRICT = openai.pydantic_function_tool(Weather, name="get_weather")


def test_sdk_parses_the_calls(llm: MockLLM) -> None:
    with openai.OpenAI(base_url=llm.url, api_key="any") as client:
        answer = client.chat.completions.parse(model="gpt-4o", messages=[QUESTION], tools=[STRICT])
        [call] = answer.choices[0].message.tool_calls or []
        assert isinstance(call.function.parsed_arguments, Weather)
        with client.chat.completions.stream(
            model="gpt-4o", messages=[QUESTION], tools=[STRICT]
        ) as stream:
            kinds = [event.type for event in stream]
            streamed = stream.get_final_completion()
    [same] = streamed.choices[0].message.tool_calls or []
    assert same.function.parsed_arguments == call.function.parsed_arguments
    assert "tool_calls.function.arguments.delta" in kinds
    assert "tool_calls.function.arguments.done" in kinds


def test_sdk_runs_a_loop(llm: MockLLM) -> None:
    with openai.OpenAI(base_url=llm.url, api_key="any") as client:
        messages = [QUESTION]
        for _ in range(3):
            message = (
                client.chat.completions.create(model="gpt-4o", messages=messages, tools=TOOLS)
                .choices[0]
                .message
            )
            messages.append(message.to_dict())  # type: ignore[arg-type]
            if not message.tool_calls:
                break
            messages += [
                {"role": "tool", "tool_call_id": call.id, "content": "42"}
                for call in message.tool_calls
            ]
    assert message.content
    assert len([m for m in messages if m["role"] == "assistant"]) == 2


@pytest.mark.anyio
async def test_sdk_async(llm: MockLLM) -> None:
    async with openai.AsyncOpenAI(base_url=llm.url, api_key="any") as client:
        answer = await client.chat.completions.create(
            model="gpt-4o", messages=[QUESTION], tools=TOOLS
        )
        whole = answer.choices[0].message.tool_calls or []
        async with client.chat.completions.stream(
            model="gpt-4o", messages=[QUESTION], tools=TOOLS
        ) as stream:
            streamed = (await stream.get_final_completion()).choices[0].message.tool_calls or []
    assert [call.id for call in whole] == [call.id for call in streamed]
    for call, same in zip(whole, streamed, strict=True):
        assert isinstance(call, ChatCompletionMessageFunctionToolCall)
        assert call.function.arguments == same.function.arguments
