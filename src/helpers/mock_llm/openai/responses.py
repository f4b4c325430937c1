"""``/v1/responses``: making responses, and reading those that are stored."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import partial
from typing import Any
from urllib.parse import parse_qs

from helpers.mock_llm.model.conversation import of_messages
from helpers.mock_llm.model.generate import GenerationRequest
from helpers.mock_llm.model.tokens import PRIMING, prompt_tokens
from helpers.mock_llm.openai.background import Jobs
from helpers.mock_llm.openai.response_store import ResponseStore, StoredResponse
from helpers.mock_llm.openai.responses_answer import ResponseAnswer
from helpers.mock_llm.openai.responses_request import (
    ANSWERED,
    CountRequest,
    ResponseRequest,
    check_calls,
    parse,
)
from helpers.mock_llm.openai.rules import item_type
from helpers.mock_llm.openai.validation import not_one_of, refused
from helpers.mock_llm.serving.engine import Completion, Engine
from helpers.mock_llm.serving.errors import ApiError
from helpers.mock_llm.serving.exchange import Exchange
from helpers.mock_llm.serving.models import check_text_model
from helpers.mock_llm.serving.validation import is_count, read

_Item = dict[str, Any]
_PAGE = 20


class Responses:
    def __init__(self, engine: Engine, store: ResponseStore) -> None:
        self._engine = engine
        self._store = store
        self._jobs = Jobs(engine, store)

    async def create(self, exchange: Exchange) -> None:
        body = await exchange.body()
        request = await read(partial(parse, ResponseRequest), body, lenient=self._engine.lenient)
        model = exchange.name_model(self._model(request))
        items, size = self._conversation(request, len(body))
        exchange.count_messages(len(items))
        prompt = await self._engine.tokenize(lambda: self._prompt(request, items), size)
        generation = GenerationRequest(
            model=model,
            prompt=prompt,
            limit=self._limit(request, len(prompt)),
            schema=request.schema_wanted,
            tools=request.callable_tools,
            tool_choice=request.tool_wanted,
            parallel_tool_calls=request.parallel_tool_calls is not False,
            called=bool(items) and items[-1]["type"] in ANSWERED.values(),
            thinking_budget=0 if _rests(request) else None,
            top_logprobs=request.top_logprobs or 0 if request.wants_logprobs else None,
            shows_thinking=_wants_summary(request),
            conversation=lambda: of_messages(_chat(request, items)),
        )

        keep = partial(self._keep, request, items, size)

        def write(completion: Completion) -> ResponseAnswer:
            return ResponseAnswer(completion, request, keep)

        if request.background and not request.stream:
            prepared = await self._engine.prepare(exchange, generation)
            await _reply(exchange, self._jobs.start(exchange, prepared, write, keep))
        else:
            await self._engine.answer(exchange, generation, write, streamed=bool(request.stream))

    def _model(self, request: CountRequest) -> str:
        name = request.model or ""
        return check_text_model(name, "v1/responses", self._engine.further_model(name))

    async def count(self, exchange: Exchange) -> None:
        body = await exchange.body()
        request = await read(partial(parse, CountRequest), body)
        exchange.name_model(self._model(request))
        items, size = self._conversation(request, len(body))
        prompt = await self._engine.tokenize(lambda: _prompt(request, items), size)
        await _reply(exchange, {"object": "response.input_tokens", "input_tokens": len(prompt)})

    async def show(self, exchange: Exchange) -> None:
        stored = self._store.find(_id(exchange))
        if _query(exchange, "stream", "false") == "true":
            missed = "stream" if json.loads(stored.body)["background"] else "background"
            raise ApiError(
                400,
                f"This response cannot be streamed because it was not created with {missed}=true.",
                param="stream",
            )
        await exchange.reply(200, stored.body)

    async def delete(self, exchange: Exchange) -> None:
        self._store.find(_id(exchange))
        self._store.forget(_id(exchange))
        await _reply(exchange, {"id": _id(exchange), "object": "response", "deleted": True})

    async def cancel(self, exchange: Exchange) -> None:
        self._jobs.cancel(_id(exchange))
        await exchange.reply(200, self._store.find(_id(exchange)).body)

    async def list_input(self, exchange: Exchange) -> None:
        """Newest first, unless asked otherwise."""
        items = self._store.find(_id(exchange)).input
        limit = _query(exchange, "limit", str(_PAGE))
        if not is_count(limit, 100):
            raise refused("Invalid 'limit': expected an integer from 1 to 100.", "limit")
        order = _query(exchange, "order", "desc")
        if order not in ("asc", "desc"):
            raise not_one_of("order", order, ["'asc'", "'desc'"])
        items = items if order == "asc" else items[::-1]
        ids = ["", *(item["id"] for item in items)]
        after = _query(exchange, "after", "")
        if after not in ids:
            raise refused(f"Item with id '{after[:100]}' not found.", "after")
        rest = items[ids.index(after) :]
        page = rest[: int(limit)]
        fields = {
            "object": "list",
            "data": page,
            "first_id": page[0]["id"] if page else None,
            "last_id": page[-1]["id"] if page else None,
            "has_more": len(page) < len(rest),
        }
        await _reply(exchange, fields)

    def _conversation(self, request: CountRequest, size: int) -> tuple[list[_Item], int]:
        """What was said before and what is said now, and how many bytes that is, about.

        Raises ApiError (400 or 404).
        """
        previous = self._store.previous(request.previous_response_id)
        before = previous.conversation if previous else []
        now = (dict(item) | {"type": item_type(item)} for item in request.items)
        items = [*before, *self._store.resolve(now)]
        check_calls(items)
        return items, size + (previous.size if previous else 0)

    def _prompt(self, request: ResponseRequest, items: list[_Item]) -> list[int]:
        """With truncation, the first items are left out until the rest fits."""
        prompt = _prompt(request, items)
        model = self._engine.window_of(request.model or "")
        window = min(model.context, model.prompt or model.context)
        if request.truncation == "auto" and len(prompt) >= window:
            sizes = [len(prompt_tokens(_messages([item]))) - len(PRIMING) for item in items]
            excess, first = len(prompt) - window + (request.max_output_tokens or 1), 0
            while excess > 0 and first < len(items) - 1:
                excess -= sizes[first]
                first += 1
            prompt = _prompt(request, items[first:])
        return prompt

    def _limit(self, request: ResponseRequest, prompt: int) -> int | None:
        """Maximum tokens of the answer. Raises ApiError (400) when there is no room for any."""
        window = self._engine.window_of(request.model or "")
        room = window.context - prompt
        if room < 1 or prompt > (window.prompt or prompt):
            raise ApiError(
                400,
                "Your input exceeds the context window of this model. Please adjust your input and "
                "try again.",
                param="input",
                code="context_length_exceeded",
            )
        limit = request.max_output_tokens
        return None if limit is None else min(limit, room)

    def _keep(
        self, request: ResponseRequest, items: list[_Item], size: int, response: dict[str, Any]
    ) -> None:
        if request.store is False:
            return
        before = len(items) - len(request.items)
        start = response["id"].removeprefix("resp_")[:24]
        new = [_listed(item, f"{start}{index:08x}") for index, item in enumerate(items[before:])]
        body = json.dumps(response, ensure_ascii=False).encode()
        conversation = [*items[:before], *new, *response["output"]]
        stored = StoredResponse(body, new, conversation, size + len(body))
        self._store.keep(response["id"], stored, len(json.dumps(new)) + len(body))


def _listed(item: _Item, id: str) -> _Item:
    """An item of the input as it is listed: with an id, and a text as a part."""
    if item["type"] != "message":
        return {"id": f"item_{id}"} | item
    content = item["content"]
    if isinstance(content, str):
        kind = "output_text" if item["role"] == "assistant" else "input_text"
        content = [{"type": kind, "text": content}]
    message = {"id": f"msg_{id}", "status": "completed"}
    return message | item | {"content": content}


def _prompt(request: CountRequest, items: Iterable[_Item]) -> list[int]:
    return prompt_tokens(_chat(request, items), request.tools or ())


def _chat(request: CountRequest, items: Iterable[_Item]) -> list[dict[str, Any]]:
    """The conversation as the model reads it."""
    messages = _messages(items)
    if request.instructions is not None:
        messages.insert(0, {"role": "developer", "content": request.instructions})
    return messages


def _messages(items: Iterable[_Item]) -> list[dict[str, Any]]:
    """The items as messages of a chat: both routes count the same conversation alike."""
    return [message for item in items for message in _message(item)]


def _message(item: _Item) -> list[dict[str, Any]]:
    match item:
        case {"type": "message", "role": role, "content": content}:
            return [{"role": role, "content": content}]
        case {"type": "function_call", "call_id": id, "name": name, "arguments": arguments}:
            function = {"name": name, "arguments": arguments}
            return [_called({"id": id, "type": "function", "function": function})]
        case {"type": "custom_tool_call", "call_id": id, "name": name, "input": input}:
            return [_called({"id": id, "type": "custom", "custom": {"name": name, "input": input}})]
        case {"type": kind, "output": str() | list() as output} if kind in ANSWERED.values():
            return [{"role": "tool", "content": output}]
        case {"type": "reasoning"}:
            return []
    return [{"role": "assistant", "content": json.dumps(item)}]


def _called(call: dict[str, Any]) -> dict[str, Any]:
    return {"role": "assistant", "content": None, "tool_calls": [call]}


def _rests(request: ResponseRequest) -> bool:
    return request.reasoning is not None and request.reasoning.effort == "none"


def _wants_summary(request: ResponseRequest) -> bool:
    reasoning = request.reasoning
    return reasoning is not None and bool(reasoning.summary or reasoning.generate_summary)


def _id(exchange: Exchange) -> str:
    return exchange.path.split("/")[3]


def _query(exchange: Exchange, name: str, default: str) -> str:
    return parse_qs(exchange.query.decode("latin-1")).get(name, [default])[0]


async def _reply(exchange: Exchange, fields: dict[str, Any]) -> None:
    await exchange.reply(200, json.dumps(fields, ensure_ascii=False).encode())
