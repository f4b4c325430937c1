"""What a request may say about tools: the client's own, and those that the provider defines."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, Discriminator, Field, Tag

from helpers.mock_llm.anthropic.blocks import CLOSED, CacheControl, JsonObject

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

_SEARCH = "allowed_domains blocked_domains max_uses user_location"
_FETCH = "allowed_domains blocked_domains citations max_content_tokens max_uses url_sources"
_SCREEN = "display_height_px! display_width_px! display_number input_examples"
# The fields of each, beyond those that all tools have; "!" marks those it must have. The first that
# matches counts.
_FIELDS = [
    (re.compile(pattern), fields.split())
    for pattern, fields in (
        (r"advisor", "model! caching max_tokens max_uses"),
        (r"(browser|computer)_toolset", "configs"),
        (r"mcp_toolset", "mcp_server_name! configs default_config tools"),
        (r"computer_20251124", f"{_SCREEN} enable_zoom"),
        (r"computer", _SCREEN),
        (r"text_editor_20250728", "input_examples max_characters"),
        (r"bash|memory|text_editor", "input_examples"),
        (r"web_fetch_20260318", f"{_FETCH} response_inclusion use_cache"),
        (r"web_fetch_20260309", f"{_FETCH} use_cache"),
        (r"web_fetch", _FETCH),
        (r"web_search_20260318", f"{_SEARCH} response_inclusion"),
        (r"web_search", _SEARCH),
    )
]
_COMMON = ("type", "name", "cache_control")
_OF_SINGLE_TOOLS = ("allowed_callers", "defer_loading", "strict")


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
    """A tool whose schema the provider knows, with the fields that any of them has."""

    model_config = CLOSED
    type: str
    name: str | None = None
    allowed_callers: list[str] | None = None
    allowed_domains: list[str] | None = None
    blocked_domains: list[str] | None = None
    cache_control: CacheControl | None = None
    caching: JsonObject | None = None
    citations: JsonObject | None = None
    configs: JsonObject | None = None
    default_config: JsonObject | None = None
    defer_loading: bool | None = None
    display_height_px: Annotated[int, Field(ge=1)] | None = None
    display_number: Annotated[int, Field(ge=0)] | None = None
    display_width_px: Annotated[int, Field(ge=1)] | None = None
    enable_zoom: bool | None = None
    input_examples: list[JsonObject] | None = None
    max_characters: Annotated[int, Field(ge=1)] | None = None
    max_content_tokens: Annotated[int, Field(ge=1)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_uses: Annotated[int, Field(ge=1)] | None = None
    mcp_server_name: Annotated[str, Field(min_length=1)] | None = None
    model: str | None = None
    response_inclusion: Literal["full", "excluded"] | None = None
    strict: bool | None = None
    tools: list[JsonObject] | None = None
    url_sources: JsonObject | None = None
    use_cache: bool | None = None
    user_location: JsonObject | None = None

    @property
    def problem(self) -> tuple[str, str] | None:
        """A field that this tool cannot have, or lacks, and what the provider says of it."""
        name = SERVER_TOOLS[self.type]
        if self.name is None and name is not None:
            return "name", "Field required"
        if self.name != name:
            words = f"Input should be '{name}'"
            return "name", words if name else "Extra inputs are not permitted"
        own = next((fields for pattern, fields in _FIELDS if pattern.match(self.type)), [])
        known = {*_COMMON, *(_OF_SINGLE_TOOLS if name else ()), *(f.rstrip("!") for f in own)}
        for field in own:
            if field.endswith("!") and getattr(self, field[:-1]) is None:
                return field[:-1], "Field required"
        extra = min(self.model_fields_set - known, default=None)
        return (extra, "Extra inputs are not permitted") if extra else None


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
