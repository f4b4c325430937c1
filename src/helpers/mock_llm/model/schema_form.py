"""JSON schemas as clients send them: which parts a schema has, and whether it is well-formed.

The rules and the sentences are those of ``jsonschema`` for draft 2020-12, which the provider seems
to use; a test compares the two. It is not used here because it takes 1 ms for each part of a
schema, and 2 s to import where JupyterLab has installed its format checkers.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

Schema: TypeAlias = dict[str, Any]
Path: TypeAlias = tuple[str | int, ...]

_MAX_PARTS = 5_000

_PARTS_BY_NAME = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
_LISTS_OF_PARTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_PARTS = (
    "items",
    "additionalProperties",
    "propertyNames",
    "contains",
    "not",
    "if",
    "then",
    "else",
    "unevaluatedItems",
    "unevaluatedProperties",
)
TYPES = ("string", "number", "integer", "boolean", "object", "array", "null")
_COUNTS = ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties")
_FORMS = {
    **dict.fromkeys(_COUNTS, "integer"),
    **dict.fromkeys(_PARTS_BY_NAME, "object"),
    **dict.fromkeys(_LISTS_OF_PARTS, "array"),
    "required": "array",
    "enum": "array",
    "examples": "array",
    "pattern": "string",
    "format": "string",
    "title": "string",
    "description": "string",
    "$ref": "string",
    "$comment": "string",
    "minimum": "number",
    "maximum": "number",
    "exclusiveMinimum": "number",
    "exclusiveMaximum": "number",
    "multipleOf": "number",
    "uniqueItems": "boolean",
}


class SchemaError(ValueError):
    """A schema that is malformed, or that no value fits."""

    def __init__(self, message: str, path: Path | None = None) -> None:
        """``path``: the part of the schema that is wrong, where that is known."""
        super().__init__(message)
        self.message = message
        self.path = path


def subschemas(schema: Any) -> Iterator[tuple[Path, Any]]:
    """The schema and every schema in it, each with its path. References are not followed."""
    todo: list[tuple[Path, Any]] = [((), schema)]
    while todo:
        path, part = todo.pop()
        yield path, part
        if isinstance(part, dict):
            todo += reversed([((*path, *step), inner) for step, inner in _parts(part)])


def _parts(schema: Schema) -> Iterator[tuple[Path, Any]]:
    for keyword, value in schema.items():
        if keyword in _PARTS_BY_NAME and isinstance(value, dict):
            yield from (((keyword, name), part) for name, part in value.items())
        elif keyword in _LISTS_OF_PARTS and isinstance(value, list):
            yield from (((keyword, index), part) for index, part in enumerate(value))
        elif keyword in _PARTS:
            yield (keyword,), value


def check_parts(schema: Any) -> None:
    """Raises SchemaError for what is no JSON schema."""
    for count, (_, part) in enumerate(subschemas(schema)):
        _check_part(part)
        if count > _MAX_PARTS:
            raise SchemaError("the schema has too many parts.")


def _check_part(schema: Any) -> None:
    if isinstance(schema, bool):
        return
    if not isinstance(schema, dict):
        raise SchemaError(f"{shorten(schema)} is not of type 'object', 'boolean'.")
    for keyword, value in schema.items():
        name = _FORMS.get(keyword)
        if name and not has_type(value, name):
            raise SchemaError(f"{shorten(value)} is not of type {name!r}.")
        if keyword in _LISTS_OF_PARTS and not value:
            raise SchemaError("[] should be non-empty.")
        if keyword in _COUNTS and value < 0:
            raise SchemaError(f"{value} is less than the minimum of 0.")
    if (step := schema.get("multipleOf", 1)) <= 0:
        raise SchemaError(f"{step} is less than or equal to the minimum of 0.")
    _check_type(schema.get("type", "string"))
    _check_required(schema.get("required", []))


def _check_type(names: Any) -> None:
    listed = names if isinstance(names, list) else [names]
    if not 0 < len(listed) <= len(TYPES) or any(name not in TYPES for name in listed):
        raise SchemaError(f"{shorten(names)} is not valid under any of the given schemas.")
    if len(set(listed)) < len(listed):
        raise SchemaError(f"{shorten(names)} is not valid under any of the given schemas.")


def _check_required(names: list[Any]) -> None:
    for name in names:
        if not isinstance(name, str):
            raise SchemaError(f"{shorten(name)} is not of type 'string'.")
    if len(set(names)) < len(names):
        raise SchemaError(f"{shorten(names)} has non-unique elements.")


def shorten(value: object) -> str:
    text = repr(value)[:100]
    return text if len(text) < 100 else text + "…"


def has_type(value: Any, name: str) -> bool:
    """Whether a JSON value has a type of JSON schema's."""
    match name:
        case "null":
            return value is None
        case "boolean":
            return isinstance(value, bool)
        case "string":
            return isinstance(value, str)
        case "array":
            return isinstance(value, list)
        case "object":
            return isinstance(value, dict)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return name == "number" or isinstance(value, int) or value.is_integer()
