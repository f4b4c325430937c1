"""A request's body as a pydantic model, or the most informative error if it is not valid."""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, TypeAlias, TypeVar

from pydantic import BaseModel, Field, ValidationError
from pydantic_core import ErrorDetails, from_json

from helpers.mock_llm.serving.errors import ApiError, malformed_json, too_many_values

_Model = TypeVar("_Model", bound=BaseModel)
_T = TypeVar("_T")

# Bytes above which a body is read in a thread: about 1 ms.
_LONG = 20_000
_SCHEMA = re.compile(rb'"(schema|parameters|input_schema)"')
# What every number has in it that is not JSON, or that no float can hold: three digits of exponent,
# or 200 digits before two of them. Each on its own: together they take five times as long.
_NOT_JSON = (b"NaN", b"Infinity")
_HUGE = (re.compile(rb"[0-9][eE]\+?[0-9]{3}"), re.compile(rb"[0-9]{200}"))
# Bytes searched at once: a regular expression lets no other thread run.
_STRETCH = 256 * 1024
# Of keys, strings and values. Pydantic lists every key that is unknown, at 2 µs each.
_MAX_COUNTS = {b'":': 200_000, b'"': 1_000_000, b",": 1_000_000}

# Unknown parameters that a lenient server ignores.
_MAX_UNKNOWN = 50

FailFastList: TypeAlias = Annotated[list[_T], Field(fail_fast=True)]
"""A list whose items are not read beyond the first that is wrong."""


async def read(parse: Callable[[bytes], _T], body: bytes, *, lenient: bool = False) -> _T:
    """What ``parse`` makes of a body, without blocking the loop. A schema may be slow to check.

    ``lenient``: without the parameters that it does not know.
    """
    if lenient:
        parse = partial(_read_known, parse)
    if len(body) > _LONG or _SCHEMA.search(body):
        return await asyncio.to_thread(parse, body)
    return parse(body)


def _read_known(parse: Callable[[bytes], _T], body: bytes) -> _T:
    for _ in range(_MAX_UNKNOWN):
        try:
            return parse(body)
        except ApiError as error:
            if error.unknown is None:
                raise
            fields = from_json(body)
            del fields[error.unknown]
            body = json.dumps(fields, ensure_ascii=False).encode()
    return parse(body)


def validate(
    model: type[_Model], body: bytes, refuse: Callable[[ErrorDetails, Any], ApiError]
) -> _Model:
    """Raises ApiError (400): what ``refuse`` makes of pydantic's error and the body's JSON."""
    _check_json(body)
    try:
        return model.model_validate_json(body)
    except ValidationError as failure:
        error = _most_telling(failure.errors(include_url=False))
        if error["type"] == "json_invalid":
            raise malformed_json() from None
        refusal = refuse(error, from_json(body))
        if error["type"] == "extra_forbidden" and len(error["loc"]) == 1:
            refusal.unknown = str(error["loc"][0])
        raise refusal from None


def _check_json(body: bytes) -> None:
    """Raises ApiError (400) for numbers that pydantic reads although JSON does not have them, and
    for more values than any prompt has."""
    if len(body) > _LONG and any(body.count(mark) > most for mark, most in _MAX_COUNTS.items()):
        raise too_many_values()
    if any(word in body for word in _NOT_JSON) or _has_large_number(body):
        try:
            json.loads(body, parse_constant=_finite, parse_float=_finite)
        except (ValueError, RecursionError):
            raise malformed_json() from None


def _has_large_number(body: bytes) -> bool:
    starts = range(0, len(body), _STRETCH)
    return any(
        part.search(body, start, start + _STRETCH + 310) for start in starts for part in _HUGE
    )


def _finite(number: str) -> float:
    if not math.isfinite(float(number)):
        raise ValueError(number)
    return float(number)


_ANOTHER_TYPE = ("string_type", "list_type", "dict_type", "literal_error", "model_type")


def _most_telling(errors: list[ErrorDetails]) -> ErrorDetails:
    """The first, or what is wrong inside an array or object where a string is allowed as well."""
    first = errors[0]
    *where, _ = first["loc"] or ("",)
    if first["type"] not in _ANOTHER_TYPE or not isinstance(first["input"], list | dict):
        return first
    for index, error in enumerate(errors[1:], start=1):
        of_the_same = list(error["loc"][: len(where)]) == where
        deeper = len(error["loc"]) > len(first["loc"])
        if of_the_same and (deeper or error["type"] not in _ANOTHER_TYPE):
            return _most_telling(errors[index:])
    return first


def is_count(text: str, most: int) -> bool:
    """Whether a query parameter is a whole number from 1 to ``most``."""
    plain = text.isascii() and text.isdecimal() and len(text) < 10
    return plain and 1 <= int(text) <= most
