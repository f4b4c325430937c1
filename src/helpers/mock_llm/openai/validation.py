"""A request's body as a pydantic model, or what OpenAI says about one that does not fit."""

from __future__ import annotations

import json
import re
from typing import Any, TypeVar

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from helpers.mock_llm.model.schema_form import SchemaError
from helpers.mock_llm.serving import validation
from helpers.mock_llm.serving.errors import ApiError
from helpers.mock_llm.serving.exchange import Exchange

_Model = TypeVar("_Model", bound=BaseModel)
_Path = tuple[int | str, ...]

_EXPECTED = {
    "string_type": "a string",
    "int_type": "an integer",
    "int_from_float": "an integer",
    "float_type": "a decimal",
    "bool_type": "a boolean",
    "list_type": "an array",
    "dict_type": "an object",
    "model_type": "an object",
    "model_attributes_type": "an object",
}
# Where the provider names more than one type, or a type of its own. Source of these and of "a
# decimal number": kangminlee-maker/local-OAuth-CLI-API-adapter, answers of 2026-08-31.
_EXPECTED_AT = (
    (
        r"(messages|input)\[\d+\]\.content|input\[\d+\]\.output",
        "one of a string or array of objects",
    ),
    (r"messages(\[\d+\]\.tool_calls)?", "an array of objects"),
    (r"input", "one of a string or array of input items"),
    (r"input\[\d+\]", "an input item"),
)
_JSON_NAMES: dict[type, str] = {
    str: "a string",
    int: "an integer",
    float: "a decimal number",
    bool: "a boolean",
    list: "an array",
    dict: "an object",
}
_BOUNDS = {
    "greater_than_equal": ("below_min", "below minimum", ">=", "ge"),
    "less_than_equal": ("above_max", "above maximum", "<=", "le"),
    "less_than": ("above_max", "above maximum", "<", "lt"),
}
# The provider's sentence and code for each of pydantic's error types.
_WORDS = {
    "missing": ("Missing required parameter: '{param}'.", "missing_required_parameter"),
    "extra_forbidden": ("Unknown parameter: '{param}'.", "unknown_parameter"),
    "too_short": (
        "Invalid '{param}': empty array. Expected an array with minimum length 1, but got an empty "
        "array instead.",
        "empty_array",
    ),
    "too_long": (
        "Invalid '{param}': array too long. Expected an array with maximum length {max_length}, "
        "but got an array with length {length} instead.",
        "array_above_max_length",
    ),
    "too_many_properties": (
        "Invalid '{param}': too many properties. Expected an object with at most {max_length} "
        "properties, but got an object with {length} properties instead.",
        "object_above_max_properties",
    ),
    "string_too_short": (
        "Invalid '{param}': empty string. Expected a string with minimum length {min_length}, but "
        "got an empty string instead.",
        "empty_string",
    ),
    "string_too_long": (
        "Invalid '{param}': string too long. Expected a string with maximum length {max_length}, "
        "but got a string with length {length} instead.",
        "string_above_max_length",
    ),
    "string_pattern_mismatch": (
        "Invalid '{param}': string does not match pattern. Expected a string that matches the "
        "pattern '{pattern}'.",
        "invalid_value",
    ),
}


def validate(model: type[_Model], body: bytes) -> _Model:
    """Raises ApiError (400)."""
    return validation.validate(model, body, refusal)


async def named_body(exchange: Exchange) -> bytes:
    """A request's body; with Azure's paths it has the deployment's name as its model."""
    body = await exchange.body()
    if exchange.deployment is None:
        return body
    body = body.strip()
    if not (body.startswith(b"{") and body.endswith(b"}")):
        return body
    # Of equal keys the last one counts. To read and write a long body would block the loop.
    comma = b"" if body[:-1].rstrip() == b"{" else b","
    return b'%b%b"model":"%b"}' % (body[:-1], comma, exchange.deployment.encode())


def refused(message: str, param: str | None = None, code: str | None = None) -> ApiError:
    return ApiError(400, message, param=param, code=code)


def missing(param: str) -> ApiError:
    message, code = _WORDS["missing"]
    return refused(message.format(param=param), param, code)


def invalid_schema(owner: str, error: SchemaError, param: str, code: str | None) -> ApiError:
    """``owner``: whose schema it is, as in "function 'f'"."""
    problem = error.message
    if error.path is not None:
        problem = f"In context={tuple(map(str, error.path))}, {problem}"
    return refused(f"Invalid schema for {owner}: {problem}", param, code)


def refusal(error: ErrorDetails, body: Any) -> ApiError:
    """The provider's error for pydantic's."""
    kind, got = error["type"], error["input"]
    param = _param(error, body)
    if kind == "union_tag_not_found":
        return missing(f"{param}.type")
    if kind == "extra_forbidden" and len(error["loc"]) == 1:
        return refused(f"Unrecognized request argument supplied: {param}")
    if kind in _WORDS:
        if kind == "too_long" and isinstance(got, dict):
            kind = "too_many_properties"
        message, code = _WORDS[kind]
        length = len(got) if isinstance(got, str | list | dict) else 0
        message = message.format(param=param, length=length, **error.get("ctx", {}))
        return refused(message, param, code)
    if kind in _EXPECTED:
        name = param or "the request body"
        special = (words for at, words in _EXPECTED_AT if re.fullmatch(at, param))
        return wrong_type(name, next(special, _EXPECTED[kind]), got, param or None)
    if kind in _BOUNDS:
        return _out_of_range(param, error, *_BOUNDS[kind])
    if kind == "literal_error":
        return not_one_of(param, got, _values(error["ctx"]["expected"]))
    if kind == "union_tag_invalid":
        values = _values(error["ctx"]["expected_tags"])
        return not_one_of(f"{param}.type", got["type"], values)
    return refused(f"Invalid value for '{param}': {error['msg']}.", param, "invalid_value")


def _out_of_range(
    param: str, error: ErrorDetails, code: str, words: str, sign: str, bound: str
) -> ApiError:
    kind = "integer" if isinstance(error["ctx"][bound], int) else "decimal"
    return refused(
        f"Invalid '{param}': {kind} {words} value. Expected a value {sign} "
        f"{error['ctx'][bound]:g}, but got {_shorten(error['input'])} instead.",
        param,
        f"{kind}_{code}_value",
    )


def wrong_type(name: str, expected: str, got: object, param: str | None) -> ApiError:
    words = f"expected {expected}, but got {_json_name(got)} instead."
    return refused(f"Invalid type for '{name}': {words}", param, "invalid_type")


def not_one_of(param: str, got: object, values: list[str]) -> ApiError:
    """``values``: what a value may be, in quotes."""
    if not isinstance(got, str):
        return wrong_type(param, f"one of {_listed(values, 'or')}", got, param)
    return refused(
        f"Invalid value: '{got[:100]}'. Supported values are: {_listed(values, 'and')}.",
        param,
        "invalid_value",
    )


def _values(expected: str) -> list[str]:
    """What a value may be, from pydantic's list of it."""
    return expected.replace(" or ", ", ").split(", ")


def _listed(values: list[str], word: str) -> str:
    *others, last = values
    return f"{', '.join(others)}{',' * (len(others) > 1)} {word} {last}" if others else last


def _json_name(value: object) -> str:
    return _JSON_NAMES.get(type(value), "null")


def _shorten(value: object) -> str:
    try:
        text = json.dumps(value)
    except ValueError:  # an integer with more digits than Python writes
        return "a very large number"
    return text if len(text) <= 100 else text[:100] + "…"


def _param(error: ErrorDetails, body: Any) -> str:
    """``messages[0].content``"""
    loc = tuple(step for step in error["loc"] if step != "[key]")
    steps = _steps(loc, body, error) or loc
    path = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)
    return path.removeprefix(".")


def _steps(loc: _Path, value: Any, error: ErrorDetails) -> _Path | None:
    """Pydantic's path into a value, without its names for the branches of a union.

    A name such as "function" may be a branch or a key: what the error is about decides.
    """
    if not loc:
        return () if value == error["input"] or "[key]" in error["loc"] else None
    step, rest = loc[0], loc[1:]
    if not rest and error["type"] == "missing":
        return (step,) if value == error["input"] else None
    skipped = _steps(rest, value, error) if isinstance(step, str) else None
    inside = isinstance(value, dict if isinstance(step, str) else list)
    if skipped is not None and (not inside or value.get("type") == step):
        return skipped
    found = None
    if inside and (isinstance(step, int) or step in value):
        found = _steps(rest, value[step], error)
    return skipped if found is None else (step, *found)
