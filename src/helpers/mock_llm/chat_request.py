"""What a chat completion request may say, and the provider's words for what it may not."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, NotRequired

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails, from_json
from typing_extensions import TypedDict

from helpers.mock_llm.errors import ApiError, malformed_json

_Object = dict[str, Any]


class Part(TypedDict):
    """A piece of a message: text, or an image, audio or file that the model is shown."""

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]
    type: Literal["text", "refusal", "image_url", "input_audio", "file"]
    text: NotRequired[str]


class ChatMessage(TypedDict):
    """Further keys are let through: clients send whole answers back, with all their fields."""

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]
    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: NotRequired[str | list[Part] | None]
    name: NotRequired[str | None]
    tool_calls: NotRequired[list[_Object] | None]
    tool_call_id: NotRequired[str]


class StreamOptions(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")
    include_usage: bool | None = None
    include_obfuscation: bool | None = None


_Penalty = Annotated[float, Field(ge=-2, le=2)]


class ChatRequest(BaseModel):
    """Every documented parameter, with the documented types and ranges.

    Source: the OpenAI API reference, "Create chat completion", as of openai-python 3.54.
    """

    model_config = ConfigDict(strict=True, extra="forbid", protected_namespaces=())

    model: str
    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    audio: _Object | None = None
    frequency_penalty: _Penalty | None = None
    function_call: str | _Object | None = None
    functions: list[_Object] | None = None
    logit_bias: dict[str, Annotated[float, Field(ge=-100, le=100)]] | None = None
    logprobs: bool | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    metadata: dict[str, str] | None = None
    modalities: list[Literal["text", "audio"]] | None = None
    moderation: _Object | None = None
    n: Annotated[int, Field(ge=1, le=128)] | None = None
    parallel_tool_calls: bool | None = None
    prediction: _Object | None = None
    presence_penalty: _Penalty | None = None
    prompt_cache_key: str | None = None
    prompt_cache_options: _Object | None = None
    prompt_cache_retention: Literal["in_memory", "in-memory", "24h"] | None = None
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = (
        None
    )
    response_format: _Object | None = None
    safety_identifier: str | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    service_tier: Literal["auto", "default", "flex", "scale", "priority", "fast"] | None = None
    stop: str | list[str] | None = None
    store: bool | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    tool_choice: str | _Object | None = None
    tools: list[_Object] | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    user: str | None = None
    verbosity: Literal["low", "medium", "high"] | None = None
    web_search_options: _Object | None = None

    @property
    def limit(self) -> int | None:
        """Most tokens of the answer."""
        limits = [n for n in (self.max_completion_tokens, self.max_tokens) if n is not None]
        return min(limits, default=None)

    @property
    def include_usage(self) -> bool:
        return bool(self.stream_options and self.stream_options.include_usage)


def parse(body: bytes) -> ChatRequest:
    """Raises ApiError (400) in the provider's words."""
    try:
        request = ChatRequest.model_validate_json(body)
    except ValidationError as error:
        raise _refusal(_most_telling(error.errors(include_url=False)), body) from None
    for index, message in enumerate(request.messages):
        _check_message(message, f"messages[{index}]")
    if request.stream_options is not None and not request.stream:
        raise ApiError(
            400,
            "The 'stream_options' parameter is only allowed when 'stream' is enabled.",
            param="stream_options",
        )
    return request


def _check_message(message: ChatMessage, where: str) -> None:
    role = message["role"]
    if "content" not in message and role not in ("assistant", "function"):
        raise _missing(f"{where}.content")
    if message.get("content") is None and role not in ("assistant", "function"):
        raise ApiError(
            400,
            "Invalid value for 'content': expected a string, got null.",
            param=f"{where}.content",
            code="invalid_type",
        )
    if role == "tool" and "tool_call_id" not in message:
        raise _missing(f"{where}.tool_call_id")


def _missing(param: str) -> ApiError:
    return ApiError(
        400,
        f"Missing required parameter: '{param}'.",
        param=param,
        code="missing_required_parameter",
    )


_EXPECTED = {
    "string_type": "a string",
    "int_type": "an integer",
    "int_from_float": "an integer",
    "float_type": "a decimal",
    "bool_type": "a boolean",
    "list_type": "an array",
    "dict_type": "an object",
    "model_type": "an object",
}
_JSON_NAMES: dict[type, str] = {
    str: "a string",
    int: "an integer",
    float: "a decimal",
    bool: "a boolean",
    list: "an array",
    dict: "an object",
}
_BOUNDS = {
    "greater_than_equal": ("below_min", "below minimum", ">=", "ge"),
    "less_than_equal": ("above_max", "above maximum", "<=", "le"),
    "less_than": ("above_max", "above maximum", "<", "lt"),
}


def _most_telling(errors: list[ErrorDetails]) -> ErrorDetails:
    """The first, or for an array where a string could stand too, what is wrong in the array."""
    first = errors[0]
    *where, branch = first["loc"] or ("",)
    if branch != "str" or not isinstance(first["input"], list):
        return first
    inside = (error for error in errors[1:] if list(error["loc"][: len(where)]) == where)
    return next(inside, first)


def _refusal(error: ErrorDetails, body: bytes) -> ApiError:
    """The provider's error for pydantic's."""
    kind, got = error["type"], error["input"]
    if kind == "json_invalid":
        return malformed_json()
    param = _path(error["loc"], from_json(body), missing=kind == "missing")
    if kind == "missing":
        return _missing(param)
    if kind == "extra_forbidden":
        return ApiError(400, f"Unrecognized request argument supplied: {param}")
    if kind in _EXPECTED:
        message = f"expected {_EXPECTED[kind]}, but got {_json_name(got)} instead."
        return ApiError(
            400,
            f"Invalid type for '{param or 'the request body'}': {message}",
            param=param or None,
            code="invalid_type",
        )
    if kind in _BOUNDS:
        return _out_of_range(param, error, *_BOUNDS[kind])
    if kind == "too_short":
        return ApiError(
            400,
            f"Invalid '{param}': empty array. Expected an array with minimum length 1, "
            "but got an empty array instead.",
            param=param,
            code="empty_array",
        )
    if kind == "literal_error":
        return ApiError(
            400,
            f"Invalid value: {_short(got)}. Supported values are: {error['ctx']['expected']}.",
            param=param,
            code="invalid_value",
        )
    return ApiError(
        400, f"Invalid value for '{param}': {error['msg']}.", param=param, code="invalid_value"
    )


def _out_of_range(
    param: str, error: ErrorDetails, code: str, words: str, sign: str, bound: str
) -> ApiError:
    kind = "integer" if isinstance(error["input"], int) else "decimal"
    return ApiError(
        400,
        f"Invalid '{param}': {kind} {words} value. Expected a value {sign} "
        f"{error['ctx'][bound]:g}, but got {_short(error['input'])} instead.",
        param=param,
        code=f"{kind}_{code}_value",
    )


def _json_name(value: object) -> str:
    return _JSON_NAMES.get(type(value), "null")


def _short(value: object) -> str:
    try:
        text = json.dumps(value)
    except ValueError:  # an integer of more digits than Python writes
        return "a very large number"
    return text if len(text) <= 100 else text[:100] + "…"


def _path(loc: tuple[int | str, ...], value: Any, *, missing: bool) -> str:
    """``messages[0].content``: pydantic's path without its names for a union's branches."""
    path = ""
    for depth, step in enumerate(loc):
        if isinstance(value, list) and isinstance(step, int):
            path += f"[{step}]"
            value = value[step]
        elif isinstance(value, dict) and (step in value or (missing and depth == len(loc) - 1)):
            path += f".{step}" if path else str(step)
            value = value.get(step)
    return path
