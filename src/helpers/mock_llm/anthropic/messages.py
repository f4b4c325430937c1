"""``POST /v1/messages`` and ``/v1/messages/count_tokens``."""

from __future__ import annotations

from functools import partial
from typing import Any, TypeVar

from helpers.mock_llm.anthropic.messages_answer import MessageAnswer
from helpers.mock_llm.anthropic.messages_prompt import Prompt, read_conversation, read_prompt
from helpers.mock_llm.anthropic.messages_request import (
    CountRequest,
    ManualThinking,
    MessageRequest,
    OldThread,
    Turn,
)
from helpers.mock_llm.anthropic.rules import check
from helpers.mock_llm.anthropic.threads import Thread, Threads, continuing, resume
from helpers.mock_llm.anthropic.validation import parse
from helpers.mock_llm.model.generate import GenerationRequest
from helpers.mock_llm.serving.engine import Engine
from helpers.mock_llm.serving.exchange import Exchange
from helpers.mock_llm.serving.models import check_anthropic_model
from helpers.mock_llm.serving.validation import read

_Request = TypeVar("_Request", bound=CountRequest)


class Messages:
    def __init__(self, engine: Engine, threads: Threads) -> None:
        self._engine = engine
        self._threads = threads

    async def answer(self, exchange: Exchange) -> None:
        body = await exchange.body()
        request = await self._parse(MessageRequest, exchange, body)
        thread = self._threads.find(wanted) if (wanted := _continued(request)) else None
        size = len(body) + (thread.size if thread else 0)
        if thread is not None:
            resume(thread, request)
        await self._check(exchange, request, body)
        exchange.count_messages(len(request.messages))
        keep = partial(self._keep, request, size, len(body)) if request.thread is not None else None
        with continuing(thread):
            prompt = await self._engine.tokenize(lambda: read_prompt(request), size)
            await self._engine.answer(
                exchange,
                _generation(request, prompt),
                lambda completion: MessageAnswer(completion, request, prompt.hour_end, keep),
                streamed=bool(request.stream),
            )

    async def count(self, exchange: Exchange) -> None:
        body = await exchange.body()
        request = await self._parse(CountRequest, exchange, body)
        await self._check(exchange, request, body)
        prompt = await self._engine.tokenize(lambda: read_prompt(request), len(body))
        await exchange.reply(200, b'{"input_tokens":%d}' % len(prompt.tokens))

    async def _parse(self, model: type[_Request], exchange: Exchange, body: bytes) -> _Request:
        headers = exchange.request_headers
        request = await read(
            lambda body: parse(model, body, headers), body, lenient=self._engine.lenient
        )
        exchange.name_model(
            self._engine.further_model(request.model) or check_anthropic_model(request.model)
        )
        return request

    async def _check(self, exchange: Exchange, request: CountRequest, body: bytes) -> None:
        window = self._engine.window_of(request.model)
        header = exchange.request_headers.get(b"anthropic-beta", b"").decode("latin-1")
        betas = frozenset(map(str.strip, header.split(",")))
        await read(lambda _: check(request, window, betas), body)

    def _keep(
        self, request: MessageRequest, size: int, new: int, id: str, content: list[dict[str, Any]]
    ) -> None:
        """Hold the conversation so that it can go on from its answer. ``new``: of its bytes."""
        turns = [*request.messages, *([Turn.of_answer(content)] if content else ())]
        self._threads.keep(id, Thread(request.system, request.tools, turns, size), new)


def _continued(request: MessageRequest) -> str | None:
    return request.thread.previous_message_id if isinstance(request.thread, OldThread) else None


def _generation(request: MessageRequest, prompt: Prompt) -> GenerationRequest:
    choice, thinking = request.tool_choice, request.thinking
    last = request.messages[-1].blocks
    return GenerationRequest(
        model=request.model,
        prompt=prompt.tokens,
        limit=request.max_tokens,
        stop=tuple(request.stop_sequences or ()),
        schema=request.schema_wanted,
        tools=request.callable_tools,
        tool_choice=request.tool_wanted,
        parallel_tool_calls=not getattr(choice, "disable_parallel_tool_use", None),
        called=any(block["type"] in ("tool_result", "mcp_tool_result") for block in last),
        thinking_budget=_thinking_budget(request),
        shows_thinking=request.thinks and getattr(thinking, "display", None) != "omitted",
        marks=prompt.marks,
        conversation=lambda: read_conversation(request),
    )


def _thinking_budget(request: MessageRequest) -> int:
    """A model that was not asked to think does not, whatever its profile says."""
    if not request.thinks:
        return 0
    thinking = request.thinking
    return thinking.budget_tokens if isinstance(thinking, ManualThinking) else request.max_tokens
