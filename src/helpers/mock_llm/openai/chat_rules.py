"""What the fields of a chat completion request must not say together, in the provider's words."""

from __future__ import annotations

from helpers.mock_llm.model.json_schema import Budget, budget_of_request
from helpers.mock_llm.model.schema_form import SchemaError
from helpers.mock_llm.openai import rules
from helpers.mock_llm.openai.chat_request import (
    ChatMessage,
    ChatRequest,
    Function,
    chosen_names,
    tool_name,
)
from helpers.mock_llm.openai.strict_schema import check_answer_schema, check_parameters
from helpers.mock_llm.openai.validation import invalid_schema, missing, refused, validate
from helpers.mock_llm.serving.errors import ApiError


def parse(body: bytes) -> ChatRequest:
    """Raises ApiError (400) in the provider's words."""
    request = validate(ChatRequest, body)
    # No tools is the same as an empty list of them: ml-explore/mlx-lm#170, against the older
    # vllm-project/vllm#39780.
    request.tools = request.tools or None
    request.functions = request.functions or None
    for index, message in enumerate(request.messages):
        _check_message(message, index)
        rules.check_chat_parts(request.model, message, f"messages[{index}]")
    _check_calls(request.messages)
    _check_combinations(request)
    _check_model(request)
    _check_tools(request)
    _check_functions(request)
    _check_format(request)
    return request


def _check_model(request: ChatRequest) -> None:
    rules.check_model_rules(request, "chat", request.reasoning_effort)
    rules.check_effort(request.model, request.reasoning_effort, "reasoning_effort")
    for param in ("max_tokens", "max_completion_tokens"):
        rules.check_longest_answer(request.model, getattr(request, param), param)


def _check_message(message: ChatMessage, index: int) -> None:
    role, where = message["role"], f"messages[{index}]"
    if message.get("content") is None and not _may_be_silent(message):
        if "content" not in message:
            raise missing(f"{where}.content")
        raise refused(
            "Invalid value for 'content': expected a string, got null.",
            f"{where}.content",
            "invalid_type",
        )
    if role == "tool" and not message.get("tool_call_id"):  # langchain-ai/langchain#22600
        raise refused(
            "Missing parameter 'tool_call_id': messages with role 'tool' must have a "
            "'tool_call_id'.",
            f"messages.[{index}].tool_call_id",
        )
    if role == "function" and not message.get("name"):
        raise missing(f"{where}.name")


def _may_be_silent(message: ChatMessage) -> bool:
    others = ("tool_calls", "function_call", "refusal", "audio")
    return message["role"] == "function" or (
        message["role"] == "assistant" and any(message.get(key) for key in others)
    )


def _check_calls(messages: list[ChatMessage]) -> None:
    """Every call of a tool has its answer at once, and every answer its call."""
    # Ids of the calls that may be answered, and by which message.
    asked: dict[str, int | None] = {}
    for index, message in enumerate(messages):
        if message["role"] != "tool":
            if asked:
                _check_answered(asked, index)
                asked = {}
            if calls := message.get("tool_calls"):
                asked = {call["id"]: None for call in calls}
                if len(asked) < len(calls):  # openclaw/openclaw#47136
                    raise refused(
                        f"Invalid parameter: Duplicate value for 'tool_call_id' of "
                        f"'{calls[0]['id'][:100]}' in message[{index}].",
                        f"messages.[{index}].tool_calls",
                    )
            continue
        if not asked:
            raise refused(
                "Invalid parameter: messages with role 'tool' must be a response to a preceeding "
                "message with 'tool_calls'.",
                f"messages.[{index}].role",
            )
        if (id := message["tool_call_id"] or "") not in asked:
            raise refused(
                f"Invalid parameter: 'tool_call_id' of '{id[:100]}' not found in 'tool_calls' of "
                "previous message.",
                f"messages.[{index}].tool_call_id",
            )
        if (before := asked[id]) is not None:  # agno-agi/agno#5116, anomalyco/opencode#1211
            raise refused(
                f"Invalid parameter: Duplicate value for 'tool_call_id' of '{id[:100]}', in "
                f"messages[{before}] and messages[{index}].",
                f"messages.[{index}].tool_call_id",
            )
        asked[id] = index
    if asked:
        _check_answered(asked, len(messages) - 1)


def _check_answered(asked: dict[str, int | None], index: int) -> None:
    without = [id[:100] for id, answered in asked.items() if answered is None]
    if without:
        raise refused(
            "An assistant message with 'tool_calls' must be followed by tool messages responding "
            "to each 'tool_call_id'. The following tool_call_ids did not have response messages: "
            + ", ".join(without),
            f"messages.[{index}].role",
        )


def _check_combinations(request: ChatRequest) -> None:
    if request.stream_options is not None and not request.stream:
        raise refused(
            "The 'stream_options' parameter is only allowed when 'stream' is enabled.",
            "stream_options",
        )
    if request.top_logprobs is not None and not request.logprobs:
        raise refused(
            "The 'top_logprobs' parameter is only allowed when 'logprobs' is enabled.",
            "top_logprobs",
        )
    if request.max_tokens is not None and request.max_completion_tokens is not None:
        raise refused(
            "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.",
            "max_tokens",
            "invalid_parameter_combination",
        )
    if request.metadata and not request.store:  # tmc/langchaingo#1484, BerriAI/litellm#23108
        raise refused(
            "The 'metadata' parameter is only allowed when 'store' is enabled.", "metadata"
        )
    if "audio" in (request.modalities or ()) and request.audio is None:
        raise missing("audio")
    rules.check_logit_bias(request.logit_bias)


def _check_tools(request: ChatRequest) -> None:
    if request.tools is None:
        for name in ("tool_choice", "parallel_tool_calls"):
            if getattr(request, name) is not None:
                raise _only_with(name, "tools")
        return
    budget = budget_of_request()
    for index, tool in enumerate(request.tools):
        if tool["type"] == "function":
            _check_function(tool["function"], budget, f"tools[{index}].function.parameters")
    names = [tool_name(tool) for tool in request.tools]
    for name in chosen_names(request.tool_choice):
        if name not in names:
            raise refused(
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
        raise refused("'functions' and 'tools' cannot be used together.", "functions")
    budget = budget_of_request()
    for index, function in enumerate(request.functions):
        _check_function(function, budget, f"functions[{index}].parameters")
    choice = request.function_call
    if isinstance(choice, dict) and choice["name"] not in (f["name"] for f in request.functions):
        raise refused(
            f"Invalid value for 'function_call': no function named '{choice['name'][:100]}' was "
            "specified in the 'functions' parameter.",
            "function_call",
        )


def _only_with(name: str, other: str) -> ApiError:
    return refused(
        f"Invalid value for '{name}': '{name}' is only allowed when '{other}' are specified.", name
    )


def _check_function(function: Function, budget: Budget, where: str) -> None:
    if "parameters" not in function:
        return
    try:
        check_parameters(function["parameters"], budget, strict=bool(function.get("strict")))
    except SchemaError as error:
        owner = f"function '{function['name']}'"
        raise invalid_schema(owner, error, where, "invalid_function_parameters") from None


def _check_format(request: ChatRequest) -> None:
    format = request.response_format
    if format is None or format["type"] == "text":
        return
    if format["type"] == "json_object":
        if not any(_mentions_json(message) for message in request.messages):
            raise refused(
                "'messages' must contain the word 'json' in some form, to use 'response_format' "
                "of type 'json_object'.",
                "messages",
            )
        return
    wanted = format["json_schema"]
    try:
        check_answer_schema(wanted.get("schema", {}), strict=bool(wanted.get("strict")))
    except SchemaError as error:
        owner = f"response_format '{wanted['name']}'"
        raise invalid_schema(owner, error, "response_format", None) from None


def _mentions_json(message: ChatMessage) -> bool:
    content = message.get("content")
    texts = [content] if isinstance(content, str) else [p.get("text", "") for p in content or ()]
    return any("json" in str(text).lower() for text in texts)
