"""An answer as Anthropic's Messages have it: content blocks, and the events that bring them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json

from helpers.mock_llm.anthropic.dialect import ANTHROPIC
from helpers.mock_llm.anthropic.messages_request import MessageRequest
from helpers.mock_llm.model.generate import Choice, Text, ToolCall
from helpers.mock_llm.serving.engine import Completion
from helpers.mock_llm.serving.errors import ApiError

_Fields = dict[str, Any]
_PING = 'event: ping\ndata: {"type":"ping"}\n\n'
# Of a thinking block, which clients must send back unchanged; ours signs nothing.
_SIGNATURE = "bW9jaw=="


@dataclass(slots=True)
class _Piece:
    """A content block of the answer."""

    start: _Fields
    """As its first event has it: without what the deltas bring."""
    delta: str
    """The JSON of a delta up to the token."""
    tokens: list[str]
    signature: str = ""

    def whole(self) -> _Fields:
        text = "".join(self.tokens)
        match self.start["type"]:
            case "text":
                return self.start | {"text": text}
            case "thinking":
                return self.start | {"thinking": text, "signature": self.signature}
        # What a cut call has so far; the client reads its deltas in the same way.
        return self.start | {"input": from_json(text or "{}", allow_partial=True)}


class MessageAnswer:
    """An answer as Anthropic's Messages have it."""

    def __init__(
        self,
        completion: Completion,
        request: MessageRequest,
        hour_end: int,
        keep: Callable[[str, list[_Fields]], None] | None,
    ) -> None:
        """``hour_end``: up to which token the prompt is cached for an hour.

        ``keep`` stores the answer's id and content when it is complete, just before it is sent.
        """
        self._completion = completion
        self._hour_end = hour_end
        self._keep = keep
        self._pieces = _pieces(completion, thinks=request.thinks)

    @property
    def length(self) -> int:
        return sum(len(piece.tokens) for piece in self._pieces)

    @property
    def completion_tokens(self) -> int:
        return self._completion.completion_tokens

    @property
    def hidden_tokens(self) -> int:
        return self._completion.reasoning_tokens - len(self._completion.thoughts)

    def whole(self) -> bytes:
        content = [piece.whole() for piece in self._pieces]
        return json.dumps(self._message(content, **self._end(), usage=self._usage())).encode()

    def opening(self) -> bytes:
        usage = self._usage() | {"output_tokens": 1}
        message = self._message([], stop_reason=None, stop_sequence=None, usage=usage)
        return _event({"type": "message_start", "message": message}).encode()

    def steps(self) -> Iterator[tuple[int, bytes]]:
        before = ""
        for index, piece in enumerate(self._pieces):
            before += _start(index, piece)
            head = (
                'event: content_block_delta\ndata: {"type":"content_block_delta",'
                f'"index":{index},"delta":{{{piece.delta}'
            )
            for token in piece.tokens:
                yield 1, f"{before}{head}{json.dumps(token)}}}}}\n\n".encode()
                before = ""
            before += _stop(index, piece)

    def finish(self) -> None:
        if self._keep is not None:
            content = [piece.whole() for piece in self._pieces]
            self._keep(f"msg_{self._completion.id}", content)

    def closing(self) -> bytes:
        end = self._closing(self._end())
        if not self._pieces:
            return end
        last = len(self._pieces) - 1
        unsent = _stop(last, self._pieces[last])
        if not self.length:  # thinking that is not shown, and used up the limit
            unsent = _start(last, self._pieces[last]) + unsent
        return unsent.encode() + end

    def failure(self, error: ApiError) -> bytes:
        return b"event: error\ndata: " + ANTHROPIC.error_body(error, self._completion.id) + b"\n\n"

    def empty(self, *, streamed: bool) -> bytes:
        end = {"stop_reason": "end_turn", "stop_sequence": None}
        if streamed:
            return self.opening() + self._closing(end)
        return json.dumps(self._message([], **end, usage=self._usage())).encode()

    def _closing(self, end: dict[str, str | None]) -> bytes:
        delta = _event({"type": "message_delta", "delta": end, "usage": self._usage()})
        return (delta + _event({"type": "message_stop"})).encode()

    def _message(self, content: list[_Fields], **rest: Any) -> _Fields:
        completion = self._completion
        return {
            "id": f"msg_{completion.id}",
            "type": "message",
            "role": "assistant",
            "model": completion.model,
            "content": content,
            **rest,
        }

    def _end(self) -> dict[str, str | None]:
        choice = self._completion.choices[0]
        return {"stop_reason": _stop_reason(choice), "stop_sequence": choice.stop_sequence}

    def _usage(self) -> _Fields:
        """What is read from the cache or written to it is not in ``input_tokens``."""
        completion = self._completion
        read, written = completion.cached_tokens, completion.cache_writes
        hour = min(max(self._hour_end - read, 0), written)
        return {
            "input_tokens": completion.prompt_tokens - read - written,
            "cache_creation_input_tokens": written,
            "cache_read_input_tokens": read,
            "cache_creation": {
                "ephemeral_5m_input_tokens": written - hour,
                "ephemeral_1h_input_tokens": hour,
            },
            "output_tokens": completion.completion_tokens,
            "output_tokens_details": {"thinking_tokens": completion.reasoning_tokens},
            "service_tier": "standard",
        }


def _pieces(completion: Completion, *, thinks: bool) -> list[_Piece]:
    pieces = []
    if thinks:
        start = {"type": "thinking", "thinking": "", "signature": ""}
        delta = '"type":"thinking_delta","thinking":'
        pieces.append(_Piece(start, delta, completion.thoughts, _SIGNATURE))
    for part in completion.choices[0].parts:
        if isinstance(part, ToolCall):
            pieces.append(_call(part))
        elif part.tokens:
            pieces.append(_text(part))
    return pieces


def _text(part: Text) -> _Piece:
    start = {"type": "text", "text": ""}
    return _Piece(start, '"type":"text_delta","text":', part.tokens)


def _call(part: ToolCall) -> _Piece:
    start = {
        "type": "tool_use",
        "id": f"toolu_{part.id}",
        "name": part.name,
        "input": {},
        "caller": {"type": "direct"},
    }
    return _Piece(start, '"type":"input_json_delta","partial_json":', part.tokens)


def _start(index: int, piece: _Piece) -> str:
    """The first one is followed by a ping, as the provider's streams have it."""
    start = {"type": "content_block_start", "index": index, "content_block": piece.start}
    return _event(start) + ("" if index else _PING)


def _stop(index: int, piece: _Piece) -> str:
    events = ""
    if piece.signature:
        delta = {"type": "signature_delta", "signature": piece.signature}
        events = _event({"type": "content_block_delta", "index": index, "delta": delta})
    return events + _event({"type": "content_block_stop", "index": index})


def _stop_reason(choice: Choice) -> str:
    if choice.stop_sequence is not None:
        return "stop_sequence"
    return {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}[choice.finish]


def _event(data: _Fields) -> str:
    return f"event: {data['type']}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n"
