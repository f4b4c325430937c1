"""A request's body as a pydantic model, or what Anthropic says about one that does not fit."""

from __future__ import annotations

import re
from typing import Any, TypeVar

from pydantic_core import ErrorDetails

from helpers.mock_llm.anthropic.messages_request import CountRequest
from helpers.mock_llm.serving.errors import ApiError
from helpers.mock_llm.serving.validation import validate

_Request = TypeVar("_Request", bound=CountRequest)

# Any date: there is a new version every few years.
_VERSION = re.compile(rb"20\d\d-[01]\d-[0-3]\d")
# Pydantic's names for a union's branches. The provider's paths have those of the blocks' types.
_BRANCH = re.compile(r"^str$|[\[']")
_ROLE = re.compile(r"messages\.\d+\.role")
# Text is taken there as well, which the provider does not say:
# kangminlee-maker/local-OAuth-CLI-API-adapter, answers of 2026-08-31.
_ARRAY = re.compile(r"messages\.\d+\.content|system")
# For those of pydantic's sentences that name Python's types, or a function of ours.
# Threads before 2026 have "a valid dictionary" and "a valid list"; newer ones these.
_WORDS = {
    "dict_type": "Input should be an object",
    "extra_forbidden": "Extra inputs are not permitted",
    "list_type": "Input should be a valid array",
    "model_attributes_type": "Input should be an object",
    "model_type": "Input should be an object",
    "string_type": "Input should be a valid string",
    "union_tag_invalid": "Input tag '{tag}' found using 'type' does not match any of the expected "
    "tags: {expected_tags}",
    "union_tag_not_found": "Field required",
}


def parse(model: type[_Request], body: bytes, headers: dict[bytes, bytes]) -> _Request:
    """What a request says by itself. Raises ApiError (400) in the provider's words."""
    version = headers.get(b"anthropic-version")
    if version is None:
        raise ApiError(400, "anthropic-version: header is required")
    if not _VERSION.fullmatch(version):
        name = version.decode("latin-1")
        raise ApiError(400, f'anthropic-version: "{name}" is not a valid version')
    return validate(model, body, _refusal)


def _refusal(error: ErrorDetails, body: Any) -> ApiError:
    kind = error["type"]
    path = _path(error["loc"], body)
    if kind == "union_tag_not_found":
        # The error is about the tag if the block is an object; else about the block.
        if isinstance(error["input"], dict):
            path = f"{path}.type"
        else:
            kind = "model_type"
    if kind == "union_tag_invalid" and not isinstance(error["input"]["type"], str):
        path, kind = f"{path}.type", "string_type"
    elif kind == "string_type" and _ARRAY.fullmatch(path):
        kind = "list_type"
    if kind == "literal_error" and _ROLE.fullmatch(path):
        if not isinstance(error["input"], str):
            return ApiError(400, f"{path}: {_WORDS['string_type']}")
        role = f'messages: Unexpected role "{error["input"]}".'
        return ApiError(400, f'{role} Allowed roles are "user" or "assistant"')
    words = _WORDS[kind].format(**error.get("ctx", {})) if kind in _WORDS else error["msg"]
    return ApiError(400, f"{path}: {words}" if path else words)


def _path(loc: tuple[int | str, ...], body: Any) -> str:
    """``messages.0.content.0.text.text``"""
    steps = []
    value = body
    for step in loc:
        inside = isinstance(value, list) if isinstance(step, int) else isinstance(value, dict)
        if inside and (isinstance(step, int) or step in value):
            value = value[step]
        elif _BRANCH.search(str(step)):
            continue
        steps.append(str(step))
    return ".".join(steps)
