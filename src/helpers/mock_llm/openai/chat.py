"""``POST /v1/chat/completions``: whole answers and streamed ones."""

from __future__ import annotations

from typing import Any

from helpers.mock_llm.model.conversation import of_messages
from helpers.mock_llm.model.generate import GenerationRequest, Tool
from helpers.mock_llm.model.tokens import prompt_tokens
from helpers.mock_llm.openai.chat_answer import chat_answer
from helpers.mock_llm.openai.chat_request import (
    ChatRequest,
    CustomTool,
    FunctionTool,
    chosen_names,
)
from helpers.mock_llm.openai.chat_rules import parse
from helpers.mock_llm.openai.validation import named_body
from helpers.mock_llm.serving.engine import Engine
from helpers.mock_llm.serving.exchange import Exchange
from helpers.mock_llm.serving.models import check_text_model
from helpers.mock_llm.serving.validation import read


class Chat:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def answer(self, exchange: Exchange) -> None:
        body = await named_body(exchange)
        request = await read(parse, body, lenient=self._engine.lenient)
        exchange.name_model(
            check_text_model(
                request.model,
                "v1/chat/completions",
                exchange.deployment or self._engine.further_model(request.model),
            )
        )
        exchange.count_messages(len(request.messages))
        tools = [*(request.tools or ()), *(request.functions or ())]
        prompt = await self._engine.tokenize(
            lambda: prompt_tokens(request.messages, tools), len(body)
        )
        generation = GenerationRequest(
            model=request.model,
            prompt=prompt,
            limit=request.limit,
            seed=request.seed or 0,
            choices=request.n or 1,
            stop=request.stops,
            schema=_schema(request),
            top_logprobs=(request.top_logprobs or 0) if request.logprobs else None,
            thinking_budget=0 if request.reasoning_effort == "none" else None,
            conversation=lambda: of_messages(request.messages),
        )
        if tools:
            _add_tools(generation, request)
        await self._engine.answer(
            exchange,
            generation,
            lambda completion: chat_answer(completion, request),
            streamed=bool(request.stream),
        )


def _schema(request: ChatRequest) -> dict[str, Any] | None:
    format = request.response_format
    if format is None or format["type"] == "text":
        return None
    return format["json_schema"].get("schema", {}) if format["type"] == "json_schema" else {}


def _add_tools(generation: GenerationRequest, request: ChatRequest) -> None:
    """What the model may call. Tools that are named are the only ones left."""
    if request.functions is not None:
        names, generation.tool_choice = _function_choice(request)
        tools = [Tool(f["name"], f.get("parameters", {})) for f in request.functions]
        generation.parallel_tool_calls = False
    else:
        names, generation.tool_choice = _tool_choice(request)
        tools = [_tool(tool) for tool in request.tools or ()]
        generation.parallel_tool_calls = request.parallel_tool_calls is not False
    generation.tools = tuple(tool for tool in tools if not names or tool.name in names)
    generation.called = request.messages[-1]["role"] in ("tool", "function")


def _tool(tool: FunctionTool | CustomTool) -> Tool:
    if tool["type"] == "custom":
        return Tool(tool["custom"]["name"], None)
    return Tool(tool["function"]["name"], tool["function"].get("parameters", {}))


def _function_choice(request: ChatRequest) -> tuple[list[str], str]:
    """Which functions may be called, if they are named, and whether one must be."""
    choice = request.function_call or "auto"
    return ([], choice) if isinstance(choice, str) else ([choice["name"]], "required")


def _tool_choice(request: ChatRequest) -> tuple[list[str], str]:
    choice = request.tool_choice or "auto"
    if isinstance(choice, str):
        return [], choice
    must = choice["allowed_tools"]["mode"] if choice["type"] == "allowed_tools" else "required"
    return chosen_names(choice), must
