"""What OpenAI refuses although its types allow it: tables of rules, and what applies them.

A rule gives the provider's words and the public thread that quotes them. Where threads disagree,
the newer one counts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal, NamedTuple

from helpers.mock_llm.model.windows import window_of
from helpers.mock_llm.openai.validation import missing, not_one_of, refused

PARAMETER = "Unsupported parameter: '{param}' is not supported with this model."
_VALUE = (
    "Unsupported value: '{param}' does not support {value} with this model. Only the default "
    "({default}) value is supported."
)
# Models that do not reason.
_PLAIN = r"gpt-(3\.5|4|5(\.\d)?-chat)|chatgpt-"
_WITHOUT_EFFORT = r"gpt-(3\.5|4|5-chat)|chatgpt-"
REASONING = r"o\d|gpt-[5-9](?!(\.\d)?-chat)"
# Those that also work with effort "none", and then take what plain models take.
_MAY_REASON = r"gpt-(5\.\d|[6-9])(?!-chat)"


class ModelRule(NamedTuple):
    models: str
    """Regular expression of the names."""
    param: str
    default: object
    """A value that is accepted, as null is."""
    words: str
    source: str
    code: str = "unsupported_parameter"
    while_reasoning: bool = False
    """Not for models that may reason, and are asked not to."""


def _sampling(param: str, default: object, source: str) -> ModelRule:
    return ModelRule(REASONING, param, default, PARAMETER, source, while_reasoning=True)


_ONLY_MEDIUM = (
    "Unsupported value: '{value}' is not supported with the '{model}' model. Supported values are: "
    "'medium'."
)
CHAT_MODELS = (
    ModelRule(
        REASONING,
        "max_tokens",
        None,
        "Unsupported parameter: 'max_tokens' is not supported with this model. Use "
        "'max_completion_tokens' instead.",
        "jackmpcollins/magentic#453, koosoli/ESPHomeDesigner#379",
    ),
    ModelRule("o3-mini", "temperature", 1, PARAMETER, "cline/cline#341, ai-christianson/RA.Aid#70"),
    ModelRule(
        REASONING,
        "temperature",
        1,
        _VALUE,
        "QwenLM/qwen-code#921, BeehiveInnovations/pal-mcp-server#78",
        "unsupported_value",
        while_reasoning=True,
    ),
    _sampling("top_p", 1, "sashabaranov/go-openai#1061"),
    _sampling("logprobs", False, "sashabaranov/go-openai#1061"),
    _sampling("top_logprobs", 0, "sashabaranov/go-openai#1061"),
    _sampling("presence_penalty", 0, "nextai-translator/nextai-translator#1781"),
    _sampling("frequency_penalty", 0, "nextai-translator/nextai-translator#1781"),
    _sampling("logit_bias", {}, "danny-avila/LibreChat#10737"),
    ModelRule(
        # gpt-5.5 and later take it again: BerriAI/litellm#28650.
        r"o3(?!-mini)|o4-mini|gpt-5(?!\.[5-9])(?!.*-chat)",
        "stop",
        None,
        PARAMETER,
        "huggingface/smolagents#1662 and #1893, crewAIInc/crewAI#5144",
    ),
    ModelRule(
        r"o\d",
        "parallel_tool_calls",
        None,
        PARAMETER,
        "langchain-ai/langchain#29704, evalstate/fast-agent#279",
    ),
    ModelRule(_WITHOUT_EFFORT, "reasoning_effort", "none", PARAMETER, "yetone/avante.nvim#1359"),
    ModelRule(
        _PLAIN,
        "verbosity",
        "medium",
        _ONLY_MEDIUM,
        "openai-python, docstring of verbosity: for GPT-5 and later",
        "unsupported_value",
    ),
)
RESPONSES_MODELS = (
    ModelRule("o3-mini", "temperature", 1, PARAMETER, "cline/cline#341"),
    _sampling("temperature", 1, "ThinkInAIXYZ/deepchat#655, OpenHands/software-agent-sdk#1837"),
    _sampling("top_p", 1, "danny-avila/LibreChat#10737"),
    _sampling("top_logprobs", 0, "UKGovernmentBEIS/inspect_ai#2739"),
    ModelRule(
        _WITHOUT_EFFORT,
        "reasoning.effort",
        "none",
        PARAMETER,
        "RageAgainstThePixel/OpenAI-DotNet#500, BoundaryML/baml#2708, Laisky/one-api#120",
    ),
    ModelRule(
        _PLAIN, "reasoning.summary", None, PARAMETER, "RageAgainstThePixel/OpenAI-DotNet#500"
    ),
    ModelRule(
        _PLAIN,
        "text.verbosity",
        "medium",
        _ONLY_MEDIUM,
        "openai-python, docstring of verbosity: for GPT-5 and later",
        "unsupported_value",
    ),
)

_MODEL_RULES = {"chat": CHAT_MODELS, "responses": RESPONSES_MODELS}

# anomalyco/opencode#26268 (checked against the live API), openai/codex#6647,
# openai/openai-agents-python#2089, bolna-ai/bolna#852. The first that matches counts. gpt-5 itself
# and the o-series refuse "none"; it is accepted here so that any model's reasoning can be switched
# off.
_EFFORTS = (
    (r"gpt-[5-9]\.\d-chat", ("medium",)),
    (r"gpt-5-pro", ("high",)),
    (r"gpt-[5-9]\.\d-pro", ("medium", "high", "xhigh")),
    (r"gpt-5-codex|gpt-5\.1-codex(?!-max)", ("low", "medium", "high")),
    (r"gpt-5\.\d-codex", ("low", "medium", "high", "xhigh")),
    (r"gpt-5(?!\.)", ("none", "minimal", "low", "medium", "high")),
    (r"gpt-5\.1", ("none", "low", "medium", "high")),
    (r"gpt-5\.[2-5]", ("none", "low", "medium", "high", "xhigh")),
    (r"gpt-[5-9]", ("none", "low", "medium", "high", "xhigh", "max")),
    (r"o\d", ("none", "low", "medium", "high")),
)

CHAT_PARTS = {
    "system": ("text",),
    "developer": ("text",),
    "user": ("text", "image_url", "input_audio", "file"),
    "assistant": ("text", "refusal"),
    "tool": ("text",),
    "function": ("text",),
}
"""Types of a message's parts. openai/openai-node#1030, OpenHands/OpenHands#7700."""
_INPUT_PARTS = ("input_text", "input_image", "input_file", "scoped_content")
ROLES = ("assistant", "system", "developer", "user")
RESPONSE_PARTS = {
    "assistant": ("output_text", "refusal"),
    "system": (*_INPUT_PARTS, "input_audio"),
    "developer": (*_INPUT_PARTS, "input_audio"),
    "user": (*_INPUT_PARTS, "input_audio"),
    "function_call_output": _INPUT_PARTS,
    "custom_tool_call_output": _INPUT_PARTS,
}
"""The same of the Responses API, and of the outputs of tools. jeremychone/rust-genai#119,
langchain-ai/langchainjs#11169, kangminlee-maker/local-OAuth-CLI-API-adapter of 2026-08-31."""
# Models that take images from tools, and ignore them: openai/openai-openapi#523.
_IMAGES_FROM_TOOLS = re.compile(r"gpt-5\.[2-9]|gpt-[6-9]")

ID_PREFIXES = {
    "message": "msg",
    "reasoning": "rs",
    "function_call": "fc",
    "custom_tool_call": "ctc",
    "web_search_call": "ws",
    "file_search_call": "fs",
    "code_interpreter_call": "ci",
    "computer_call": "cu",
    "image_generation_call": "ig",
    "mcp_call": "mcp",
    "mcp_list_tools": "mcpl",
    "mcp_approval_request": "mcpr",
}
"""Of the Responses API's items. jlcodes99/cockpit-tools#2090, openai/codex#33176."""

ONE_OF = {
    "input_image": ("image_url", "file_id"),
    "input_file": ("file_data", "file_id", "file_url"),
    "mcp": ("server_url", "connector_id", "tunnel_id"),
}
"""Of a part or a tool of the Responses API, as its types have them: one of these fields must be
there."""
REQUIRED_FIELDS = {
    "function": ("name",),
    "custom": ("name",),
    "file_search": ("vector_store_ids",),
    "code_interpreter": ("container",),
    "computer_use_preview": ("display_height", "display_width", "environment"),
    "mcp": ("server_label",),
    "namespace": ("name", "description", "tools"),
}
"""Of a tool of the Responses API, as its types have them."""
REQUIRED_CHOICE_FIELDS = {
    "function": ("name",),
    "custom": ("name",),
    "mcp": ("server_label",),
    "allowed_tools": ("mode", "tools"),
}

MOVED = {
    "messages": "input",
    "max_tokens": "max_output_tokens",
    "max_completion_tokens": "max_output_tokens",
    "reasoning_effort": "reasoning.effort",
    "response_format": "text.format",
    "verbosity": "text.verbosity",
}
"""Chat's parameters, and where the Responses API has them. OpenHands/software-agent-sdk#755."""

_IMAGE_TYPES = ("image/png", "image/jpeg", "image/gif", "image/webp")


def check_model_rules(
    request: Any, route: Literal["chat", "responses"], effort: str | None
) -> None:
    """Raises ApiError (400) for the first parameter that the model does not take."""
    model = request.model
    for rule in _rules_of(model, route):
        if rule.while_reasoning and _rests(model, effort):
            continue
        value = _at(request, rule.param)
        if value is not None and value != rule.default:
            words = rule.words.format(
                param=rule.param, value=value, default=rule.default, model=model
            )
            raise refused(words, rule.param, rule.code)


@lru_cache(maxsize=1024)
def _rules_of(model: str, route: Literal["chat", "responses"]) -> list[ModelRule]:
    return [rule for rule in _MODEL_RULES[route] if re.match(rule.models, model)]


def _rests(model: str, effort: str | None) -> bool:
    """Whether a model that may reason does not."""
    default = "none" if re.match(r"gpt-5\.[1-4]", model) else "medium"
    return bool(re.match(_MAY_REASON, model)) and (effort or default) == "none"


def check_effort(model: str, effort: str | None, param: str) -> None:
    if effort is None:
        return
    supported = next((efforts for models, efforts in _EFFORTS if re.match(models, model)), None)
    if supported is None or effort in supported:
        return
    values = [repr(value) for value in supported if value != "none" or re.match(_MAY_REASON, model)]
    listed = f"{', '.join(values[:-1])}, and {values[-1]}" if values[1:] else values[0]
    words = (
        f"'{effort}' is not supported with the '{model}' model."
        if "." in param
        else f"'{param}' does not support '{effort}' with this model."
    )
    raise refused(
        f"Unsupported value: {words} Supported values are: {listed}.", param, "unsupported_value"
    )


def check_longest_answer(model: str, limit: int | None, param: str) -> None:
    """tailcallhq/forgecode#1185, enoch3712/ExtractThinker#346"""
    if limit is None:
        return
    longest = window_of(model).answer
    if longest is None or limit <= longest:
        return
    if param == "max_output_tokens":
        raise refused(
            f"Invalid '{param}': integer above maximum value. Expected a value <= {longest}, but "
            f"got {limit} instead.",
            param,
            "integer_above_max_value",
        )
    raise refused(
        f"max_tokens is too large: {limit}. This model supports at most {longest} completion "
        f"tokens, whereas you provided {limit}.",
        param,
        "invalid_value",
    )


def check_logit_bias(bias: Mapping[str, int] | None) -> None:
    for key in bias or ():
        if not re.fullmatch("[0-9]+", key):
            raise refused(
                f"Invalid key in 'logit_bias': {key[:100]}. You should only be submitting "
                "non-negative integers.",
                "logit_bias",
            )


def check_chat_parts(model: str, message: Mapping[str, Any], where: str) -> None:
    """Which parts a message may have by its role, and what an image's URL looks like."""
    content = message.get("content")
    if not isinstance(content, list):
        return
    role = message["role"]
    for index, part in enumerate(content):
        kind = part["type"]
        if kind == "image_url":
            check_image(part["image_url"]["url"], f"{where}.content[{index}].image_url.url")
        if kind in CHAT_PARTS[role]:
            continue
        if kind == "image_url" and role == "tool" and _IMAGES_FROM_TOOLS.match(model):
            continue
        if kind == "image_url":
            raise refused(
                f"Invalid '{where}'. Image URLs are only allowed for messages with role 'user', "
                f"but this message with role '{role}' contains an image URL.",
                where,
                "invalid_value",
            )
        supported = [repr(each) for each in CHAT_PARTS[role]]
        raise not_one_of(f"{where}.content[{index}].type", kind, supported)


def check_image(url: str, param: str) -> None:
    """anomalyco/opencode#23983"""
    scheme, _, rest = url.partition(":")
    if scheme.lower() not in ("http", "https", "data"):
        words = "Expected a valid URL, but got a value with an invalid format."
        raise refused(f"Invalid '{param}'. {words}", param, "invalid_value")
    kind = re.split("[;,]", rest, maxsplit=1)[0].lower()
    if scheme.lower() == "data" and kind and kind not in _IMAGE_TYPES:
        raise refused(
            f"Invalid '{param}'. Expected a base64-encoded data URL with an image MIME type (e.g. "
            "'data:image/png;base64,aW1nIGJ5dGVzIGhlcmU='), but got unsupported MIME type "
            f"'{kind[:100]}'.",
            param,
            "invalid_value",
        )


def check_items(items: Sequence[Mapping[str, Any]]) -> None:
    """The input of a response: its ids, the parts of its messages, and what follows reasoning."""
    seen: set[str] = set()
    for index, item in enumerate(items):
        kind = item_type(item)
        id, where = item.get("id"), f"input[{index}]"
        if isinstance(id, str):
            check_id(id, ID_PREFIXES.get(kind, ""), f"{where}.id")
            if id in seen:  # OpenRouterTeam/ai-sdk-provider#254, vercel/ai#13307
                raise refused(
                    f"Duplicate item found with id {id}. Remove duplicate items from your input "
                    "and try again.",
                    "input",
                )
            seen.add(id)
        if kind == "reasoning" and not _is_output(items[index + 1 : index + 2]):
            # vercel/ai#7099, openai/openai-node#1567, openai/openai-agents-python#1611
            raise refused(
                f"Item '{id or ''}' of type 'reasoning' was provided without its required "
                "following item.",
                "input",
            )
        role, key = (item["role"], "content") if kind == "message" else (kind, "output")
        if role in RESPONSE_PARTS and isinstance(item[key], list):
            _check_response_parts(RESPONSE_PARTS[role], item[key], f"{where}.{key}")


def item_type(item: Mapping[str, Any]) -> Any:
    """Two of them may be left out."""
    if kind := item.get("type"):
        return kind
    return "item_reference" if "id" in item and not {"role", "content"} & item.keys() else "message"


def check_id(id: str, prefix: str, param: str) -> None:
    """Raises ApiError (400) for an id that is too long, or of another kind of things."""
    if len(id) > 64:
        raise refused(
            f"Invalid '{param}': string too long. Expected a string with maximum length 64, but "
            f"got a string with length {len(id)} instead.",
            param,
            "string_above_max_length",
        )
    if not re.fullmatch(r"[\w-]*", id, re.ASCII):  # ProjectTech4DevAI/kaapi-backend#317
        raise refused(
            f"Invalid '{param}': '{id}'. Expected an ID that contains letters, numbers, "
            "underscores, or dashes, but this value contained additional characters.",
            param,
            "invalid_value",
        )
    if not id.startswith(prefix):
        words = f"'{id}'. Expected an ID that begins with '{prefix}'."
        raise refused(f"Invalid '{param}': {words}", param, "invalid_id_prefix")


def _is_output(items: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the model itself wrote the item."""
    if not items:
        return False
    item = items[0]
    kind = item_type(item)
    if kind == "message":
        return item.get("role") == "assistant"
    return not kind.endswith(("_output", "_response"))


def check_one_of(fields: Mapping[str, Any], where: str) -> None:
    """Raises ApiError (400) for a part or a tool without any of the fields that it may have."""
    names = ONE_OF.get(fields["type"], ())
    if names and not any(fields.get(name) for name in names):
        raise missing(f"{where}.{names[0]}")


def _check_response_parts(supported: Sequence[str], parts: Sequence[Any], where: str) -> None:
    for index, part in enumerate(parts):
        kind = part["type"]
        if kind not in supported:
            raise not_one_of(f"{where}[{index}]", kind, list(map(repr, supported)))
        check_one_of(part, f"{where}[{index}]")
        if kind == "input_image" and part.get("image_url"):
            check_image(part["image_url"], f"{where}[{index}].image_url")


def _at(request: Any, path: str) -> Any:
    """The value of a parameter such as "reasoning.effort"."""
    for name in path.split("."):
        request = getattr(request, name, None)
    return request
