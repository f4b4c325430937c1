"""What a message to Claude may consist of, block by block.

Source: the input types of anthropic 2.13, beta included, and the patterns, lengths, and bounds of
the OpenAPI description that they are generated from.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired

from pydantic import BaseModel, ConfigDict, Field, with_config
from typing_extensions import TypedDict

from helpers.mock_llm.serving.validation import FailFastList

JsonObject = dict[str, Any]
CLOSED = ConfigDict(strict=True, extra="forbid")
OPEN = ConfigDict(strict=True, extra="allow")
# anomalyco/opencode#1525, langchain-ai/langchain#37756, farion1231/cc-switch#1181
ToolUseId = Annotated[str, Field(pattern="^[a-zA-Z0-9_-]+$")]
_ToolName = Annotated[str, Field(min_length=1, max_length=200)]


class CacheControl(BaseModel):
    model_config = CLOSED
    type: Literal["ephemeral"]
    ttl: Literal["5m", "1h"] | None = None


class _Cacheable(TypedDict):
    cache_control: NotRequired[CacheControl | None]


@with_config(CLOSED)
class TextBlock(_Cacheable):
    type: Literal["text"]
    text: str
    citations: NotRequired[list[JsonObject] | None]


@with_config(CLOSED)
class Base64Image(TypedDict):
    type: Literal["base64"]
    media_type: Literal["image/jpeg", "image/png", "image/gif", "image/webp"]
    data: str


@with_config(CLOSED)
class Base64Pdf(TypedDict):
    type: Literal["base64"]
    media_type: Literal["application/pdf"]
    data: str


@with_config(CLOSED)
class PlainText(TypedDict):
    type: Literal["text"]
    media_type: Literal["text/plain"]
    data: str


@with_config(CLOSED)
class UrlSource(TypedDict):
    type: Literal["url"]
    url: Annotated[str, Field(min_length=1)]


@with_config(CLOSED)
class FileSource(TypedDict):
    type: Literal["file"]
    file_id: Annotated[str, Field(min_length=1)]


@with_config(CLOSED)
class ImageBlock(_Cacheable):
    type: Literal["image"]
    source: Annotated[Base64Image | UrlSource | FileSource, Field(discriminator="type")]
    transformations: NotRequired[JsonObject | None]


@with_config(CLOSED)
class ContentSource(TypedDict):
    type: Literal["content"]
    content: str | FailFastList[Annotated[TextBlock | ImageBlock, Field(discriminator="type")]]


@with_config(CLOSED)
class DocumentBlock(_Cacheable):
    type: Literal["document"]
    source: Annotated[
        Base64Pdf | PlainText | ContentSource | UrlSource | FileSource,
        Field(discriminator="type"),
    ]
    citations: NotRequired[JsonObject | None]
    context: NotRequired[Annotated[str, Field(min_length=1)] | None]
    title: NotRequired[Annotated[str, Field(min_length=1, max_length=500)] | None]


@with_config(CLOSED)
class SearchResultBlock(_Cacheable):
    type: Literal["search_result"]
    source: str
    title: str
    content: FailFastList[TextBlock]
    citations: NotRequired[JsonObject | None]


@with_config(OPEN)
class ToolReferenceBlock(_Cacheable):
    type: Literal["tool_reference"]
    tool_name: str


@with_config(OPEN)
class BrowserStateBlock(_Cacheable):
    type: Literal["browser_state"]
    tabs: list[JsonObject]


@with_config(CLOSED)
class ThinkingBlock(TypedDict):
    """Not cacheable: Wei-Shaw/sub2api#225, LeenHawk/gproxy#67."""

    type: Literal["thinking"]
    thinking: str
    signature: str


@with_config(CLOSED)
class RedactedThinkingBlock(TypedDict):
    type: Literal["redacted_thinking"]
    data: str


@with_config(CLOSED)
class ToolUseBlock(_Cacheable):
    type: Literal["tool_use"]
    id: ToolUseId
    name: _ToolName
    input: JsonObject
    caller: NotRequired[JsonObject | None]
    toolset_name: NotRequired[str | None]


_ToolResultPart = Annotated[
    TextBlock
    | ImageBlock
    | DocumentBlock
    | SearchResultBlock
    | ToolReferenceBlock
    | BrowserStateBlock,
    Field(discriminator="type"),
]


@with_config(CLOSED)
class ToolResultBlock(_Cacheable):
    type: Literal["tool_result"]
    tool_use_id: ToolUseId
    content: NotRequired[str | FailFastList[_ToolResultPart] | None]
    is_error: NotRequired[bool | None]
    toolset_name: NotRequired[str | None]


@with_config(CLOSED)
class ServerToolUseBlock(_Cacheable):
    type: Literal["server_tool_use"]
    # betmoar/cc-proxy-plugin#67
    id: Annotated[str, Field(pattern="^srvtoolu_[a-zA-Z0-9_]+$")]
    name: Literal[
        "advisor",
        "web_search",
        "web_fetch",
        "code_execution",
        "bash_code_execution",
        "text_editor_code_execution",
        "tool_search_tool_regex",
        "tool_search_tool_bm25",
    ]
    input: JsonObject
    caller: NotRequired[JsonObject | None]


@with_config(OPEN)
class ServerToolResultBlock(_Cacheable):
    """What a tool that the provider runs found."""

    type: Literal[
        "advisor_tool_result",
        "web_search_tool_result",
        "web_fetch_tool_result",
        "code_execution_tool_result",
        "bash_code_execution_tool_result",
        "text_editor_code_execution_tool_result",
        "tool_search_tool_result",
    ]
    tool_use_id: str
    content: JsonObject | list[JsonObject]


@with_config(CLOSED)
class ContainerUploadBlock(_Cacheable):
    type: Literal["container_upload"]
    file_id: str


@with_config(CLOSED)
class McpToolUseBlock(_Cacheable):
    type: Literal["mcp_tool_use"]
    id: ToolUseId
    name: _ToolName
    server_name: str
    input: JsonObject


@with_config(CLOSED)
class McpToolResultBlock(_Cacheable):
    type: Literal["mcp_tool_result"]
    tool_use_id: ToolUseId
    content: NotRequired[str | FailFastList[TextBlock] | None]
    is_error: NotRequired[bool | None]


@with_config(CLOSED)
class McpToolListingBlock(TypedDict):
    type: Literal["mcp_tool_listing"]
    mcp_server_name: str
    tools: list[JsonObject]


@with_config(CLOSED)
class CompactionBlock(_Cacheable):
    type: Literal["compaction"]
    content: NotRequired[Annotated[str, Field(min_length=1)] | None]
    encrypted_content: NotRequired[str | None]
    signature: NotRequired[str | None]
    tool_changes: NotRequired[list[JsonObject] | None]


@with_config(OPEN)
class FallbackBlock(TypedDict):
    """Its other key is "from", which no attribute can be called."""

    type: Literal["fallback"]
    to: JsonObject


@with_config(CLOSED)
class ToolChangeBlock(_Cacheable):
    type: Literal["tool_addition", "tool_removal"]
    tool: JsonObject


Block = Annotated[
    TextBlock
    | ImageBlock
    | DocumentBlock
    | SearchResultBlock
    | ThinkingBlock
    | RedactedThinkingBlock
    | ToolUseBlock
    | ToolResultBlock
    | ServerToolUseBlock
    | ServerToolResultBlock
    | ContainerUploadBlock
    | McpToolUseBlock
    | McpToolResultBlock
    | McpToolListingBlock
    | CompactionBlock
    | FallbackBlock
    | ToolChangeBlock,
    Field(discriminator="type"),
]
