"""What Anthropic refuses and what it takes, as public threads quote it. Ids are the threads."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from helpers.mock_llm import MockLLM
from helpers.mock_llm.anthropic.rules import RULES

SONNET = "claude-sonnet-5-5"
VERSION = {"anthropic-version": "2023-06-01"}
HELLO = {"role": "user", "content": "Hello"}
TOOL: Any = {"name": "f", "input_schema": {"type": "object", "properties": {}}}
MANUAL = {"type": "enabled", "budget_tokens": 1024}
MARK = {"type": "ephemeral"}
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(20)).decode()

Send = Callable[..., httpx.Response]


@pytest.fixture
def send(llm: MockLLM, http: httpx.Client) -> Send:
    """Post a request; None leaves a parameter out."""

    def post(
        path: str = "/messages", headers: dict[str, str] | None = None, **parameters: Any
    ) -> httpx.Response:
        body = {"model": SONNET, "max_tokens": 2000, "messages": [HELLO]} | parameters
        body = {key: value for key, value in body.items() if value is not None}
        return http.post(f"{llm.url}{path}", json=body, headers=VERSION | (headers or {}))

    return post


def user(*content: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(content)}


def assistant(*content: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": list(content)}


def system(*content: Any) -> dict[str, Any]:
    return {"role": "system", "content": list(content)}


def text(text: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": text} | more


def call(id: str = "t1", **more: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": id, "name": "f", "input": {}} | more


def result(id: str = "t1", **more: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": id, "content": "sunny"} | more


def image(**source: Any) -> dict[str, Any]:
    whole = {"type": "base64", "media_type": "image/png", "data": PNG} | source
    return {"type": "image", "source": {k: v for k, v in whole.items() if v is not None}}


def thought(text: str = "Let me see.") -> dict[str, Any]:
    return {"type": "thinking", "thinking": text, "signature": "abc"}


def talk(*turns: Any, **more: Any) -> dict[str, Any]:
    return {"messages": list(turns)} | more


def says(*content: Any, **more: Any) -> dict[str, Any]:
    return talk(user(*content), **more)


def loop(calls: Any, results: Any, **more: Any) -> dict[str, Any]:
    return talk(HELLO, assistant(*calls), user(*results), **more)


def takes(properties: dict[str, Any], **more: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties} | more
    return {"tools": [{"name": "f", "input_schema": schema}]}


def wants(schema: dict[str, Any]) -> dict[str, Any]:
    return {"output_config": {"format": {"type": "json_schema", "schema": schema}}}


EXTRA = "Extra inputs are not permitted"
SCREEN = {
    "type": "computer_20250124",
    "name": "computer",
    "display_height_px": 768,
    "display_width_px": 1024,
}
NULLS = {
    "system": "a valid array",
    "tools": "a valid array",
    "tool_choice": "an object",
    "thinking": "an object",
    "temperature": "a valid number",
    "top_p": "a valid number",
    "top_k": "a valid integer",
    "stream": "a valid boolean",
    "service_tier": "'auto' or 'standard_only'",
}
IDS = "tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'"
TYPES = "Input should be 'image/jpeg', 'image/png', 'image/gif' or 'image/webp'"
FIRST = "Expected `thinking` or `redacted_thinking`, but found"
SOURCE = "messages.0.content.0.image.source"
REFUSED = [
    # Ids: pattern, uniqueness, pairs
    ("anomalyco/opencode#1525", loop([call("functions.f:0")], [result()]), IDS),
    ("langchain-ai/langchain#37756", loop([call("")], [result("")]), IDS),
    (
        "maximhq/bifrost#5097",
        loop([call()], [result("a.b")]),
        "messages.2.content.0.tool_result.tool_use_id: String should match pattern",
    ),
    (
        "betmoar/cc-proxy-plugin#67",
        talk(HELLO, assistant(call("call_1", type="server_tool_use", name="web_search"))),
        "server_tool_use.id: String should match pattern '^srvtoolu_[a-zA-Z0-9_]+$'",
    ),
    (
        "anomalyco/opencode#1279",
        loop([call(), call()], [result()]),
        "messages.1.content.1: `tool_use` ids must be unique",
    ),
    (
        "anthropics/claude-code#28515",
        talk(HELLO, assistant(call()), user(result()), assistant(call()), user(result())),
        "messages.3.content.0: `tool_use` ids must be unique",
    ),
    (
        "sipeed/picoclaw#1793",
        loop([call()], [result(), result()]),
        "messages.2.content.1: each tool_use must have a single result. Found multiple "
        "`tool_result` blocks with id: t1",
    ),
    (
        "claudeoverflow.org: results come first",
        loop([call()], [text("Here:"), result()]),
        "messages.1: `tool_use` ids were found without `tool_result` blocks immediately after: t1.",
    ),
    (
        "claudeoverflow.org: also the second one",
        loop([call(), call("t2")], [result(), text("and"), result("t2")]),
        "immediately after: t2.",
    ),
    ("anthropics/claude-code#1686", talk(HELLO, assistant(call()), HELLO), "immediately after: t1"),
    ("the call is the last block", talk(HELLO, assistant(call())), "immediately after: t1"),
    (
        "anthropics/claude-code#18947",
        says(text("a"), result()),
        "messages.0.content.1: unexpected `tool_use_id` found in `tool_result` blocks: t1.",
    ),
    (
        "openai/openai-agents-python#1797",
        loop([call()], [result(), result("t2")]),
        "messages.2.content.1: unexpected `tool_use_id`",
    ),
    # Results of tools
    (
        "jlevy/markform#153",
        loop([call()], [result(content="", is_error=True)]),
        "messages.2.content.0.tool_result: content cannot be empty if `is_error` is true",
    ),
    (
        "bytedance/trae-agent#230",
        loop([call()], [result(content=[], is_error=True)]),
        "content cannot be empty if `is_error` is true",
    ),
    (
        "UKGovernmentBEIS/inspect_ai#169",
        loop([call()], [{"type": "tool_result", "tool_use_id": "t1", "is_error": True}]),
        "content cannot be empty if `is_error` is true",
    ),
    (
        "vellum-ai/vellum-assistant#18387",
        loop([call()], [result(content=[image()], is_error=True)]),
        "all content must be type 'text' if 'is_error' is true",
    ),
    (
        "modelcontextprotocol/typescript-sdk#2380",
        loop([call()], [result(content=[text("")])]),
        "messages: text content blocks must be non-empty",
    ),
    # Roles
    (
        "inngest/agent-kit",
        says(call()),
        "messages.0: `tool_use` blocks can only be in `assistant` messages",
    ),
    (
        "results of the assistant",
        talk(HELLO, assistant(result())),
        "messages.1: `tool_result` blocks can only be in `user` messages",
    ),
    ("thoughts of the user", says(thought(), text("a")), "`thinking` blocks can only be in"),
    (
        "redacted thoughts of the user",
        says({"type": "redacted_thinking", "data": "a"}, text("a")),
        "messages.0: `redacted_thinking` blocks can only be in `assistant` messages",
    ),
    *(
        (
            f"{source} {signature!r}",
            talk(HELLO, assistant(thought() | {"signature": signature}, text("a")), HELLO),
            "messages.1.content.0: Invalid `signature` in `thinking` block",
        )
        for source, signature in (
            ("anthropics/anthropic-sdk-csharp#126", ""),
            ("ding113/claude-code-hub#518", "not a signature"),
        )
    ),
    (
        "the changelog of Claude Code",
        talk(HELLO, assistant({"type": "redacted_thinking", "data": ""}, text("a")), HELLO),
        "messages.1.content.0: Invalid `data` in `redacted_thinking` block",
    ),
    (
        "BrokkAi/brokk-app#2269",
        says({"type": "image", "source": {"type": "url", "url": "http://localhost/a.png"}}),
        "Only HTTPS URLs are supported.",
    ),
    (
        "an image that is no URL",
        says({"type": "image", "source": {"type": "url", "url": "a.png"}}),
        "Only HTTPS URLs are supported.",
    ),
    (
        "a blank system prompt",
        talk(HELLO, system=[text("Be brief."), text(" \n")]),
        "system: text content blocks must contain non-whitespace text",
    ),
    *(
        (
            f"{tool['type']} {field}",
            talk(HELLO, tools=[tool]),
            f"tools.0.{tool['type']}.{field}: {words}",
        )
        for tool, field, words in (
            (SCREEN | {"display_width_px": None}, "display_width_px", "Field required"),
            (
                SCREEN | {"display_height_px": "768"},
                "display_height_px",
                "Input should be a valid integer",
            ),
            (SCREEN | {"enable_zoom": True}, "enable_zoom", EXTRA),
            ({"type": "mcp_toolset"}, "mcp_server_name", "Field required"),
            ({"type": "mcp_toolset", "mcp_server_name": "a", "name": "a"}, "name", EXTRA),
            ({"type": "mcp_toolset", "mcp_server_name": "a", "strict": True}, "strict", EXTRA),
            ({"type": "bash_20250124", "name": "bash", "bogus": 1}, "bogus", EXTRA),
            ({"type": "bash_20250124", "name": "bash", "max_uses": 1}, "max_uses", EXTRA),
            (
                {"type": "advisor_20260301", "name": "advisor"},
                "model",
                "Field required",
            ),
        )
    ),
    (
        "SEMOSS/Semoss#2323",
        talk(HELLO, assistant(image(), text("a")), HELLO),
        "messages.1.content.0: 'image' blocks are not permitted within assistant turns",
    ),
    (
        "sonami-tech/omni-llm-provider#2",
        talk({"role": "system", "content": "Be brief."}, HELLO),
        "messages.0: use the top-level 'system' parameter for the initial system prompt",
    ),
    (
        "anthropics/claude-agent-sdk-typescript#350",
        talk(HELLO, {"role": "system", "content": "Be brief."}, model="claude-haiku-4-5"),
        'messages: Unexpected role "system".',
    ),
    # Texts
    ("anthropics/claude-code#59812", says(text("")), "text content blocks must be non-empty"),
    ("miurla/morphic#83", {"system": [text("")]}, "system: text content blocks must be non-empty"),
    (
        "anthropics/claude-code#23440",
        says(text(" \n")),
        "messages: text content blocks must contain non-whitespace text",
    ),
    (
        "anthropics/claude-code#62379",
        says(text("a"), text("", cache_control=MARK)),
        "messages.0.content.1.text: cache_control cannot be set for empty text blocks",
    ),
    (
        "microsoft/autogen#6083",
        talk(HELLO, assistant(), HELLO),
        "messages.1: all messages must have non-empty content except for the optional final",
    ),
    (
        "a prefill's end",
        talk(HELLO, {"role": "assistant", "content": "Well "}, model="claude-sonnet-4-5"),
        "messages: final assistant content cannot end with trailing whitespace",
    ),
    (
        "vybestack/llxprt-code#1421",
        says(text("a", extra=1)),
        "messages.0.content.0.text.extra: Extra inputs are not permitted",
    ),
    # Images and documents
    ("NousResearch/hermes-agent#55432", says(image(media_type="image/jpg")), TYPES),
    ("BerriAI/litellm#6893", says(image(media_type="image/svg+xml")), f"{SOURCE}.base64."),
    ("anthropics/claude-code#8184", says(image(media_type=None)), "media_type: Field required"),
    ("anotherai-dev/anotherai#457", says(image(type=None)), f"{SOURCE}.type: Field required"),
    ("a source is an object", says({"type": "image", "source": PNG}), f"{SOURCE}: "),
    ("a source has a known type", says(image(type="s3")), "does not match any of the expected"),
    (
        "anthropics/anthropic-sdk-typescript#603",
        says(image(data="not base64!")),
        "messages.0.content.0.image.source.base64: invalid base64 data",
    ),
    (
        "openclaw/openclaw#18219",
        says(image(data=f"data:image/png;base64,{PNG}")),
        "invalid base64 data",
    ),
    (
        "Yeachan-Heo/gajae-code#2813",
        loop([call()], [result(content=[image(data="[blob missing]")])]),
        "messages.2.content.0.tool_result.content.0.image.source.base64: invalid base64 data",
    ),
    ("anthropics/claude-code#12750", says(image(data="")), "base64: image cannot be empty"),
    (
        "home-assistant/core#167208",
        says(image(media_type="image/jpeg")),
        "The image was specified using the image/jpeg media type, but the image appears to be a "
        "image/png image",
    ),
    (
        "lobehub/lobehub#14711",
        says(image(data=PNG[:-4] + "A" * 10_485_760 + PNG[-4:])),
        "image exceeds 10 MB maximum: ",
    ),
    (
        "AstrBotDevs/AstrBot#4444",
        says({"type": "image_url", "image_url": {"url": "https://localhost/a.png"}}),
        "messages.0.content.0: Input tag 'image_url' found using 'type' does not match any of the "
        "expected tags: ",
    ),
    (
        "a document is a PDF",
        says({**image(media_type="text/html"), "type": "document"}),
        "document.source.base64.media_type: Input should be 'application/pdf'",
    ),
    # Thinking
    (
        "anomalyco/opencode#3077",
        loop([call()], [result()], thinking=MANUAL),
        f"messages.1.content.0.type: {FIRST} `tool_use`.",
    ),
    (
        "Kilo-Org/kilocode#5219",
        loop([text("Well:"), call()], [result()], thinking=MANUAL),
        f"{FIRST} `text`.",
    ),
    (
        "zed-industries/zed#33317: a prefill",
        talk(HELLO, assistant(text("Well")), thinking=MANUAL, model="claude-sonnet-4-5"),
        f"{FIRST} `text`.",
    ),
    (
        "tailcallhq/forgecode#2107",
        talk(HELLO, assistant(thought()), HELLO),
        "messages.1: The final block in an assistant message cannot be `thinking`.",
    ),
    (
        "tailcallhq/forgecode#1195",
        talk(HELLO, assistant(thought(), text("Well"))),
        "messages.1.content.0: When thinking is disabled, an `assistant` message in the final",
    ),
    (
        "Wei-Shaw/sub2api#225",
        talk(HELLO, assistant(thought() | {"cache_control": MARK}, text("a")), HELLO),
        "messages.1.content.0.thinking.cache_control: Extra inputs are not permitted",
    ),
    (
        "a thought has its text",
        talk(HELLO, assistant({"type": "thinking", "signature": "a"}, text("a")), HELLO),
        "messages.1.content.0.thinking.thinking: Field required",
    ),
    (
        "quarkiverse/quarkus-langchain4j#1812",
        {"thinking": MANUAL, "top_k": 5},
        "`top_k` must be unset when thinking is enabled",
    ),
    (
        "SEMOSS/Semoss#1655",
        {"thinking": MANUAL, "top_p": 0.5},
        "`top_p` must be greater than or equal to 0.95 or unset when thinking is enabled",
    ),
    (
        "thinking and temperature",
        {"thinking": {"type": "adaptive"}, "temperature": 0.5},
        "`temperature` may only be set to 1 when thinking is enabled",
    ),
    (
        "a budget below the limit of the answer",
        {"thinking": MANUAL, "max_tokens": 1024},
        "`max_tokens` must be greater than `thinking.budget_tokens`.",
    ),
    (
        "immersive-translate/immersive-translate#3818",
        {"thinking": {"type": "adaptive", "effort": "low"}},
        "thinking.adaptive.effort: Extra inputs are not permitted",
    ),
    (
        "types: adaptive thinking has no budget",
        {"thinking": {"type": "adaptive", "budget_tokens": 1024}},
        "thinking.adaptive.budget_tokens: Extra inputs are not permitted",
    ),
    (
        "types: nor has disabled",
        {"thinking": {"type": "disabled", "budget_tokens": 1024}},
        "thinking.disabled.budget_tokens: Extra inputs are not permitted",
    ),
    ("thinking of a type", {"thinking": {"budget_tokens": 1024}}, "thinking.type: Field required"),
    ("of a known type", {"thinking": {"type": "on"}}, "thinking: Input tag 'on' found"),
    ("display", {"thinking": MANUAL | {"display": "full"}}, "thinking.enabled.display: Input"),
    (
        "diegosouzapw/OmniRoute#4389",
        {"thinking": MANUAL, "tools": [TOOL], "tool_choice": {"type": "tool", "name": "f"}},
        "Thinking may not be enabled when tool_choice forces tool use.",
    ),
    # Sampling
    (
        "langfuse/langfuse#9882",
        {"temperature": 0.5, "top_p": 0.9},
        "`temperature` and `top_p` cannot both be specified for this model. Please use only one.",
    ),
    (
        "cloud-apim/otoroshi-llm-extension#140",
        {"model": "claude-opus-4-1-20250805", "temperature": 0.5, "top_p": 0.9},
        "cannot both be specified",
    ),
    (
        "earendil-works/pi#7961",
        {"model": "claude-opus-5", "temperature": 0},
        "`temperature` is deprecated for this model.",
    ),
    ("simstudioai/sim#5328", {"model": "claude-sonnet-5", "temperature": 0.2}, "is deprecated"),
    ("BoltAI/BoltAI#410", {"model": "claude-opus-4-7", "temperature": 0.2}, "is deprecated"),
    ("run-llama/llama_index 0.12.3", {"temperature": 0.1}, "is deprecated"),
    ("mnfst/modelparams.dev#238", {"model": "claude-opus-4-8", "top_p": 1}, "`top_p` is deprec"),
    ("the same, top_k", {"model": "claude-opus-4-8", "top_k": 0}, "`top_k` is deprecated"),
    # Models
    (
        "agenticloops-ai/agentic-ai-engineering#43",
        talk(HELLO, assistant(text("Well,")), model="claude-opus-4-6"),
        "This model does not support assistant message prefill. The conversation must end with a "
        "user message.",
    ),
    (
        "zhukunpenglinyutong/jetbrains-cc-gui#1003",
        {"model": "claude-opus-4-7", "thinking": MANUAL},
        '"thinking.type.enabled" is not supported for this model.',
    ),
    (
        "the guide to adaptive thinking",
        {"model": "claude-haiku-4-5", "thinking": {"type": "adaptive"}},
        "adaptive thinking is not supported on this model",
    ),
    (
        "the guide to errors",
        {"model": "claude-fable-5-1", "thinking": {"type": "disabled"}},
        '"thinking.type.disabled" is not supported for this model.',
    ),
    (
        "What's new in Claude Opus 5.5",
        {"model": "claude-fable-5-1", "tools": [TOOL], "tool_choice": {"type": "any"}},
        'tool_choice: type "tool" and "any" are not supported for this model.',
    ),
    (
        "anthropics/claude-code#24451",
        {"model": "claude-opus-4-5-20251101", "max_tokens": 128_001},
        "max_tokens: 128001 > 64000, which is the maximum allowed number of output tokens for "
        "claude-opus-4-5-20251101",
    ),
    ("128K is 128,000", {"max_tokens": 128_001}, "max_tokens: 128001 > 128000, which is the"),
    # Tools
    (
        "vercel/ai#5024",
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}]},
        "tools.0: Input tag 'function' found using 'type' does not match any of the expected tags: "
        "'custom', 'advisor_20260301', 'bash_20241022', ",
    ),
    ("dirac-run/dirac#57", {"tools": [{"type": "foo_20250101", "name": "foo"}]}, "tag 'foo_2025"),
    (
        "types: the names of the provider's tools",
        {"tools": [{"type": "bash_20250124", "name": "sh"}]},
        "tools.0.bash_20250124.name: Input should be 'bash'",
    ),
    (
        "types: they have one",
        {"tools": [{"type": "bash_20250124"}]},
        "tools.0.bash_20250124.name: Field required",
    ),
    (
        "a tool's name",
        {"tools": [TOOL | {"name": "a.b"}]},
        "tools.0.custom.name: String should match pattern '^[a-zA-Z0-9_-]{1,128}$'",
    ),
    ("its length", {"tools": [TOOL | {"name": "a" * 129}]}, "tools.0.custom.name: String should"),
    (
        "a tool's unknown key",
        {"tools": [TOOL | {"parameters": {}}]},
        "tools.0.custom.parameters: Extra inputs are not permitted",
    ),
    ("anthropics/claude-code#10687", {"tools": [TOOL, TOOL]}, "tools: Tool names must be unique."),
    (
        "a schema's type",
        {"tools": [{"name": "f", "input_schema": {}}]},
        "tools.0.custom.input_schema.type: Field required",
    ),
    (
        "a schema's other type",
        {"tools": [{"name": "f", "input_schema": {"type": "array"}}]},
        "tools.0.custom.input_schema.type: Input should be 'object'",
    ),
    (
        "a schema that is none",
        takes({"a": {"type": "text"}}),
        "tools.0.custom.input_schema: JSON schema is invalid. It must match JSON Schema draft "
        "2020-12 (https://json-schema.org/draft/2020-12): ",
    ),
    *(
        (
            f"anthropics/claude-code#40075: {keyword}",
            takes({}, **{keyword: [{"required": []}]}),
            "tools.0.custom.input_schema: input_schema does not support oneOf, allOf, or anyOf at "
            "the top level",
        )
        for keyword in ("oneOf", "allOf", "anyOf")
    ),
    (
        "beautyfree/appstore-connect-mcp#2",
        takes({"filter[id]": {"type": "string"}}),
        "tools.0.custom.input_schema.properties: Property keys should match pattern "
        "'^[a-zA-Z0-9_.-]{1,64}$'",
    ),
    ("ComposioHQ/composio#3500", takes({"$top": {}}), "Property keys should match pattern"),
    ("ComposioHQ/composio#3067", takes({"a" * 65: {}}), "Property keys should match pattern"),
    (
        "anthropics/claude-code#30920",
        {"tools": [TOOL | {"defer_loading": True, "cache_control": MARK}]},
        "Tool 'f' cannot have both defer_loading=true and cache_control set.",
    ),
    (
        "strict tools: as the provider answers",
        {"tools": [TOOL | {"strict": True}]},
        "For 'object' type, 'additionalProperties' must be explicitly set to false",
    ),
    ("a choice is an object", {"tool_choice": "auto"}, "tool_choice: Input should be an object"),
    (
        "a choice has a known type",
        {"tools": [TOOL], "tool_choice": {"type": "required"}},
        "tool_choice: Input tag 'required' found using 'type' does not match any of the expected",
    ),
    (
        "a choice without tools to choose from",
        {"tool_choice": {"type": "none", "disable_parallel_tool_use": True}},
        "tool_choice.none.disable_parallel_tool_use: Extra inputs are not permitted",
    ),
    # Structured answers
    (
        "veryfront/veryfront-code#3918",
        wants({"type": "object", "properties": {}}),
        "output_config.format.schema: For 'object' type, 'additionalProperties' must be explicitly "
        "set to false",
    ),
    (
        "ax-llm/ax#458: inside",
        wants(
            {
                "type": "object",
                "properties": {"a": {"type": "object"}},
                "additionalProperties": False,
            }
        ),
        "'additionalProperties' must be explicitly set to false",
    ),
    (
        "ghostlobster/memorize-everything#93",
        wants({"type": "array", "items": {"type": "string"}, "minItems": 8}),
        "For 'array' type, 'minItems' values other than 0 or 1 are not supported",
    ),
    (
        "ENTERPILOT/GoModel#963",
        wants({"type": "integer", "minimum": 1, "maximum": 2}),
        "For 'integer' type, properties maximum, minimum are not supported",
    ),
    # Cache marks
    (
        "cnighswonger/claude-code-cache-fix#44",
        says(text("a", cache_control=MARK), text("b", cache_control=MARK | {"ttl": "1h"})),
        "messages.0.content.1.cache_control.ttl: a ttl='1h' cache_control block must not come "
        "after a ttl='5m' cache_control block.",
    ),
    (
        "agno-agi/agno#8694",
        {
            "tools": [TOOL | {"cache_control": MARK}],
            "system": [text("a", cache_control=MARK | {"ttl": "1h"})],
        },
        "system.0.cache_control.ttl: a ttl='1h' cache_control block must not come after",
    ),
    (
        "five marks",
        says(
            *[text("a", cache_control=MARK)] * 3,
            system=[text("a", cache_control=MARK)],
            cache_control=MARK,
        ),
        "A maximum of 4 blocks with cache_control may be provided. Found 5.",
    ),
    ("a mark's time", says(text("a", cache_control=MARK | {"ttl": "2h"})), "Input should be '5m'"),
    # Others
    ("stop sequences", {"stop_sequences": ["a", "\n"]}, "must contain non-whitespace"),
    (
        "vercel/ai#12419",
        {"metadata": {"user_id": "a" * 257}},
        "metadata.user_id: String should have at most 256 characters",
    ),
    ("effort", {"output_config": {"effort": "highest"}}, "output_config.effort: Input should be"),
    ("one step named str", {"str": 1}, "str: Extra inputs are not permitted"),
]


@pytest.mark.parametrize(("thread", "parameters", "words"), REFUSED, ids=[r[0] for r in REFUSED])
def test_the_provider_refuses(
    send: Send, thread: str, parameters: dict[str, Any], words: str
) -> None:
    response = send(**parameters)
    error = response.json()["error"]
    assert (response.status_code, error["type"]) == (400, "invalid_request_error")
    assert words in error["message"]


SYSTEM_LAST = "role 'system' must precede an 'assistant' message or end the array"
NO_CONTENT: Any = {"role": "system"}
OBSERVED = [
    *(({name: None}, f"{name}: Input should be {expected}") for name, expected in NULLS.items()),
    ({"model": ""}, "model: String should have at least 1 character"),
    ({"messages": []}, "messages: at least one message is required"),
    ({"max_tokens": -1}, "max_tokens: must be greater than or equal to 0"),
    ({"temperature": 2}, "temperature: range: 0..1"),
    ({"top_p": 1.5}, "top_p: range: 0..1"),
    (talk({"role": "bogus", "content": "a"}), 'messages: Unexpected role "bogus". Allowed roles'),
    (talk({"content": "a"}), "messages.0.role: Field required"),
    (talk({"role": "user"}), "messages.0.content: Field required"),
    (talk({"role": "user", "content": "a", "bogus": 1}), "messages.0.bogus: Extra inputs are not"),
    (says(7), "messages.0.content.0: Input should be an object"),
    (says({}), "messages.0.content.0.type: Field required"),
    (says(), "messages.0: user messages must have non-empty content"),
    (talk({"role": "user", "content": ""}), "messages.0: user messages must have non-empty"),
    (talk(HELLO, assistant(text("a")), user(), user()), "messages.2: user messages must have"),
    (talk(HELLO, NO_CONTENT), "messages.1.content: Field required"),
    (talk(HELLO, system()), "messages.1: system content must contain at least one block"),
    (talk(HELLO, system(text("  "))), "messages.1: system text blocks must contain non-white"),
    (talk(HELLO, system(text("a")), HELLO), f"messages.1: {SYSTEM_LAST}"),
    (talk(HELLO, system(text("a")), system(text("b")), HELLO), f"messages.2: {SYSTEM_LAST}"),
    (talk(HELLO, system(image())), "messages.1: role 'system' supports text, tool_addition, and"),
    ({"tool_choice": 7}, "tool_choice: Input should be an object"),
    ({"thinking": "x"}, "thinking: Input should be an object"),
    ({"tools": "x"}, "tools: Input should be a valid array"),
    ({"tools": [7]}, "tools.0: Input should be an object"),
    ({"tools": [TOOL | {"name": ""}]}, "tools.0.custom.name: String should have at least 1 char"),
    ({"tool_choice": {"type": "any"}}, "tool_choice.any may only be specified while providing"),
    ({"tool_choice": {"type": "tool", "name": "x"}}, "Tool 'x' not found in provided tools"),
    ({"metadata": {"user_id": 7}}, "metadata.user_id: Input should be a valid string"),
    ({"stop_sequences": [1]}, "stop_sequences.0: Input should be a valid string"),
    ({"stream": "yes"}, "stream: Input should be a valid boolean"),
    ({"zzz_unknown": 1}, "zzz_unknown: Extra inputs are not permitted"),
]


@pytest.mark.parametrize(
    ("parameters", "words"), OBSERVED, ids=[words[:60] for _, words in OBSERVED]
)
def test_errors_are_those_that_the_provider_was_seen_to_give(
    llm: MockLLM, http: httpx.Client, parameters: dict[str, Any], words: str
) -> None:
    """kangminlee-maker/local-OAuth-CLI-API-adapter recorded them on 2026-08-31."""
    body = {"model": "claude-sonnet-5", "max_tokens": 16, "messages": [HELLO]} | parameters
    response = http.post(f"{llm.url}/messages", json=body, headers=VERSION)
    assert response.status_code == 400
    assert response.json()["error"]["message"].startswith(words)


def test_every_rule_is_tried() -> None:
    """By a row above: each has the words of one rule, or a part of them."""
    rows = [str(row[-1]) for row in [*REFUSED, *OBSERVED]]
    for rule in RULES:
        parts = [part for part in re.split(r"\{[^{}]+\}", rule.words) if len(part) > 12]
        tried = any(part[:40] in row or row in part for part in parts for row in rows)
        assert tried or not parts, rule.words


def beta(type: str, **more: Any) -> dict[str, Any]:
    return {"type": type} | more


SERVER_CALL = call("srvtoolu_1", type="server_tool_use", name="web_search")
BETA_BLOCKS = [
    beta("mcp_tool_use", id="mcptoolu_1", name="f", server_name="s", input={}),
    beta("mcp_tool_result", tool_use_id="mcptoolu_1", content=[text("a")], is_error=False),
    beta("mcp_tool_listing", mcp_server_name="s", tools=[{"name": "f", "input_schema": {}}]),
    beta("compaction", content="They said hello.", cache_control=None),
    beta("compaction", content=None, encrypted_content="abc", signature="abc"),
    beta("advisor_tool_result", tool_use_id="srvtoolu_1", content={"type": "advisor_result"}),
    beta("fallback", **{"from": {"model": SONNET}, "to": {"model": SONNET}, "trigger": None}),
    beta("tool_addition", tool={"type": "tool_reference", "name": "f"}),
    beta("tool_removal", tool={"type": "tool_reference", "name": "f"}),
    beta("container_upload", file_id="file_1"),
    beta("search_result", source="s", title="t", content=[text("a")]),
    beta("web_search_tool_result", tool_use_id="srvtoolu_1", content=[]),
    beta("redacted_thinking", data="abc"),
]
TAKEN = [
    *(
        (f"anthropic 2.13: {b['type']}", talk(HELLO, assistant(b, text("a")), HELLO))
        for b in BETA_BLOCKS
    ),
    ("2.13: block_binding", {"thinking": {"type": "adaptive", "block_binding": {}}}),
    ("2.13: updates", {"thinking": {"type": "adaptive", "display": "updates"}}),
    ("2.13: billing_policy", {"billing_policy": {"type": "billing_policy", "bill_to": "self"}}),
    ("2.13: compaction", {"compaction": {"type": "summarize", "instructions": " "}}),
    ("2.13: fallbacks", {"fallbacks": [{"model": SONNET, "max_tokens": None}]}),
    ("2.13: context_management", {"context_management": {"edits": [{"type": "compact_20260112"}]}}),
    ("2.13: mcp_servers", {"mcp_servers": [{"type": "url", "name": "s", "url": "https://a.b"}]}),
    ("2.13: a toolset", {"tools": [{"type": "mcp_toolset", "mcp_server_name": "s"}]}),
    (
        "2.13: null and custom types",
        {"tools": [TOOL | {"type": None}, TOOL | {"name": "g", "type": "custom"}]},
    ),
    (
        "LeenHawk/gproxy#209: settings alone, at any position",
        talk({"role": "system", "content": [], "output_config": {"effort": "low"}}, HELLO),
    ),
    (
        "simonw/llm-anthropic#73: a system message in the middle",
        talk(HELLO, {"role": "system", "content": "Be brief.", "clear_at": "never"}),
    ),
    (
        "a system message between call and result",
        talk(HELLO, assistant(call()), user(result()), {"role": "system", "content": "a"}),
    ),
    (
        "messages in a row are one",
        talk(
            HELLO,
            assistant(call()),
            assistant(call("t2")),
            user(result()),
            user(result("t2"), text("a")),
        ),
    ),
    ("local-OAuth-CLI-API-adapter: an empty turn in a row", talk(user(), HELLO)),
    ("the same: an empty answer", talk(HELLO, assistant())),
    ("the same: a row of system messages", talk(HELLO, system(text("a")), system(text("b")))),
    ("results before the text", loop([call()], [result(), text("a")])),
    (
        "results without content",
        loop([call(caller={"type": "direct"})], [{"type": "tool_result", "tool_use_id": "t1"}]),
    ),
    (
        "null as absent",
        loop(
            [call()],
            [result(content=None, is_error=None)],
            tools=[],
            system="",
            stop_sequences=[],
            metadata={},
        ),
    ),
    ("citations", says(text("a", citations=None, cache_control=None))),
    ("an error says what", loop([call()], [result(content=[text("no")], is_error=True)])),
    (
        "NousResearch/hermes-agent#55432: known types",
        says(image(), image(type="file", file_id="file_1", media_type=None, data=None)),
    ),
    ("a loop that thinks", loop([thought(), call()], [result()], thinking=MANUAL)),
    (
        "redacted",
        loop([{"type": "redacted_thinking", "data": "a"}, call()], [result()], thinking=MANUAL),
    ),
    (
        "the guide: adaptive thinking needs no thoughts",
        loop([call()], [result()], thinking={"type": "adaptive"}),
    ),
    ("an older turn without thoughts", talk(HELLO, assistant(text("a")), HELLO, thinking=MANUAL)),
    ("deprecated, but for its default: modelparams.dev#238", {"temperature": 1}),
    (
        "UKGovernmentBEIS/inspect_ai#3722: older models",
        {"model": "claude-opus-4-6", "temperature": 0.2},
    ),
    (
        "otoroshi-llm-extension#140: the oldest",
        {"model": "claude-sonnet-4-20250514", "temperature": 0.2, "top_p": 0.5},
    ),
    (
        "agentic-ai-engineering#43: 4.5 takes prefills",
        talk(HELLO, assistant(text("Well,")), model="claude-sonnet-4-5"),
    ),
    (
        "pydantic/pydantic-ai#7195: forced tools with adaptive thinking",
        {
            "model": "claude-opus-4-8",
            "thinking": {"type": "adaptive"},
            "tools": [TOOL],
            "tool_choice": {"type": "any"},
        },
    ),
    ("withceleste/celeste-python#387", {"model": "claude-sonnet-4-6", "max_tokens": 128_000}),
    ("clients F1: the default of four frameworks", {"max_tokens": 128_000}),
    (
        "aws-…-on-aws#709: only at the top",
        takes({"a": {"type": "object", "properties": {"b c": {}}}}),
    ),
    ("anyOf inside", takes({"a": {"anyOf": [{"type": "string"}, {"type": "null"}]}})),
    (
        "longer first",
        says(text("a", cache_control=MARK | {"ttl": "1h"}), text("b", cache_control=MARK)),
    ),
]


@pytest.mark.parametrize(("thread", "parameters"), TAKEN, ids=[row[0] for row in TAKEN])
def test_the_provider_takes(send: Send, thread: str, parameters: dict[str, Any]) -> None:
    response = send(**parameters)
    assert (response.status_code, response.text if response.is_error else "") == (200, "")


@pytest.mark.parametrize(
    "name",
    [
        "cache_control",
        "container",
        "inference_geo",
        "speed",
        "compaction",
        "billing_policy",
        "context_management",
        "fallbacks",
        "thread",
    ],
)
def test_what_the_types_call_nullable_may_be_null(
    llm: MockLLM, http: httpx.Client, name: str
) -> None:
    body = {"model": SONNET, "max_tokens": 5, "messages": [HELLO], name: None}
    assert http.post(f"{llm.url}/messages", json=body, headers=VERSION).status_code == 200


@pytest.mark.parametrize(
    "parameters",
    [
        {"billing_policy": {"type": "billing_policy"}},
        {"compaction": {"type": "summarize"}},
        {"thinking": {"type": "adaptive", "block_binding": {"prefix_mismatch_behavior": "error"}}},
        {"thinking": MANUAL},
        says(image()),
    ],
)
def test_what_is_taken_is_counted(send: Send, parameters: dict[str, Any]) -> None:
    """clients F8: refused, although anthropic 2.13 has them."""
    response = send("/messages/count_tokens", max_tokens=None, **parameters)
    assert response.json()["input_tokens"] > 0


def test_a_beta_lets_budgets_exceed_the_answer(send: Send) -> None:
    parameters = {"thinking": MANUAL, "max_tokens": 1000}
    headers = {"anthropic-beta": "interleaved-thinking-2025-05-14, context-1m-2025-08-07"}
    assert send(**parameters).status_code == 400
    assert send(headers=headers, **parameters).status_code == 200


@pytest.mark.parametrize("thinking", [None, {"type": "disabled"}, {"type": "between_tools"}])
def test_thinking_that_was_not_asked_for_costs_nothing(
    llm: MockLLM, send: Send, thinking: dict[str, str] | None
) -> None:
    """clients F7: it was 240 tokens with the profile of a reasoning model."""
    llm.configure(profile="reasoning", speed=1000)
    usage = send(thinking=thinking).json()["usage"]
    assert usage["output_tokens_details"] == {"thinking_tokens": 0}
    usage = send(thinking={"type": "adaptive"}).json()["usage"]
    assert usage["output_tokens_details"]["thinking_tokens"] > 100


def test_answers_have_no_keys_that_the_provider_does_not_send(send: Send) -> None:
    """clients F2: @ai-sdk/anthropic 3 refuses ``citations: null``."""
    [block] = send().json()["content"]
    assert set(block) == {"type", "text"}
    [block] = send(tools=[TOOL], tool_choice={"type": "tool", "name": "f"}).json()["content"]
    assert set(block) == {"type", "id", "name", "input", "caller"}
    assert block["caller"] == {"type": "direct"}


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
@pytest.mark.parametrize("where", ["temperature", "extra"])
def test_json_is_json(llm: MockLLM, http: httpx.Client, number: str, where: str) -> None:
    """vllm-project/vllm#10234, loklak/loklak_server#256"""
    schema = {"type": "object", "properties": {}, "extra": "HERE"}
    other = {"tools": [{"name": "f", "input_schema": schema}]}
    rest: Any = {"temperature": "HERE"} if where == "temperature" else other
    fields = {"model": "mock-1", "max_tokens": 9, "messages": [HELLO]} | rest
    body = json.dumps(fields).replace('"HERE"', number)
    response = http.post(f"{llm.url}/messages", content=body, headers=VERSION)
    assert response.status_code == 400
    assert "NaN" not in response.text
