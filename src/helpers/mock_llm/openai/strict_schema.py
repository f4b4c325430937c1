"""What OpenAI requires of a schema, most of all where the answer must follow it strictly.

Source: the provider's guides to structured outputs and function calling; the sentences follow what
the API answers.
"""

from __future__ import annotations

import random
from typing import Any

from helpers.mock_llm.model.json_schema import check_form, check_schema
from helpers.mock_llm.model.patterns import PatternError, matching
from helpers.mock_llm.model.schema_form import Path, Schema, SchemaError, subschemas

_NOT_PERMITTED = (
    "allOf",
    "oneOf",
    "not",
    "if",
    "then",
    "else",
    "dependentRequired",
    "dependentSchemas",
    "patternProperties",
    "propertyNames",
    "unevaluatedProperties",
    "minProperties",
    "maxProperties",
    "contains",
    "minContains",
    "maxContains",
    "unevaluatedItems",
    "uniqueItems",
    "default",
)
_FORMATS = (
    "date-time",
    "time",
    "date",
    "duration",
    "email",
    "hostname",
    "ipv4",
    "ipv6",
    "uuid",
)
_TYPELESS = ("$ref", "anyOf", "enum", "const")


def check_answer_schema(schema: Schema, *, strict: bool) -> None:
    """The schema of an answer. Raises SchemaError."""
    if strict:
        check_form(schema)
        _check_strict(schema)
    check_schema(schema)


def check_parameters(schema: Schema, *, strict: bool) -> None:
    """The schema of a function's arguments. Raises SchemaError."""
    check_form(schema)
    if schema:
        _check_root(schema)
        if "properties" not in schema:
            raise SchemaError("object schema missing properties.", ())
    for path, part in subschemas(schema):
        if isinstance(part, dict):
            _check_items(part, path)
    if strict:
        _check_strict(schema)
    check_schema({"type": "object", **schema})


def _check_root(schema: Schema) -> None:
    kind = schema.get("type")
    if kind != "object":
        raise SchemaError(
            f"schema must be a JSON Schema of 'type: \"object\"', got 'type: \"{kind}\"'."
        )


def _check_items(schema: Schema, path: Path) -> None:
    if schema.get("type") == "array" and "items" not in schema:
        raise SchemaError("array schema missing items.", path)


def _check_strict(schema: Schema) -> None:
    _check_root(schema)
    for path, part in subschemas(schema):
        if not isinstance(part, dict):
            # ``additionalProperties: false`` is the only schema that may be a boolean.
            if path[-1] != "additionalProperties":
                raise SchemaError("schema must have a 'type' key.", path)
            continue
        for keyword in _NOT_PERMITTED:
            if keyword in part:
                raise SchemaError(f"'{keyword}' is not permitted.", path)
        _check_reference(part, path)
        if "type" not in part and not any(keyword in part for keyword in _TYPELESS):
            raise SchemaError("schema must have a 'type' key.", path)
        _check_items(part, path)
        _check_text(part, path)
        if _is_object(part):
            _check_object(part, path)


def _is_object(schema: Schema) -> bool:
    kind = schema.get("type")
    return kind == "object" or (isinstance(kind, list) and "object" in kind)


def _check_reference(schema: Schema, path: Path) -> None:
    others = sorted(map(repr, schema.keys() - {"$ref", "$defs", "definitions"}))
    if "$ref" in schema and others:
        raise SchemaError(f"$ref cannot have keywords {{{', '.join(others)}}}.", path)


def _check_text(schema: Schema, path: Path) -> None:
    if "format" in schema and schema["format"] not in _FORMATS:
        raise SchemaError(f"'{schema['format'][:100]}' is not a valid format.", path)
    try:
        matching(schema.get("pattern", ""), random.Random(0))  # noqa: S311
    except PatternError as error:
        raise SchemaError(f"'pattern' is not supported: {error}.", path) from None


def _check_object(schema: Schema, path: Path) -> None:
    if schema.get("additionalProperties") is not False:
        raise SchemaError(
            "'additionalProperties' is required to be supplied and to be false.", path
        )
    properties: dict[str, Any] = schema.get("properties", {})
    required = schema.get("required", [])
    for name in properties:
        if name not in required:
            raise SchemaError(
                "'required' is required to be supplied and to be an array including every key in "
                f"properties. Missing '{name[:100]}'.",
                path,
            )
    for name in required:
        if name not in properties:
            raise SchemaError(
                "'required' must be an array that includes every key in `properties`. "
                f"Extra required key '{name[:100]}' supplied.",
                path,
            )
