"""How each fault happens to a request."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import islice
from time import perf_counter

from helpers.mock_llm.asgi import AbortedResponseError, Message, Send
from helpers.mock_llm.model.generate import Choice
from helpers.mock_llm.serving import errors
from helpers.mock_llm.serving.dialect import Dialect, retry_after
from helpers.mock_llm.serving.errors import ApiError
from helpers.mock_llm.serving.exchange import Exchange
from helpers.mock_llm.serving.sending import Answer
from helpers.mock_llm.settings.faults import STATUSES, Fault
from helpers.mock_llm.settings.limits import RetryAfter


def inject_before(exchange: Exchange, fault: Fault, form: RetryAfter) -> None:
    """What goes wrong before the model is asked. Raises ApiError, AbortedResponseError."""
    exchange.recorder.fault(exchange.record, fault.kind)
    if fault.kind in STATUSES:
        raise _error(fault, exchange.dialect, exchange.record.model or "", form)
    if fault.kind == "reset":
        _break_off(exchange, exchange.abort.reset)
    if fault.kind == "refuse":  # by header: the plan's happen earlier, to connections
        _break_off(exchange, exchange.abort.cut)


async def inject_into(exchange: Exchange, answer: Answer, fault: Fault) -> Answer:
    """What goes wrong in the answer: another one, or what its exchange will do in place of its end.

    Raises ClientDisconnectError.
    """
    streamed, after = exchange.record.streamed, fault.after_tokens
    match fault.kind:
        case "hang":
            await _hang(exchange)
        case "drip":
            exchange.send_through(_Drip(exchange, fault.interval).send)
        case "hang_mid_stream":
            exchange.interruption = partial(_hang, exchange)
            return _Shortened(answer, after) if streamed else answer
        case "cut":
            exchange.interruption = partial(_cut, exchange)
            return _Shortened(answer, after) if streamed else answer
        case "error_event":
            return _Failed(answer, after, exchange.dialect, exchange.id)
        case "malformed_json":
            return _Malformed(answer, after)
        case "no_finish":
            return _Unfinished(answer)
        case "empty_choices":
            return _Empty(answer)
    return answer


def break_off(choice: Choice) -> Choice:
    """The choice as a model leaves it that stops in mid-word and believes that it has finished."""
    last = choice.parts[-1]
    parts = [*choice.parts[:-1], replace(last, tokens=_first_half(last.tokens))]
    finish = "stop" if choice.finish == "length" else choice.finish
    return Choice(parts, finish)


def _first_half(tokens: list[str]) -> list[str]:
    """Up to a token that is a word, and half of that one."""
    end = (len(tokens) + 1) // 2
    while end > 1 and not tokens[end - 1].strip().isalpha():
        end -= 1
    return [
        *tokens[: end - 1],
        *(token[: (len(token) + 1) // 2] for token in tokens[end - 1 : end]),
    ]


def _error(fault: Fault, dialect: Dialect, model: str, form: RetryAfter) -> ApiError:
    status = STATUSES[fault.kind]
    error = {
        "401": errors.wrong_api_key(""),
        "404": errors.unknown_model(model),
        "rate_limit_exceeded": errors.rate_limit_reached(model),
        "insufficient_quota": dialect.quota_exceeded(),
        "500": errors.internal(),
        "503": errors.overloaded(status),
        "529": errors.overloaded(status),
    }.get(fault.kind, errors.not_accepted())
    if fault.retry_after is not None:
        error.headers = tuple(retry_after(round(fault.retry_after * 1e9), form))
    return error


async def _hang(exchange: Exchange) -> None:
    await exchange.reader.wait_for(asyncio.get_running_loop().create_future())


async def _cut(exchange: Exchange) -> None:
    _break_off(exchange, exchange.abort.cut)


def _break_off(exchange: Exchange, how: Callable[[], None]) -> None:
    exchange.record.last_byte = perf_counter()
    how()
    raise AbortedResponseError


class _Drip:
    """Sends the bytes of a body one by one, each at its time."""

    def __init__(self, exchange: Exchange, interval: float) -> None:
        self._exchange = exchange
        self._interval = interval
        self._due = 0.0

    async def send(self, send: Send, message: Message) -> None:
        if message["type"] != "http.response.body":
            await send(message)
            return
        record, body = self._exchange.record, message["body"]
        end, record.last_byte = record.last_byte, None
        for place in range(len(body)):
            self._due = max(self._due, perf_counter())
            await self._exchange.reader.wait_until(self._due)
            self._due += self._interval
            piece, more = body[place : place + 1], place + 1 < len(body)
            if not more and end is not None:
                record.last_byte = perf_counter()
            more = more or message.get("more_body", False)
            await send({"type": message["type"], "body": piece, "more_body": more})


class _WrappedAnswer:
    """An answer that passes another one on, but for what goes wrong."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    @property
    def length(self) -> int:
        return self._answer.length

    @property
    def completion_tokens(self) -> int:
        return self._answer.completion_tokens

    @property
    def hidden_tokens(self) -> int:
        return self._answer.hidden_tokens

    def whole(self) -> bytes:
        return self._answer.whole()

    def opening(self) -> bytes:
        return self._answer.opening()

    def steps(self) -> Iterator[tuple[int, bytes]]:
        return self._answer.steps()

    def finish(self) -> None:
        self._answer.finish()

    def closing(self) -> bytes:
        return self._answer.closing()

    def failure(self, error: ApiError) -> bytes:
        return self._answer.failure(error)

    def empty(self, *, streamed: bool) -> bytes:
        return self._answer.empty(streamed=streamed)


class _Shortened(_WrappedAnswer):
    """A stream that goes no further."""

    def __init__(self, answer: Answer, after: int) -> None:
        super().__init__(answer)
        self._after = min(answer.length, after)

    @property
    def length(self) -> int:
        return self._after

    @property
    def completion_tokens(self) -> int:
        return self.hidden_tokens + sum(count for count, _ in self.steps())

    def steps(self) -> Iterator[tuple[int, bytes]]:
        return islice(self._answer.steps(), self._after)

    def finish(self) -> None:
        """It never is complete."""

    def closing(self) -> bytes:
        return b""


class _Failed(_Shortened):
    """A stream that ends in an error, or a body that is one."""

    def __init__(self, answer: Answer, after: int, dialect: Dialect, id: str) -> None:
        super().__init__(answer, after)
        self._dialect = dialect
        self._id = id

    def whole(self) -> bytes:
        return self._dialect.error_body(errors.failed_after_all(), self._id)

    def closing(self) -> bytes:
        return self._answer.failure(errors.failed_after_all())


class _Malformed(_WrappedAnswer):
    """A body, or one event of a stream, that breaks off in the middle of its JSON."""

    def __init__(self, answer: Answer, after: int) -> None:
        super().__init__(answer)
        self._after = after

    def whole(self) -> bytes:
        return _half(self._answer.whole())

    def steps(self) -> Iterator[tuple[int, bytes]]:
        broken = min(self._after, self.length - 1)
        for place, (count, events) in enumerate(self._answer.steps()):
            if place == broken:
                *rest, data = events.rpartition(b"data: ")
                events = b"".join([*rest, _half(data.rstrip()), b"\n\n"])
            yield count, events


class _Unfinished(_WrappedAnswer):
    """An answer that ends like a complete one and does not say that it is."""

    def whole(self) -> bytes:
        body = json.loads(self._answer.whole())
        for choice in body.get("choices", ()):
            choice["finish_reason"] = None
        if "stop_reason" in body:
            body["stop_reason"] = None
        if body.get("object") == "response":
            body["status"] = "in_progress"
        return json.dumps(body, separators=(",", ":")).encode()

    def closing(self) -> bytes:
        return b""


class _Empty(_WrappedAnswer):
    """An answer in which the model says nothing; its tokens are billed all the same."""

    @property
    def length(self) -> int:
        return 1

    def whole(self) -> bytes:
        return self._answer.empty(streamed=False)

    def opening(self) -> bytes:
        return b""

    def steps(self) -> Iterator[tuple[int, bytes]]:
        visible = self._answer.completion_tokens - self._answer.hidden_tokens
        yield visible, self._answer.empty(streamed=True)

    def closing(self) -> bytes:
        return b""


def _half(data: bytes) -> bytes:
    return data[: len(data) // 2]
