"""``POST /v1/completions``: the legacy route, which continues a text, not a conversation."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import accumulate, zip_longest
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from helpers.mock_llm.model.conversation import Conversation
from helpers.mock_llm.model.generate import Choice, GenerationRequest, Text
from helpers.mock_llm.model.logprobs import token_logprobs
from helpers.mock_llm.model.tokens import decode, encode, encoding, pieces
from helpers.mock_llm.openai import rules
from helpers.mock_llm.openai.chat_request import StreamOptions
from helpers.mock_llm.openai.dialect import OPENAI
from helpers.mock_llm.openai.validation import named_body, refused, validate, wrong_type
from helpers.mock_llm.serving.engine import Completion, Engine
from helpers.mock_llm.serving.errors import ApiError, answer_too_long
from helpers.mock_llm.serving.exchange import Exchange
from helpers.mock_llm.serving.models import check_completion_model
from helpers.mock_llm.serving.validation import FailFastList, read

_MAX_PROMPTS = 2_048
# Echoed tokens of all choices, alternatives counted four times: some 50 ms.
_MAX_ECHOED = 200_000
_USUAL_LIMIT = 16
_EXPECTED = "one of a string, array of strings, array of integers, or array of integer arrays"
_DONE = b"data: [DONE]\n\n"
_Penalty = Annotated[float, Field(ge=-2, le=2)]


class CompletionRequest(BaseModel):
    """Source: the OpenAI API reference, "Create completion", as of openai-python 3.57."""

    model_config = ConfigDict(strict=True, extra="forbid")

    model: str
    prompt: Any
    """A text, the tokens of a text, or a list of either."""
    best_of: Annotated[int, Field(ge=1, le=20)] | None = None
    echo: bool | None = None
    frequency_penalty: _Penalty | None = None
    logit_bias: dict[str, Annotated[int, Field(ge=-100, le=100)]] | None = None
    logprobs: Annotated[int, Field(ge=0, le=5)] | None = None
    max_tokens: Annotated[int, Field(ge=0)] | None = None
    n: Annotated[int, Field(ge=1, le=128)] | None = None
    presence_penalty: _Penalty | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    stop: str | Annotated[FailFastList[str], Field(min_length=1, max_length=4)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    suffix: str | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    user: str | None = None


def _parse(body: bytes) -> CompletionRequest:
    """Raises ApiError (400) in the provider's words."""
    request = validate(CompletionRequest, body)
    if request.stream_options is not None and not request.stream:
        raise refused(
            "The 'stream_options' parameter is only allowed when 'stream' is enabled.",
            "stream_options",
        )
    count = request.n or 1
    if request.best_of is not None and request.best_of < count:
        raise refused(
            "You requested that the server return more choices than it will generate (HINT: you "
            f"must set 'n' (currently {count}) to be at most 'best_of' (currently "
            f"{request.best_of}), or omit either parameter if you don't specifically want to use "
            "them.)",
            "best_of",
        )
    if request.stream and (request.best_of or count) > count:
        raise refused("Results cannot be streamed when 'best_of' is greater than 'n'.", "stream")
    rules.check_logit_bias(request.logit_bias)
    base = request.model.removeprefix("ft:")
    if request.suffix is not None and base.startswith(("davinci", "babbage")):
        raise refused("This model does not support the suffix parameter.", "suffix")
    return request


class Completions:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def answer(self, exchange: Exchange) -> None:
        body = await named_body(exchange)
        request = await read(_parse, body, lenient=self._engine.lenient)
        exchange.name_model(
            check_completion_model(
                request.model, exchange.deployment or self._engine.further_model(request.model)
            )
        )
        prompts = await self._engine.tokenize(partial(_prompts, request.prompt), len(body))
        exchange.count_messages(len(prompts))
        _check_echo(request, prompts)
        limit = _USUAL_LIMIT if request.max_tokens is None else request.max_tokens
        longest = max(map(len, prompts))
        _check_length(self._engine.window_of(request.model).context, longest, limit)
        stop = (request.stop,) if isinstance(request.stop, str) else tuple(request.stop or ())
        generation = GenerationRequest(
            model=request.model,
            prompt=[token for prompt in prompts for token in prompt],
            longest_prompt=longest,
            limit=limit,
            seed=request.seed or 0,
            choices=(request.n or 1) * len(prompts),
            stop=stop,
            top_logprobs=request.logprobs,
            thinking_budget=0,
            conversation=lambda: Conversation(tuple(map(decode, prompts))),
        )
        await self._engine.answer(
            exchange,
            generation,
            lambda completion: _CompletionAnswer(completion, request, prompts),
            streamed=bool(request.stream),
        )


def _check_length(window: int, prompt: int, answer: int) -> None:
    """In the words of this route. acheong08/ChatGPT#501"""
    if prompt + answer > window:
        raise refused(
            f"This model's maximum context length is {window} tokens, however you requested "
            f"{prompt + answer} tokens ({prompt} in your prompt; {answer} for the completion). "
            "Please reduce your prompt; or completion length."
        )


def _check_echo(request: CompletionRequest, prompts: list[list[int]]) -> None:
    """Raises ApiError (400): each choice repeats its prompt, with its log probabilities."""
    if request.echo:
        tokens = (request.n or 1) * sum(map(len, prompts))
        if tokens * (1 + 4 * (request.logprobs or 0)) > _MAX_ECHOED:
            raise answer_too_long()


def _prompts(value: Any) -> list[list[int]]:
    """The tokens of each prompt. Raises ApiError (400)."""
    if value is None or value == "":
        return [encode("\n")]  # the document separator, as the reference says
    values = value if isinstance(value, list) and not _is_tokens(value) else [value]
    if not values:
        raise refused("Invalid 'prompt': empty array.", "prompt", "empty_array")
    if len(values) > _MAX_PROMPTS:
        raise refused(
            f"Invalid 'prompt': array too long. Expected an array with maximum length "
            f"{_MAX_PROMPTS}, but got an array with length {len(values)} instead.",
            "prompt",
            "array_above_max_length",
        )
    if not isinstance(value, str | list):
        raise wrong_type("prompt", _EXPECTED, value, "prompt")
    of_texts = isinstance(values[0], str)
    for index, item in enumerate(values):
        if not isinstance(item, str) if of_texts else item != [] and not _is_tokens(item):
            expected = "a string" if of_texts else "an array of integers"
            where = f"prompt[{index}]"
            raise wrong_type(where, expected, item, where)
    prompts = [encode(item) if isinstance(item, str) else item for item in values]
    if any(not 0 <= token < encoding().n_vocab for prompt in prompts for token in prompt):
        raise refused("Invalid token in 'prompt'.", "prompt", "invalid_value")
    return prompts


def _is_tokens(value: Any) -> bool:
    return isinstance(value, list) and value != [] and all(type(item) is int for item in value)


@dataclass(slots=True)
class _Piece:
    """A choice: what was echoed, and what was written."""

    echoed: list[str]
    tokens: list[str]
    finish: str
    logprobs: list[dict[str, Any]]
    """Of each token, echoed ones first; none if they are not asked for."""
    offsets: list[int]
    """Of each token in the text, echoed ones first."""

    def some_logprobs(self, first: int, last: int) -> dict[str, Any] | None:
        """Those of the tokens from ``first`` up to ``last``."""
        if not self.logprobs:
            return None
        entries = self.logprobs[first:last]
        return {
            "tokens": [each["token"] for each in entries],
            "token_logprobs": [each["logprob"] for each in entries],
            "top_logprobs": [
                {one["token"]: one["logprob"] for one in each["top_logprobs"]} for each in entries
            ],
            "text_offset": self.offsets[first:last],
        }


class _CompletionAnswer:
    """An answer as the legacy route has it: chunks and whole answers have the same form."""

    def __init__(
        self, completion: Completion, request: CompletionRequest, prompts: list[list[int]]
    ) -> None:
        self._completion = completion
        self._request = request
        count = request.n or 1
        echoes = [self._echo(prompt) for prompt in prompts]
        self._pieces = [
            self._piece(choice, *echoes[index // count])
            for index, choice in enumerate(completion.choices)
        ]

    def _echo(self, prompt: list[int]) -> tuple[list[str], list[Any]]:
        """A prompt's tokens, and their log probabilities, where they are wanted."""
        wanted = self._request.logprobs
        echoed = pieces(decode(prompt)) if self._request.echo else []
        listed = [] if wanted is None else token_logprobs(echoed, wanted)
        return echoed, [json.loads(entry) for entry in listed]

    def _piece(self, choice: Choice, echoed: list[str], listed: list[Any]) -> _Piece:
        part = choice.parts[0]
        own = part.logprobs if isinstance(part, Text) else []
        return _Piece(
            echoed,
            part.tokens,
            "length" if choice.finish == "length" else "stop",
            [*listed, *map(json.loads, own)] if self._request.logprobs is not None else [],
            list(accumulate(map(len, [*echoed, *part.tokens]), initial=0)),
        )

    @property
    def length(self) -> int:
        return max(len(piece.tokens) for piece in self._pieces)

    @property
    def completion_tokens(self) -> int:
        return self._completion.completion_tokens

    hidden_tokens = 0

    def whole(self) -> bytes:
        choices = [
            self._choice(
                index,
                "".join([*piece.echoed, *piece.tokens]),
                piece.some_logprobs(0, len(piece.echoed) + len(piece.tokens)),
                piece.finish,
            )
            for index, piece in enumerate(self._pieces)
        ]
        return self._body(choices, usage=self._usage())

    def opening(self) -> bytes:
        return b"".join(
            self._event(
                index, "".join(piece.echoed), piece.some_logprobs(0, len(piece.echoed)), None
            )
            for index, piece in enumerate(self._pieces)
            if piece.echoed
        )

    def steps(self) -> Iterator[tuple[int, bytes]]:
        for step in zip_longest(*(self._tokens(index) for index in range(len(self._pieces)))):
            events = [event for event in step if event is not None]
            yield len(events), b"".join(events)

    def _tokens(self, index: int) -> Iterator[bytes]:
        piece = self._pieces[index]
        for place, token in enumerate(piece.tokens, start=len(piece.echoed)):
            yield self._event(index, token, piece.some_logprobs(place, place + 1), None)

    def finish(self) -> None:
        """Nothing is stored."""

    def closing(self) -> bytes:
        last = b"".join(
            self._event(index, "", None, piece.finish) for index, piece in enumerate(self._pieces)
        )
        options = self._request.stream_options
        if options and options.get("include_usage"):
            last += b"data: " + self._body([], usage=self._usage()) + b"\n\n"
        return last + _DONE

    def failure(self, error: ApiError) -> bytes:
        return b"data: " + OPENAI.error_body(error, self._completion.id) + b"\n\n"

    def empty(self, *, streamed: bool) -> bytes:
        body = self._body([], usage=self._usage())
        return b"data: " + body + b"\n\n" + _DONE if streamed else body

    def _event(
        self, index: int, text: str, logprobs: dict[str, Any] | None, finish: str | None
    ) -> bytes:
        return b"data: " + self._body([self._choice(index, text, logprobs, finish)]) + b"\n\n"

    def _choice(
        self, index: int, text: str, logprobs: dict[str, Any] | None, finish: str | None
    ) -> dict[str, Any]:
        return {"text": text, "index": index, "logprobs": logprobs, "finish_reason": finish}

    def _body(self, choices: list[dict[str, Any]], **more: Any) -> bytes:
        fields = {
            "id": f"cmpl-{self._completion.id}",
            "object": "text_completion",
            "created": self._completion.created,
            "model": self._completion.model,
            "choices": choices,
            "system_fingerprint": "fp_mock",
            **more,
        }
        return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()

    def _usage(self) -> dict[str, int]:
        prompt, written = self._completion.prompt_tokens, self._completion.completion_tokens
        return {
            "prompt_tokens": prompt,
            "completion_tokens": written,
            "total_tokens": prompt + written,
        }
