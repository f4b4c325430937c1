"""``POST /v1/messages`` and ``/v1/messages/count_tokens``."""

from __future__ import annotations

from functools import partial
from typing import Any

from helpers.mock_llm.anthropic.messages_answer import MessageAnswer
from helpers.mock_llm.anthropic.messages_prompt import Prompt, read_prompt
from helpers.mock_llm.anthropic.messages_request import (
    CountRequest,
    MessageRequest,
    OldThread,
    Turn,
    check,
    parse,
)
from helpers.mock_llm.anthropic.threads import Thread, Threads, continuing, resume
from helpers.mock_llm.model.generate import GenerationRequest
from helpers.mock_llm.serving.engine import Engine
from helpers.mock_llm.serving.exchange import Exchange
from helpers.mock_llm.serving.models import check_anthropic_model


class Messages:
    def __init__(self, engine: Engine, threads: Threads) -> None:
        self._engine = engine
        self._threads = threads

    async def answer(self, exchange: Exchange) -> None:
        body = await exchange.body()
        request = parse(MessageRequest, body, exchange.request_headers)
        thread = self._threads.find(wanted) if (wanted := _continued(request)) else None
        size = len(body) + (thread.size if thread else 0)
        if thread is not None:
            resume(thread, request)
        check(request)
        exchange.record.model = check_anthropic_model(request.model)
        exchange.record.messages = len(request.messages)
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
        request = parse(CountRequest, body, exchange.request_headers)
        check(request)
        exchange.record.model = check_anthropic_model(request.model)
        prompt = await self._engine.tokenize(lambda: read_prompt(request), len(body))
        await exchange.reply(200, b'{"input_tokens":%d}' % len(prompt.tokens))

    def _keep(
        self, request: MessageRequest, size: int, new: int, id: str, content: list[dict[str, Any]]
    ) -> None:
        """Hold the conversation for whoever continues from its answer. ``new``: of its bytes."""
        answer = {"role": "assistant", "content": content}
        turns = [*request.messages, *([Turn.model_validate(answer)] if content else ())]
        self._threads.keep(id, Thread(request.system, request.tools, turns, size), new)


def _continued(request: MessageRequest) -> str | None:
    return request.thread.previous_message_id if isinstance(request.thread, OldThread) else None


def _generation(request: MessageRequest, prompt: Prompt) -> GenerationRequest:
    thinking = request.thinking if request.thinks else None
    choice = request.tool_choice
    return GenerationRequest(
        model=request.model,
        prompt=prompt.tokens,
        limit=request.max_tokens,
        stop=tuple(request.stop_sequences or ()),
        schema=request.schema_wanted,
        tools=request.callable_tools,
        tool_choice=request.tool_wanted,
        parallel_tool_calls=not (choice and choice.disable_parallel_tool_use),
        called=any(block["type"] == "tool_result" for block in request.messages[-1].blocks),
        thinking_budget=(thinking.budget_tokens or request.max_tokens) if thinking else None,
        shows_thinking=thinking is not None and thinking.display != "omitted",
        marks=prompt.marks,
    )
