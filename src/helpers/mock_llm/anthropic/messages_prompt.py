"""A request for a message as the model reads it, and where its parts end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from helpers.mock_llm.anthropic.blocks import CacheControl
from helpers.mock_llm.anthropic.messages_request import CountRequest
from helpers.mock_llm.model.conversation import Conversation, text_of
from helpers.mock_llm.model.prefix_cache import Marks
from helpers.mock_llm.model.tokens import (
    CLOSING,
    NO_TEXT,
    PRIMING,
    encode,
    json_tokens,
    message_opening,
)


@dataclass(slots=True)
class Prompt:
    """A prompt as the model reads it: tools, system prompt, messages."""

    tokens: list[int] = field(default_factory=list)
    marks: Marks = field(default_factory=Marks)
    hour_end: int = 0
    """Up to where the prompt is to be cached for an hour, not five minutes."""

    def end_block(self, cache: CacheControl | None) -> None:
        end = len(self.tokens)
        self.marks.ends.append(end)
        if cache is not None:
            self.marks.marked.append(end)
            if cache.ttl == "1h":
                self.hour_end = end


# Blocks that the model does not see, or that have nothing in them.
_NOT_SHOWN = (
    "compaction",
    "fallback",
    "mcp_tool_listing",
    "mcp_tool_result",
    "redacted_thinking",
    "tool_result",
)


def read_prompt(request: CountRequest) -> Prompt:
    prompt = Prompt()
    for tool in request.tools or ():
        prompt.tokens += json_tokens(tool.model_dump(exclude={"cache_control"}, exclude_none=True))
        prompt.end_block(tool.cache_control)
    _read_blocks(prompt, "system", request.system_blocks)
    for turn in request.messages:
        _read_blocks(prompt, turn.role, turn.blocks)
    if request.cache_control is not None:
        del prompt.marks.ends[-1]
        prompt.end_block(request.cache_control)
    prompt.tokens += PRIMING
    return prompt


def read_conversation(request: CountRequest) -> Conversation:
    """What a script looks at."""
    texts, results, calls = [text_of(request.system_blocks)], [], 0
    for turn in request.messages:
        for block in turn.blocks:
            calls += block["type"] == "tool_use"
            if block["type"] == "tool_result":
                results.append(text_of(block.get("content")))
        texts.append(text_of(turn.blocks) or (results[-1] if results else ""))
    return Conversation(tuple(texts), calls, results[-1] if results else None)


def _read_blocks(prompt: Prompt, role: str, blocks: Sequence[Any]) -> None:
    if not blocks:
        return
    prompt.tokens += message_opening(role)
    for number, block in enumerate(blocks):
        prompt.tokens += _block_tokens(block)
        if number == len(blocks) - 1:
            prompt.tokens.append(CLOSING)
        prompt.end_block(block.get("cache_control"))


def _block_tokens(block: Any) -> list[int]:
    """Text as text, calls as JSON, results as what they hold; images and files as one image."""
    match block:
        case {"type": "text", "text": text} | {"type": "thinking", "thinking": text}:
            return encode(text)
        case {"type": "document", "source": {"type": "text", "data": str(text)}}:
            return encode(text)
        case {"type": "tool_use" | "mcp_tool_use", "name": name, "input": input}:
            return encode(name) + json_tokens(input)
        case {"type": "tool_result" | "mcp_tool_result" | "compaction", "content": str(text)}:
            return encode(text)
        case {"type": "tool_result" | "mcp_tool_result", "content": list(parts)}:
            return [token for part in parts for token in _block_tokens(part)]
        case {"type": "tool_addition" | "tool_removal", "tool": tool}:
            return json_tokens(tool)
        case {"type": kind} if kind in _NOT_SHOWN:
            return []
    return NO_TEXT
