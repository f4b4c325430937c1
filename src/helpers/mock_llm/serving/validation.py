"""A request's body as a pydantic model, or the one error that tells most about why it is not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, from_json

from helpers.mock_llm.serving.errors import ApiError, malformed_json

_Model = TypeVar("_Model", bound=BaseModel)


def validate(
    model: type[_Model], body: bytes, refuse: Callable[[ErrorDetails, Any], ApiError]
) -> _Model:
    """Raises ApiError (400): what ``refuse`` makes of pydantic's error and the body's JSON."""
    try:
        return model.model_validate_json(body)
    except ValidationError as failure:
        error = _most_telling(failure.errors(include_url=False))
        if error["type"] == "json_invalid":
            raise malformed_json() from None
        raise refuse(error, from_json(body)) from None


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
