"""``POST /v1/embeddings``."""

from __future__ import annotations

import json
import sys
from array import array
from base64 import b64encode
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from helpers.mock_llm.model.tokens import encode, encoding
from helpers.mock_llm.model.vectors import vector
from helpers.mock_llm.openai.dialect import OPENAI
from helpers.mock_llm.openai.validation import named_body, validate
from helpers.mock_llm.serving.engine import Engine
from helpers.mock_llm.serving.errors import ApiError
from helpers.mock_llm.serving.exchange import Exchange
from helpers.mock_llm.serving.models import check_embedding_model
from helpers.mock_llm.serving.validation import read

_MOST_INPUTS = 2048
# Of one input.
_MOST_TOKENS = 8192
_MOST_TOKENS_IN_ALL = 300_000


class EmbeddingRequest(BaseModel):
    """Source: the OpenAI API reference, "Create embeddings", as of openai-python 3.54."""

    model_config = ConfigDict(strict=True, extra="forbid")

    model: str
    input: Any
    """A text, the tokens of a text, or a list of either."""
    dimensions: Annotated[int, Field(ge=1)] | None = None
    encoding_format: Literal["float", "base64"] | None = None
    user: str | None = None


class Embeddings:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def answer(self, exchange: Exchange) -> None:
        body = await named_body(exchange)
        request = await read(partial(validate, EmbeddingRequest), body)
        exchange.name_model(
            check_embedding_model(
                request.model, exchange.deployment or self._engine.further_model(request.model)
            )
        )
        size = _size(request)
        count = len(request.input) if isinstance(request.input, list) else 1
        # Vectors are work too: a few thousand numbers take as long as so many bytes of text.
        answer = await self._engine.tokenize(
            lambda: _embed(request, size, exchange.id), len(body) + size * count
        )
        await self._engine.read(exchange, answer.prompt_tokens, answer)


def _embed(request: EmbeddingRequest, size: int, id: str) -> EmbeddingsAnswer:
    inputs = _read(request.input)
    vectors = [vector(text, size, request.dimensions or size) for text, _ in inputs]
    return EmbeddingsAnswer(request, sum(count for _, count in inputs), vectors, id)


def _size(request: EmbeddingRequest) -> int:
    """Dimensions of the model's whole vectors. Raises ApiError when more are asked for."""
    size = 3072 if "large" in request.model else 1536
    if request.dimensions is None:
        return size
    if "ada-002" in request.model:
        raise ApiError(400, "This model does not support specifying dimensions.")
    if request.dimensions > size:
        raise ApiError(
            400,
            f"Invalid value for 'dimensions' = {request.dimensions}. Must be less than or equal "
            f"to {size}.",
        )
    return size


def _read(value: Any) -> list[tuple[str, int]]:
    """Each text with its number of tokens. Raises ApiError (400) in the provider's words."""
    inputs = value if isinstance(value, list) and not _is_tokens(value) else [value]
    if not inputs:
        raise _invalid_input()
    if len(inputs) > _MOST_INPUTS:
        raise ApiError(
            400,
            f"Invalid 'input': array too long. Expected an array with maximum length "
            f"{_MOST_INPUTS}, but got an array with length {len(inputs)} instead.",
            param="input",
            code="array_above_max_length",
        )
    texts = [_text(value) for value in inputs]
    total = sum(count for _, count in texts)
    if total > _MOST_TOKENS_IN_ALL:
        raise ApiError(
            400,
            f"Requested {total} tokens, max {_MOST_TOKENS_IN_ALL} tokens per request",
            type="max_tokens_per_request",
            code="max_tokens_per_request",
        )
    return texts


def _text(value: Any) -> tuple[str, int]:
    if isinstance(value, str) and value:
        text, count = value, len(encode(value))
    elif _is_tokens(value):
        text, count = _decode(value), len(value)
    else:
        raise _invalid_input()
    if count > _MOST_TOKENS:
        raise ApiError(
            400,
            f"This model's maximum context length is {_MOST_TOKENS} tokens, however you requested "
            f"{count} tokens ({count} in your prompt; 0 for the completion). Please reduce your "
            "prompt; or completion length.",
        )
    return text, count


def _is_tokens(value: Any) -> bool:
    return isinstance(value, list) and value != [] and all(type(item) is int for item in value)


def _decode(tokens: list[int]) -> str:
    try:
        return encoding().decode(tokens)
    except (KeyError, OverflowError):
        raise _invalid_input() from None


def _invalid_input() -> ApiError:
    return ApiError(400, "'$.input' is invalid. Please check the API reference.")


class EmbeddingsAnswer:
    """Never streamed: an `Answer` without steps. It is written when it is made, in a thread."""

    length = completion_tokens = hidden_tokens = 0

    def __init__(
        self, request: EmbeddingRequest, tokens: int, vectors: list[array[float]], id: str
    ) -> None:
        self.prompt_tokens = tokens
        self._model = request.model
        self._id = id
        write = _base64 if request.encoding_format == "base64" else _floats
        self._whole = self._body(
            f'{{"object":"embedding","index":{index},"embedding":{write(vector)}}}'
            for index, vector in enumerate(vectors)
        )

    def whole(self) -> bytes:
        return self._whole

    def empty(self, *, streamed: bool) -> bytes:
        return self._body(())

    def opening(self) -> bytes:
        return b""

    def steps(self) -> Iterator[tuple[int, bytes]]:
        return iter(())

    def finish(self) -> None:
        """Nothing is stored."""

    def closing(self) -> bytes:
        return b""

    def failure(self, error: ApiError) -> bytes:
        return OPENAI.error_body(error, self._id)

    def _body(self, data: Iterable[str]) -> bytes:
        return (
            f'{{"object":"list","data":[{",".join(data)}],"model":{json.dumps(self._model)},'
            f'"usage":{{"prompt_tokens":{self.prompt_tokens},'
            f'"total_tokens":{self.prompt_tokens}}}}}'
        ).encode()


def _floats(values: array[float]) -> str:
    """Nine digits tell any two numbers of single precision apart."""
    return "[" + ",".join([f"{value:.9g}" for value in values]) + "]"


def _base64(values: array[float]) -> str:
    if sys.byteorder == "big":
        values = values[:]
        values.byteswap()
    return f'"{b64encode(values.tobytes()).decode()}"'
