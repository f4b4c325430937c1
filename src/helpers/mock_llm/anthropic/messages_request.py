"""What a request for a message may say, and Anthropic's words for what it may not."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal, NotRequired, TypeVar

from pydantic import BaseModel, ConfigDict, Field, with_config
from pydantic_core import ErrorDetails
from typing_extensions import TypedDict

from helpers.mock_llm.model.generate import Tool
from helpers.mock_llm.model.json_schema import check_schema
from helpers.mock_llm.model.schema_form import SchemaError
from helpers.mock_llm.serving.errors import ApiError
from helpers.mock_llm.serving.validation import validate

_Object = dict[str, Any]
_CLOSED = ConfigDict(strict=True, extra="forbid")
_OPEN = ConfigDict(strict=True, extra="allow")
_VERSION = re.compile(rb"20\d\d-[01]\d-[0-3]\d")
"""Any date: there is a new one every few years."""
_MOST_MARKS = 4
_LEAST_BUDGET = 1024


class CacheControl(BaseModel):
    model_config = _CLOSED
    type: Literal["ephemeral"]
    ttl: Literal["5m", "1h"] | None = None


class _Cacheable(TypedDict):
    cache_control: NotRequired[CacheControl | None]


@with_config(_OPEN)
class TextBlock(_Cacheable):
    type: Literal["text"]
    text: str


@with_config(_OPEN)
class ImageBlock(_Cacheable):
    type: Literal["image"]
    source: _Object


@with_config(_OPEN)
class DocumentBlock(_Cacheable):
    type: Literal["document"]
    source: _Object


@with_config(_OPEN)
class OtherResult(_Cacheable):
    type: Literal["search_result", "tool_reference", "browser_state"]


Result = Annotated[
    TextBlock | ImageBlock | DocumentBlock | OtherResult, Field(discriminator="type")
]
"""A piece of what a tool gave back."""


@with_config(_OPEN)
class ThinkingBlock(_Cacheable):
    type: Literal["thinking"]
    thinking: str
    signature: str


@with_config(_OPEN)
class RedactedThinkingBlock(_Cacheable):
    type: Literal["redacted_thinking"]
    data: str


@with_config(_OPEN)
class ToolUseBlock(_Cacheable):
    type: Literal["tool_use"]
    id: str
    name: str
    input: _Object


@with_config(_OPEN)
class ToolResultBlock(_Cacheable):
    type: Literal["tool_result"]
    tool_use_id: str
    content: NotRequired[str | list[Result] | None]
    is_error: NotRequired[bool | None]


@with_config(_OPEN)
class OtherBlock(_Cacheable):
    """What the provider's own tools do, and what they find."""

    type: Literal[
        "search_result",
        "server_tool_use",
        "web_search_tool_result",
        "web_fetch_tool_result",
        "code_execution_tool_result",
        "bash_code_execution_tool_result",
        "text_editor_code_execution_tool_result",
        "tool_search_tool_result",
        "container_upload",
    ]


Block = Annotated[
    TextBlock
    | ImageBlock
    | DocumentBlock
    | ThinkingBlock
    | RedactedThinkingBlock
    | ToolUseBlock
    | ToolResultBlock
    | OtherBlock,
    Field(discriminator="type"),
]
"""A content block. Clients send whole answers back: further fields are let through."""


class Turn(BaseModel):
    model_config = _CLOSED
    role: Literal["user", "assistant", "system"]
    content: str | list[Block]

    @property
    def blocks(self) -> list[Block]:
        return _blocks(self.content)


def _blocks(content: str | Sequence[Block]) -> list[Block]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else list(content)


class Metadata(BaseModel):
    model_config = _CLOSED
    user_id: str | None = None


class Thinking(BaseModel):
    model_config = _CLOSED
    type: Literal["enabled", "disabled", "adaptive", "between_tools"]
    budget_tokens: Annotated[int, Field(ge=_LEAST_BUDGET)] | None = None
    display: Literal["summarized", "omitted"] | None = None

    @property
    def on(self) -> bool:
        return self.type in ("enabled", "adaptive")


class ToolChoice(BaseModel):
    model_config = _CLOSED
    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class ToolDefinition(BaseModel):
    """A custom tool, or one of the provider's own, which has a type with a date."""

    model_config = _OPEN
    name: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,128}$")] | None = None
    type: str | None = None
    description: str | None = None
    input_schema: _Object | None = None
    cache_control: CacheControl | None = None

    @property
    def custom(self) -> bool:
        return self.type in (None, "custom")


class OutputFormat(BaseModel):
    model_config = _CLOSED
    type: Literal["json_schema"]
    schema_: Annotated[_Object, Field(alias="schema")]


class OutputConfig(BaseModel):
    model_config = _OPEN
    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    format: OutputFormat | None = None


class NewThread(BaseModel):
    model_config = _CLOSED
    type: Literal["create"]


class OldThread(BaseModel):
    model_config = _CLOSED
    type: Literal["continue"]
    previous_message_id: str


class CountRequest(BaseModel):
    """Source: the Claude API reference, "Count tokens in a Message", as of anthropic 2.13."""

    model_config = _CLOSED

    model: str
    messages: list[Turn]
    cache_control: CacheControl | None = None
    context_management: _Object | None = None
    mcp_servers: list[_Object] | None = None
    output_config: OutputConfig | None = None
    output_format: OutputFormat | None = None
    speed: Literal["standard", "fast"] | None = None
    system: str | list[TextBlock] | None = None
    thinking: Thinking | None = None
    tool_choice: ToolChoice | None = None
    tools: list[ToolDefinition] | None = None

    @property
    def system_blocks(self) -> list[Block]:
        return _blocks(self.system or [])

    @property
    def schema_wanted(self) -> _Object | None:
        """JSON schema of the answer."""
        config = self.output_config
        format = (config.format if config else None) or self.output_format
        return format.schema_ if format else None

    @property
    def callable_tools(self) -> tuple[Tool, ...]:
        """The tools that the model calls: not those that the provider runs itself."""
        return tuple(
            Tool(tool.name, tool.input_schema)
            for tool in self.tools or ()
            if tool.custom and tool.name is not None
        )

    @property
    def tool_wanted(self) -> str:
        """As a `GenerationRequest` has it."""
        choice = self.tool_choice
        if choice is None:
            return "auto"
        return {"any": "required", "tool": choice.name or ""}.get(choice.type, choice.type)

    @property
    def thinks(self) -> bool:
        return self.thinking is not None and self.thinking.on


class MessageRequest(CountRequest):
    """Every documented parameter, with the documented types and ranges.

    Source: the Claude API reference, "Create a Message", as of anthropic 2.13, with what its beta
    adds and the sampling parameters that older models have.
    """

    max_tokens: Annotated[int, Field(ge=0)]
    billing_policy: _Object | None = None
    compaction: _Object | None = None
    container: str | _Object | None = None
    diagnostics: _Object | None = None
    fallback_credit_token: str | _Object | None = None
    fallbacks: Any = None
    inference_geo: str | None = None
    metadata: Metadata | None = None
    service_tier: Literal["auto", "standard_only"] | None = None
    stop_sequences: list[str] | None = None
    stream: bool | None = None
    temperature: Annotated[float, Field(ge=0, le=1)] | None = None
    thread: Annotated[NewThread | OldThread, Field(discriminator="type")] | None = None
    top_k: Annotated[int, Field(ge=0)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None


_Request = TypeVar("_Request", bound=CountRequest)


def parse(model: type[_Request], body: bytes, headers: dict[bytes, bytes]) -> _Request:
    """What a request says by itself. Raises ApiError (400) in the provider's words."""
    _check_version(headers.get(b"anthropic-version"))
    return validate(model, body, _refusal)


def check(request: CountRequest) -> None:
    """What a request says with all that was said before. Raises ApiError (400)."""
    _check_turns(request.messages)
    _check_texts("system", request.system_blocks)
    _check_tools(request)
    _check_marks(request)
    if isinstance(request, MessageRequest):
        _check_thinking(request)
        if not all(map(str.strip, request.stop_sequences or ())):
            raise _bad("stop_sequences: each stop sequence must contain non-whitespace")


def _bad(message: str) -> ApiError:
    return ApiError(400, message)


_BRANCH = re.compile(r"^str$|\[")
"""Pydantic's names for a union's branches. The provider's paths have those of the blocks' types."""
_WORDS = {
    "dict_type": "Input should be a valid dictionary",
    "extra_forbidden": "Extra inputs are not permitted",
    "list_type": "Input should be a valid list",
    "model_type": "Input should be a valid dictionary",
}
"""For those of pydantic's sentences that speak of JSON or of Python."""


def _refusal(error: ErrorDetails, body: Any) -> ApiError:
    where = ".".join(str(step) for step in error["loc"] if not _BRANCH.search(str(step)))
    words = _WORDS.get(error["type"], error["msg"])
    return _bad(f"{where}: {words}" if where else words)


def _check_version(version: bytes | None) -> None:
    if version is None:
        raise _bad("anthropic-version: header is required")
    if not _VERSION.fullmatch(version):
        raise _bad(f'anthropic-version: "{version.decode("latin-1")}" is not a valid version')


def _check_turns(turns: Sequence[Turn]) -> None:
    if not turns:
        raise _bad("messages: at least one message is required")
    for index, turn in enumerate(turns):
        last = index == len(turns) - 1
        if not turn.content and not (last and turn.role == "assistant"):
            raise _bad(
                f"messages.{index}: all messages must have non-empty content except for the "
                "optional final assistant message"
            )
        if isinstance(turn.content, list):
            _check_texts("messages", turn.content)
    _check_tool_results(turns)
    end = turns[-1]
    if end.role == "assistant" and end.content:
        block = end.blocks[-1]
        if block["type"] == "text" and block["text"] != block["text"].rstrip():
            raise _bad("messages: final assistant content cannot end with trailing whitespace")


def _check_texts(where: str, blocks: Iterable[Block]) -> None:
    if any(block["type"] == "text" and not block["text"] for block in blocks):
        raise _bad(f"{where}: text content blocks must be non-empty")


def _check_tool_results(turns: Sequence[Turn]) -> None:
    """Calls are answered in the next turn, and nothing else is."""
    asked: set[str] = set()
    for index, turn in enumerate(turns):
        blocks = turn.blocks
        given = {block["tool_use_id"] for block in blocks if block["type"] == "tool_result"}
        if strange := sorted(given - asked):
            raise _bad(
                f"messages.{index}.content: unexpected `tool_use_id` found in `tool_result` "
                f"blocks: {', '.join(strange)}. Each `tool_result` block must have a corresponding "
                "`tool_use` block in the previous message."
            )
        if missing := sorted(asked - given):
            raise _bad(
                f"messages.{index - 1}: `tool_use` ids were found without `tool_result` blocks "
                f"immediately after: {', '.join(missing)}. Each `tool_use` block must have a "
                "corresponding `tool_result` block in the next message."
            )
        asked = {block["id"] for block in blocks if block["type"] == "tool_use"}


def _check_tools(request: CountRequest) -> None:
    for index, tool in enumerate(request.tools or ()):
        where = f"tools.{index}.custom"
        if not tool.custom:
            continue
        if tool.name is None:
            raise _bad(f"{where}.name: Field required")
        if tool.input_schema is None:
            raise _bad(f"{where}.input_schema: Field required")
        if tool.input_schema.get("type") != "object":
            raise _bad(f"{where}.input_schema.type: Input should be 'object'")
        _check_schema(tool.input_schema, f"{where}.input_schema")
    names = [tool.name for tool in request.tools or () if tool.name is not None]
    if len(set(names)) < len(names):
        raise _bad("tools: Tool names must be unique.")
    if request.schema_wanted is not None:
        _check_schema(request.schema_wanted, "output_config.format.schema")
    _check_choice(request.tool_choice, names)


def _check_choice(choice: ToolChoice | None, names: Sequence[str]) -> None:
    if choice is None or choice.type in ("auto", "none"):
        return
    if choice.type == "any" and not names:
        raise _bad("tool_choice.any may only be specified while providing tools.")
    if choice.type == "tool" and choice.name is None:
        raise _bad("tool_choice.tool.name: Field required")
    if choice.type == "tool" and choice.name not in names:
        raise _bad(f"Tool '{choice.name}' not found in provided tools")


def _check_schema(schema: _Object, where: str) -> None:
    try:
        check_schema(schema)
    except SchemaError as error:
        raise _bad(f"{where}: JSON schema is invalid: {error.message}") from None


def _check_marks(request: CountRequest) -> None:
    blocks = [
        *request.system_blocks,
        *(block for turn in request.messages for block in turn.blocks),
    ]
    marks = [tool.cache_control for tool in request.tools or ()]
    marks += [block.get("cache_control") for block in blocks]
    count = sum(mark is not None for mark in [*marks, request.cache_control])
    if count > _MOST_MARKS:
        raise _bad(
            f"A maximum of {_MOST_MARKS} blocks with cache_control may be provided. Found {count}."
        )


def _check_thinking(request: MessageRequest) -> None:
    thinking = request.thinking
    if thinking is None or not thinking.on:
        return
    if thinking.type == "enabled":
        if thinking.budget_tokens is None:
            raise _bad("thinking.enabled.budget_tokens: Field required")
        if request.max_tokens <= thinking.budget_tokens:
            raise _bad("`max_tokens` must be greater than `thinking.budget_tokens`.")
    if request.temperature not in (None, 1):
        raise _bad("`temperature` may only be set to 1 when thinking is enabled.")
    if request.tool_choice is not None and request.tool_choice.type in ("any", "tool"):
        raise _bad("Thinking may not be enabled when tool_choice forces tool use.")
