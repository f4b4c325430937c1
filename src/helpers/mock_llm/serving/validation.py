"""A request's body as a pydantic model, or what OpenAI says about one that does not fit."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, from_json

from helpers.mock_llm.serving.errors import ApiError, malformed_json

_Model = TypeVar("_Model", bound=BaseModel)


def validate(
    model: type[_Model],
    body: bytes,
    *,
    refuse: Callable[[ErrorDetails, Any], ApiError] | None = None,
) -> _Model:
    """Raises ApiError (400) in OpenAI's words, or those of ``refuse`` for an error and a body."""
    try:
        return model.model_validate_json(body)
    except ValidationError as failure:
        error = most_telling(failure.errors(include_url=False))
        if error["type"] == "json_invalid":
            raise malformed_json() from None
        raise (refuse or refusal)(error, from_json(body)) from None


def missing(param: str) -> ApiError:
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
    "model_attributes_type": "an object",
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


_ANOTHER_TYPE = ("string_type", "list_type", "dict_type", "literal_error", "model_type")


def most_telling(errors: list[ErrorDetails]) -> ErrorDetails:
    """The first, or for an array or object where a string could stand too, what is wrong in it."""
    first = errors[0]
    *where, _ = first["loc"] or ("",)
    if first["type"] not in _ANOTHER_TYPE or not isinstance(first["input"], list | dict):
        return first
    for index, error in enumerate(errors[1:], start=1):
        of_the_same = list(error["loc"][: len(where)]) == where
        deeper = len(error["loc"]) > len(first["loc"])
        if of_the_same and (deeper or error["type"] not in _ANOTHER_TYPE):
            return most_telling(errors[index:])
    return first


def refusal(error: ErrorDetails, body: Any) -> ApiError:
    """The provider's error for pydantic's."""
    kind, got = error["type"], error["input"]
    param = _path(error["loc"], body, missing=kind == "missing")
    if kind == "missing":
        return missing(param)
    if kind == "extra_forbidden" and len(error["loc"]) == 1:
        return ApiError(400, f"Unrecognized request argument supplied: {param}")
    if kind == "extra_forbidden":
        return ApiError(
            400, f"Unknown parameter: '{param}'.", param=param, code="unknown_parameter"
        )
    if kind == "union_tag_not_found":
        return missing(f"{param}.type")
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
    if kind == "string_too_long":
        most = error["ctx"]["max_length"]
        return ApiError(
            400,
            f"Invalid '{param}': string too long. Expected a string with maximum length {most}, "
            f"but got a string with length {len(got)} instead.",
            param=param,
            code="string_above_max_length",
        )
    if kind == "too_long":
        return _too_many(param, error)
    if kind == "string_pattern_mismatch":
        return ApiError(
            400,
            f"Invalid '{param}': string does not match pattern. Expected a string that matches "
            f"the pattern '{error['ctx']['pattern']}'.",
            param=param,
            code="invalid_value",
        )
    if kind == "literal_error":
        return _not_one_of(param, got, error["ctx"]["expected"])
    if kind == "union_tag_invalid":
        return _not_one_of(f"{param}.type", error["ctx"]["tag"], error["ctx"]["expected_tags"])
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


def _too_many(param: str, error: ErrorDetails) -> ApiError:
    most, got = error["ctx"]["max_length"], len(error["input"])
    if isinstance(error["input"], list):
        return ApiError(
            400,
            f"Invalid '{param}': array too long. Expected an array with maximum length {most}, "
            f"but got an array with length {got} instead.",
            param=param,
            code="array_above_max_length",
        )
    return ApiError(
        400,
        f"Invalid '{param}': too many properties. Expected an object with at most {most} "
        f"properties, but got an object with {got} properties instead.",
        param=param,
        code="object_above_max_properties",
    )


def _not_one_of(param: str, got: object, expected: str) -> ApiError:
    """``expected`` as pydantic lists what a value may be."""
    values = expected.replace(" or ", ", ").split(", ")
    if not isinstance(got, str):
        return ApiError(
            400,
            f"Invalid type for '{param}': expected one of {_listed(values, 'or')}, but got "
            f"{_json_name(got)} instead.",
            param=param,
            code="invalid_type",
        )
    return ApiError(
        400,
        f"Invalid value: '{got[:100]}'. Supported values are: {_listed(values, 'and')}.",
        param=param,
        code="invalid_value",
    )


def _listed(values: list[str], word: str) -> str:
    *others, last = values
    return f"{', '.join(others)}{',' * (len(others) > 1)} {word} {last}" if others else last


def _json_name(value: object) -> str:
    return _JSON_NAMES.get(type(value), "null")


def _short(value: object) -> str:
    try:
        text = json.dumps(value)
    except ValueError:  # an integer of more digits than Python writes
        return "a very large number"
    return text if len(text) <= 100 else text[:100] + "…"


def _path(loc: tuple[int | str, ...], value: Any, *, missing: bool) -> str:
    """``messages[0].content``"""
    path = ""
    for step in steps(loc, value, missing=missing):
        path += f"[{step}]" if isinstance(step, int) else f".{step}"
    return path.removeprefix(".")


def steps(loc: tuple[int | str, ...], value: Any, *, missing: bool) -> Iterator[int | str]:
    """Pydantic's path into a value without its names for a union's branches."""
    for depth, step in enumerate(loc):
        if isinstance(value, list) and isinstance(step, int):
            yield step
            value = value[step]
        elif isinstance(value, dict) and (step in value or (missing and depth == len(loc) - 1)):
            yield step
            value = value.get(step)
