"""A request as its rules look at it: its blocks with their places, and its messages merged."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from helpers.mock_llm.anthropic.messages_request import (
    CountRequest,
    MessageRequest,
    Turn,
)
from helpers.mock_llm.anthropic.tools import CustomTool
from helpers.mock_llm.model.windows import Window


@dataclass(frozen=True, slots=True)
class Placed:
    """A content block, and where it is."""

    block: Any
    role: str
    turn: int
    """Index of its message; -1 for the system prompt."""
    index: int
    part: int | None = None
    """Index in a tool's result."""

    @property
    def top(self) -> str:
        return "system" if self.turn < 0 else "messages"

    @property
    def where(self) -> str:
        """``messages.0.content.1``"""
        if self.turn < 0:
            return f"system.{self.index}"
        inside = "" if self.part is None else f".tool_result.content.{self.part}"
        return f"messages.{self.turn}.content.{self.index}{inside}"

    @property
    def type(self) -> str:
        return str(self.block["type"])

    @property
    def data(self) -> str:
        """A source's base64 text."""
        return str(self.block["source"]["data"])

    @property
    def size(self) -> int:
        return len(self.data)

    @property
    def declared(self) -> str:
        return str(self.block["source"]["media_type"])

    @property
    def actual(self) -> str:
        """An image's media type by its first bytes; as declared if they say nothing."""
        head = self.data[:16]
        found = (kind for start, kind in _BASE64_STARTS.items() if head.startswith(start))
        return next(found, self.declared)


# What the first bytes of an image are in base64.
_BASE64_STARTS = {
    "/9j/": "image/jpeg",
    "iVBORw0KGgo": "image/png",
    "R0lGOD": "image/gif",
    "UklGR": "image/webp",
}


@dataclass(slots=True)
class Merged:
    """Messages in a row with one role: the provider reads them as one."""

    role: str
    first: int
    """Index of the first of them."""
    last: int
    blocks: list[Placed] = field(default_factory=list)

    def of_type(self, type: str) -> list[Placed]:
        return [placed for placed in self.blocks if placed.type == type]


@dataclass(frozen=True)
class Checked:
    """A request with all that it continues."""

    request: CountRequest
    window: Window
    """Of its model."""
    betas: frozenset[str] = field(default_factory=frozenset)

    @cached_property
    def placed(self) -> list[Placed]:
        """All blocks in the order in which the model reads them, those in results included."""
        system = self.request.system_blocks
        found = [Placed(block, "system", -1, index) for index, block in enumerate(system)]
        for number, turn in enumerate(self.turns):
            for index, block in enumerate(turn.blocks):
                if block["type"] == "tool_result" and isinstance(block.get("content"), list):
                    parts: Any = block.get("content")
                    found += [
                        Placed(part, turn.role, number, index, k) for k, part in enumerate(parts)
                    ]
                found.append(Placed(block, turn.role, number, index))
        return found

    @cached_property
    def by_type(self) -> dict[str, list[Placed]]:
        found = defaultdict(list)
        for placed in self.placed:
            found[placed.type].append(placed)
        return found

    @cached_property
    def merged(self) -> list[Merged]:
        groups: list[Merged] = []
        for index, turn in enumerate(self.turns):
            if turn.role == "system":
                continue
            if not groups or groups[-1].role != turn.role:
                groups.append(Merged(turn.role, index, index))
            groups[-1].last = index
            groups[-1].blocks += [
                Placed(block, turn.role, index, k) for k, block in enumerate(turn.blocks)
            ]
        return groups

    @property
    def turns(self) -> list[Turn]:
        return self.request.messages

    @property
    def message(self) -> MessageRequest | None:
        """The request, unless it only asks for a count."""
        return self.request if isinstance(self.request, MessageRequest) else None

    @property
    def custom_tools(self) -> list[tuple[str, CustomTool]]:
        """With their paths."""
        tools = enumerate(self.request.tools or ())
        return [(f"tools.{k}.custom", tool) for k, tool in tools if isinstance(tool, CustomTool)]

    @property
    def forces_tools(self) -> bool:
        choice = self.request.tool_choice
        return choice is not None and choice.type in ("any", "tool")

    @property
    def prefill(self) -> Turn | None:
        """The beginning of the answer, if the request gives it."""
        last = self.turns[-1]
        return last if last.role == "assistant" and last.content else None

    def is_model(self, pattern: str) -> bool:
        return re.match(pattern, self.request.model) is not None
