"""What OpenAI requires of a schema, most of all where the answer must follow it strictly.

Source: the provider's guides to structured outputs and function calling; the sentences follow what
the API answers.
"""

from __future__ import annotations

import random
from typing import Any

from helpers.mock_llm.model.json_schema import (
    Budget,
    budget_of_request,
    check_form,
    check_schema,
)
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
_NOT_AT_TOP = ("oneOf", "anyOf", "allOf", "enum", "not")
_MAX_DEPTH = 10
_MAX_PROPERTIES = 5_000
_MAX_ENUM_VALUES = 1_000
# Of names of properties and definitions, and values of enums and constants.
_MAX_CHARACTERS = 120_000
_LONG_ENUM = 250
# Of an enum with more than that many values. All of these limits are the guide's to structured
# outputs; openai/openai-java#1001 and #732, and the words tidyverse/ellmer#671.
_MAX_ENUM_CHARACTERS = 15_000
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
    check_schema(schema, budget_of_request())


def check_parameters(schema: Schema, budget: Budget, *, strict: bool) -> None:
    """The schema of a function's arguments. ``budget``: of all functions. Raises SchemaError."""
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
    check_schema({"type": "object", **schema}, budget)


def _check_root(schema: Schema) -> None:
    kind = schema.get("type")
    if kind != "object":
        raise SchemaError(
            f"schema must be a JSON Schema of 'type: \"object\"', got 'type: \"{kind}\"'."
        )
    if any(keyword in schema for keyword in _NOT_AT_TOP):  # chatanywhere/GPT_API_free#403
        raise SchemaError(
            "schema must have type 'object' and not have 'oneOf'/'anyOf'/'allOf'/'enum'/'not' at "
            "the top level."
        )


def _check_items(schema: Schema, path: Path) -> None:
    if schema.get("type") == "array" and "items" not in schema:
        raise SchemaError("array schema missing items.", path)


def _check_strict(schema: Schema) -> None:
    _check_root(schema)
    _check_limits(schema)
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


def _check_limits(schema: Schema) -> None:
    depth = properties = values = characters = 0
    objects: dict[Path, int] = {}
    for path, part in subschemas(schema):
        if not isinstance(part, dict):
            continue
        above = max(
            (objects[path[:end]] for end in range(len(path)) if path[:end] in objects), default=0
        )
        if _is_object(part):
            objects[path] = above + 1
            depth = max(depth, above + 1)
        names = [*part.get("properties", ()), *part.get("$defs", ())]
        properties += len(part.get("properties", ()))
        enum = [value for value in (*part.get("enum", ()), part.get("const")) if value is not None]
        values += len(part.get("enum", ()))
        size = sum(len(value) for value in enum if isinstance(value, str))
        if len(enum) > _LONG_ENUM:
            _check_limit(size, _MAX_ENUM_CHARACTERS, "characters in an enum", path)
        characters += size + sum(map(len, names))
    _check_limit(depth, _MAX_DEPTH, "levels of nesting", ())
    _check_limit(properties, _MAX_PROPERTIES, "properties", ())
    _check_limit(values, _MAX_ENUM_VALUES, "enum values", ())
    _check_limit(characters, _MAX_CHARACTERS, "characters of names and enum values", ())


def _check_limit(count: int, limit: int, what: str, path: Path) -> None:
    if count > limit:
        raise SchemaError(f"{count} {what} exceeds limit of {limit}.", path)


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
