"""Sending an answer: whole, or token by token, each when it is due."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from time import perf_counter
from typing import Protocol

from helpers.mock_llm.asgi import ClientDisconnectError
from helpers.mock_llm.model.latency import Schedule
from helpers.mock_llm.serving.errors import ApiError
from helpers.mock_llm.serving.exchange import Exchange

# Seconds: the event loop's timers are this coarse.
_CLOCK_STEP = 0.0005
# Bytes of a stream that are made and sent at once, so that one whose client does not read takes
# this much memory and not its whole length, and other requests have their turn.
_PIECE = 64 * 1024


class Answer(Protocol):
    """An answer in one provider's format. Each route has its own."""

    @property
    def length(self) -> int:
        """Steps of the schedule: the tokens of the longest choice."""

    @property
    def completion_tokens(self) -> int:
        """Everything billed, hidden reasoning included."""

    @property
    def hidden_tokens(self) -> int:
        """Those of them that were written before the first visible one."""

    def whole(self) -> bytes:
        """The body of an answer that is not streamed."""

    def opening(self) -> bytes:
        """The events before the first token."""

    def steps(self) -> Iterator[tuple[int, bytes]]:
        """For each step of the schedule how many tokens, and the events that carry them."""

    def finish(self) -> None:
        """The answer is complete and about to be sent: keep what clients may ask for later."""

    def closing(self) -> bytes:
        """The events that make the stream complete: finish reasons, usage, the end."""

    def failure(self, error: ApiError) -> bytes:
        """The event by which a stream that has begun says that it failed."""

    def empty(self, *, streamed: bool) -> bytes:
        """A valid answer, or the events of a stream, in which the model says nothing at all."""


async def send_whole(
    exchange: Exchange, answer: Answer, schedule: Schedule, *, abandoned: bool
) -> None:
    """``abandoned``: keep generating, and billing, after the client has left."""
    record = exchange.record
    times = schedule.times(answer.length)
    end = times[-1] if times else schedule.first_token
    try:
        await _wait(exchange, schedule.first_token)
        exchange.recorder.first_token(record)
        await _wait(exchange, end)
    except ClientDisconnectError:
        if abandoned:
            await _finish_abandoned(exchange, answer, end)
        raise
    record.completion_tokens = answer.completion_tokens
    answer.finish()
    await exchange.reply(200, answer.whole())


async def stream(
    exchange: Exchange, answer: Answer, schedule: Schedule, *, abandoned: bool
) -> None:
    """Send each token when it is due, and in one piece what is due together.

    ``abandoned``: keep generating, and billing, after the client has left.
    """
    times = schedule.times(answer.length)
    try:
        await _wait(exchange, schedule.first_token)
        await _send_tokens(exchange, answer, times)
    except ClientDisconnectError:
        if abandoned:
            await _finish_abandoned(exchange, answer, [schedule.first_token, *times][-1])
        raise


async def _send_tokens(exchange: Exchange, answer: Answer, times: list[float]) -> None:
    record = exchange.record
    now = exchange.recorder.first_token(record)
    record.completion_tokens = answer.hidden_tokens
    due_now, size = [answer.opening()], 0
    for due, (count, events) in zip(times, answer.steps(), strict=True):
        if due - now > _CLOCK_STEP:
            await exchange.write(b"".join(due_now))
            due_now, size = [], 0
            await exchange.reader.wait_until(due)
            now = perf_counter()
        elif size > _PIECE:
            await exchange.write(b"".join(due_now))
            due_now, size = [], 0
            await exchange.reader.wait_until(now)  # which raises if the client has left
        due_now.append(events)
        size += len(events)
        record.completion_tokens += count
    answer.finish()
    await exchange.write(b"".join([*due_now, answer.closing()]), more=False)


async def _finish_abandoned(exchange: Exchange, answer: Answer, end: float) -> None:
    """Generate the rest of an answer whose client left; it keeps its slot until then."""
    record = exchange.record
    record.client_left = perf_counter()
    written = record.completion_tokens or 0
    await asyncio.sleep(end - perf_counter())
    record.completion_tokens = answer.completion_tokens
    record.tokens_after_client_left = answer.completion_tokens - written


async def _wait(exchange: Exchange, due: float) -> None:
    if due - perf_counter() > _CLOCK_STEP:
        await exchange.reader.wait_until(due)
