"""What a request for a message may say, parameter by parameter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Discriminator, Field, Tag

from helpers.mock_llm.anthropic.blocks import (
    CLOSED,
    OPEN,
    Block,
    CacheControl,
    JsonObject,
    TextBlock,
)
from helpers.mock_llm.anthropic.tools import CustomTool, NamedChoice, Tool, ToolChoice
from helpers.mock_llm.model import generate
from helpers.mock_llm.serving.validation import FailFastList

_Effort = Literal["low", "medium", "high", "xhigh", "max"]
_Speed = Literal["standard", "fast"]
_ModelName = Annotated[str, Field(min_length=1)]


class Turn(BaseModel):
    """A message of the conversation."""

    model_config = CLOSED
    role: Literal["user", "assistant", "system"]
    content: str | FailFastList[Block]

    @classmethod
    def of_answer(cls, content: list[JsonObject]) -> Self:
        return cls.model_validate({"role": "assistant", "content": content})

    @property
    def blocks(self) -> list[Block]:
        return _blocks(self.content)


class SystemEffort(BaseModel):
    model_config = CLOSED
    effort: _Effort | None = None


class SystemTurn(Turn):
    """Instructions in the middle of the conversation, or settings alone."""

    content: str | FailFastList[Block] = ""
    clear_at: Literal["next_user_message", "never"] | None = None
    output_config: SystemEffort | None = None


def _blocks(content: str | Sequence[Block]) -> list[Block]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    return list(content)


def _turn_tag(turn: Any) -> str:
    role = turn.get("role") if isinstance(turn, dict) else getattr(turn, "role", None)
    return "[system]" if role == "system" else "[turn]"


# The tags' brackets keep them out of the error's path, which has no step for a turn's kind.
_AnyTurn = Annotated[
    Annotated[Turn, Tag("[turn]")] | Annotated[SystemTurn, Tag("[system]")],
    Discriminator(_turn_tag),
]


class Metadata(BaseModel):
    model_config = CLOSED
    # vercel/ai#12419
    user_id: Annotated[str, Field(max_length=256)] | None = None


class BlockBinding(BaseModel):
    model_config = CLOSED
    prefix_mismatch_behavior: Literal["error", "drop_block"] | None = None


class _Shown(BaseModel):
    model_config = CLOSED
    block_binding: BlockBinding | None = None
    display: Literal["summarized", "omitted", "updates"] | None = None


class ManualThinking(_Shown):
    type: Literal["enabled"]
    budget_tokens: Annotated[int, Field(ge=1024)]


class AdaptiveThinking(_Shown):
    type: Literal["adaptive"]


class NoThinking(BaseModel):
    model_config = CLOSED
    type: Literal["disabled", "between_tools"]


Thinking = Annotated[ManualThinking | AdaptiveThinking | NoThinking, Field(discriminator="type")]


class OutputFormat(BaseModel):
    model_config = CLOSED
    type: Literal["json_schema"]
    schema_: Annotated[JsonObject, Field(alias="schema")]


class TaskBudget(BaseModel):
    model_config = CLOSED
    type: Literal["tokens"]
    total: int
    remaining: int | None = None


class OutputConfig(BaseModel):
    model_config = CLOSED
    effort: _Effort | None = None
    format: OutputFormat | None = None
    task_budget: TaskBudget | None = None


class NewThread(BaseModel):
    model_config = CLOSED
    type: Literal["create"]


class OldThread(BaseModel):
    model_config = CLOSED
    type: Literal["continue"]
    previous_message_id: str


class BillingPolicy(BaseModel):
    model_config = CLOSED
    type: Literal["billing_policy"]
    bill_to: Literal["self", "user_profile"] | None = None


class Compaction(BaseModel):
    model_config = CLOSED
    type: Literal["summarize"]
    instructions: str | None = None


class ContextEdit(BaseModel):
    model_config = OPEN
    type: Literal["clear_tool_uses_20250919", "clear_thinking_20251015", "compact_20260112"]


class ContextManagement(BaseModel):
    model_config = CLOSED
    edits: FailFastList[ContextEdit] | None = None


class McpServer(BaseModel):
    model_config = CLOSED
    type: Literal["url"]
    name: str
    url: str
    authorization_token: str | None = None
    tool_configuration: JsonObject | None = None


class Fallback(BaseModel):
    model_config = CLOSED
    model: _ModelName
    max_tokens: int | None = None
    output_config: OutputConfig | None = None
    speed: _Speed | None = None
    thinking: Thinking | None = None


class Diagnostics(BaseModel):
    model_config = CLOSED
    previous_message_id: str | None = None


class Container(BaseModel):
    model_config = CLOSED
    id: str | None = None
    skills: list[JsonObject] | None = None


class CountRequest(BaseModel):
    """Source: the Claude API reference, "Count tokens in a Message", as of anthropic 2.13."""

    model_config = CLOSED

    model: _ModelName
    messages: Annotated[FailFastList[_AnyTurn], Field(max_length=100_000)]
    billing_policy: BillingPolicy | None = None
    cache_control: CacheControl | None = None
    compaction: Compaction | None = None
    context_management: ContextManagement | None = None
    mcp_servers: FailFastList[McpServer] | None = None
    output_config: OutputConfig | None = None
    output_format: OutputFormat | None = None
    speed: _Speed | None = None
    system: str | FailFastList[TextBlock] | None = None
    thinking: Thinking | None = None
    tool_choice: ToolChoice | None = None
    tools: FailFastList[Tool] | None = None

    @property
    def system_blocks(self) -> list[Block]:
        return _blocks(self.system or [])

    @property
    def schema_wanted(self) -> JsonObject | None:
        """JSON schema of the answer."""
        config = self.output_config
        format = (config.format if config else None) or self.output_format
        return format.schema_ if format else None

    @property
    def callable_tools(self) -> tuple[generate.Tool, ...]:
        """The tools that the model calls: not those that the provider runs itself."""
        return tuple(
            generate.Tool(tool.name, tool.input_schema)
            for tool in self.tools or ()
            if isinstance(tool, CustomTool)
        )

    @property
    def tool_wanted(self) -> str:
        """As a `GenerationRequest` has it."""
        choice = self.tool_choice
        if choice is None:
            return "auto"
        if isinstance(choice, NamedChoice):
            return choice.name
        return "required" if choice.type == "any" else choice.type

    @property
    def thinks(self) -> bool:
        return isinstance(self.thinking, ManualThinking | AdaptiveThinking)


class MessageRequest(CountRequest):
    """Every documented parameter, with the documented types and ranges.

    Source: the Claude API reference, "Create a Message", as of anthropic 2.13, with what its beta
    adds and the sampling parameters that older models have.
    """

    max_tokens: int
    container: str | Container | None = None
    diagnostics: Diagnostics | None = None
    fallback_credit_token: str | JsonObject | None = None
    fallbacks: Literal["default"] | FailFastList[Fallback] | None = None
    inference_geo: str | None = None
    metadata: Metadata | None = None
    service_tier: Literal["auto", "standard_only"] | None = None
    stop_sequences: FailFastList[str] | None = None
    stream: bool | None = None
    temperature: float | None = None
    thread: Annotated[NewThread | OldThread, Field(discriminator="type")] | None = None
    top_k: Annotated[int, Field(ge=0)] | None = None
    top_p: float | None = None
