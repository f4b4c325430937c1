"""What a chat completion request may say, and the provider's words for what it may not."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any, Literal, NotRequired

from pydantic import BaseModel, ConfigDict, Field, WrapValidator, with_config
from typing_extensions import TypedDict

from helpers.mock_llm.errors import ApiError
from helpers.mock_llm.json_schema import SchemaError
from helpers.mock_llm.strict_schema import check_answer_schema, check_parameters
from helpers.mock_llm.validation import missing, validate

_Object = dict[str, Any]
_CLOSED = ConfigDict(strict=True, extra="forbid")
_OPEN = ConfigDict(strict=True, extra="allow")
_Name = Annotated[str, Field(pattern="^[a-zA-Z0-9_-]+$", max_length=64)]


def _only_check(value: Any, check: Callable[[Any], Any]) -> Any:
    check(value)
    return value


_AsSent = WrapValidator(_only_check)
"""Keeps what was sent, in its order: its tokens are counted as the client counts them."""


@with_config(_OPEN)
class TextPart(TypedDict):
    type: Literal["text"]
    text: str


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


@with_config(_OPEN)
class FunctionCall(TypedDict):
    id: str
    type: Literal["function"]
    function: CalledFunction


@with_config(_OPEN)
class CalledCustom(TypedDict):
    name: _Name
    input: str


@with_config(_OPEN)
class CustomCall(TypedDict):
    id: str
    type: Literal["custom"]
    custom: CalledCustom


Call = Annotated[FunctionCall | CustomCall, Field(discriminator="type")]


@with_config(_OPEN)
class ChatMessage(TypedDict):
    """Further keys are let through: clients send whole answers back, with all their fields."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: NotRequired[str | list[Part] | None]
    name: NotRequired[Annotated[str, Field(pattern=r"^[^\s<|\\/>]+$", max_length=64)] | None]
    tool_calls: NotRequired[
        Annotated[list[Annotated[Call, _AsSent]], Field(min_length=1, max_length=128)] | None
    ]
    function_call: NotRequired[CalledFunction | None]
    tool_call_id: NotRequired[str]


@with_config(_CLOSED)
class Function(TypedDict):
    name: _Name
    description: NotRequired[str]
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
    tools: list[NamedTool]


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
    content: str | list[TextPart]


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
    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    audio: Audio | None = None
    frequency_penalty: _Penalty | None = None
    function_call: Literal["none", "auto"] | Named | None = None
    functions: (
        Annotated[list[Annotated[Function, _AsSent]], Field(min_length=1, max_length=128)] | None
    ) = None
    logit_bias: dict[str, Annotated[int, Field(ge=-100, le=100)]] | None = None
    logprobs: bool | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    metadata: _Metadata | None = None
    modalities: Annotated[list[Literal["text", "audio"]], Field(min_length=1)] | None = None
    moderation: Moderation | None = None
    n: Annotated[int, Field(ge=1, le=128)] | None = None
    parallel_tool_calls: bool | None = None
    prediction: Prediction | None = None
    presence_penalty: _Penalty | None = None
    prompt_cache_key: str | None = None
    prompt_cache_options: CacheOptions | None = None
    prompt_cache_retention: Literal["in_memory", "in-memory", "24h"] | None = None
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = (
        None
    )
    response_format: ResponseFormat | None = None
    safety_identifier: Annotated[str, Field(max_length=128)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    service_tier: Literal["auto", "default", "flex", "scale", "priority", "fast"] | None = None
    stop: str | Annotated[list[str], Field(min_length=1, max_length=4)] | None = None
    store: bool | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    tool_choice: ToolChoice | None = None
    tools: (
        Annotated[list[Annotated[ToolParam, _AsSent]], Field(min_length=1, max_length=128)] | None
    ) = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    user: str | None = None
    verbosity: Literal["low", "medium", "high"] | None = None
    web_search_options: WebSearch | None = None

    @property
    def limit(self) -> int | None:
        """Most tokens of the answer."""
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


_NOT_NULL = {
    "function_call": "a string or an object",
    "functions": "an array",
    "parallel_tool_calls": "a boolean",
    "prompt_cache_options": "an object",
    "response_format": "an object",
    "tool_choice": "a string or an object",
    "tools": "an array",
    "user": "a string",
    "web_search_options": "an object",
}
"""Parameters that may be left out, but not be null: the reference does not call them nullable."""


def parse(body: bytes) -> ChatRequest:
    """Raises ApiError (400) in the provider's words."""
    request = validate(ChatRequest, body)
    for name in request.model_fields_set & _NOT_NULL.keys():
        if getattr(request, name) is None:
            raise _refused(
                f"Invalid type for '{name}': expected {_NOT_NULL[name]}, but got null instead.",
                name,
                "invalid_type",
            )
    for index, message in enumerate(request.messages):
        _check_message(message, f"messages[{index}]")
    _check_calls(request.messages)
    _check_combinations(request)
    _check_tools(request)
    _check_functions(request)
    _check_format(request)
    return request


def _refused(message: str, param: str, code: str | None = None) -> ApiError:
    return ApiError(400, message, param=param, code=code)


def _check_message(message: ChatMessage, where: str) -> None:
    role = message["role"]
    silent = role == "function" or (
        role == "assistant"
        and any(message.get(key) for key in ("tool_calls", "function_call", "refusal", "audio"))
    )
    if "content" not in message and not silent:
        raise missing(f"{where}.content")
    if message.get("content") is None and not silent:
        raise _refused(
            "Invalid value for 'content': expected a string, got null.",
            f"{where}.content",
            "invalid_type",
        )
    if role == "tool" and "tool_call_id" not in message:
        raise missing(f"{where}.tool_call_id")
    if role == "function" and not message.get("name"):
        raise missing(f"{where}.name")


def _check_calls(messages: list[ChatMessage]) -> None:
    """Every call of a tool has its answer at once, and every answer its call."""
    asked: dict[str, bool] = {}
    """Ids of the calls that may be answered, and whether they are."""
    for index, message in enumerate(messages):
        if message["role"] != "tool":
            if asked:
                _check_answered(asked, index)
                asked = {}
            if calls := message.get("tool_calls"):
                asked = {call["id"]: False for call in calls}
            continue
        if not asked:
            raise _refused(
                "Invalid parameter: messages with role 'tool' must be a response to a preceeding "
                "message with 'tool_calls'.",
                f"messages.[{index}].role",
            )
        if (id := message["tool_call_id"]) not in asked:
            raise _refused(
                f"Invalid parameter: 'tool_call_id' of '{id[:100]}' not found in 'tool_calls' of "
                "previous message.",
                f"messages.[{index}].tool_call_id",
            )
        asked[id] = True
    _check_answered(asked, len(messages) - 1)


def _check_answered(asked: dict[str, bool], index: int) -> None:
    without = [id[:100] for id, answered in asked.items() if not answered]
    if without:
        raise _refused(
            "An assistant message with 'tool_calls' must be followed by tool messages responding "
            "to each 'tool_call_id'. The following tool_call_ids did not have response messages: "
            + ", ".join(without),
            f"messages.[{index}].role",
        )


def _check_combinations(request: ChatRequest) -> None:
    if request.stream_options is not None and not request.stream:
        raise _refused(
            "The 'stream_options' parameter is only allowed when 'stream' is enabled.",
            "stream_options",
        )
    if request.top_logprobs is not None and not request.logprobs:
        raise _refused(
            "The 'top_logprobs' parameter is only allowed when 'logprobs' is enabled.",
            "top_logprobs",
        )
    if request.max_tokens is not None and request.max_completion_tokens is not None:
        raise _refused(
            "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.",
            "max_tokens",
            "invalid_parameter_combination",
        )
    _check_reasoning_model(request)
    if "audio" in (request.modalities or ()) and request.audio is None:
        raise missing("audio")
    for key in request.logit_bias or ():
        if not re.fullmatch("[0-9]+", key):
            raise _refused(
                f"Invalid key in 'logit_bias': {key[:100]}. You should only be submitting "
                "non-negative integers.",
                "logit_bias",
            )


def _check_reasoning_model(request: ChatRequest) -> None:
    """The reference names what the o-series does without."""
    if request.max_tokens is not None and re.match(r"o\d", request.model):
        raise _refused(
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use "
            "'max_completion_tokens' instead.",
            "max_tokens",
            "unsupported_parameter",
        )
    if request.stop is not None and re.match(r"o3(?!-mini)|o4-mini", request.model):
        raise _refused(
            "Unsupported parameter: 'stop' is not supported with this model.",
            "stop",
            "unsupported_parameter",
        )


def _check_tools(request: ChatRequest) -> None:
    if request.tools is None:
        for name in ("tool_choice", "parallel_tool_calls"):
            if getattr(request, name) is not None:
                raise _only_with(name, "tools")
        return
    for index, tool in enumerate(request.tools):
        if tool["type"] == "function":
            _check_function(tool["function"], f"tools[{index}].function.parameters")
    names = [tool_name(tool) for tool in request.tools]
    for name in chosen_names(request.tool_choice):
        if name not in names:
            raise _refused(
                f"Invalid value for 'tool_choice': no function named '{name[:100]}' was specified "
                "in the 'tools' parameter.",
                "tool_choice",
            )


def _check_functions(request: ChatRequest) -> None:
    if request.functions is None:
        if request.function_call is not None:
            raise _only_with("function_call", "functions")
        return
    if request.tools is not None:
        raise _refused("'functions' and 'tools' cannot be used together.", "functions")
    for index, function in enumerate(request.functions):
        _check_function(function, f"functions[{index}].parameters")
    choice = request.function_call
    if isinstance(choice, dict) and choice["name"] not in (f["name"] for f in request.functions):
        raise _refused(
            f"Invalid value for 'function_call': no function named '{choice['name'][:100]}' was "
            "specified in the 'functions' parameter.",
            "function_call",
        )


def _only_with(name: str, other: str) -> ApiError:
    return _refused(
        f"Invalid value for '{name}': '{name}' is only allowed when '{other}' are specified.", name
    )


def _check_function(function: Function, where: str) -> None:
    if "parameters" not in function:
        return
    try:
        check_parameters(function["parameters"], strict=bool(function.get("strict")))
    except SchemaError as error:
        raise _refused(
            f"Invalid schema for function '{function['name']}': {error.problem}",
            where,
            "invalid_function_parameters",
        ) from None


def _check_format(request: ChatRequest) -> None:
    format = request.response_format
    if format is None or format["type"] == "text":
        return
    if format["type"] == "json_object":
        if not any(_mentions_json(message) for message in request.messages):
            raise _refused(
                "'messages' must contain the word 'json' in some form, to use 'response_format' "
                "of type 'json_object'.",
                "messages",
            )
        return
    wanted = format["json_schema"]
    try:
        check_answer_schema(wanted.get("schema", {}), strict=bool(wanted.get("strict")))
    except SchemaError as error:
        raise _refused(
            f"Invalid schema for response_format '{wanted['name']}': {error.problem}",
            "response_format",
        ) from None


def _mentions_json(message: ChatMessage) -> bool:
    content = message.get("content")
    texts = [content] if isinstance(content, str) else [p.get("text", "") for p in content or ()]
    return any("json" in str(text).lower() for text in texts)


def tool_name(tool: FunctionTool | CustomTool | NamedFunction | NamedCustom) -> str:
    return tool["function"]["name"] if tool["type"] == "function" else tool["custom"]["name"]


def chosen_names(choice: ToolChoice | None) -> list[str]:
    """Names of the tools that a choice is about, if it names any."""
    if choice is None or isinstance(choice, str):
        return []
    if choice["type"] == "allowed_tools":
        return [tool_name(tool) for tool in choice["allowed_tools"]["tools"]]
    return [tool_name(choice)]
