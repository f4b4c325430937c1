"""Vectors for texts, as the official client asks for them and reads them."""

from __future__ import annotations

import base64
import math
import struct
from collections.abc import Iterator, Sequence
from typing import Any

import httpx
import openai
import pytest
from openai.types import embedding_create_params

from helpers.mock_llm import MockLLM, Profile
from helpers.mock_llm.openai.embeddings import EmbeddingRequest
from helpers.mock_llm.tokens import encoding

from .conftest import only_request

SMALL = "text-embedding-3-small"


@pytest.fixture
def client(llm: MockLLM) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=llm.url, api_key="any", max_retries=0) as client:
        yield client


def cosine(a: Sequence[float], b: Sequence[float]) -> float:
    return math.fsum(x * y for x, y in zip(a, b, strict=True))


def test_the_client_reads_unit_vectors(client: openai.OpenAI) -> None:
    answer = client.embeddings.create(model=SMALL, input=["Hello", "Good-bye"])
    first, second = answer.data
    assert (first.index, second.index, first.object) == (0, 1, "embedding")
    assert answer.model == SMALL
    for one in answer.data:
        assert len(one.embedding) == 1536
        assert cosine(one.embedding, one.embedding) == pytest.approx(1, abs=1e-5)
    assert answer.usage.prompt_tokens == answer.usage.total_tokens
    assert answer.usage.total_tokens == len(encoding().encode("Hello")) + len(
        encoding().encode("Good-bye")
    )


def test_base64_and_floats_are_the_same_numbers(llm: MockLLM, http: httpx.Client) -> None:
    def embed(format: str | None) -> Any:
        body = {"model": SMALL, "input": "Hello", "encoding_format": format}
        return http.post(f"{llm.url}/embeddings", json=body).json()["data"][0]["embedding"]

    data = base64.b64decode(embed("base64"))
    assert list(struct.unpack(f"<{len(data) // 4}f", data)) == [
        struct.unpack("<f", struct.pack("<f", value))[0] for value in embed("float")
    ]
    assert embed("float") == embed(None)


def test_the_same_text_has_the_same_vector_however_it_is_sent(client: openai.OpenAI) -> None:
    text = "The quick brown fox — 你好 🙂"
    tokens = encoding().encode(text)

    def embed(input: Any) -> list[float]:
        return client.embeddings.create(model=SMALL, input=input).data[-1].embedding

    assert embed(text) == embed(["another", text]) == embed(tokens) == embed([[1, 2], tokens])
    assert embed(text) != embed(text + "!")
    assert embed("one two") != embed("two one")


def test_texts_about_the_same_are_nearer(client: openai.OpenAI) -> None:
    texts = [
        "How do I reset my password?",
        "I forgot my password. How can I reset it?",
        "Our quarterly revenue grew by eleven percent.",
    ]
    answer = client.embeddings.create(model=SMALL, input=texts)
    question, same, other = (one.embedding for one in answer.data)
    assert cosine(question, same) > cosine(question, other) + 0.3
    assert cosine(question, same) < 0.999


@pytest.mark.parametrize(
    ("model", "dimensions", "length"),
    [
        (SMALL, None, 1536),
        ("text-embedding-3-large", None, 3072),
        ("text-embedding-ada-002", None, 1536),
        ("text-embedding-3-large", 256, 256),
        (SMALL, 1, 1),
    ],
)
def test_vectors_have_the_dimensions_asked_for(
    client: openai.OpenAI, model: str, dimensions: int | None, length: int
) -> None:
    wanted: Any = openai.omit if dimensions is None else dimensions
    vector = client.embeddings.create(model=model, input="Hello", dimensions=wanted).data[0]
    assert len(vector.embedding) == length
    assert cosine(vector.embedding, vector.embedding) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": ["Hello", ""]}, "input"),
        ({"input": ["Hello", 4]}, "input"),
        ({"input": [True]}, "input"),
        ({"input": [[]]}, "input"),
        ({"input": [-1]}, "input"),
        ({"input": [2**40]}, "input"),
        ({"input": {"text": "Hello"}}, "input"),
        ({"input": ["a"] * 2049}, "maximum length 2048"),
        ({"input": "a " * 8200}, "maximum context length is 8192"),
        ({"input": [1] * 8193}, "8193 tokens"),
        ({"input": ["a " * 8000] * 40}, "max 300000 tokens"),
        ({"dimensions": 1537}, "dimensions"),
        ({"dimensions": 0}, "dimensions"),
        ({"model": "text-embedding-ada-002", "dimensions": 5}, "does not support"),
        ({"encoding_format": "hex"}, "'float' and 'base64'"),
        ({"inputs": "Hello"}, "inputs"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_the_provider_refuses_is_refused(
    client: openai.OpenAI, parameters: dict[str, Any], words: str
) -> None:
    body = {"model": SMALL, "input": "Hello"} | parameters
    with pytest.raises(openai.BadRequestError, match=words):
        client.post("/embeddings", body=body, cast_to=object)


def test_only_embedding_models_embed(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as unknown:
        client.embeddings.create(model="bert", input="Hello")
    assert unknown.value.code == "model_not_found"
    with pytest.raises(openai.PermissionDeniedError, match="not allowed to generate embeddings"):
        client.embeddings.create(model="gpt-4o", input="Hello")


def test_every_documented_parameter_is_known() -> None:
    documented = embedding_create_params.EmbeddingCreateParams.__annotations__
    assert set(documented) == set(EmbeddingRequest.model_fields)


@pytest.mark.anyio
async def test_sdk_async(llm: MockLLM) -> None:
    async with openai.AsyncOpenAI(base_url=llm.url, api_key="any") as client:
        floats = await client.embeddings.create(model=SMALL, input="Hi", encoding_format="float")
        packed = await client.embeddings.create(model=SMALL, input="Hi")
    assert floats.data[0].embedding == pytest.approx(packed.data[0].embedding, abs=1e-8)


def test_reading_takes_the_models_time(llm: MockLLM, client: openai.OpenAI) -> None:
    llm.configure(profile=Profile(base=0.05, prefill_rate=1000, decode_rate=0.1))
    tokens = client.embeddings.create(model=SMALL, input="word " * 100).usage.prompt_tokens
    request = only_request(llm)
    assert (request.prompt_tokens, request.completion_tokens) == (tokens, 0)
    assert request.model == SMALL
    assert request.slot is not None
    assert request.last_byte is not None
    assert request.last_byte - request.slot >= 0.05 + tokens / 1000 - 0.001


def test_embedding_models_only_embed(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="not a chat model"):
        client.chat.completions.create(model=SMALL, messages=[{"role": "user", "content": "Hello"}])
    with pytest.raises(openai.NotFoundError, match="not a chat model"):
        client.responses.create(model=SMALL, input="Hello")
