"""The legacy route, Azure's paths, and aliases."""

from __future__ import annotations

from typing import Any

import httpx
import openai
import pytest

from helpers.mock_llm import MockLLM
from helpers.mock_llm.tokens import encode

from .conftest import only_request
from .test_chat import events
from .test_errors import error_of

MODEL = "gpt-3.5-turbo-instruct"


@pytest.fixture
def complete(llm: MockLLM, http: httpx.Client) -> Any:
    def post(prompt: Any = "Once upon a time", **parameters: Any) -> httpx.Response:
        body = {"model": MODEL, "prompt": prompt} | parameters
        return http.post(f"{llm.url}/completions", json=body)

    return post


def test_a_text_is_continued(complete: Any) -> None:
    """llama-index's OpenAILike uses this route by default, and so do the AI SDK's completion() and
    litellm's text_completion."""
    answer = complete().json()
    [choice] = answer["choices"]
    assert (answer["object"], answer["model"]) == ("text_completion", MODEL)
    assert answer["id"].startswith("cmpl-")
    assert (choice["finish_reason"], choice["logprobs"]) == ("length", None)
    assert len(encode(choice["text"])) == 16
    assert answer["usage"] == {
        "prompt_tokens": len(encode("Once upon a time")),
        "completion_tokens": 16,
        "total_tokens": 16 + len(encode("Once upon a time")),
    }


def test_a_streamed_completion_is_the_whole_one(complete: Any) -> None:
    whole = complete(max_tokens=200).json()
    options = {"include_usage": True}
    chunks = events(complete(max_tokens=200, stream=True, stream_options=options))
    *chunks, end, usage = chunks
    text = "".join(chunk["choices"][0]["text"] for chunk in chunks)
    assert text == whole["choices"][0]["text"]
    assert end["choices"][0]["finish_reason"] == whole["choices"][0]["finish_reason"] == "stop"
    assert (usage["choices"], usage["usage"]) == ([], whole["usage"])
    assert all(chunk["object"] == "text_completion" for chunk in chunks)


@pytest.mark.parametrize(
    "prompts", [["a", "b"], [encode("a"), encode("b")], ["same", "same", "same"]], ids=repr
)
def test_every_prompt_has_its_choices(complete: Any, prompts: list[Any]) -> None:
    answer = complete(prompts, n=2).json()
    assert [choice["index"] for choice in answer["choices"]] == list(range(2 * len(prompts)))
    tokens = sum(len(encode(p) if isinstance(p, str) else p) for p in prompts)
    assert answer["usage"]["prompt_tokens"] == tokens


@pytest.mark.parametrize("stream", [False, True])
def test_the_prompt_is_echoed_with_its_log_probabilities(complete: Any, stream: bool) -> None:
    response = complete("Hello there", echo=True, logprobs=3, max_tokens=4, stream=stream)
    choices = [c["choices"][0] for c in (events(response) if stream else [response.json()])]
    text = "".join(choice["text"] for choice in choices)
    assert text.startswith("Hello there")
    listed = [choice["logprobs"] for choice in choices if choice["logprobs"]]
    tokens = [token for each in listed for token in each["tokens"]]
    offsets = [offset for each in listed for offset in each["text_offset"]]
    assert "".join(tokens) == text
    assert offsets == [len("".join(tokens[:index])) for index in range(len(tokens))]
    assert all(len(top) == 3 for each in listed for top in each["top_logprobs"])


def test_scoring_a_prompt_writes_nothing(complete: Any) -> None:
    answer = complete("Hello there", echo=True, logprobs=0, max_tokens=0).json()
    assert answer["choices"][0]["text"] == "Hello there"
    assert answer["usage"]["completion_tokens"] == 0


@pytest.mark.parametrize(
    ("parameters", "param", "code"),
    [
        ({"logprobs": 6}, "logprobs", "integer_above_max_value"),
        ({"best_of": 21}, "best_of", "integer_above_max_value"),
        ({"n": 2, "best_of": 1}, "best_of", None),
        ({"best_of": 2, "stream": True}, "stream", None),
        ({"stop": list("abcde")}, "stop", "array_above_max_length"),
        ({"stream_options": {"include_usage": True}}, "stream_options", None),
        ({"prompt": []}, "prompt", "empty_array"),
        ({"prompt": {"a": 1}}, "prompt", "invalid_type"),
        ({"max_tokens": 5000}, None, None),
        ({"messages": []}, None, None),
    ],
)
def test_a_wrong_parameter_is_named(
    complete: Any, parameters: dict[str, Any], param: str | None, code: str | None
) -> None:
    response = complete(**parameters)
    assert response.status_code == 400
    assert (error_of(response)["param"], error_of(response)["code"]) == (param, code)


def test_models_belong_to_their_route(complete: Any, llm: MockLLM, http: httpx.Client) -> None:
    response = complete(model="gpt-4o")
    assert response.status_code == 404
    assert "Did you mean to use v1/chat/completions?" in error_of(response)["message"]
    body = {"model": MODEL, "messages": [{"role": "user", "content": "Hello"}]}
    assert http.post(f"{llm.url}/chat/completions", json=body).status_code == 404
    assert complete(model="mock-1").status_code == 200


def test_sdk_reads_completions(llm: MockLLM) -> None:
    with openai.OpenAI(base_url=llm.url, api_key="any") as client:
        whole = client.completions.create(model=MODEL, prompt="Hello", logprobs=2)
        chunks = list(client.completions.create(model=MODEL, prompt="Hello", stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks) == whole.choices[0].text
    assert whole.choices[0].logprobs is not None


def test_azures_client_is_served(llm: MockLLM) -> None:
    """Deployments have any name. Source: the SDK's AzureOpenAI client."""
    client = openai.AzureOpenAI(
        azure_endpoint=llm.url.removesuffix("/v1"), api_key="any", api_version="2024-10-21"
    )
    with client:
        answer = client.chat.completions.create(
            model="our-deployment", messages=[{"role": "user", "content": "Hello"}]
        )
        vectors = client.embeddings.create(model="our-embeddings", input="Hello")
    assert answer.choices[0].message.content
    assert vectors.data[0].embedding
    chat, embedding = llm.ledger().requests
    assert (chat.model, embedding.model) == ("our-deployment", "our-embeddings")
    assert chat.path == "/openai/deployments/our-deployment/chat/completions"


def test_a_deployment_names_the_model(llm: MockLLM, http: httpx.Client) -> None:
    url = llm.url.removesuffix("/v1") + "/openai/deployments/gpt-4o/chat/completions"
    body: dict[str, Any] = {"messages": [{"role": "user", "content": "Hello"}]}
    response = http.post(f"{url}?api-version=2024-10-21", json=body)
    assert response.json()["model"] == "gpt-4o"
    assert http.post(url, json={"messages": []}).status_code == 400


def test_azures_header_carries_the_key(http: httpx.Client) -> None:
    with MockLLM(api_key="sk-right") as llm:
        url = llm.url.removesuffix("/v1") + "/openai/v1/models"
        assert http.get(url, headers={"api-key": "sk-right"}).status_code == 200
        assert http.get(url, headers={"api-key": "sk-wrong"}).status_code == 401


def test_openai_v1_is_an_alias(llm: MockLLM, http: httpx.Client) -> None:
    base = llm.url.removesuffix("/v1") + "/openai/v1"
    made = http.post(f"{base}/responses", json={"model": "gpt-4o", "input": "Hello"}).json()
    assert http.get(f"{base}/responses/{made['id']}").json() == made
    assert http.get(f"{base}/models/gpt-4o").json()["id"] == "gpt-4o"
    assert http.get(f"{base}/nothing").status_code == 404


def test_responses_are_not_compacted(llm: MockLLM, http: httpx.Client) -> None:
    response = http.post(f"{llm.url}/responses/compact", json={})
    assert (response.status_code, error_of(response)["code"]) == (404, "unknown_url")
    assert only_request(llm).status == 404
