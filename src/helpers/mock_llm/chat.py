"""``POST /v1/chat/completions``: whole answers and streamed ones."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import zip_longest
from time import perf_counter

from helpers.mock_llm import errors
from helpers.mock_llm.chat_request import ChatRequest, parse
from helpers.mock_llm.exchange import Exchange
from helpers.mock_llm.latency import Schedule, Slots
from helpers.mock_llm.models import check_model
from helpers.mock_llm.prefix_cache import PrefixCache
from helpers.mock_llm.profiles import Profile
from helpers.mock_llm.settings import Settings
from helpers.mock_llm.text import answer, digest
from helpers.mock_llm.tokens import prompt_tokens

_LONG_BODY = 20_000
"""Bytes above which a prompt is tokenised in a thread: 2 ms, a tenth of a stream's token gap."""
_CLOCK_STEP = 0.0005
"""Seconds; the event loop's timers are this coarse."""
_DONE = b"data: [DONE]\n\n"


@dataclass(slots=True)
class Reply:
    """What the model will say, before it has said it."""

    request: ChatRequest
    id: str
    created: int
    prompt_tokens: int
    cached_tokens: int
    thinking_tokens: int
    choices: list[list[str]]
    """For each choice its tokens."""
    finish: list[str]

    @property
    def length(self) -> int:
        return max(len(tokens) for tokens in self.choices)

    @property
    def completion_tokens(self) -> int:
        return sum(map(len, self.choices)) + self.thinking_tokens * len(self.choices)

    def usage(self) -> str:
        written = self.completion_tokens
        thinking = self.thinking_tokens * len(self.choices)
        return (
            f'{{"prompt_tokens":{self.prompt_tokens},"completion_tokens":{written},'
            f'"total_tokens":{self.prompt_tokens + written},'
            f'"prompt_tokens_details":{{"cached_tokens":{self.cached_tokens},"audio_tokens":0}},'
            f'"completion_tokens_details":{{"reasoning_tokens":{thinking},"audio_tokens":0,'
            '"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}'
        )

    def head(self, kind: str) -> str:
        """The fields that every chunk and the whole answer begin with.

        No string in them needs escaping: not the ids, nor a model name that was let through.
        """
        return (
            f'{{"id":"chatcmpl-{self.id}","object":"{kind}","created":{self.created},'
            f'"model":"{self.request.model}","service_tier":"default",'
            '"system_fingerprint":"fp_mock","choices":['
        )

    def whole(self) -> bytes:
        choices = ",".join(
            f'{{"index":{index},"message":{{"role":"assistant","content":"{"".join(tokens)}",'
            f'"refusal":null,"annotations":[]}},"logprobs":null,"finish_reason":"{finish}"}}'
            for index, (tokens, finish) in enumerate(zip(self.choices, self.finish, strict=True))
        )
        return f'{self.head("chat.completion")}{choices}],"usage":{self.usage()}}}'.encode()


class Chat:
    """The model behind the route."""

    def __init__(self, settings: Settings, tokenizer_loaded: asyncio.Event) -> None:
        self._settings = settings
        self._profile = settings.profile.faster(settings.speed)
        self._slots = Slots(settings.profile.slots)
        self._cache = PrefixCache()
        self._tokenizer_loaded = tokenizer_loaded

    def configure(self, settings: Settings) -> None:
        """From now on; requests in progress keep the times they were given."""
        self._settings = settings
        self._profile = settings.profile.faster(settings.speed)
        self._slots.resize(settings.profile.slots)

    def reset(self) -> None:
        self._cache = PrefixCache()

    async def answer(self, exchange: Exchange) -> None:
        body = await exchange.body()
        request = parse(body)
        record, profile = exchange.record, self._profile
        record.model = check_model(request.model)
        prompt = await self._tokenize(request, len(body))
        record.prompt_tokens = len(prompt)
        _check_length(request, len(prompt), profile)
        record.streamed = bool(request.stream)
        turn = self._slots.take()
        if turn is not None:
            await exchange.reader.wait_for(turn)
        try:
            record.slot = perf_counter()
            reply = self._think(request, prompt, exchange.id, profile)
            record.cached_tokens = reply.cached_tokens
            uncached = reply.prompt_tokens - reply.cached_tokens
            schedule = Schedule.plan(
                profile,
                slot=record.slot,
                uncached_tokens=uncached,
                thinking_tokens=reply.thinking_tokens,
                seed=self._settings.seed,
                number=record.id,
            )
            if request.stream:
                await _stream(exchange, reply, schedule)
            else:
                await _send_whole(exchange, reply, schedule)
        finally:
            self._slots.give_back()

    async def _tokenize(self, request: ChatRequest, size: int) -> list[int]:
        if not self._tokenizer_loaded.is_set():
            await self._tokenizer_loaded.wait()
        tools = [*(request.tools or ()), *(request.functions or ())]
        if size > _LONG_BODY:
            return await asyncio.to_thread(prompt_tokens, request.messages, tools)
        return prompt_tokens(request.messages, tools)

    def _think(self, request: ChatRequest, prompt: list[int], id: str, profile: Profile) -> Reply:
        room = profile.context_window - len(prompt)
        if (limit := request.limit) is not None:
            room = min(room, limit)
        thinking = min(profile.thinking_tokens, room)
        seed = self._settings.seed + (request.seed or 0)
        full = [
            answer(digest(prompt, seed, choice), self._settings.answer_tokens)
            for choice in range(request.n or 1)
        ]
        visible = room - thinking
        return Reply(
            request=request,
            id=id,
            created=int(time.time()),
            prompt_tokens=len(prompt),
            cached_tokens=self._cache.cached_tokens(request.model, prompt),
            thinking_tokens=thinking,
            choices=[tokens[:visible] for tokens in full],
            finish=["stop" if len(tokens) <= visible else "length" for tokens in full],
        )


def _check_length(request: ChatRequest, prompt: int, profile: Profile) -> None:
    limit = request.limit
    if prompt + (limit or 1) > profile.context_window:
        raise errors.context_too_long(profile.context_window, prompt, limit or 0)


async def _send_whole(exchange: Exchange, reply: Reply, schedule: Schedule) -> None:
    record = exchange.record
    await _wait(exchange, schedule.first_token)
    record.first_token = perf_counter()
    if reply.length:
        await _wait(exchange, schedule.times(reply.length)[-1])
    record.completion_tokens = reply.completion_tokens
    await exchange.reply(200, reply.whole())


async def _stream(exchange: Exchange, reply: Reply, schedule: Schedule) -> None:
    """Send each token when it is due, and in one piece what is due together."""
    record = exchange.record
    await _wait(exchange, schedule.first_token)
    record.first_token = now = perf_counter()
    record.completion_tokens = reply.thinking_tokens
    due_now = [_opening(reply)]
    for due, (count, chunks) in zip(schedule.times(reply.length), _chunks(reply), strict=True):
        if due - now > _CLOCK_STEP:
            await exchange.write(b"".join(due_now))
            due_now.clear()
            await exchange.reader.wait_until(due)
            now = perf_counter()
        due_now.append(chunks)
        record.completion_tokens += count
    await exchange.write(b"".join([*due_now, _closing(reply)]), more=False)


async def _wait(exchange: Exchange, due: float) -> None:
    if due - perf_counter() > _CLOCK_STEP:
        await exchange.reader.wait_until(due)


def _events(reply: Reply, deltas: Iterable[tuple[int, str, str]]) -> bytes:
    """One server-sent event per choice, delta and finish reason."""
    head = reply.head("chat.completion.chunk")
    tail = _tail(reply)
    return "".join(
        f'data: {head}{{"index":{index},"delta":{delta},"logprobs":null,"finish_reason":{finish}}}'
        f"{tail}"
        for index, delta, finish in deltas
    ).encode()


def _opening(reply: Reply) -> bytes:
    delta = '{"role":"assistant","content":"","refusal":null}'
    return _events(reply, [(index, delta, "null") for index in range(len(reply.choices))])


def _chunks(reply: Reply) -> Iterator[tuple[int, bytes]]:
    """For each step of the schedule how many tokens, and the events that carry them."""
    head = reply.head("chat.completion.chunk")
    tail = f'"}},"logprobs":null,"finish_reason":null}}{_tail(reply)}'
    before = [
        f'data: {head}{{"index":{index},"delta":{{"content":"'
        for index in range(len(reply.choices))
    ]
    for step in zip_longest(*reply.choices):
        events = [
            f"{start}{token}{tail}"
            for start, token in zip(before, step, strict=True)
            if token is not None
        ]
        yield len(events), "".join(events).encode()


def _closing(reply: Reply) -> bytes:
    last = _events(
        reply, [(index, "{}", f'"{finish}"') for index, finish in enumerate(reply.finish)]
    )
    if reply.request.include_usage:
        head = reply.head("chat.completion.chunk")
        last += f'data: {head}],"usage":{reply.usage()}}}\n\n'.encode()
    return last + _DONE


def _tail(reply: Reply) -> str:
    """With ``include_usage``, every chunk but the last says that there is no usage yet."""
    return '],"usage":null}\n\n' if reply.request.include_usage else "]}\n\n"
