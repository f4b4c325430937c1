"""What Anthropic refuses although its types allow it: a table of rules, and what applies it.

A rule gives the provider's words and the public thread that quotes them. Where threads disagree,
the newer one counts.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from helpers.mock_llm.anthropic.blocks import Block, CacheControl, JsonObject
from helpers.mock_llm.anthropic.conversation import Checked, Placed
from helpers.mock_llm.anthropic.messages_request import (
    AdaptiveThinking,
    CountRequest,
    ManualThinking,
    MessageRequest,
    SystemTurn,
    Turn,
)
from helpers.mock_llm.anthropic.tools import CustomTool, NamedChoice, ServerTool
from helpers.mock_llm.model.json_schema import budget_of_request, check_schema
from helpers.mock_llm.model.schema_form import SchemaError, subschemas
from helpers.mock_llm.model.windows import Window
from helpers.mock_llm.serving.errors import ApiError

Fields = dict[str, object]
"""What a rule's words name: where the fault is, and what was found there."""
Finder = Callable[[Checked], Iterable[Fields]]
"""Gives what a rule's words name, for each time that the rule is broken."""


class Rule(NamedTuple):
    words: str
    source: str
    broken_by: Finder


def check(request: CountRequest, window: Window, betas: frozenset[str]) -> None:
    """What a request says with all that was said before. Raises ApiError (400)."""
    checked = Checked(request, window, betas)
    for rule in RULES:
        for fields in rule.broken_by(checked):
            raise ApiError(400, rule.words.format(**fields))


def _when(test: Callable[[Checked], object]) -> Finder:
    def find(checked: Checked) -> Iterator[Fields]:
        if test(checked):
            yield {"request": checked.request, "window": checked.window}

    return find


def _asked(test: Callable[[Checked, MessageRequest], object]) -> Finder:
    """Not for a request that only asks for a count."""
    return _when(lambda checked: checked.message and test(checked, checked.message))


def _each(*types: str, when: Callable[[Placed], object]) -> Finder:
    def find(checked: Checked) -> Iterator[Fields]:
        for type in types:
            for placed in checked.by_type.get(type, ()):
                if when(placed):
                    yield {"at": placed}

    return find


def _each_turn(when: Callable[[Checked, int, Turn], bool]) -> Finder:
    def find(checked: Checked) -> Iterator[Fields]:
        for index, turn in enumerate(checked.turns):
            if when(checked, index, turn):
                yield {"index": index, "turn": turn}

    return find


def _each_tool(when: Callable[[CustomTool], object]) -> Finder:
    def find(checked: Checked) -> Iterator[Fields]:
        for where, tool in checked.custom_tools:
            if when(tool):
                yield {"where": where, "tool": tool}

    return find


# --- Conversation


# Parameters that may be left out, but not be null, with what they should be.
_NOT_NULL = {
    "messages": "a valid array",
    "metadata": "an object",
    "output_config": "an object",
    "service_tier": "'auto' or 'standard_only'",
    "stop_sequences": "a valid array",
    "stream": "a valid boolean",
    "system": "a valid array",
    "temperature": "a valid number",
    "thinking": "an object",
    "tool_choice": "an object",
    "tools": "a valid array",
    "top_k": "a valid integer",
    "top_p": "a valid number",
}


def _nulls(checked: Checked) -> Iterator[Fields]:
    request = checked.request
    for name, expected in _NOT_NULL.items():
        if name in request.model_fields_set and getattr(request, name) is None:
            yield {"name": name, "expected": expected}


def _out_of_range(checked: Checked) -> Iterator[Fields]:
    for name in ("temperature", "top_p"):
        value = getattr(checked.request, name, None)
        if value is not None and not 0 <= value <= 1:
            yield {"name": name}


def _is_empty_answer(checked: Checked, index: int, turn: Turn) -> bool:
    last = index == len(checked.turns) - 1
    return turn.role == "assistant" and not turn.content and not last


def _empty_prompts(checked: Checked) -> Iterator[Fields]:
    """Of messages in a row one is enough that has content."""
    for group in checked.merged:
        if group.role == "user" and not group.blocks:
            yield {"index": group.first}


def _system_turns(checked: Checked) -> Iterator[tuple[int, SystemTurn]]:
    """Those that are more than settings."""
    for index, turn in enumerate(checked.turns):
        if isinstance(turn, SystemTurn) and (turn.content or turn.output_config is None):
            yield index, turn


def _each_system_turn(when: Callable[[Checked, int, SystemTurn], object]) -> Finder:
    def find(checked: Checked) -> Iterator[Fields]:
        for index, turn in _system_turns(checked):
            if when(checked, index, turn):
                yield {"index": index}

    return find


def _is_misplaced(checked: Checked, index: int, _: SystemTurn) -> bool:
    return any(turn.role == "user" for turn in checked.turns[index + 1 : index + 2])


def _ends_in_thinking(checked: Checked, index: int, turn: Turn) -> bool:
    return turn.role == "assistant" and bool(turn.content) and _thinks(turn.blocks[-1])


def _thinks(block: Block) -> bool:
    return block["type"] in ("thinking", "redacted_thinking")


def _is_blank(block: Block) -> bool:
    return block["type"] == "text" and not block["text"].strip()


def _ends_in_space(turn: Turn) -> bool:
    block: Any = turn.blocks[-1]
    return bool(block["type"] == "text" and block["text"] != block["text"].rstrip())


# --- Pairs of tool calls and results


def _repeated_ids(checked: Checked) -> Iterator[Fields]:
    seen: set[str] = set()
    for placed in checked.by_type.get("tool_use", ()):
        if placed.block["id"] in seen:
            yield {"at": placed}
        seen.add(placed.block["id"])


def _repeated_results(checked: Checked) -> Iterator[Fields]:
    for group in checked.merged:
        seen: set[str] = set()
        for placed in group.of_type("tool_result"):
            if placed.block["tool_use_id"] in seen:
                yield {"at": placed}
            seen.add(placed.block["tool_use_id"])


def _results_without_call(checked: Checked) -> Iterator[Fields]:
    asked: set[str] = set()
    for group in checked.merged:
        for placed in group.of_type("tool_result"):
            if placed.block["tool_use_id"] not in asked:
                yield {"at": placed}
        asked = {placed.block["id"] for placed in group.of_type("tool_use")}


def _calls_without_result(checked: Checked) -> Iterator[Fields]:
    """Only results at the beginning of the next message count."""
    groups = checked.merged
    for number, group in enumerate(groups):
        if group.role != "assistant":
            continue
        following = groups[number + 1].blocks if number + 1 < len(groups) else []
        answered = set()
        for placed in following:
            if placed.type != "tool_result":
                break
            answered.add(placed.block["tool_use_id"])
        calls = [placed.block["id"] for placed in group.of_type("tool_use")]
        if missing := [id for id in calls if id not in answered]:
            yield {"index": group.last, "ids": ", ".join(missing)}


# --- Thinking


# What no client can make up is only known by its letters here: base64's.
_OPAQUE = re.compile(r"[A-Za-z0-9+/_-]+={0,2}")


def _not_thinking_first(checked: Checked) -> Iterator[Fields]:
    """The assistant's message that the answer goes on from must begin with a thinking block."""
    if not isinstance(checked.request.thinking, ManualThinking):
        return
    for index in range(len(checked.turns) - 1, -1, -1):
        turn = checked.turns[index]
        if turn.role == "assistant":
            # The request's own answer follows a prefill or the results of a call.
            if turn.content and not _thinks(turn.blocks[0]):
                yield {"index": index, "type": turn.blocks[0]["type"]}
            return
        if not any(block["type"] == "tool_result" for block in turn.blocks):
            return


def _thinking_in_prefill(checked: Checked) -> Iterator[Fields]:
    if checked.prefill is None or checked.request.thinks:
        return
    for placed in checked.by_type.get("thinking", ()):
        if placed.turn == len(checked.turns) - 1:
            yield {"at": placed}


def _is_forced_while_thinking(checked: Checked) -> bool:
    thinking = checked.request.thinking
    if not checked.forces_tools:
        return False
    if isinstance(thinking, AdaptiveThinking):
        return not checked.is_model(_FORCED_WITH_ADAPTIVE)
    return isinstance(thinking, ManualThinking)


# --- Tools and schemas


def _forms(checked: Checked) -> Iterator[tuple[str, JsonObject]]:
    """Schemas, with their paths."""
    for where, tool in checked.custom_tools:
        yield f"{where}.input_schema", tool.input_schema
    if checked.request.schema_wanted is not None:
        yield "output_config.format.schema", checked.request.schema_wanted


def _malformed_schemas(checked: Checked) -> Iterator[Fields]:
    budget = budget_of_request()
    for where, schema in _forms(checked):
        try:
            check_schema(schema, budget)
        except SchemaError as error:
            yield {"where": where, "problem": error.message}


def _limited_schemas(checked: Checked) -> Iterator[tuple[str, str, JsonObject]]:
    """The parts of schemas that the answer follows strictly: path, type, part."""
    strict = [(where, tool.input_schema) for where, tool in checked.custom_tools if tool.strict]
    if checked.request.schema_wanted is not None:
        strict.append(("output_config.format.schema", checked.request.schema_wanted))
    for where, schema in strict:
        for _, part in subschemas(schema):
            if isinstance(part, dict):
                types = part.get("type", "object" if "properties" in part else "")
                for type in types if isinstance(types, list) else [types]:
                    yield where, type, part


def _open_objects(checked: Checked) -> Iterator[Fields]:
    for where, type, part in _limited_schemas(checked):
        if type == "object" and part.get("additionalProperties") is not False:
            yield {"where": where}


def _long_lists(checked: Checked) -> Iterator[Fields]:
    for where, type, part in _limited_schemas(checked):
        if type == "array" and part.get("minItems", 0) not in (0, 1):
            yield {"where": where}


def _unsupported_keywords(checked: Checked) -> Iterator[Fields]:
    for where, type, part in _limited_schemas(checked):
        if names := [name for name in _UNSUPPORTED.get(type, ()) if name in part]:
            yield {"where": where, "type": type, "names": ", ".join(names)}


_NUMERIC = ("exclusiveMaximum", "exclusiveMinimum", "maximum", "minimum", "multipleOf")
# By type. Source: the guide to structured outputs; the SDK's transform_schema takes them out.
_UNSUPPORTED = {
    "integer": _NUMERIC,
    "number": _NUMERIC,
    "string": ("maxLength", "minLength"),
    "array": ("maxItems", "uniqueItems"),
    "object": ("maxProperties", "minProperties"),
}
_PROPERTY = re.compile(r"[a-zA-Z0-9_.-]{1,64}")


def _has_bad_property(tool: CustomTool) -> bool:
    """Only at the top: aws-solutions-library-samples/…-on-aws#709."""
    properties = tool.input_schema.get("properties")
    return isinstance(properties, dict) and not all(map(_PROPERTY.fullmatch, properties))


def _wrong_tools(checked: Checked) -> Iterator[Fields]:
    for index, tool in enumerate(checked.request.tools or ()):
        if isinstance(tool, ServerTool) and (problem := tool.problem):
            field, words = problem
            yield {"where": f"tools.{index}.{tool.type}.{field}", "words": words}


def _has_repeated_names(checked: Checked) -> bool:
    names = [tool.name for tool in checked.request.tools or () if tool.name is not None]
    return len(set(names)) < len(names)


def _unknown_choice(checked: Checked) -> Iterator[Fields]:
    choice = checked.request.tool_choice
    names = [tool.name for tool in checked.request.tools or ()]
    if isinstance(choice, NamedChoice) and choice.name not in names:
        yield {"name": choice.name}


# --- Cache marks


def _marks(checked: Checked) -> list[tuple[str, CacheControl]]:
    """In the order in which the provider processes them, with their paths."""
    tools = enumerate(checked.request.tools or ())
    marks = [(f"tools.{index}.cache_control", tool.cache_control) for index, tool in tools]
    marks += [
        (f"{placed.where}.cache_control", placed.block.get("cache_control"))
        for placed in checked.placed
        if "cache_control" in placed.block
    ]
    marks.append(("cache_control", checked.request.cache_control))
    return [(where, mark) for where, mark in marks if mark is not None]


def _too_many_marks(checked: Checked) -> Iterator[Fields]:
    if (count := len(_marks(checked))) > 4:
        yield {"count": count}


def _long_after_short(checked: Checked) -> Iterator[Fields]:
    short = False
    for where, mark in _marks(checked):
        if mark.ttl == "1h" and short:
            yield {"where": where}
        short |= mark.ttl != "1h"


# --- Sources of images and documents


def _is_base64(placed: Placed) -> bool:
    return bool(placed.block["source"]["type"] == "base64")


def _has_broken_base64(placed: Placed) -> bool:
    if not _is_base64(placed):
        return False
    try:
        binascii.a2b_base64(placed.data, strict_mode=True)
    except ValueError:
        return True
    return False


def _is_insecure(placed: Placed) -> bool:
    source = placed.block["source"]
    return source["type"] == "url" and not source["url"].lower().startswith("https://")


# --- Models

_EXTENDED = "https://docs.claude.com/en/docs/build-with-claude/extended-thinking"
_SAMPLING_WITH_THINKING = (
    f" Please consult our documentation at {_EXTENDED}"
    "#important-considerations-when-using-extended-thinking"
)
# otoroshi-llm-extension#140: Opus 4.1, Sonnet and Haiku 4.5, and later.
_ONE_OF_TWO = r"claude-(opus-4-[1-9](-|$)|(sonnet|haiku)-4-[5-9]|[a-z]+-[5-9]|mythos)"
# Source: run-llama/llama_index, ANTHROPIC_NO_TEMP_MODELS as of 0.12.3.
_NO_SAMPLING = r"claude-(opus-4-[7-9]|[a-z]+-[5-9]|mythos)"
_NO_PREFILL = r"claude-((opus|sonnet)-4-[6-9]|[a-z]+-[5-9]|mythos)"
# simonw/llm-anthropic#73, anthropics/claude-agent-sdk-typescript#350: from Opus 4.8 on.
_NO_SYSTEM_TURNS = r"claude-(3|(opus|sonnet|haiku)-4(-[0-7](-|$)|-20|$))"
# pydantic/pydantic-ai#7195 of August 2026, with a recorded answer, against
# diegosouzapw/OmniRoute#4389 of June. The 5.1 and 5.5 models refuse it again.
_FORCED_WITH_ADAPTIVE = r"claude-((opus|sonnet)-4-[6-9]|[a-z]+-5(-20|$))"
# The 5.5 models also refuse manual thinking, forced tools and, but for Haiku, "disabled". They are
# the models of the course, and are lenient here, so that each of these can be shown with them.
_NO_MANUAL_THINKING = r"claude-(opus-4-[7-9]|(opus|sonnet)-5(-20|$)|(fable|mythos)-5)"
_NO_ADAPTIVE_THINKING = r"claude-(3|(opus|sonnet|haiku)-4(-[0-5](-|$)|-20|$))"
_ALWAYS_THINKING = r"claude-(fable|mythos)"
_NO_FORCED_TOOLS = r"claude-(fable|mythos)-5-[1-9]"


_OBSERVED = "kangminlee-maker/local-OAuth-CLI-API-adapter, answers of claude-sonnet-5 on 2026-08-31"
_DIRECTIVE_ONLY = (
    "the directive-only form (content: [] with output_config) is accepted at any position"
)
_OF_SYSTEM = ("text", "tool_addition", "tool_removal")


def _sampling(name: str, accepted: tuple[object, ...]) -> Rule:
    return Rule(
        f"`{name}` is deprecated for this model.",
        "mnfst/modelparams.dev#238, earendil-works/pi#7961, UKGovernmentBEIS/inspect_ai#3722",
        _asked(
            lambda checked, request: (
                getattr(request, name) not in accepted and checked.is_model(_NO_SAMPLING)
            )
        ),
    )


def _misplaced(type: str, role: str, source: str) -> Rule:
    return Rule(
        f"messages.{{at.turn}}: `{type}` blocks can only be in `{role}` messages",
        source,
        _each(type, when=lambda at: at.role != role),
    )


RULES: tuple[Rule, ...] = (
    Rule(
        "messages: at least one message is required",
        "as the provider answers",
        _when(lambda checked: not checked.turns),
    ),
    Rule("{name}: Input should be {expected}", _OBSERVED, _nulls),
    Rule(
        "max_tokens: must be greater than or equal to 0",
        _OBSERVED,
        _asked(lambda _, request: request.max_tokens < 0),
    ),
    Rule("{name}: range: 0..1", f"{_OBSERVED}, mnfst/modelparams.dev#238", _out_of_range),
    Rule(
        "messages.{index}.content: Field required",
        _OBSERVED,
        _each_system_turn(lambda _, __, turn: "content" not in turn.model_fields_set),
    ),
    Rule(
        "messages.{index}: system content must contain at least one block",
        _OBSERVED,
        _each_system_turn(lambda _, __, turn: not turn.content),
    ),
    Rule(
        "messages.{index}: role 'system' supports text, tool_addition, and tool_removal blocks "
        "only",
        _OBSERVED,
        _each_system_turn(
            lambda _, __, turn: any(block["type"] not in _OF_SYSTEM for block in turn.blocks)
        ),
    ),
    Rule(
        "messages.{index}: use the top-level 'system' parameter for the initial system prompt; "
        + _DIRECTIVE_ONLY,
        f"{_OBSERVED}, sonami-tech/omni-llm-provider#2, LeenHawk/gproxy#209",
        _each_system_turn(lambda _, index, __: index == 0),
    ),
    Rule(
        'messages: Unexpected role "system". The Messages API accepts a top-level `system` '
        'parameter, not "system" as an input message role.',
        "anthropics/claude-agent-sdk-typescript#350",
        _each_system_turn(lambda checked, _, __: checked.is_model(_NO_SYSTEM_TURNS)),
    ),
    Rule(
        "messages.{index}: role 'system' must precede an 'assistant' message or end the array; "
        + _DIRECTIVE_ONLY,
        _OBSERVED,
        _each_system_turn(_is_misplaced),
    ),
    Rule(
        "messages.{index}: system text blocks must contain non-whitespace text",
        _OBSERVED,
        _each_system_turn(lambda _, __, turn: any(map(_is_blank, turn.blocks))),
    ),
    Rule(
        "messages.{index}: user messages must have non-empty content",
        f"{_OBSERVED}; microsoft/autogen#6083 of 2025 has the words of the next rule",
        _empty_prompts,
    ),
    Rule(
        "messages.{index}: all messages must have non-empty content except for the optional final "
        "assistant message",
        "microsoft/autogen#6083",
        _each_turn(_is_empty_answer),
    ),
    Rule(
        "{at.where}.text: cache_control cannot be set for empty text blocks",
        "anthropics/claude-code#62379 and #54013",
        _each(
            "text", when=lambda at: not at.block["text"].strip() and at.block.get("cache_control")
        ),
    ),
    Rule(
        "{at.top}: text content blocks must be non-empty",
        "anthropics/claude-code#59812, anthropics/anthropic-sdk-python#461, and for a tool's "
        "result modelcontextprotocol/typescript-sdk#2380",
        _each("text", when=lambda at: not at.block["text"]),
    ),
    Rule(
        "{at.top}: text content blocks must contain non-whitespace text",
        "anthropics/claude-code#23440, anomalyco/opencode#31259; of `system` users quote the same",
        _each("text", when=lambda at: at.part is None and at.block["text"].isspace()),
    ),
    Rule(
        "messages: final assistant content cannot end with trailing whitespace",
        "as the provider answers",
        _when(lambda checked: checked.prefill and _ends_in_space(checked.prefill)),
    ),
    _misplaced("tool_use", "assistant", "inngest/agent-kit 0.13.2, as its users quote it"),
    _misplaced("tool_result", "user", "as the provider answers"),
    _misplaced("thinking", "assistant", "as for tool_use"),
    _misplaced("redacted_thinking", "assistant", "as for tool_use"),
    Rule(
        "{at.where}: 'image' blocks are not permitted within {at.role} turns",
        "SEMOSS/Semoss#2323",
        _each("image", when=lambda at: at.role == "assistant"),
    ),
    Rule(
        "messages.{index}: The final block in an assistant message cannot be `thinking`.",
        "tailcallhq/forgecode#2107, NousResearch/hermes-agent#16921",
        _each_turn(_ends_in_thinking),
    ),
    Rule(
        "{at.where}: Invalid `signature` in `thinking` block",
        "anthropics/anthropic-sdk-csharp#126, ding113/claude-code-hub#518",
        _each("thinking", when=lambda at: not _OPAQUE.fullmatch(at.block["signature"])),
    ),
    Rule(
        "{at.where}: Invalid `data` in `redacted_thinking` block",
        "the changelog of Claude Code",
        _each("redacted_thinking", when=lambda at: not _OPAQUE.fullmatch(at.block["data"])),
    ),
    Rule(
        "{at.where}: `tool_use` ids must be unique",
        "anomalyco/opencode#1279, anthropics/claude-code#20901",
        _repeated_ids,
    ),
    Rule(
        "{at.where}: each tool_use must have a single result. Found multiple `tool_result` blocks "
        "with id: {at.block[tool_use_id]}",
        "sipeed/picoclaw#1793, RooCodeInc/Roo-Code#9248, anthropics/claude-code#14110",
        _repeated_results,
    ),
    Rule(
        "{at.where}: unexpected `tool_use_id` found in `tool_result` blocks: "
        "{at.block[tool_use_id]}. Each `tool_result` block must have a corresponding `tool_use` "
        "block in the previous message.",
        "anthropics/claude-code#18947, openai/openai-agents-python#1797",
        _results_without_call,
    ),
    Rule(
        "messages.{index}: `tool_use` ids were found without `tool_result` blocks immediately "
        "after: {ids}. Each `tool_use` block must have a corresponding `tool_result` block in the "
        "next message.",
        "anthropics/claude-code#1686, edison7009/EchoBird#338, and for text before the results "
        "claudeoverflow.org, tool-results-must-immediately-follow",
        _calls_without_result,
    ),
    Rule(
        "{at.where}.tool_result: content cannot be empty if `is_error` is true",
        "jlevy/markform#153, bytedance/trae-agent#230",
        _each(
            "tool_result",
            when=lambda at: bool(at.block.get("is_error")) and not at.block.get("content"),
        ),
    ),
    Rule(
        "{at.where}.tool_result: all content must be type 'text' if 'is_error' is true",
        "vellum-ai/vellum-assistant#18387",
        _each(
            "tool_result",
            when=lambda at: (
                bool(at.block.get("is_error"))
                and isinstance(at.block["content"], list)
                and any(part["type"] != "text" for part in at.block["content"])
            ),
        ),
    ),
    Rule(
        "Only HTTPS URLs are supported.",
        "BrokkAi/brokk-app#2269",
        _each("image", "document", when=_is_insecure),
    ),
    Rule(
        "{at.where}.{at.type}.source.base64: image cannot be empty",
        "anthropics/claude-code#12750",
        _each("image", when=lambda at: _is_base64(at) and not at.data),
    ),
    Rule(
        # 5 MB in threads up to May (lobehub/lobehub#14711); 10 MB by the guide of September 2026.
        "{at.where}.{at.type}.source.base64: image exceeds 10 MB maximum: {at.size} bytes > "
        "10485760 bytes",
        "the guide to vision, lobehub/lobehub#14711",
        _each("image", when=lambda at: _is_base64(at) and at.size > 10_485_760),
    ),
    Rule(
        "{at.where}.{at.type}.source.base64: invalid base64 data",
        "anthropics/anthropic-sdk-typescript#603, openclaw/openclaw#18219",
        _each("image", "document", when=_has_broken_base64),
    ),
    Rule(
        "{at.where}.{at.type}.source.base64.data: The image was specified using the {at.declared} "
        "media type, but the image appears to be a {at.actual} image",
        "home-assistant/core#167208",
        _each("image", when=lambda at: _is_base64(at) and at.actual != at.declared),
    ),
    Rule(
        "{where}: {words}",
        "types of anthropic 2.13",
        _wrong_tools,
    ),
    Rule(
        "tools: Tool names must be unique.",
        "anthropics/claude-code#10687, XSpoonAi/spoon-core#16",
        _when(_has_repeated_names),
    ),
    Rule(
        "{where}.input_schema.type: Field required",
        "types of anthropic 2.13",
        _each_tool(lambda tool: "type" not in tool.input_schema),
    ),
    Rule(
        "{where}.input_schema.type: Input should be 'object'",
        "types of anthropic 2.13",
        _each_tool(lambda tool: tool.input_schema["type"] != "object"),
    ),
    Rule(
        "{where}.input_schema: input_schema does not support oneOf, allOf, or anyOf at the top "
        "level",
        "anthropics/claude-code#40075, anomalyco/opencode#38616, mobile-next/mobile-mcp#344",
        _each_tool(lambda tool: tool.input_schema.keys() & {"oneOf", "allOf", "anyOf"}),
    ),
    Rule(
        "{where}: JSON schema is invalid. It must match JSON Schema draft 2020-12 "
        "(https://json-schema.org/draft/2020-12): {problem}",
        "as the provider answers, with the problem",
        _malformed_schemas,
    ),
    Rule(
        "{where}.input_schema.properties: Property keys should match pattern "
        "'^[a-zA-Z0-9_.-]{{1,64}}$'",
        "anthropics/claude-code#79418, decocms/studio#6874, ComposioHQ/composio#3067",
        _each_tool(_has_bad_property),
    ),
    Rule(
        "{where}: For 'object' type, 'additionalProperties' must be explicitly set to false",
        "veryfront/veryfront-code#3918, ax-llm/ax#458",
        _open_objects,
    ),
    Rule(
        "{where}: For 'array' type, 'minItems' values other than 0 or 1 are not supported",
        "ghostlobster/memorize-everything#93",
        _long_lists,
    ),
    Rule(
        "{where}: For '{type}' type, properties {names} are not supported",
        "ghostlobster/memorize-everything#93, ENTERPILOT/GoModel#963",
        _unsupported_keywords,
    ),
    Rule(
        "Tool '{tool.name}' cannot have both defer_loading=true and cache_control set. Tools with "
        "defer_loading cannot use prompt caching.",
        "anthropics/claude-code#30920, Wei-Shaw/sub2api#4990",
        _each_tool(lambda tool: tool.defer_loading and tool.cache_control),
    ),
    Rule(
        "tool_choice.any may only be specified while providing tools",
        "as the provider answers",
        _when(
            lambda checked: (
                checked.request.tool_choice
                and checked.request.tool_choice.type == "any"
                and not checked.request.tools
            )
        ),
    ),
    Rule("Tool '{name}' not found in provided tools", "as the provider answers", _unknown_choice),
    Rule(
        "A maximum of 4 blocks with cache_control may be provided. Found {count}.",
        "as the provider answers",
        _too_many_marks,
    ),
    Rule(
        "{where}.ttl: a ttl='1h' cache_control block must not come after a ttl='5m' cache_control "
        "block. Note that blocks are processed in the following order: `tools`, `system`, "
        "`messages`.",
        "cnighswonger/claude-code-cache-fix#44, headroomlabs-ai/headroom#2939",
        _long_after_short,
    ),
    Rule(
        "stop_sequences: each stop sequence must contain non-whitespace",
        "as the provider answers",
        _asked(lambda _, request: not all(map(str.strip, request.stop_sequences or ()))),
    ),
    Rule(
        "max_tokens: {request.max_tokens} > {window.answer}, which is the maximum allowed number "
        "of output tokens for {request.model}",
        "anthropics/claude-code#24451, BerriAI/litellm#15715",
        _asked(
            lambda checked, request: (
                checked.window.answer is not None and request.max_tokens > checked.window.answer
            )
        ),
    ),
    Rule(
        "`max_tokens` must be greater than `thinking.budget_tokens`. Please consult our "
        f"documentation at {_EXTENDED}#max-tokens-and-context-window-size",
        "as the provider answers",
        _asked(
            lambda checked, request: (
                isinstance(request.thinking, ManualThinking)
                and request.max_tokens <= request.thinking.budget_tokens
                and "interleaved-thinking-2025-05-14" not in checked.betas
            )
        ),
    ),
    Rule(
        "messages.{index}.content.0.type: Expected `thinking` or `redacted_thinking`, but found "
        "`{type}`. When `thinking` is enabled, a final `assistant` message must start with a "
        "thinking block (preceeding the lastmost set of `tool_use` and `tool_result` blocks). We "
        "recommend you include thinking blocks from previous turns. To avoid this requirement, "
        f"disable `thinking`. Please consult our documentation at {_EXTENDED}",
        # Adaptive thinking does without, by the guide to it.
        "anomalyco/opencode#3077, Kilo-Org/kilocode#5219, "
        "deepset-ai/haystack-core-integrations#2146, and for a prefill zed-industries/zed#33317",
        _not_thinking_first,
    ),
    Rule(
        "{at.where}: When thinking is disabled, an `assistant` message in the final position "
        "cannot contain `thinking`. To use thinking blocks, enable `thinking` in your request.",
        "tailcallhq/forgecode#1195, Kilo-Org/kilocode#4631",
        _thinking_in_prefill,
    ),
    Rule(
        "`temperature` may only be set to 1 when thinking is enabled or in adaptive mode."
        + _SAMPLING_WITH_THINKING,
        "as the provider answers",
        _asked(lambda _, request: request.thinks and request.temperature not in (None, 1)),
    ),
    Rule(
        "`top_p` must be greater than or equal to 0.95 or unset when thinking is enabled or in "
        "adaptive mode." + _SAMPLING_WITH_THINKING,
        "SEMOSS/Semoss#1655, n8n-io/n8n#14288",
        _asked(
            lambda _, request: request.thinks and request.top_p is not None and request.top_p < 0.95
        ),
    ),
    Rule(
        "`top_k` must be unset when thinking is enabled or in adaptive mode."
        + _SAMPLING_WITH_THINKING,
        "quarkiverse/quarkus-langchain4j#1812",
        _asked(lambda _, request: request.thinks and request.top_k is not None),
    ),
    Rule(
        "Thinking may not be enabled when tool_choice forces tool use.",
        "diegosouzapw/OmniRoute#4389, BerriAI/litellm#28114, pydantic/pydantic-ai#7195",
        _when(_is_forced_while_thinking),
    ),
    Rule(
        "`temperature` and `top_p` cannot both be specified for this model. Please use only one.",
        "langfuse/langfuse#9882, Vali-98/ChatterUI#564, skydiscover-ai/skydiscover#15",
        _asked(
            lambda checked, request: (
                request.temperature is not None
                and request.top_p is not None
                and checked.is_model(_ONE_OF_TWO)
            )
        ),
    ),
    _sampling("temperature", (None, 1)),
    _sampling("top_p", (None,)),
    _sampling("top_k", (None,)),
    Rule(
        "This model does not support assistant message prefill. The conversation must end with a "
        "user message.",
        "agenticloops-ai/agentic-ai-engineering#43, vybestack/llxprt-code#3695",
        _asked(
            lambda checked, request: (
                checked.prefill
                and checked.prefill.blocks[-1]["type"] == "text"
                and request.fallback_credit_token is None
                and checked.is_model(_NO_PREFILL)
            )
        ),
    ),
    Rule(
        '"thinking.type.enabled" is not supported for this model. Use "thinking.type.adaptive" and '
        '"output_config.effort" to control thinking behavior.',
        "zhukunpenglinyutong/jetbrains-cc-gui#1003",
        _when(
            lambda checked: (
                isinstance(checked.request.thinking, ManualThinking)
                and checked.is_model(_NO_MANUAL_THINKING)
            )
        ),
    ),
    Rule(
        "adaptive thinking is not supported on this model",
        "the guide to adaptive thinking",
        _when(
            lambda checked: (
                isinstance(checked.request.thinking, AdaptiveThinking)
                and checked.is_model(_NO_ADAPTIVE_THINKING)
            )
        ),
    ),
    Rule(
        '"thinking.type.disabled" is not supported for this model. Use "thinking.type.adaptive" '
        'and "output_config.effort" to control thinking behavior.',
        "the guide to errors, Thinking cannot be disabled",
        _when(
            lambda checked: (
                checked.request.thinking
                and checked.request.thinking.type == "disabled"
                and checked.is_model(_ALWAYS_THINKING)
            )
        ),
    ),
    Rule(
        'tool_choice: type "tool" and "any" are not supported for this model.',
        "What's new in Claude Opus 5.5, which says it of Fable 5.1 as well",
        _when(lambda checked: checked.forces_tools and checked.is_model(_NO_FORCED_TOOLS)),
    ),
)
