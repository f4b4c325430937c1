"""``POST /v1/chat/completions``: whole answers and streamed ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import zip_longest

from helpers.mock_llm.chat_request import ChatRequest, parse
from helpers.mock_llm.compose import Wish
from helpers.mock_llm.dialect import OPENAI
from helpers.mock_llm.engine import Draft, Engine
from helpers.mock_llm.errors import ApiError
from helpers.mock_llm.exchange import Exchange
from helpers.mock_llm.models import check_model
from helpers.mock_llm.tokens import prompt_tokens

_DONE = b"data: [DONE]\n\n"


class Chat:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def answer(self, exchange: Exchange) -> None:
        body = await exchange.body()
        request = parse(body)
        exchange.record.model = check_model(request.model)
        tools = [*(request.tools or ()), *(request.functions or ())]
        prompt = await self._engine.tokenize(
            lambda: prompt_tokens(request.messages, tools), len(body)
        )
        wish = Wish(
            model=request.model,
            prompt=prompt,
            limit=request.limit,
            seed=request.seed or 0,
            choices=request.n or 1,
        )
        await self._engine.answer(
            exchange, wish, lambda draft: ChatAnswer(draft, request), streamed=bool(request.stream)
        )


class ChatAnswer:
    """An answer as chat completions have it.

    Written by hand, since it is most of the server's work: no string in it needs escaping, not the
    ids, nor a model name that was let through, nor a word of the model's.
    """

    def __init__(self, draft: Draft, request: ChatRequest) -> None:
        self._draft = draft
        self._include_usage = request.include_usage
        self._texts = [choice.parts[0].tokens for choice in draft.choices]

    @property
    def length(self) -> int:
        return max(map(len, self._texts))

    @property
    def completion_tokens(self) -> int:
        return self._draft.completion_tokens

    @property
    def hidden_tokens(self) -> int:
        return self._draft.reasoning_tokens

    def whole(self) -> bytes:
        choices = ",".join(
            f'{{"index":{index},"message":{{"role":"assistant","content":"{"".join(tokens)}",'
            f'"refusal":null,"annotations":[]}},"logprobs":null,"finish_reason":"{choice.finish}"}}'
            for index, (tokens, choice) in enumerate(
                zip(self._texts, self._draft.choices, strict=True)
            )
        )
        return self._body(choices)

    def opening(self) -> bytes:
        delta = '{"role":"assistant","content":"","refusal":null}'
        return self._events((index, delta, "null") for index in range(len(self._texts)))

    def steps(self) -> Iterator[tuple[int, bytes]]:
        head = self._head("chat.completion.chunk")
        tail = f'"}},"logprobs":null,"finish_reason":null}}{self._tail()}'
        before = [
            f'data: {head}{{"index":{index},"delta":{{"content":"'
            for index in range(len(self._texts))
        ]
        for step in zip_longest(*self._texts):
            events = [
                f"{start}{token}{tail}"
                for start, token in zip(before, step, strict=True)
                if token is not None
            ]
            yield len(events), "".join(events).encode()

    def closing(self) -> bytes:
        last = self._events(
            (index, "{}", f'"{choice.finish}"') for index, choice in enumerate(self._draft.choices)
        )
        if self._include_usage:
            head = self._head("chat.completion.chunk")
            last += f'data: {head}],"usage":{self._usage()}}}\n\n'.encode()
        return last + _DONE

    def failure(self, error: ApiError) -> bytes:
        return b"data: " + OPENAI.error_body(error, self._draft.id) + b"\n\n"

    def empty(self, *, streamed: bool) -> bytes:
        if not streamed:
            return self._body("")
        return f"data: {self._head('chat.completion.chunk')}{self._tail()}".encode() + _DONE

    def _body(self, choices: str) -> bytes:
        return f'{self._head("chat.completion")}{choices}],"usage":{self._usage()}}}'.encode()

    def _head(self, kind: str) -> str:
        """The fields that every chunk and the whole answer begin with."""
        draft = self._draft
        return (
            f'{{"id":"chatcmpl-{draft.id}","object":"{kind}","created":{draft.created},'
            f'"model":"{draft.model}","service_tier":"default",'
            '"system_fingerprint":"fp_mock","choices":['
        )

    def _events(self, deltas: Iterable[tuple[int, str, str]]) -> bytes:
        """One server-sent event per choice, delta and finish reason."""
        head, tail = self._head("chat.completion.chunk"), self._tail()
        return "".join(
            f'data: {head}{{"index":{index},"delta":{delta},"logprobs":null,'
            f'"finish_reason":{finish}}}{tail}'
            for index, delta, finish in deltas
        ).encode()

    def _tail(self) -> str:
        """With ``include_usage``, every chunk but the last says that there is no usage yet."""
        return '],"usage":null}\n\n' if self._include_usage else "]}\n\n"

    def _usage(self) -> str:
        draft = self._draft
        return (
            f'{{"prompt_tokens":{draft.prompt_tokens},'
            f'"completion_tokens":{draft.completion_tokens},'
            f'"total_tokens":{draft.prompt_tokens + draft.completion_tokens},'
            f'"prompt_tokens_details":{{"cached_tokens":{draft.cached_tokens},"audio_tokens":0}},'
            f'"completion_tokens_details":{{"reasoning_tokens":{draft.reasoning_tokens},'
            '"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}'
        )
