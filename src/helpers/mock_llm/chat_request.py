"""What a chat completion request may say, and the provider's words for what it may not."""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired

from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypedDict

from helpers.mock_llm.errors import ApiError
from helpers.mock_llm.validation import missing, validate

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
    request = validate(ChatRequest, body)
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
        raise missing(f"{where}.content")
    if message.get("content") is None and role not in ("assistant", "function"):
        raise ApiError(
            400,
            "Invalid value for 'content': expected a string, got null.",
            param=f"{where}.content",
            code="invalid_type",
        )
    if role == "tool" and "tool_call_id" not in message:
        raise missing(f"{where}.tool_call_id")
