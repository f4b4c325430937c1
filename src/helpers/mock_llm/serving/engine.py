"""The model behind the routes: it reads a prompt, waits for a slot, and answers at its own pace."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import TypeVar

from helpers.mock_llm.anthropic.threads import Threads
from helpers.mock_llm.model.generate import Choice, GenerationRequest, TooLongError, generate
from helpers.mock_llm.model.latency import Schedule, Slots
from helpers.mock_llm.model.prefix_cache import PrefixCache
from helpers.mock_llm.model.schema_form import SchemaError
from helpers.mock_llm.model.windows import Window, window_of
from helpers.mock_llm.model.words import answer, prompt_digest
from helpers.mock_llm.openai.response_store import ResponseStore
from helpers.mock_llm.records.ledger import Request
from helpers.mock_llm.serving import errors
from helpers.mock_llm.serving import fault_injection as failures
from helpers.mock_llm.serving.exchange import Exchange
from helpers.mock_llm.serving.sending import Answer, send_whole, stream
from helpers.mock_llm.settings.faults import HEADER, Fault, FaultPlan, read_header
from helpers.mock_llm.settings.limits import Limiter
from helpers.mock_llm.settings.profiles import Profile
from helpers.mock_llm.settings.settings import Settings

_T = TypeVar("_T")
_THOUGHT = 48
"""Tokens of reasoning of a model that was asked to think, and whose profile does not say more."""
_LONG_ANSWER = 5_000
"""Tokens above which an answer is written in a thread."""
_LONG_BODY = 20_000
"""Bytes above which a prompt is tokenised in a thread: 2 ms, a tenth of a stream's token gap."""


@dataclass(slots=True)
class Completion:
    """An answer that the model has in mind: a route turns it into an `Answer`."""

    id: str
    model: str
    created: int
    """Unix time."""
    prompt_tokens: int
    thinking_tokens: int
    """Reasoning, per choice."""
    thoughts: list[str]
    """The reasoning token by token, where it is shown; else it is hidden."""
    choices: list[Choice]
    cached_tokens: int = 0
    """Of the prompt's tokens; known when the model reads it."""
    cache_writes: int = 0
    """Of the prompt's tokens, those that were put into the cache because they were marked."""

    @property
    def reasoning_tokens(self) -> int:
        return self.thinking_tokens * len(self.choices)

    @property
    def completion_tokens(self) -> int:
        """Everything written and billed."""
        return sum([choice.length for choice in self.choices]) + self.reasoning_tokens


@dataclass(slots=True)
class Prepared:
    """A request that was let in, before it has a slot."""

    generation: GenerationRequest
    completion: Completion
    fault: Fault | None
    """What is to go wrong with the answer."""


class Engine:
    def __init__(self, settings: Settings, tokenizer_loaded: asyncio.Event) -> None:
        self._settings = settings
        self._profile = settings.profile.faster(settings.speed)
        self._slots = Slots(settings.profile.slots)
        self._cache = PrefixCache()
        self._limiter = _limiter(settings)
        self._began = perf_counter()
        self._faults = FaultPlan(settings.faults, settings.seed, self._began)
        self._tokenizer_loaded = tokenizer_loaded
        self.responses = ResponseStore()
        self.threads = Threads()
        """Conversations that clients had stored, of both providers."""

    def configure(self, settings: Settings) -> None:
        """From now on; requests in progress keep the times they were given.

        Limits begin with full buckets, and faults count anew, whenever they are told, also when
        they are the same; so do limits at another speed and faults with another seed.
        """
        before, self._settings = self._settings, settings
        if settings.limits is not before.limits or settings.speed != before.speed:
            self._limiter = _limiter(settings)
        if settings.faults is not before.faults or settings.seed != before.seed:
            self._faults = FaultPlan(settings.faults, settings.seed, self._began)
        self._profile = settings.profile.faster(settings.speed)
        self._slots.resize(settings.profile.slots)

    def window_of(self, model: str) -> Window:
        return window_of(model, self._profile.context_window)

    def reset(self) -> None:
        self._cache = PrefixCache()
        self._limiter = _limiter(self._settings)
        self.responses.clear()
        self.threads.clear()
        self._began = perf_counter()
        self._faults = FaultPlan(self._settings.faults, self._settings.seed, self._began)

    def refuses(self) -> bool:
        """Whether a new connection is to be dropped at its first request."""
        return self._faults.refuses()

    def welcome(self, exchange: Exchange, key: bytes) -> None:
        """A request whose key is known, and its model not yet. Raises ApiError (400)."""
        exchange.key = key
        if HEADER in exchange.request_headers:
            exchange.fault = read_header(exchange.request_headers[HEADER])
        if self._limiter is not None:
            exchange.account = self._limiter.account(key, "")

    def _admit(self, exchange: Exchange, limiter: Limiter, tokens: int) -> None:
        """Count a request for ``record.model`` against its limits. Raises ApiError (429)."""
        exchange.admitted = False
        exchange.account = limiter.account(exchange.key, exchange.record.model or "")
        exchange.account.admit(tokens)
        exchange.admitted = True

    def count_failed(self, exchange: Exchange) -> None:
        """Count a request that got an error before it could be admitted."""
        if self._limiter is None or exchange.account is None or exchange.admitted is not None:
            return
        model = exchange.record.model or exchange.named_model()
        exchange.account = self._limiter.account(exchange.key, model)
        exchange.account.count_failed()

    async def tokenize(self, read: Callable[[], _T], size: int) -> _T:
        """What ``read`` makes of a body of ``size`` bytes, without blocking the loop."""
        if not self._tokenizer_loaded.is_set():
            await self._tokenizer_loaded.wait()
        return await asyncio.to_thread(read) if size > _LONG_BODY else read()

    async def answer(
        self,
        exchange: Exchange,
        generation: GenerationRequest,
        write: Callable[[Completion], Answer],
        *,
        streamed: bool,
    ) -> None:
        """Answer a request in the format of ``write``.

        Raises ApiError, ClientDisconnectError, AbortedResponseError.
        """
        exchange.record.streamed = streamed
        prepared = await self.prepare(exchange, generation)
        await self.carry_out(exchange, prepared, write)

    async def prepare(self, exchange: Exchange, generation: GenerationRequest) -> Prepared:
        """What happens before a request waits for a slot. Raises ApiError, AbortedResponseError."""
        record, profile, settings = exchange.record, self._profile, self._settings
        record.prompt_tokens = len(generation.prompt)
        _check_length(generation, self.window_of(generation.model))
        try:
            if generation.takes_long or (settings.answer_tokens or 0) > _LONG_ANSWER:
                completion = await asyncio.to_thread(self._think, generation, exchange.id, profile)
            else:
                completion = self._think(generation, exchange.id, profile)
        except SchemaError as error:
            raise errors.invalid_schema(error.message) from None
        except TooLongError:
            raise errors.answer_too_long() from None
        if self._limiter is not None:
            self._admit(
                exchange,
                self._limiter,
                completion.prompt_tokens + _longest_answer(generation, completion),
            )
        return Prepared(generation, completion, self._strike(exchange))

    async def carry_out(
        self, exchange: Exchange, prepared: Prepared, write: Callable[[Completion], Answer]
    ) -> None:
        """Wait for a slot, and send the answer. Raises as ``answer`` does."""
        record, generation = exchange.record, prepared.generation
        completion, fault = prepared.completion, prepared.fault
        slot = await self._take_slot(exchange)
        try:
            lookup = self._cache.look_up(generation.model, generation.prompt, generation.marks)
            self._cache.remember(lookup)
            completion.cached_tokens, completion.cache_writes = lookup.read, lookup.written
            record.cached_tokens = completion.cached_tokens
            schedule = self._plan(
                record,
                slot,
                uncached_tokens=completion.prompt_tokens - completion.cached_tokens,
                thinking_tokens=completion.thinking_tokens - len(completion.thoughts),
            )
            if fault is not None and fault.kind == "broken_answer":
                completion.choices = [failures.break_off(choice) for choice in completion.choices]
            await self._deliver(exchange, write(completion), schedule, fault)
        finally:
            self._slots.give_back()

    async def read(self, exchange: Exchange, tokens: int, answer: Answer) -> None:
        """Send an answer for which the model only reads ``tokens``.

        Raises ApiError, ClientLeftError.
        """
        record = exchange.record
        record.prompt_tokens, record.cached_tokens = tokens, 0
        if self._limiter is not None:
            self._admit(exchange, self._limiter, tokens)
        fault = self._strike(exchange)
        slot = await self._take_slot(exchange)
        try:
            schedule = self._plan(record, slot, uncached_tokens=tokens)
            await self._deliver(exchange, answer, schedule, fault)
        finally:
            self._slots.give_back()

    def _strike(self, exchange: Exchange) -> Fault | None:
        """The fault that is to happen to the answer. Raises ApiError, BrokenOffError."""
        record, limits = exchange.record, self._settings.limits
        fault = self._faults.pick(record.id, record.model or "")
        fault = exchange.fault or fault
        if fault is not None:
            failures.inject_before(exchange, fault, limits.retry_after if limits else "seconds")
        return fault

    async def _deliver(
        self, exchange: Exchange, answer: Answer, schedule: Schedule, fault: Fault | None
    ) -> None:
        if fault is not None:
            answer = await failures.inject_into(exchange, answer, fault)
        deliver = stream if exchange.record.streamed else send_whole
        await deliver(exchange, answer, schedule, abandoned=self._settings.finish_abandoned)

    async def _take_slot(self, exchange: Exchange) -> float:
        """When the slot was granted, which must be given back."""
        turn = self._slots.take()
        if turn is not None:
            await exchange.reader.wait_for(turn)
        return exchange.recorder.slot_granted(exchange.record)

    def _plan(
        self, record: Request, slot: float, *, uncached_tokens: int, thinking_tokens: int = 0
    ) -> Schedule:
        return Schedule.plan(
            self._profile,
            slot=slot,
            uncached_tokens=uncached_tokens,
            thinking_tokens=thinking_tokens,
            seed=self._settings.seed,
            number=record.id,
        )

    def _think(self, generation: GenerationRequest, id: str, profile: Profile) -> Completion:
        window = self.window_of(generation.model)
        room = window.context - (generation.longest_prompt or len(generation.prompt))
        for limit in (generation.limit, window.answer):
            room = room if limit is None else min(room, limit)
        thinking = _thinking_tokens(generation, profile, room)
        settings = self._settings
        return Completion(
            id=id,
            model=generation.model,
            created=int(time.time()),
            prompt_tokens=len(generation.prompt),
            thinking_tokens=thinking,
            thoughts=_thoughts(generation, settings.seed, thinking)
            if generation.shows_thinking
            else [],
            choices=generate(
                generation, room=room - thinking, seed=settings.seed, length=settings.answer_tokens
            ),
        )


def _thoughts(generation: GenerationRequest, seed: int, count: int) -> list[str]:
    if not count:
        return []
    return answer(prompt_digest(generation.prompt, seed + generation.seed, choice=-1), count)


def _thinking_tokens(generation: GenerationRequest, profile: Profile, room: int) -> int:
    thinking = profile.thinking_tokens
    if generation.thinking_budget is not None:
        thinking = min(thinking or _THOUGHT, generation.thinking_budget)
    return min(thinking, room)


def _limiter(settings: Settings) -> Limiter | None:
    return Limiter(settings.limits, settings.speed) if settings.limits else None


def _longest_answer(generation: GenerationRequest, completion: Completion) -> int:
    """What an answer counts for in the rate limits, before it is written."""
    if generation.limit is None:
        return completion.completion_tokens
    return generation.limit * generation.choices


def _check_length(generation: GenerationRequest, window: Window) -> None:
    prompt = generation.longest_prompt or len(generation.prompt)
    if window.prompt is not None and prompt > window.prompt:
        raise errors.prompt_too_long(window.prompt, prompt)
    if prompt + (generation.limit or 1) > window.context:
        raise errors.context_too_long(window.context, prompt, generation.limit or 0)
