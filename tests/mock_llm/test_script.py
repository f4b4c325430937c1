"""Scripted answers, a schema in the prompt, further models, and a lenient server."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
import pytest

from helpers.mock_llm import MockLLM

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
SCRIPT: list[dict[str, Any]] = [
    {
        "last_message": "weather",
        "tool_calls": 0,
        "call": {"name": "get_weather", "arguments": {"city": "Köln"}},
    },
    {"tool_result": "rain", "text": "Take an umbrella. ☂"},
    {"last_message": "/^rate/", "json": {"stars": 5, "reason": "good"}},
    {"model": "mock-parrot", "text": "Hello!"},
]


@pytest.fixture(scope="module")
def llm() -> Iterator[MockLLM]:
    with MockLLM() as server:
        server.script(SCRIPT)
        yield server


def ask(llm: MockLLM, messages: list[dict[str, Any]], **options: Any) -> Any:
    body = {"model": "gpt-5", "messages": messages, **options}
    headers = options.pop("headers", {})
    body.pop("headers", None)
    reply = httpx.post(f"{llm.url}/chat/completions", json=body, headers=headers)
    assert reply.status_code == 200, reply.text
    return reply.json()


def user(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


def content(answer: Any) -> str:
    return str(answer["choices"][0]["message"]["content"])


def test_an_agent_loop_with_openai(llm: MockLLM) -> None:
    client = openai.OpenAI(base_url=llm.url, api_key="any")
    messages: list[Any] = user("How is the weather in Köln?")
    first = client.chat.completions.create(model="gpt-5", messages=messages, tools=[WEATHER])  # type: ignore[list-item]
    message = first.choices[0].message
    assert first.choices[0].finish_reason == "tool_calls"
    assert message.tool_calls is not None
    (call,) = message.tool_calls
    assert call.type == "function"
    assert json.loads(call.function.arguments) == {"city": "Köln"}
    messages += [message.model_dump(exclude_none=True)]
    messages += [{"role": "tool", "tool_call_id": call.id, "content": "It will rain."}]
    last = client.chat.completions.create(model="gpt-5", messages=messages, tools=[WEATHER])  # type: ignore[list-item]
    assert last.choices[0].message.content == "Take an umbrella. ☂"
    assert last.usage is not None
    assert last.usage.completion_tokens > 3


def test_a_retry_gets_the_same_answer(llm: MockLLM) -> None:
    calls = [
        ask(llm, user("weather?"), tools=[WEATHER])["choices"][0]["message"]["tool_calls"]
        for _ in range(2)
    ]
    assert calls[0] == calls[1]


def test_a_call_of_a_tool_that_is_not_offered_does_not_match(llm: MockLLM) -> None:
    assert "tool_calls" not in ask(llm, user("weather?"))["choices"][0]["message"]


def test_an_agent_loop_with_anthropic(llm: MockLLM) -> None:
    client = anthropic.Anthropic(base_url=llm.url.removesuffix("/v1"), api_key="any")
    tool: Any = {"name": "get_weather", "input_schema": {"type": "object", "properties": {}}}
    messages: list[Any] = user("How is the weather?")
    options: dict[str, Any] = {"model": "claude-sonnet-5-5", "max_tokens": 100, "tools": [tool]}
    first = client.messages.create(messages=messages, **options)
    assert first.stop_reason == "tool_use"
    block = first.content[0]
    assert block.type == "tool_use"
    assert block.input == {"city": "Köln"}
    messages += [{"role": "assistant", "content": first.content}]
    result = {"type": "tool_result", "tool_use_id": block.id, "content": "rain"}
    messages += [{"role": "user", "content": [result]}]
    with client.messages.stream(messages=messages, **options) as stream:
        assert stream.get_final_text() == "Take an umbrella. ☂"


def test_the_responses_interface(llm: MockLLM) -> None:
    client = openai.OpenAI(base_url=llm.url, api_key="any")
    tool: Any = {"type": "function", "name": "get_weather", "parameters": None, "strict": False}
    first = client.responses.create(model="gpt-5", input="The weather?", tools=[tool])
    call = first.output[-1]
    assert call.type == "function_call"
    output: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "rain"}
    last = client.responses.create(
        model="gpt-5", input=[output], tools=[tool], previous_response_id=first.id
    )
    assert last.output_text == "Take an umbrella. ☂"


def test_json_a_pattern_and_a_model(llm: MockLLM) -> None:
    assert json.loads(content(ask(llm, user("rate it")))) == {"stars": 5, "reason": "good"}
    assert content(ask(llm, user("please rate it"))) != content(ask(llm, user("rate it")))
    assert content(ask(llm, user("Anything"), model="mock-parrot")) == "Hello!"


def test_the_legacy_route_and_a_stream(llm: MockLLM) -> None:
    body = {"model": "mock-parrot", "prompt": "Who are you?"}
    reply = httpx.post(f"{llm.url}/completions", json=body).json()
    assert reply["choices"][0]["text"] == "Hello!"
    client = openai.OpenAI(base_url=llm.url, api_key="any")
    chunks: Any = client.chat.completions.create(
        model="mock-parrot",
        messages=user("?"),  # type: ignore[arg-type]
        stream=True,
    )
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "Hello!"


def test_a_header_brings_its_own_answer(llm: MockLLM) -> None:
    header = {"x-mock-script": '{"text": "From the header."}'}
    assert content(ask(llm, user("rate it"), headers=header)) == "From the header."
    bad = httpx.post(
        f"{llm.url}/chat/completions",
        json={"model": "gpt-5", "messages": user("?")},
        headers={"x-mock-script": '{"txt": "x"}'},
    )
    assert bad.status_code == 400
    assert "there is no setting 'txt': did you mean text?" in bad.json()["error"]["message"]


def test_always_the_same_tool_call_and_back() -> None:
    with MockLLM() as llm:
        llm.script([{"call": {"name": "get_weather"}}])
        messages = user("Hello?")
        for _ in range(3):
            message = ask(llm, messages, tools=[WEATHER])["choices"][0]["message"]
            id = message["tool_calls"][0]["id"]
            messages += [message, {"role": "tool", "tool_call_id": id, "content": "again"}]
        llm.script([])
        assert ask(llm, messages, tools=[WEATHER])["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({}, "script 1: a rule needs one answer: text, json or call"),
        ({"text": "a", "json": 1}, "script 1: a rule needs one answer: text, json or call"),
        ({"text": "a", "last_message": "/(/"}, "script 1: /(/ is not a regular expression"),
        ({"text": None}, "script 1: a rule needs one answer: text, json or call"),
        ({"call": []}, "script 1: call must be a tool call with its name, or a list of them"),
        ({"call": {"arguments": {}}}, "needs a name"),
    ],
)
def test_a_wrong_rule_gets_one_sentence(rule: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match="script 1") as caught:
        MockLLM(script=[rule])  # type: ignore[list-item]
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["script.yaml", "script.json", "script.toml"])
def test_serve_reads_a_script(tmp_path: Path, name: str) -> None:
    text = {
        "script.yaml": "- {last_message: hello, text: Scripted.}\n",
        "script.json": '[{"last_message": "hello", "text": "Scripted."}]',
        "script.toml": '[[script]]\nlast_message = "hello"\ntext = "Scripted."\n',
    }[name]
    file = tmp_path / name
    file.write_text(text)
    command = [sys.executable, "-m", "helpers.cli", "serve", "--port", "0", "--script", str(file)]
    command += ["--model", "my/model:1", "--lenient"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        url = server.stdout.readline().split()[-1]
        body = {"model": "my/model:1", "messages": user("Hello?"), "top_a": 1}
        reply = httpx.post(f"{url}/chat/completions", json=body, timeout=30)
        names = [card["id"] for card in httpx.get(f"{url}/models").json()["data"]]
        server.terminate()
    assert content(reply.json()) == "Scripted."
    assert "my/model:1" in names


# The prompts of instructor's JSON mode, LlamaIndex, and ragas.
PROMPTS = [
    "Understand the content and provide the parsed objects in json that match the following "
    "json_schema:\n\n{}\n\nMake sure to return an instance of the JSON, not the schema itself",
    "Here's a JSON schema to follow:\n{}\n\nOutput a valid JSON object but do not repeat the "
    "schema.",
    "Please return the output in a JSON format that complies with the following schema as "
    "specified in JSON Schema:\n{}Do not use single quotes in your response.",
]
SCHEMA = {
    "$defs": {
        "City": {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
    },
    "type": "object",
    "properties": {"cities": {"type": "array", "items": {"$ref": "#/$defs/City"}, "minItems": 1}},
    "required": ["cities"],
}


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("role", ["system", "user"])
def test_a_schema_in_the_prompt_is_followed(llm: MockLLM, prompt: str, role: str) -> None:
    said = prompt.format(json.dumps(SCHEMA, indent=2))
    messages = [{"role": role, "content": said}, *user("Name {some} cities.")]
    for options in ({}, {"response_format": {"type": "json_object"}}):
        value = json.loads(content(ask(llm, messages, **options)))
        assert all(isinstance(city["name"], str) for city in value["cities"])


def test_a_schema_in_the_prompt_that_nothing_fits_is_no_error(llm: MockLLM) -> None:
    nothing = '{"type": "object", "properties": {"a": {"enum": []}}, "required": ["a"]}'
    messages = user(f"Answer in JSON by this schema: {nothing}")
    ask(llm, messages)
    in_json_mode = ask(llm, messages, response_format={"type": "json_object"})
    assert isinstance(json.loads(content(in_json_mode)), dict)


def test_a_prompt_full_of_braces_is_answered_quickly(llm: MockLLM) -> None:
    text = 'json "properties" ' + '{"a": [' * 20_000
    answer = httpx.post(
        f"{llm.url}/chat/completions",
        json={"model": "gpt-5", "messages": user(text)},
        timeout=20,
    )
    assert answer.status_code == 200


def test_a_lenient_server_ignores_unknown_parameters_only() -> None:
    with MockLLM(lenient=True) as llm:
        ask(llm, user("?"), top_a=1, min_p=0.1)
        wrong = {"model": "gpt-5", "messages": user("?"), "temperature": "hot", "min_p": 1}
        reply = httpx.post(f"{llm.url}/chat/completions", json=wrong)
        assert reply.json()["error"]["param"] == "temperature"
        body = {"model": "claude-sonnet-5-5", "max_tokens": 5, "messages": user("?"), "min_p": 1}
        headers = {"anthropic-version": "2023-06-01", "x-api-key": "any"}
        assert httpx.post(f"{llm.url}/messages", json=body, headers=headers).status_code == 200
        answer = httpx.post(f"{llm.url}/responses", json={"model": "gpt-5", "input": "?", "a": 1})
        assert answer.status_code == 200


def test_a_regular_expression_without_end_does_not_match() -> None:
    with MockLLM() as llm:
        llm.script([{"last_message": "/(a+)+$/", "text": "Scripted."}])
        assert content(ask(llm, user("a" * 5_000 + "b"))) != "Scripted."
        assert content(ask(llm, user("aaa"))) == "Scripted."


# What dspy's ChatAdapter and smolagents' CodeAgent read.
FORMATS = [
    "[[ ## reasoning ## ]]\nIt is known.\n\n[[ ## answer ## ]]\nParis\n\n[[ ## completed ## ]]",
    'Thought: I know it.\n<code>\nfinal_answer("Paris")\n</code>',
]


@pytest.mark.parametrize("text", FORMATS)
def test_a_format_of_an_agent_s_own_comes_as_written(text: str) -> None:
    with MockLLM() as llm:
        llm.script([{"text": text}])
        assert content(ask(llm, user("Capital of France?"))) == text
        client = openai.OpenAI(base_url=llm.url, api_key="any")
        chunks: Any = client.chat.completions.create(
            model="gpt-5",
            messages=user("Capital?"),  # type: ignore[arg-type]
            stream=True,
        )
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == text
