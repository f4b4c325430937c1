"""Whole and streamed answers, as a client of the provider would read them."""

from __future__ import annotations

import json
from typing import Any

import httpx
import openai
import pytest
from openai.types.chat import ChatCompletionUserMessageParam

from helpers.mock_llm import MockLLM, Profile
from helpers.mock_llm.tokens import count_prompt_tokens, encoding

from .conftest import Chat, only_request


def events(response: httpx.Response) -> list[Any]:
    """The JSON of each server-sent event; checks the frame around them."""
    *lines, done, rest = response.text.split("\n\n")
    assert done == "data: [DONE]"
    assert rest == ""
    return [json.loads(line.removeprefix("data: ")) for line in lines]


def contents(chunks: list[Any], index: int = 0) -> list[str]:
    return [
        choice["delta"]["content"]
        for chunk in chunks
        for choice in chunk["choices"]
        if choice["index"] == index and choice["delta"].get("content")
    ]


def test_a_whole_answer_has_the_providers_fields(chat: Chat) -> None:
    response = chat("Hello")
    answer = response.json()
    assert response.status_code == 200
    assert answer["object"] == "chat.completion"
    assert answer["id"].startswith("chatcmpl-")
    assert answer["model"] == "gpt-4o"
    [choice] = answer["choices"]
    assert choice["finish_reason"] == "stop"
    assert choice["message"]["role"] == "assistant"
    assert response.headers["x-request-id"].startswith("req_")
    assert response.headers["openai-version"] == "2020-10-01"
    assert int(response.headers["openai-processing-ms"]) >= 0


def test_the_stream_begins_with_the_role_and_ends_with_the_reason(chat: Chat) -> None:
    response = chat("Hello", stream=True)
    first, *_, last = chunks = events(response)
    assert response.headers["content-type"].startswith("text/event-stream")
    assert first["choices"][0]["delta"]["role"] == "assistant"
    assert last["choices"][0]["finish_reason"] == "stop"
    assert all(chunk["object"] == "chat.completion.chunk" for chunk in chunks)
    assert not any("usage" in chunk for chunk in chunks)


def test_usage_comes_in_a_chunk_of_its_own_when_asked_for(chat: Chat) -> None:
    *others, last = events(chat("Hello", stream=True, stream_options={"include_usage": True}))
    assert last["choices"] == []
    assert last["usage"]["completion_tokens"] == len(contents(others))
    assert all(chunk["usage"] is None for chunk in others)


@pytest.mark.parametrize("prompt", ["Hello", "Bonjour, ça va ?", "你好", "def f(): ...", "🙂" * 9])
def test_usage_is_what_the_tokenizer_counts(chat: Chat, prompt: str) -> None:
    answer = chat(prompt).json()
    content = answer["choices"][0]["message"]["content"]
    chunks = contents(events(chat(prompt, stream=True)))
    assert answer["usage"]["completion_tokens"] == len(encoding().encode(content)) == len(chunks)
    assert "".join(chunks) == content
    assert answer["usage"]["prompt_tokens"] == len(encoding().encode(prompt)) + 3 + 1 + 3


def test_the_client_can_count_the_prompt_itself(chat: Chat) -> None:
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "name": "ada", "content": [{"type": "text", "text": "Hi <|endoftext|>"}]},
    ]
    tools = [{"type": "function", "function": {"name": "look_up", "parameters": {}}}]
    usage = chat(messages=messages, tools=tools).json()["usage"]
    assert usage["prompt_tokens"] == count_prompt_tokens(messages, tools)


@pytest.mark.parametrize("limit", ["max_tokens", "max_completion_tokens"])
def test_a_small_limit_cuts_the_answer_and_says_so(chat: Chat, limit: str) -> None:
    whole = chat("Hello").json()["choices"][0]["message"]["content"]
    cut = chat("Hello", **{limit: 5}).json()
    assert cut["choices"][0]["finish_reason"] == "length"
    assert cut["usage"]["completion_tokens"] == 5
    assert whole.startswith(cut["choices"][0]["message"]["content"])


@pytest.mark.parametrize(("limit", "tokens", "reason"), [(40, 30, "stop"), (20, 20, "length")])
def test_the_length_asked_of_the_server_is_capped_by_the_request(
    llm: MockLLM, chat: Chat, limit: int, tokens: int, reason: str
) -> None:
    llm.configure(answer_tokens=30)
    answer = chat("Hello", max_tokens=limit).json()
    assert answer["usage"]["completion_tokens"] == tokens
    assert answer["choices"][0]["finish_reason"] == reason


def test_answers_depend_on_prompt_and_seed_alone(llm: MockLLM, chat: Chat) -> None:
    def text(prompt: str, **parameters: Any) -> str:
        return str(chat(prompt, **parameters).json()["choices"][0]["message"]["content"])

    first = text("Hello")
    assert text("Hello") == first
    assert text("Hello!") != first
    assert text("Hello", seed=1) != first
    llm.configure(seed=7)
    assert text("Hello") != first


def test_several_choices_are_all_sent(chat: Chat) -> None:
    whole = chat("Hello", n=3).json()
    streamed = events(chat("Hello", n=3, stream=True))
    texts = [choice["message"]["content"] for choice in whole["choices"]]
    assert len(set(texts)) == 3
    assert texts == ["".join(contents(streamed, index)) for index in range(3)]
    assert whole["usage"]["completion_tokens"] == sum(
        len(encoding().encode(text)) for text in texts
    )


def test_a_prefix_seen_before_counts_as_cached(llm: MockLLM, chat: Chat) -> None:
    def cached(prompt: str) -> int:
        details = chat(prompt).json()["usage"]["prompt_tokens_details"]
        return int(details["cached_tokens"])

    start = "word " * 1300
    assert cached(start) == 0
    assert cached(start + "and a new end") == 1280
    assert cached("A new start. " + start) == 0
    assert cached("too short") == cached("too short") == 0
    assert llm.ledger().requests[1].cached_tokens == 1280
    llm.reset()
    assert cached(start) == 0


def test_reasoning_is_billed_and_can_use_up_the_limit(llm: MockLLM, chat: Chat) -> None:
    llm.configure(profile=Profile(thinking_tokens=50), answer_tokens=10)
    usage = chat("Hello").json()["usage"]
    assert usage["completion_tokens"] == 60
    assert usage["completion_tokens_details"]["reasoning_tokens"] == 50
    cut = chat("Hello", max_completion_tokens=50).json()["choices"][0]
    assert (cut["message"]["content"], cut["finish_reason"]) == ("", "length")
    chunks = events(chat("Hello", max_completion_tokens=50, stream=True))
    assert contents(chunks) == []


def test_reasoning_can_be_turned_off(llm: MockLLM, chat: Chat) -> None:
    llm.configure(profile=Profile(thinking_tokens=50), answer_tokens=10)
    usage = chat("Hello", model="gpt-5", reasoning_effort="none").json()["usage"]
    assert usage["completion_tokens"] == 10
    usage = chat("Hello", model="gpt-5", reasoning_effort="low").json()["usage"]
    assert usage["completion_tokens"] == 60


def text_of(answer: Any) -> str:
    return str(answer["choices"][0]["message"]["content"])


@pytest.mark.parametrize("as_list", [False, True])
def test_the_text_ends_before_a_stop_sequence(chat: Chat, as_list: bool) -> None:
    whole = text_of(chat("Hello").json())
    end = whole[10:14]  # in the middle of a word, most likely
    before = whole[: whole.index(end)]
    stop = ["nowhere", end, whole[20:24]] if as_list else end
    answer = chat("Hello", stop=stop).json()
    assert text_of(answer) == before
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert answer["usage"]["completion_tokens"] == len(encoding().encode(before))
    assert "".join(contents(events(chat("Hello", stop=stop, stream=True)))) == before


def test_a_stop_sequence_beyond_the_limit_is_not_reached(chat: Chat) -> None:
    whole = text_of(chat("Hello").json())
    end = whole[-8:]
    assert chat("Hello", stop=end).json()["choices"][0]["finish_reason"] == "stop"
    cut = chat("Hello", stop=end, max_tokens=3).json()["choices"][0]
    assert cut["finish_reason"] == "length"
    assert whole.startswith(cut["message"]["content"])


def test_the_text_may_stop_at_once(chat: Chat) -> None:
    whole = text_of(chat("Hello").json())
    answer = chat("Hello", stop=whole[:3]).json()
    assert (text_of(answer), answer["usage"]["completion_tokens"]) == ("", 0)
    assert contents(events(chat("Hello", stop=whole[:3], stream=True))) == []


def test_chunks_are_padded_unless_that_is_turned_off(chat: Chat) -> None:
    padded = chat("Hello", stream=True)
    plain = chat("Hello", stream=True, stream_options={"include_obfuscation": False})
    *chunks, _ = events(padded)
    assert all(chunk["obfuscation"] for chunk in chunks)
    assert not any("obfuscation" in chunk for chunk in events(plain))
    lines = [line for line in padded.text.split("\n\n") if '"delta":{"content":' in line]
    assert len({len(line) for line in lines}) <= 2
    assert contents(chunks) == contents(events(plain))


@pytest.mark.parametrize(
    ("asked", "served"),
    [(None, "default"), ("auto", "default"), ("flex", "flex"), ("fast", "priority")],
)
def test_the_tier_that_served_is_named(chat: Chat, asked: str | None, served: str) -> None:
    assert chat("Hello", service_tier=asked).json()["service_tier"] == served
    assert events(chat("Hello", service_tier=asked, stream=True))[0]["service_tier"] == served


def test_the_fingerprint_stays_the_same(chat: Chat) -> None:
    first = chat("Hello", seed=1).json()["system_fingerprint"]
    assert first.startswith("fp_")
    assert chat("Hello", seed=1).json()["system_fingerprint"] == first


def test_a_conversation_with_tool_calls_is_accepted(chat: Chat) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages: list[dict[str, Any]] = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]},
        {"role": "assistant", "content": None, "tool_calls": [call], "refusal": None},
        {"role": "tool", "content": "42", "tool_call_id": "c1"},
    ]
    response = chat(messages=messages)
    assert response.status_code == 200
    assert response.json()["usage"]["prompt_tokens"] == count_prompt_tokens(messages)


def test_tools_are_counted_as_they_were_sent(chat: Chat) -> None:
    """Key by key in their order, which the client knows and the server must not change."""
    messages = [{"role": "user", "content": "Hello"}]
    function = {"strict": False, "parameters": {}, "description": "Look it up.", "name": "f"}
    tools = [{"function": function, "type": "function"}]
    usage = chat(messages=messages, tools=tools).json()["usage"]
    assert usage["prompt_tokens"] == count_prompt_tokens(messages, tools)
    usage = chat(messages=messages, functions=[function]).json()["usage"]
    assert usage["prompt_tokens"] == count_prompt_tokens(messages, [function])


@pytest.mark.parametrize("model", ["gpt-9-turbo", "o7", "o3-mini", "claude-next", "mock-a:b.c"])
def test_models_of_current_families_exist(llm: MockLLM, http: httpx.Client, model: str) -> None:
    assert http.get(f"{llm.url}/models/{model}").json()["id"] == model


def test_sdk_sync(llm: MockLLM) -> None:
    with openai.OpenAI(base_url=llm.url, api_key="any") as client:
        message: ChatCompletionUserMessageParam = {"role": "user", "content": "Hello"}
        whole = client.chat.completions.create(model="gpt-4o", messages=[message])
        with client.chat.completions.create(
            model="gpt-4o",
            messages=[message],
            stream=True,
            stream_options={"include_usage": True},
        ) as stream:
            chunks = list(stream)
        assert client.models.retrieve("gpt-4o").id == "gpt-4o"
        assert "gpt-4o" in [model.id for model in client.models.list()]
        with pytest.raises(openai.NotFoundError) as caught:
            client.chat.completions.create(model="llama", messages=[message])
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-1].usage == whole.usage
    assert caught.value.code == "model_not_found"


@pytest.mark.anyio
async def test_sdk_async(llm: MockLLM) -> None:
    async with openai.AsyncOpenAI(base_url=llm.url, api_key="any") as client:
        message: ChatCompletionUserMessageParam = {"role": "user", "content": "Hello"}
        whole = await client.chat.completions.create(model="gpt-4o", messages=[message])
        stream = await client.chat.completions.create(
            model="gpt-4o",
            messages=[message],
            stream=True,
        )
        text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
        with pytest.raises(openai.BadRequestError) as caught:
            await client.chat.completions.create(model="gpt-4o", messages=[])
    assert text == whole.choices[0].message.content
    assert caught.value.param == "messages"


def test_the_ledger_has_the_whole_story_of_a_request(llm: MockLLM, chat: Chat) -> None:
    chat("Hello", stream=True, max_tokens=9)
    usage = chat("Hello").json()["usage"]
    streamed, whole = llm.ledger().requests
    assert (streamed.id, whole.id) == (1, 2)
    assert (streamed.streamed, whole.streamed) == (True, False)
    assert (streamed.completion_tokens, whole.completion_tokens) == (9, usage["completion_tokens"])
    assert whole.prompt_tokens == usage["prompt_tokens"]
    for request in (streamed, whole):
        assert (request.method, request.path) == ("POST", "/v1/chat/completions")
        assert (request.status, request.model, request.http_version) == (200, "gpt-4o", "1.1")
        assert request.client_left is None
        times = [request.arrival, request.slot, request.first_token]
        times += [request.first_byte, request.last_byte]
        assert None not in times
        assert times == sorted(times)  # type: ignore[type-var]


def test_failed_requests_are_in_the_ledger_too(llm: MockLLM, chat: Chat) -> None:
    chat(model="llama")
    request = only_request(llm)
    assert (request.status, request.completion_tokens) == (404, None)
    assert request.last_byte is not None
