"""What a request may say about tools: the client's own, and those that the provider defines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, Discriminator, Field, Tag

from helpers.mock_llm.anthropic.blocks import CLOSED, OPEN, CacheControl, JsonObject

# The provider's tools by type, with the name that each must have; None: it has none.
# Source: the tool types of anthropic 2.13, beta included.
SERVER_TOOLS: dict[str, str | None] = {
    "advisor_20260301": "advisor",
    "bash_20241022": "bash",
    "bash_20250124": "bash",
    "browser_toolset_20260801": None,
    "code_execution_20250522": "code_execution",
    "code_execution_20250825": "code_execution",
    "code_execution_20260120": "code_execution",
    "code_execution_20260521": "code_execution",
    "computer_20241022": "computer",
    "computer_20250124": "computer",
    "computer_20251124": "computer",
    "computer_toolset_20260801": None,
    "mcp_toolset": None,
    "memory_20250818": "memory",
    "text_editor_20241022": "str_replace_editor",
    "text_editor_20250124": "str_replace_editor",
    "text_editor_20250429": "str_replace_based_edit_tool",
    "text_editor_20250728": "str_replace_based_edit_tool",
    "tool_search_tool_bm25": "tool_search_tool_bm25",
    "tool_search_tool_bm25_20251119": "tool_search_tool_bm25",
    "tool_search_tool_regex": "tool_search_tool_regex",
    "tool_search_tool_regex_20251119": "tool_search_tool_regex",
    "web_fetch_20250910": "web_fetch",
    "web_fetch_20260209": "web_fetch",
    "web_fetch_20260309": "web_fetch",
    "web_fetch_20260318": "web_fetch",
    "web_search_20250305": "web_search",
    "web_search_20260209": "web_search",
    "web_search_20260318": "web_search",
}


class CustomTool(BaseModel):
    """A tool that the client runs."""

    model_config = CLOSED
    name: Annotated[str, Field(min_length=1, pattern=r"^[a-zA-Z0-9_-]{1,128}$")]
    input_schema: JsonObject
    type: Literal["custom"] | None = None
    description: str | None = None
    allowed_callers: list[str] | None = None
    cache_control: CacheControl | None = None
    defer_loading: bool | None = None
    eager_input_streaming: bool | None = None
    input_examples: list[JsonObject] | None = None
    strict: bool | None = None


class ServerTool(BaseModel):
    """A tool whose schema the provider knows."""

    model_config = OPEN
    type: str
    name: str | None = None
    cache_control: CacheControl | None = None
    defer_loading: bool | None = None


def _tag(tool: Any) -> str | None:
    """ "custom", a type of the provider's, or None for what is no tool."""
    if isinstance(tool, dict):
        kind = tool.get("type")
        return "custom" if kind is None else str(kind)
    return tool.type or "custom" if isinstance(tool, CustomTool | ServerTool) else None


def _tagged() -> Any:
    branches: Any = Annotated[CustomTool, Tag("custom")]
    for kind in SERVER_TOOLS:
        branches |= Annotated[ServerTool, Tag(kind)]
    return Annotated[branches, Discriminator(_tag)]


if TYPE_CHECKING:
    Tool: TypeAlias = CustomTool | ServerTool
else:
    Tool = _tagged()


class AutoChoice(BaseModel):
    model_config = CLOSED
    type: Literal["auto", "any"]
    disable_parallel_tool_use: bool | None = None


class NamedChoice(BaseModel):
    model_config = CLOSED
    type: Literal["tool"]
    name: str
    disable_parallel_tool_use: bool | None = None


class NoChoice(BaseModel):
    model_config = CLOSED
    type: Literal["none"]


ToolChoice = Annotated[AutoChoice | NamedChoice | NoChoice, Field(discriminator="type")]
