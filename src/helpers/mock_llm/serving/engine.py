"""The model behind the routes: reads a prompt, waits for a slot, answers at its own pace."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import TypeVar

from helpers.mock_llm.model.conversation import schema_in
from helpers.mock_llm.model.generate import Choice, GenerationRequest, TooLongError, generate
from helpers.mock_llm.model.latency import Schedule, Slots
from helpers.mock_llm.model.prefix_cache import PrefixCache
from helpers.mock_llm.model.schema_form import SchemaError
from helpers.mock_llm.model.windows import Window, window_of
from helpers.mock_llm.model.words import answer, prompt_digest
from helpers.mock_llm.records.ledger import Request
from helpers.mock_llm.serving import errors, fault_injection, script
from helpers.mock_llm.serving.admission import Admission
from helpers.mock_llm.serving.dialect import retry_after
from helpers.mock_llm.serving.errors import ApiError
from helpers.mock_llm.serving.exchange import Exchange
from helpers.mock_llm.serving.fault_plan import HEADER, FaultPlan, read_header
from helpers.mock_llm.serving.rate_limits import (
    Costs,
    Limiter,
    LimitExceededError,
    QuotaExceededError,
)
from helpers.mock_llm.serving.sending import Answer, send_whole, stream
from helpers.mock_llm.settings.faults import Fault
from helpers.mock_llm.settings.limits import RetryAfter
from helpers.mock_llm.settings.profiles import Profile
from helpers.mock_llm.settings.script import Rule
from helpers.mock_llm.settings.settings import Settings

_T = TypeVar("_T")
# Tokens of reasoning when a request asks for it and the profile does not say how many.
_THOUGHT = 48
# Tokens above which an answer is generated in a thread.
_LONG_ANSWER = 5_000
# Bytes above which a prompt is tokenized in a thread: 2 ms, a tenth of a stream's token gap.
_LONG_BODY = 20_000


@dataclass(slots=True)
class Completion:
    """What the model answers, before a route turns it into an `Answer`."""

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
    of_words: bool = True
    """The text is made of the model's own words, and needs no escaping in JSON."""
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
        self._profile = settings.scaled_profile
        self._slots = Slots(self._profile.slots)
        self._cache = PrefixCache()
        self._limiter = _limiter(settings)
        self._began = perf_counter()
        self._faults = FaultPlan(settings.faults, settings.seed, self._began)
        self._tokenizer_loaded = tokenizer_loaded

    def configure(self, settings: Settings, changed: Collection[str]) -> None:
        """Apply settings to new requests; running ones keep their times.

        Limits that are given in ``changed`` start with full buckets and faults with their counts at
        zero, even if they are the same as before; so do limits at another speed and faults with
        another seed.
        """
        before, self._settings = self._settings, settings
        if "limits" in changed or settings.speed != before.speed:
            self._limiter = _limiter(settings)
        if "faults" in changed or settings.seed != before.seed:
            self._faults = FaultPlan(settings.faults, settings.seed, self._began)
        self._profile = settings.scaled_profile
        self._slots.resize(self._profile.slots)

    @property
    def lenient(self) -> bool:
        """Whether parameters that the provider does not know are ignored."""
        return self._settings.lenient

    @property
    def models(self) -> Sequence[str]:
        """Further names, which may be any."""
        return self._settings.models

    def further_model(self, name: str) -> str | None:
        """The name, if it is one of `models`."""
        return name if name in self._settings.models else None

    def window_of(self, model: str) -> Window:
        return window_of(model, self._profile.context_window)

    @property
    def _retry_after(self) -> RetryAfter:
        return self._settings.limits.retry_after if self._settings.limits else "seconds"

    def reset(self) -> None:
        self._cache = PrefixCache()
        if self._limiter is not None:
            self._limiter.reset()
        self._began = perf_counter()
        self._faults = FaultPlan(self._settings.faults, self._settings.seed, self._began)

    def refuses(self) -> bool:
        """Whether a new connection is to be dropped at its first request."""
        return self._faults.refuses()

    def welcome(self, exchange: Exchange, key: bytes) -> None:
        """A request whose key is known, and its model not yet. Raises ApiError (400)."""
        exchange.admission = Admission(self._limiter, key)
        if HEADER in exchange.request_headers:
            exchange.fault = read_header(exchange.request_headers[HEADER])
        if script.HEADER in exchange.request_headers:
            exchange.rule = script.read_header(exchange.request_headers[script.HEADER])

    def _admit(self, exchange: Exchange, costs: Costs) -> None:
        """Count a request for ``record.model`` against its limits. Raises ApiError."""
        model = exchange.record.model or ""
        try:
            exchange.admission.admit(model, costs)
        except QuotaExceededError:
            raise exchange.dialect.quota_exceeded() from None
        except LimitExceededError as excess:
            error = exchange.dialect.limit_exceeded(excess, model)
            if excess.wait is not None:
                error.headers = tuple(retry_after(excess.wait, self._retry_after))
            raise error from None

    async def tokenize(self, read: Callable[[], _T], size: int) -> _T:
        """Call ``read``, which reads a body of ``size`` bytes, without blocking the loop."""
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
        record, settings = exchange.record, self._settings
        record.prompt_tokens = len(generation.prompt)
        _check_length(generation, self.window_of(generation.model))
        rules = settings.script if exchange.rule is None else (exchange.rule,)
        rule, asked = script.find(rules, generation), generation.schema
        if rule is not None or not _follow_prompt(generation):
            completion = await self._complete(exchange, generation, rule)
        else:
            try:
                completion = await self._complete(exchange, generation, None)
            except ApiError:  # the prompt's schema may be one that nothing fits
                generation.schema = asked
                completion = await self._complete(exchange, generation, None)
        if self._limiter is not None:
            lookup = self._cache.look_up(generation.model, generation.prompt, generation.marks)
            longest = _longest_answer(generation, completion)
            costs = exchange.dialect.costs(completion.prompt_tokens, lookup.read, longest)
            self._admit(exchange, costs)
        return Prepared(generation, completion, self._inject_before(exchange))

    async def _complete(
        self, exchange: Exchange, generation: GenerationRequest, rule: Rule | None
    ) -> Completion:
        """Raises ApiError (400)."""
        think = partial(self._think, generation, exchange.id, self._profile, rule)
        try:
            if generation.takes_long or (self._settings.answer_tokens or 0) > _LONG_ANSWER:
                return await asyncio.to_thread(think)
            return think()
        except SchemaError as error:
            raise errors.invalid_schema(error.message) from None
        except TooLongError:
            raise errors.answer_too_long() from None

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
                completion.choices = [
                    fault_injection.break_off(choice) for choice in completion.choices
                ]
            await self._deliver(exchange, write(completion), schedule, fault)
        finally:
            self._slots.give_back()

    async def read(self, exchange: Exchange, tokens: int, answer: Answer) -> None:
        """Send an answer for which the model only reads ``tokens``.

        Raises ApiError, ClientDisconnectError.
        """
        record = exchange.record
        record.prompt_tokens, record.cached_tokens = tokens, 0
        self._admit(exchange, exchange.dialect.costs(tokens, 0, 0))
        fault = self._inject_before(exchange)
        slot = await self._take_slot(exchange)
        try:
            schedule = self._plan(record, slot, uncached_tokens=tokens)
            await self._deliver(exchange, answer, schedule, fault)
        finally:
            self._slots.give_back()

    def _inject_before(self, exchange: Exchange) -> Fault | None:
        """The fault that is to happen to the answer. Raises ApiError, AbortedResponseError."""
        record = exchange.record
        fault = self._faults.pick(record.id, record.model or "")
        fault = exchange.fault or fault
        if fault is not None:
            fault_injection.inject_before(exchange, fault, self._retry_after)
        return fault

    async def _deliver(
        self, exchange: Exchange, answer: Answer, schedule: Schedule, fault: Fault | None
    ) -> None:
        if fault is not None:
            answer = await fault_injection.inject_into(exchange, answer, fault)
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

    def _think(
        self, generation: GenerationRequest, id: str, profile: Profile, rule: Rule | None
    ) -> Completion:
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
            of_words=rule is None and generation.schema is None,
            thoughts=_thoughts(generation, settings.seed, thinking)
            if generation.shows_thinking
            else [],
            choices=script.choices(rule, generation, room - thinking, settings.seed)
            if rule is not None
            else generate(
                generation, room=room - thinking, seed=settings.seed, length=settings.answer_tokens
            ),
        )


def _follow_prompt(generation: GenerationRequest) -> bool:
    """Take a JSON schema from the prompt, if there is one and the request has none of its own."""
    if generation.schema or generation.calls_tools or generation.conversation is None:
        return False
    schema = schema_in(generation.conversation())
    if schema is not None:
        generation.schema = schema
    return schema is not None


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
