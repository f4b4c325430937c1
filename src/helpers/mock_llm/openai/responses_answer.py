"""An answer as the Responses API has it: items, and typed events that are numbered."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count, zip_longest
from typing import Any

from helpers.mock_llm.model.generate import Text, ToolCall
from helpers.mock_llm.openai.chat_answer import PADDING
from helpers.mock_llm.openai.responses_request import ResponseRequest
from helpers.mock_llm.serving import errors
from helpers.mock_llm.serving.engine import Completion
from helpers.mock_llm.serving.errors import ApiError

_Fields = dict[str, Any]
_OPENING_EVENTS = 2
# The codes of a failed response that concern text.
_ERROR_CODES = ("server_error", "rate_limit_exceeded", "invalid_prompt")
# Reasoning that a client keeps for the model; ours needs none.
_ENCRYPTED = "bW9jaw=="


@dataclass(slots=True)
class _Piece:
    """An item of the output. Its events have no numbers yet."""

    item: _Fields
    """When it is complete."""
    tokens: list[str]
    begin: list[_Fields]
    delta: _Fields
    """The event that carries a token, without the token."""
    end: list[_Fields]
    logprobs: list[str] = field(default_factory=list)
    """For each token the field of its event, after a comma; none where they do not exist."""


class ResponseAnswer:
    def __init__(
        self, completion: Completion, request: ResponseRequest, keep: Callable[[_Fields], None]
    ) -> None:
        """``keep`` stores the response when it is complete, just before it is sent."""
        self._completion = completion
        self._request = request
        self._keep = keep
        # Of the events; each stretch of the stream begins with its own number.
        self._numbers = count()
        self._pieces = _pieces(completion, request)

    @property
    def length(self) -> int:
        return sum(len(piece.tokens) for piece in self._pieces)

    @property
    def completion_tokens(self) -> int:
        return self._completion.completion_tokens

    @property
    def hidden_tokens(self) -> int:
        return self._completion.reasoning_tokens - len(self._completion.thoughts)

    def pending(self, status: str) -> _Fields:
        """The response of a job in the background that is not complete, or never will be."""
        response = self._response(status, [])
        if status == "failed":
            response["error"] = {"code": "server_error", "message": errors.internal().message}
        return response

    def whole(self) -> bytes:
        return _json(self._complete).encode()

    def opening(self) -> bytes:
        self._numbers = count()
        response = self._response("in_progress", [])
        return self._events(
            {"type": "response.created", "response": response},
            {"type": "response.in_progress", "response": response},
        )

    def steps(self) -> Iterator[tuple[int, bytes]]:
        self._numbers = count(_OPENING_EVENTS)
        before = b""
        for index, piece in enumerate(self._pieces):
            if index:
                before += self._events(*self._pieces[index - 1].end)
            before += self._events(*piece.begin)
            kind, fields = piece.delta.get("type"), json.dumps(piece.delta)[:-1]
            padded = self._request.include_obfuscation
            for token, logprobs in zip_longest(piece.tokens, piece.logprobs, fillvalue=""):
                padding = PADDING[len(token) % len(PADDING)] if padded else ""
                event = (
                    f'event: {kind}\ndata: {fields}{logprobs},"sequence_number":'
                    f'{next(self._numbers)},"delta":{_json(token)}'
                    + (f',"obfuscation":"{padding}"}}\n\n' if padded else "}\n\n")
                )
                yield 1, before + event.encode()
                before = b""

    def finish(self) -> None:
        self._keep(self._complete)

    def closing(self) -> bytes:
        response = self._complete
        return self._unsent() + self._events(
            {"type": f"response.{response['status']}", "response": response}
        )

    def failure(self, error: ApiError) -> bytes:
        code = error.code if error.code in _ERROR_CODES else "server_error"
        response = self._response("failed", [])
        response["error"] = {"code": code, "message": error.message}
        return self._events(
            {"type": "error", "code": code, "message": error.message, "param": error.param},
            {"type": "response.failed", "response": response},
        )

    def empty(self, *, streamed: bool) -> bytes:
        response = self._response("completed", [])
        if not streamed:
            return _json(response).encode()
        return self.opening() + self._events({"type": "response.completed", "response": response})

    def _unsent(self) -> bytes:
        """The end of the last item, and all of one without tokens: hidden reasoning alone."""
        if not self._pieces:
            return b""
        last = self._pieces[-1]
        return self._events(*(() if self.length else last.begin), *last.end)

    def _events(self, *events: _Fields) -> bytes:
        return b"".join(self._event(fields) for fields in events)

    def _event(self, fields: _Fields) -> bytes:
        data = _json(fields | {"sequence_number": next(self._numbers)})
        return f"event: {fields['type']}\ndata: {data}\n\n".encode()

    @cached_property
    def _complete(self) -> _Fields:
        cut = self._completion.choices[0].finish == "length"
        output = [piece.item for piece in self._pieces]
        response = self._response("incomplete" if cut else "completed", output)
        if cut:
            response["incomplete_details"] = {"reason": "max_output_tokens"}
        return response

    def _response(self, status: str, output: list[_Fields]) -> _Fields:
        completion, request = self._completion, self._request
        done = status in ("completed", "incomplete")
        return {
            "id": f"resp_{completion.id}",
            "object": "response",
            "created_at": completion.created,
            "status": status,
            "background": bool(request.background),
            "completed_at": int(time.time()) if status == "completed" else None,
            "error": None,
            "incomplete_details": None,
            "instructions": request.instructions,
            "max_output_tokens": request.max_output_tokens,
            "max_tool_calls": request.max_tool_calls,
            "metadata": request.metadata or {},
            "model": completion.model,
            "output": output,
            "parallel_tool_calls": request.parallel_tool_calls is not False,
            "previous_response_id": request.previous_response_id,
            "prompt_cache_key": request.prompt_cache_key,
            "reasoning": _reasoning(request),
            "safety_identifier": request.safety_identifier,
            "service_tier": "default",
            "store": request.store is not False,
            "temperature": 1.0 if request.temperature is None else request.temperature,
            "text": _text_config(request),
            "tool_choice": request.tool_choice or "auto",
            "tools": [_tool(dict(tool)) for tool in request.tools or ()],
            "top_logprobs": request.top_logprobs or 0,
            "top_p": 1.0 if request.top_p is None else request.top_p,
            "truncation": request.truncation or "disabled",
            "usage": self._usage() if done else None,
            "user": request.user,
        }

    def _usage(self) -> _Fields:
        completion = self._completion
        return {
            "input_tokens": completion.prompt_tokens,
            "input_tokens_details": {
                "cached_tokens": completion.cached_tokens,
                "cache_write_tokens": 0,
            },
            "output_tokens": completion.completion_tokens,
            "output_tokens_details": {"reasoning_tokens": completion.reasoning_tokens},
            "total_tokens": completion.prompt_tokens + completion.completion_tokens,
        }


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _reasoning(request: ResponseRequest) -> _Fields:
    asked = request.reasoning
    return {
        "effort": asked.effort if asked else None,
        "summary": (asked.summary or asked.generate_summary) if asked else None,
    }


def _text_config(request: ResponseRequest) -> _Fields:
    config = request.text
    format: _Fields = {"type": "text"}
    if config and config.format:
        format = config.format.model_dump(by_alias=True, exclude_none=True)
    return {"format": format, "verbosity": (config and config.verbosity) or "medium"}


def _tool(tool: _Fields) -> _Fields:
    """Functions are strict unless a client says otherwise."""
    if tool["type"] != "function":
        return tool
    defaults = {"description": None, "parameters": None, "strict": True}
    return defaults | tool


def _pieces(completion: Completion, request: ResponseRequest) -> list[_Piece]:
    choice, included = completion.choices[0], request.include or ()
    parts = [part for part in choice.parts if isinstance(part, ToolCall) or part.tokens]
    custom = [tool.name for tool in request.callable_tools if tool.parameters is None]
    pieces: list[_Piece] = []
    if completion.thinking_tokens:
        pieces.append(_reasoning_piece(completion, "reasoning.encrypted_content" in included))
    for part in parts:
        cut = choice.finish == "length" and part is parts[-1]
        status = "incomplete" if cut else "completed"
        if isinstance(part, Text):
            id = f"msg_{completion.id}"
            pieces.append(_message_piece(part, id, len(pieces), status))
        elif part.name in custom:
            pieces.append(_call_piece(part, len(pieces), status, "custom_tool_call", "input"))
        else:
            pieces.append(_call_piece(part, len(pieces), status, "function_call", "arguments"))
    return pieces


def _message_piece(part: Text, id: str, index: int, status: str) -> _Piece:
    logprobs = part.logprobs
    text = "".join(part.tokens)
    all_logprobs = [json.loads(each) for each in logprobs]
    item = {"id": id, "type": "message", "role": "assistant"}
    content = {"type": "output_text", "annotations": []}
    begun = content | {"logprobs": [], "text": ""}
    done = content | {"logprobs": all_logprobs, "text": text}
    place = {"item_id": id, "output_index": index, "content_index": 0}
    whole = item | {"status": status, "content": [done]}
    return _Piece(
        whole,
        part.tokens,
        begin=[
            _added(index, item | {"status": "in_progress", "content": []}),
            {"type": "response.content_part.added", **place, "part": begun},
        ],
        delta={"type": "response.output_text.delta", **place},
        end=[
            {
                "type": "response.output_text.done",
                **place,
                "text": text,
                "logprobs": all_logprobs,
            },
            {"type": "response.content_part.done", **place, "part": done},
            _done(index, whole),
        ],
        logprobs=[f',"logprobs":[{each}]' for each in logprobs or [""] * len(part.tokens)],
    )


def _call_piece(call: ToolCall, index: int, status: str, kind: str, key: str) -> _Piece:
    """A call of a function, which has ``arguments``, or of a custom tool, which has ``input``."""
    text = "".join(call.tokens)
    id = f"{'fc' if kind == 'function_call' else 'ctc'}_{call.id}"
    item = {"id": id, "type": kind, "call_id": f"call_{call.id}", "name": call.name}
    place = {"item_id": id, "output_index": index}
    events = f"response.{kind}_{key}"
    whole = item | {"status": status, key: text}
    return _Piece(
        whole,
        call.tokens,
        begin=[_added(index, item | {"status": "in_progress", key: ""})],
        delta={"type": f"{events}.delta", **place},
        end=[{"type": f"{events}.done", **place, key: text}, _done(index, whole)],
    )


def _reasoning_piece(completion: Completion, encrypted: bool) -> _Piece:
    """The first item. Without a summary it is only said that there is one."""
    id, text = f"rs_{completion.id}", "".join(completion.thoughts)
    item: _Fields = {"id": id, "type": "reasoning", "summary": []}
    if encrypted:
        item["encrypted_content"] = _ENCRYPTED
    part = {"type": "summary_text", "text": text}
    place = {"item_id": id, "output_index": 0, "summary_index": 0}
    kind = "response.reasoning_summary"
    if not text:
        return _Piece(item, [], [_added(0, item)], {}, [_done(0, item)])
    whole = item | {"summary": [part]}
    return _Piece(
        whole,
        completion.thoughts,
        begin=[
            _added(0, item),
            {"type": f"{kind}_part.added", **place, "part": part | {"text": ""}},
        ],
        delta={"type": f"{kind}_text.delta", **place},
        end=[
            {"type": f"{kind}_text.done", **place, "text": text},
            {"type": f"{kind}_part.done", **place, "part": part},
            _done(0, whole),
        ],
    )


def _added(index: int, item: _Fields) -> _Fields:
    return {"type": "response.output_item.added", "output_index": index, "item": item}


def _done(index: int, item: _Fields) -> _Fields:
    return {"type": "response.output_item.done", "output_index": index, "item": item}
