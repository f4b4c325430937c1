"""What a request for a response may say, and the provider's words for what it may not."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, NotRequired, TypeAlias, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, with_config
from pydantic_core import ErrorDetails
from typing_extensions import TypedDict

from helpers.mock_llm.model.generate import Tool
from helpers.mock_llm.model.json_schema import Budget, budget_of_request
from helpers.mock_llm.model.schema_form import SchemaError
from helpers.mock_llm.openai import rules
from helpers.mock_llm.openai.chat_request import Content
from helpers.mock_llm.openai.strict_schema import check_answer_schema, check_parameters
from helpers.mock_llm.openai.validation import invalid_schema, missing, not_one_of, refusal, refused
from helpers.mock_llm.serving.errors import ApiError
from helpers.mock_llm.serving.validation import FailFastList, validate

_Object = dict[str, Any]
_CLOSED = ConfigDict(strict=True, extra="forbid")
_OPEN = ConfigDict(strict=True, extra="allow")
_Name = Annotated[str, Field(pattern="^[a-zA-Z0-9_-]+$", max_length=128)]
_LEAST_LIMIT = 16
# What is wrong with the kind of an item, the provider says of the item.
_ITEM_KIND = re.compile(r"(input\[\d+\])\.(role|type)")


@with_config(_OPEN)
class InputText(TypedDict):
    type: Literal["input_text"]
    text: Content


@with_config(_OPEN)
class ImagePart(TypedDict):
    type: Literal["input_image"]
    image_url: NotRequired[str | None]
    file_id: NotRequired[str | None]
    detail: NotRequired[Literal["low", "high", "auto", "original"] | None]


@with_config(_OPEN)
class OutputText(TypedDict):
    type: Literal["output_text"]
    text: str


@with_config(_OPEN)
class RefusalPart(TypedDict):
    type: Literal["refusal"]
    refusal: str


@with_config(_OPEN)
class FilePart(TypedDict):
    type: Literal["input_file"]
    file_data: NotRequired[str | None]
    file_id: NotRequired[str | None]
    file_url: NotRequired[str | None]
    filename: NotRequired[str | None]


@with_config(_OPEN)
class OtherPart(TypedDict):
    type: Literal["computer_screenshot", "summary_text", "input_audio", "encrypted_content"]


Part = Annotated[
    InputText | ImagePart | OutputText | RefusalPart | FilePart | OtherPart,
    Field(discriminator="type"),
]
"""A piece of a message or of a tool's output. Clients send whole outputs back, with all fields."""
# AnswerDotAI/fastllm#45, orchidfiles/ungate#26
_CallId = Annotated[str, Field(min_length=1, max_length=64)]
_Status: TypeAlias = Literal["in_progress", "completed", "incomplete"] | None


class _MayHaveId(TypedDict):
    id: NotRequired[str | None]


@with_config(_OPEN)
class Message(_MayHaveId):
    type: NotRequired[Literal["message"] | None]
    role: Literal["user", "assistant", "system", "developer"]
    content: Content | FailFastList[Part]
    status: NotRequired[_Status]
    phase: NotRequired[Literal["commentary", "final_answer"] | None]


@with_config(_OPEN)
class FunctionCall(_MayHaveId):
    type: Literal["function_call"]
    call_id: _CallId
    name: _Name
    arguments: str
    status: NotRequired[_Status]


@with_config(_OPEN)
class FunctionCallOutput(_MayHaveId):
    type: Literal["function_call_output"]
    call_id: _CallId
    output: Content | FailFastList[Part]
    status: NotRequired[_Status]


@with_config(_OPEN)
class CustomToolCall(_MayHaveId):
    type: Literal["custom_tool_call"]
    call_id: _CallId
    name: _Name
    input: str


@with_config(_OPEN)
class CustomToolCallOutput(_MayHaveId):
    type: Literal["custom_tool_call_output"]
    call_id: _CallId
    output: Content | FailFastList[Part]
    status: NotRequired[_Status]


@with_config(_OPEN)
class SummaryText(TypedDict):
    type: Literal["summary_text"]
    text: str


@with_config(_OPEN)
class ReasoningItem(_MayHaveId):
    type: Literal["reasoning"]
    summary: FailFastList[SummaryText]
    status: NotRequired[_Status]


@with_config(_OPEN)
class ItemReference(TypedDict):
    type: NotRequired[Literal["item_reference"] | None]
    id: str


ItemType = Literal[
    "message",
    "function_call",
    "function_call_output",
    "custom_tool_call",
    "custom_tool_call_output",
    "reasoning",
    "item_reference",
    "file_search_call",
    "computer_call",
    "computer_call_output",
    "web_search_call",
    "tool_search_call",
    "tool_search_output",
    "additional_tools",
    "configuration_update",
    "compaction",
    "compaction_trigger",
    "image_generation_call",
    "code_interpreter_call",
    "local_shell_call",
    "local_shell_call_output",
    "shell_call",
    "shell_call_output",
    "apply_patch_call",
    "apply_patch_call_output",
    "mcp_list_tools",
    "mcp_approval_request",
    "mcp_approval_response",
    "mcp_call",
    "program",
    "program_output",
]
ITEM_TYPES = get_args(ItemType)


@with_config(_OPEN)
class OtherItem(_MayHaveId):
    """What the provider's own tools do. All types are listed, so that an error can name them."""

    type: ItemType


def _tag(item: Any) -> str:
    kind = rules.item_type(item) if isinstance(item, dict) else "message"
    return kind if kind in _CHECKED else "other"


# Types of items whose fields we know.
_CHECKED = (
    "message",
    "function_call",
    "function_call_output",
    "custom_tool_call",
    "custom_tool_call_output",
    "reasoning",
    "item_reference",
)

Item = Annotated[
    Annotated[Message, Tag("message")]
    | Annotated[FunctionCall, Tag("function_call")]
    | Annotated[FunctionCallOutput, Tag("function_call_output")]
    | Annotated[CustomToolCall, Tag("custom_tool_call")]
    | Annotated[CustomToolCallOutput, Tag("custom_tool_call_output")]
    | Annotated[ReasoningItem, Tag("reasoning")]
    | Annotated[ItemReference, Tag("item_reference")]
    | Annotated[OtherItem, Tag("other")],
    Discriminator(_tag),
]
"""An item of the input."""
ANSWERED = {
    "function_call": "function_call_output",
    "custom_tool_call": "custom_tool_call_output",
}
"""Calls that the client answers itself, and by what."""


@with_config(_CLOSED)
class PlainFormat(TypedDict):
    type: Literal["text"]


@with_config(_CLOSED)
class GrammarFormat(TypedDict):
    type: Literal["grammar"]
    definition: str
    syntax: Literal["lark", "regex"]


@with_config(_OPEN)
class ToolDefinition(TypedDict):
    """A function, a custom tool, or one of the provider's own, which the model never calls here."""

    type: Literal[
        "function",
        "custom",
        "file_search",
        "computer",
        "computer_use_preview",
        "web_search",
        "web_search_2025_08_26",
        "web_search_preview",
        "web_search_preview_2025_03_11",
        "mcp",
        "code_interpreter",
        "programmatic_tool_calling",
        "image_generation",
        "local_shell",
        "shell",
        "namespace",
        "tool_search",
        "apply_patch",
    ]
    name: NotRequired[_Name]
    parameters: NotRequired[_Object | None]
    strict: NotRequired[bool | None]
    description: NotRequired[str | None]
    format: NotRequired[Annotated[PlainFormat | GrammarFormat, Field(discriminator="type")]]
    vector_store_ids: NotRequired[FailFastList[str]]
    container: NotRequired[str | _Object]
    search_context_size: NotRequired[Literal["low", "medium", "high"] | None]
    server_label: NotRequired[str]
    server_url: NotRequired[str | None]
    connector_id: NotRequired[str | None]
    allowed_tools: NotRequired[_Object | FailFastList[str] | None]
    display_height: NotRequired[int]
    display_width: NotRequired[int]
    tools: NotRequired[FailFastList[_Object]]


@with_config(_OPEN)
class ChosenTool(TypedDict):
    type: str
    name: NotRequired[str | None]
    server_label: NotRequired[str]


@with_config(_OPEN)
class ToolChoice(TypedDict):
    type: Literal[
        "function",
        "custom",
        "allowed_tools",
        "file_search",
        "web_search_preview",
        "web_search_preview_2025_03_11",
        "computer",
        "computer_use",
        "computer_use_preview",
        "image_generation",
        "code_interpreter",
        "mcp",
        "programmatic_tool_calling",
        "apply_patch",
        "shell",
    ]
    name: NotRequired[str | None]
    server_label: NotRequired[str]
    mode: NotRequired[Literal["auto", "required"]]
    tools: NotRequired[FailFastList[ChosenTool]]


class TextFormat(BaseModel):
    model_config = _CLOSED
    type: Literal["text"]


class JsonFormat(BaseModel):
    model_config = _CLOSED
    type: Literal["json_object"]


class SchemaFormat(BaseModel):
    model_config = _CLOSED
    type: Literal["json_schema"]
    name: Annotated[_Name, Field(max_length=64)]
    schema_: Annotated[_Object, Field(alias="schema")]
    description: str | None = None
    strict: bool | None = None


class TextConfig(BaseModel):
    model_config = _CLOSED
    format: (
        Annotated[TextFormat | JsonFormat | SchemaFormat, Field(discriminator="type")] | None
    ) = None
    verbosity: Literal["low", "medium", "high"] | None = None


class Reasoning(BaseModel):
    model_config = _CLOSED
    context: Literal["auto", "current_turn", "all_turns"] | None = None
    effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    generate_summary: Literal["auto", "concise", "detailed"] | None = None
    mode: str | None = None
    summary: Literal["auto", "concise", "detailed"] | None = None


class StreamOptions(BaseModel):
    model_config = _CLOSED
    include_obfuscation: bool | None = None


@with_config(_OPEN)
class Named(TypedDict):
    """A stored conversation or prompt."""

    id: str


class CountRequest(BaseModel):
    """Source: the OpenAI API reference, "Get input token counts", as of openai-python 3.54."""

    model_config = _CLOSED

    model: str | None = None
    conversation: str | Named | None = None
    input: Content | FailFastList[Item] | None = None
    instructions: str | None = None
    parallel_tool_calls: bool | None = None
    personality: Annotated[str, Field(max_length=64)] | None = None
    previous_response_id: str | None = None
    reasoning: Reasoning | None = None
    text: TextConfig | None = None
    tool_choice: Literal["none", "auto", "required"] | ToolChoice | None = None
    tools: FailFastList[ToolDefinition] | None = None
    truncation: Literal["auto", "disabled"] | None = None

    @property
    def items(self) -> list[Item]:
        if isinstance(self.input, str):
            return [{"type": "message", "role": "user", "content": self.input}]
        return self.input or []

    @property
    def schema_wanted(self) -> _Object | None:
        """JSON schema of the answer, as a `GenerationRequest` has it."""
        format = self.text.format if self.text else None
        if isinstance(format, SchemaFormat):
            return format.schema_
        return {} if isinstance(format, JsonFormat) else None

    @property
    def callable_tools(self) -> tuple[Tool, ...]:
        """The tools that the model may call: those the client runs, and that are allowed."""
        names = self._chosen_names()
        return tuple(
            Tool(tool["name"], None if tool["type"] == "custom" else tool.get("parameters") or {})
            for tool in self.tools or ()
            if tool["type"] in ("function", "custom") and (names is None or tool["name"] in names)
        )

    @property
    def tool_wanted(self) -> str:
        """As a `GenerationRequest` has it. A tool that the provider runs itself is never called."""
        choice = self.tool_choice
        if choice is None or isinstance(choice, str):
            return choice or "auto"
        if choice["type"] == "allowed_tools":
            return choice.get("mode", "auto")
        return "required" if choice["type"] in ("function", "custom") else "none"

    def _chosen_names(self) -> list[str] | None:
        choice = self.tool_choice
        if choice is None or isinstance(choice, str):
            return None
        if choice["type"] == "allowed_tools":
            return [str(tool.get("name")) for tool in choice.get("tools", ())]
        return [choice.get("name") or ""]


class ResponseRequest(CountRequest):
    """Every documented parameter, with the documented types and ranges.

    Source: the OpenAI API reference, "Create a model response", as of openai-python 3.54.
    """

    access_programs: _Object | None = None
    background: bool | None = None
    background_options: _Object | None = None
    client_metadata: dict[str, Any] | None = None
    context_management: FailFastList[_Object] | None = None
    image: _Object | None = None
    include: (
        FailFastList[
            Literal[
                "file_search_call.results",
                "web_search_call.results",
                "web_search_call.action.sources",
                "message.input_image.image_url",
                "computer_call_output.output.image_url",
                "code_interpreter_call.outputs",
                "reasoning.encrypted_content",
                "message.output_text.logprobs",
            ]
        ]
        | None
    ) = None
    max_output_tokens: Annotated[int, Field(ge=_LEAST_LIMIT)] | None = None
    max_tool_calls: Annotated[int, Field(ge=1)] | None = None
    metadata: (
        Annotated[
            dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]],
            Field(max_length=16),
        ]
        | None
    ) = None
    moderation: _Object | None = None
    prompt: Named | None = None
    prompt_cache_key: Annotated[str, Field(max_length=64)] | None = None
    prompt_cache_options: _Object | None = None
    prompt_cache_retention: Literal["in_memory", "in-memory", "24h"] | None = None
    safety_identifier: Annotated[str, Field(max_length=128)] | None = None
    service_tier: (
        Literal["auto", "default", "flex", "scale", "priority", "fast", "ultrafast"] | None
    ) = None
    store: bool | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    user: str | None = None

    @property
    def include_obfuscation(self) -> bool:
        options = self.stream_options
        return options is None or options.include_obfuscation is not False

    @property
    def wants_logprobs(self) -> bool:
        return "message.output_text.logprobs" in (self.include or ())


_Request = TypeVar("_Request", bound=CountRequest)


def parse(model: type[_Request], body: bytes) -> _Request:
    """Raises ApiError (400 or 404) in the provider's words."""
    request = validate(model, body, _refusal)
    if request.model is None:
        raise missing("model")
    _check_source(request)
    if isinstance(request.input, list):
        rules.check_items(request.input)
    _check_model(request)
    _check_tools(request)
    _check_format(request)
    if isinstance(request, ResponseRequest):
        _check_combinations(request)
    return request


def _check_combinations(request: ResponseRequest) -> None:
    if request.stream_options and not request.stream:
        raise refused(
            "The 'stream_options' parameter is only allowed when 'stream' is enabled.",
            "stream_options",
        )
    if request.background and request.store is False:
        raise refused("Background responses require 'store' to be true.", "background")
    reasons = re.match(rules.REASONING, request.model or "")
    if request.wants_logprobs and reasons:  # UKGovernmentBEIS/inspect_ai#2739
        raise refused("logprobs are not supported with reasoning models.", "include")


def _check_model(request: CountRequest) -> None:
    effort = request.reasoning.effort if request.reasoning else None
    rules.check_model_rules(request, "responses", effort)
    rules.check_effort(request.model or "", effort, "reasoning.effort")
    limit = request.max_output_tokens if isinstance(request, ResponseRequest) else None
    rules.check_longest_answer(request.model or "", limit, "max_output_tokens")


def _refusal(error: ErrorDetails, body: Any) -> ApiError:
    if error["type"] == "extra_forbidden" and len(error["loc"]) == 1:
        name = str(error["loc"][0])[:100]
        if name in rules.MOVED:
            return refused(
                f"Unsupported parameter: '{name}'. In the Responses API, this parameter has moved "
                f"to '{rules.MOVED[name]}'. Try again with the new parameter. See the API "
                "documentation for more information: "
                "https://platform.openai.com/docs/api-reference/responses/create.",
                None,
                "unsupported_parameter",
            )
        return refused(f"Unknown parameter: '{name}'.", name, "unknown_parameter")
    refused_as = refusal(error, body)
    if role := _ITEM_KIND.fullmatch(refused_as.param or ""):
        named = error["input"] if isinstance(error["input"], str) else ""
        values = rules.ROLES if role[2] == "role" else ITEM_TYPES
        return not_one_of(role[1], named, [repr(value) for value in values])
    if (refused_as.param or "").endswith(".image_url"):
        refused_as.message = refused_as.message.replace("a string", "an image URL", 1)
    return refused_as


def check_calls(items: Iterable[Mapping[str, Any]]) -> None:
    """Every call of a conversation has its output, and every output its call."""
    unanswered: dict[tuple[str, Any], bool] = {}
    for item in items:
        kind, id = str(item.get("type")), item.get("call_id")
        if kind in ANSWERED:
            unanswered[ANSWERED[kind], id] = True
        elif kind in ANSWERED.values():
            if (kind, id) not in unanswered:
                raise refused(f"No tool call found for {_words(kind)} with call_id {id}.", "input")
            unanswered[kind, id] = False
    for (kind, id), waits in unanswered.items():
        if waits:
            call = _words(kind).removesuffix(" output")
            raise refused(f"No tool output found for {call} {id}.", "input")


def _words(kind: str) -> str:
    return kind.replace("_", " ")


def _check_source(request: CountRequest) -> None:
    """Stored conversations and prompts are named by id; there are none here."""
    if request.previous_response_id is not None and request.conversation is not None:
        raise refused(
            "Mutually exclusive parameters: 'previous_response_id' and 'conversation'. Ensure you "
            "are only providing one of them.",
            "previous_response_id",
            "mutually_exclusive_parameters",
        )
    if request.previous_response_id is not None:
        rules.check_id(request.previous_response_id, "resp", "previous_response_id")
    conversation = request.conversation
    if conversation is not None:
        id = conversation if isinstance(conversation, str) else conversation["id"]
        rules.check_id(id, "conv", "conversation")
        raise ApiError(404, f"Conversation with id '{id}' not found.")
    prompt = request.prompt if isinstance(request, ResponseRequest) else None
    if prompt is not None:
        raise ApiError(404, f"Prompt with id '{prompt['id']}' not found.")
    if request.input is None and request.previous_response_id is None:
        raise missing("input")


def _check_tools(request: CountRequest) -> None:
    budget = budget_of_request()
    for index, tool in enumerate(request.tools or ()):
        for field in rules.REQUIRED_FIELDS.get(tool["type"], ()):
            if field not in tool:
                raise missing(f"tools[{index}].{field}")
        rules.check_one_of(tool, f"tools[{index}]")
        if tool["type"] == "function":
            _check_function(tool, budget, f"tools[{index}].parameters")
    choice = request.tool_choice
    if choice == "required" and not request.tools:
        raise refused(
            "Tool choice 'required' must be specified with 'tools' parameter.", "tool_choice"
        )
    if not isinstance(choice, dict):
        return
    for field in rules.REQUIRED_CHOICE_FIELDS.get(choice["type"], ()):
        if not choice.get(field):
            raise missing(f"tool_choice.{field}")
    chosen = choice["tools"] if choice["type"] == "allowed_tools" else [choice]
    for tool_chosen in chosen:
        if not any(_is_chosen(tool, tool_chosen) for tool in request.tools or ()):
            name = tool_chosen.get("name") or tool_chosen["type"]
            raise refused(f"Tool choice '{name}' not found in 'tools' parameter.", "tool_choice")


def _is_chosen(tool: ToolDefinition, choice: ToolChoice | ChosenTool) -> bool:
    kind, wanted = tool["type"], choice["type"]
    if wanted in ("function", "custom"):
        return (kind, tool.get("name")) == (wanted, choice.get("name"))
    if wanted == "mcp":
        return (kind, tool.get("server_label")) == (wanted, choice.get("server_label"))
    # Versions of a tool have names that go on from its first.
    return kind.startswith(wanted) or wanted.startswith(kind)


def _check_function(tool: ToolDefinition, budget: Budget, where: str) -> None:
    """A tool that does not say whether it is strict is made so where that is possible."""
    try:
        check_parameters(tool.get("parameters") or {}, budget, strict=bool(tool.get("strict")))
    except SchemaError as error:
        owner = f"function '{tool['name']}'"
        raise invalid_schema(owner, error, where, "invalid_function_parameters") from None


def _check_format(request: CountRequest) -> None:
    format = request.text.format if request.text else None
    words = f"{request.instructions} {request.items}".lower()
    if isinstance(format, JsonFormat) and "json" not in words:
        raise refused(
            "Response input messages must contain the word 'json' in some form to use "
            "'text.format' of type 'json_object'.",
            "input",
        )
    if not isinstance(format, SchemaFormat):
        return
    try:
        check_answer_schema(format.schema_, strict=bool(format.strict))
    except SchemaError as error:
        owner = f"response_format '{format.name}'"
        raise invalid_schema(owner, error, "text.format.schema", "invalid_json_schema") from None
