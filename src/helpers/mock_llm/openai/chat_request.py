"""What a chat completion request may say, field by field."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal, NotRequired

from pydantic import BaseModel, ConfigDict, Field, WrapValidator, with_config
from typing_extensions import TypedDict

from helpers.mock_llm.serving.validation import FailFastList

_Object = dict[str, Any]
_CLOSED = ConfigDict(strict=True, extra="forbid")
_OPEN = ConfigDict(strict=True, extra="allow")
_Name = Annotated[str, Field(pattern="^[a-zA-Z0-9_-]+$", max_length=64)]


def _only_check(value: Any, check: Callable[[Any], Any]) -> Any:
    check(value)
    return value


_Few = Field(max_length=128)
# Keeps what was sent, in its order: its tokens are counted as the client counts them.
_AsSent = WrapValidator(_only_check)


# VectorlyApp/bluebox#31 and Shopify/roast#52 of 2025; 2**20 in gptscript-ai/clio#41 of 2024.
Content = Annotated[str, Field(max_length=10 * 2**20)]


@with_config(_OPEN)
class TextPart(TypedDict):
    type: Literal["text"]
    text: Content


@with_config(_OPEN)
class RefusalPart(TypedDict):
    type: Literal["refusal"]
    refusal: str


@with_config(_CLOSED)
class ImageUrl(TypedDict):
    url: str
    detail: NotRequired[Literal["auto", "low", "high", "original"]]


@with_config(_OPEN)
class ImagePart(TypedDict):
    type: Literal["image_url"]
    image_url: ImageUrl


@with_config(_CLOSED)
class InputAudio(TypedDict):
    data: str
    format: Literal["wav", "mp3"]


@with_config(_OPEN)
class AudioPart(TypedDict):
    type: Literal["input_audio"]
    input_audio: InputAudio


@with_config(_CLOSED)
class File(TypedDict):
    file_data: NotRequired[str]
    file_id: NotRequired[str]
    filename: NotRequired[str]


@with_config(_OPEN)
class FilePart(TypedDict):
    type: Literal["file"]
    file: File


Part = Annotated[
    TextPart | RefusalPart | ImagePart | AudioPart | FilePart, Field(discriminator="type")
]
"""A piece of a message. Further keys, such as cache breakpoints, are let through."""


@with_config(_OPEN)
class CalledFunction(TypedDict):
    name: _Name
    arguments: str


# vercel/ai#5171, agno-agi/agno#5382
_CallId = Annotated[str, Field(min_length=1, max_length=40)]


@with_config(_OPEN)
class FunctionCall(TypedDict):
    id: _CallId
    type: Literal["function"]
    function: CalledFunction


@with_config(_OPEN)
class CalledCustom(TypedDict):
    name: _Name
    input: str


@with_config(_OPEN)
class CustomCall(TypedDict):
    id: _CallId
    type: Literal["custom"]
    custom: CalledCustom


Call = Annotated[FunctionCall | CustomCall, Field(discriminator="type")]


@with_config(_OPEN)
class ChatMessage(TypedDict):
    """Further keys are let through: clients send whole answers back, with all their fields."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: NotRequired[Content | Annotated[FailFastList[Part], Field(min_length=1)] | None]
    name: NotRequired[Annotated[str, Field(pattern=r"^[^\s<|\\/>]+$", max_length=64)] | None]
    tool_calls: NotRequired[
        Annotated[FailFastList[Annotated[Call, _AsSent]], Field(min_length=1, max_length=128)]
        | None
    ]
    function_call: NotRequired[CalledFunction | None]
    tool_call_id: NotRequired[Annotated[str, Field(max_length=40)] | None]


@with_config(_CLOSED)
class Function(TypedDict):
    name: _Name
    # getsentry/sentry-mcp#106, OpenHands/OpenHands#4838; still so in higebu/3gpp-mcp#238 (2026)
    description: NotRequired[Annotated[str, Field(max_length=1024)]]
    parameters: NotRequired[_Object]
    strict: NotRequired[bool | None]


@with_config(_CLOSED)
class FunctionTool(TypedDict):
    type: Literal["function"]
    function: Function


@with_config(_CLOSED)
class TextFormat(TypedDict):
    type: Literal["text"]


@with_config(_CLOSED)
class Grammar(TypedDict):
    definition: str
    syntax: Literal["lark", "regex"]


@with_config(_CLOSED)
class GrammarFormat(TypedDict):
    type: Literal["grammar"]
    grammar: Grammar


@with_config(_CLOSED)
class Custom(TypedDict):
    name: _Name
    description: NotRequired[str]
    format: NotRequired[Annotated[TextFormat | GrammarFormat, Field(discriminator="type")]]


@with_config(_CLOSED)
class CustomTool(TypedDict):
    type: Literal["custom"]
    custom: Custom


ToolParam = Annotated[FunctionTool | CustomTool, Field(discriminator="type")]


@with_config(_OPEN)
class Named(TypedDict):
    name: str


@with_config(_CLOSED)
class NamedFunction(TypedDict):
    type: Literal["function"]
    function: Named


@with_config(_CLOSED)
class NamedCustom(TypedDict):
    type: Literal["custom"]
    custom: Named


NamedTool = Annotated[NamedFunction | NamedCustom, Field(discriminator="type")]


@with_config(_CLOSED)
class AllowedTools(TypedDict):
    mode: Literal["auto", "required"]
    tools: FailFastList[NamedTool]


@with_config(_CLOSED)
class AllowedChoice(TypedDict):
    type: Literal["allowed_tools"]
    allowed_tools: AllowedTools


ToolChoice = (
    Literal["none", "auto", "required"]
    | Annotated[NamedFunction | NamedCustom | AllowedChoice, Field(discriminator="type")]
)


@with_config(_CLOSED)
class JsonObjectFormat(TypedDict):
    type: Literal["json_object"]


@with_config(_CLOSED)
class JsonSchema(TypedDict):
    name: _Name
    description: NotRequired[str]
    schema: NotRequired[_Object]
    strict: NotRequired[bool | None]


@with_config(_CLOSED)
class JsonSchemaFormat(TypedDict):
    type: Literal["json_schema"]
    json_schema: JsonSchema


ResponseFormat = Annotated[
    TextFormat | JsonObjectFormat | JsonSchemaFormat, Field(discriminator="type")
]


@with_config(_CLOSED)
class VoiceId(TypedDict):
    id: str


@with_config(_CLOSED)
class Audio(TypedDict):
    format: Literal["wav", "aac", "mp3", "flac", "opus", "pcm16"]
    voice: str | VoiceId


@with_config(_CLOSED)
class Prediction(TypedDict):
    type: Literal["content"]
    content: str | FailFastList[TextPart]


@with_config(_CLOSED)
class CacheOptions(TypedDict):
    mode: NotRequired[Literal["implicit", "explicit"]]
    ttl: NotRequired[Literal["30m"]]


@with_config(_CLOSED)
class Approximate(TypedDict):
    city: NotRequired[str]
    country: NotRequired[str]
    region: NotRequired[str]
    timezone: NotRequired[str]


@with_config(_CLOSED)
class UserLocation(TypedDict):
    type: Literal["approximate"]
    approximate: Approximate


@with_config(_CLOSED)
class WebSearch(TypedDict):
    search_context_size: NotRequired[Literal["low", "medium", "high"]]
    user_location: NotRequired[UserLocation | None]


@with_config(_CLOSED)
class ModerationMode(TypedDict):
    mode: Literal["score", "block"]


@with_config(_CLOSED)
class ModerationPolicy(TypedDict):
    input: NotRequired[ModerationMode | None]
    output: NotRequired[ModerationMode | None]


@with_config(_CLOSED)
class Moderation(TypedDict):
    model: str
    policy: NotRequired[ModerationPolicy | None]


@with_config(_CLOSED)
class StreamOptions(TypedDict):
    include_usage: NotRequired[bool | None]
    include_obfuscation: NotRequired[bool | None]


_Penalty = Annotated[float, Field(ge=-2, le=2)]
_Metadata = Annotated[
    dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]],
    Field(max_length=16),
]


class ChatRequest(BaseModel):
    """Every documented parameter, with the documented types and ranges.

    Source: the OpenAI API reference, "Create chat completion", as of openai-python 3.54.
    """

    model_config = ConfigDict(strict=True, extra="forbid", protected_namespaces=())

    model: str
    messages: Annotated[FailFastList[ChatMessage], Field(min_length=1)]
    audio: Audio | None = None
    frequency_penalty: _Penalty | None = None
    function_call: Literal["none", "auto"] | Named | None = None
    functions: Annotated[FailFastList[Annotated[Function, _AsSent]], _Few] | None = None
    logit_bias: dict[str, Annotated[int, Field(ge=-100, le=100)]] | None = None
    logprobs: bool | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    metadata: _Metadata | None = None
    modalities: Annotated[FailFastList[Literal["text", "audio"]], Field(min_length=1)] | None = None
    moderation: Moderation | None = None
    n: Annotated[int, Field(ge=1, le=128)] | None = None
    parallel_tool_calls: bool | None = None
    prediction: Prediction | None = None
    presence_penalty: _Penalty | None = None
    # theopenco/llmgateway#3110, vybestack/llxprt-code#2135
    prompt_cache_key: Annotated[str, Field(max_length=64)] | None = None
    prompt_cache_options: CacheOptions | None = None
    prompt_cache_retention: Literal["in_memory", "in-memory", "24h"] | None = None
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = (
        None
    )
    response_format: ResponseFormat | None = None
    safety_identifier: Annotated[str, Field(max_length=128)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    service_tier: Literal["auto", "default", "flex", "scale", "priority", "fast"] | None = None
    stop: str | Annotated[FailFastList[str], Field(min_length=1, max_length=4)] | None = None
    store: bool | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    tool_choice: ToolChoice | None = None
    tools: Annotated[FailFastList[Annotated[ToolParam, _AsSent]], _Few] | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    user: str | None = None
    verbosity: Literal["low", "medium", "high"] | None = None
    web_search_options: WebSearch | None = None

    @property
    def limit(self) -> int | None:
        """Maximum tokens of the answer."""
        return self.max_completion_tokens or self.max_tokens

    @property
    def stops(self) -> tuple[str, ...]:
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    @property
    def include_usage(self) -> bool:
        return bool(self.stream_options and self.stream_options.get("include_usage"))

    @property
    def include_obfuscation(self) -> bool:
        return (
            not self.stream_options or self.stream_options.get("include_obfuscation") is not False
        )


def tool_name(tool: FunctionTool | CustomTool | NamedFunction | NamedCustom) -> str:
    return tool["function"]["name"] if tool["type"] == "function" else tool["custom"]["name"]


def chosen_names(choice: ToolChoice | None) -> list[str]:
    """Names of the tools that a choice is about, if it names any."""
    if choice is None or isinstance(choice, str):
        return []
    if choice["type"] == "allowed_tools":
        return [tool_name(tool) for tool in choice["allowed_tools"]["tools"]]
    return [tool_name(choice)]
