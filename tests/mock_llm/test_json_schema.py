"""The values that the model writes fit the schema it was given, and no schema breaks it."""

from __future__ import annotations

import contextlib
import copy
import json
import random
import re
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.mock_llm.model.json_schema import (
    budget_of_request,
    check_form,
    check_schema,
    instance,
)
from helpers.mock_llm.model.patterns import PatternError, matching
from helpers.mock_llm.model.schema_form import SchemaError, subschemas
from helpers.mock_llm.model.words import WORDS

PATTERNS = [
    r"^[A-Z]{2,3}-\d{4}$",
    r"^(\+\d{1,3} )?\(?\d{3}\)?[ .-]\d{3,4}$",
    r"^#[0-9a-fA-F]{6}$",
    r"^@[a-zA-Z0-9_]+$",
    r"[a-z]+",
    r"^(?:red|green|blue)+$",
    r"^v\d+\.\d+(\.\d+)*$",
    r"^[^\s@]+@[^\s@]+\.[a-z]{2,}$",
    r"^\S+\s\w*?[.\]\-]$",
    r"^(?P<year>\d{4})-(?:0[1-9]|1[0-2])$",
    r"^[\w.]{20,200}$",
]
FORMATS = ["date-time", "date", "time", "email", "uuid", "uri", "ipv4", "ipv6", "hostname"]
NAMES = st.sampled_from(["id", "name", "größe", 'a "b"', "x\ny", "value", ""])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=2),
    max_leaves=4,
)


def some(**keywords: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Any of these keywords of a schema."""
    return st.fixed_dictionaries({}, optional=keywords)


def between(low: str, high: str, values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Two bounds in order, one of them, or none."""
    both = st.tuples(values, values).map(sorted).map(lambda pair: {low: pair[0], high: pair[1]})
    return both | some(**{low: values}) | some(**{high: values})


def joined(*parts: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.tuples(*parts).map(lambda found: {k: v for part in found for k, v in part.items()})


def numbers() -> st.SearchStrategy[dict[str, Any]]:
    bounds = st.integers(-1000, 1000) | st.floats(-1e6, 1e6) | st.integers(-(10**20), 10**20)
    exclusive = st.floats(-1e6, 1e6).map(
        lambda low: {"exclusiveMinimum": low, "exclusiveMaximum": low + 2.5}
    )
    limits = between("minimum", "maximum", bounds) | exclusive
    kind = st.sampled_from(["number", ["number", "null"]]).map(lambda name: {"type": name})
    whole = joined(
        st.just({"type": "integer"}),
        between("minimum", "exclusiveMaximum", st.integers(-500, 500).map(lambda n: 10 * n)).filter(
            lambda s: s.get("minimum", 0) < s.get("exclusiveMaximum", 1)
        ),
    )
    steps = st.sampled_from([1, 5, 0.5, 0.01, 0.1, 0.25, 1e-9]).map(
        lambda step: {"type": "number", "multipleOf": step}
    )
    return joined(kind, limits) | whole | steps


def strings() -> st.SearchStrategy[dict[str, Any]]:
    kind = st.just({"type": "string"})
    return (
        joined(kind, between("minLength", "maxLength", st.integers(0, 80)))
        | joined(kind, st.sampled_from(FORMATS).map(lambda name: {"format": name}))
        | joined(kind, st.sampled_from(PATTERNS).map(lambda pattern: {"pattern": pattern}))
        | st.just({"type": "string", "pattern": "[a-z]", "minLength": 30})
        | st.just({"type": "string", "pattern": "^.*$", "minLength": 30, "maxLength": 40})
    )


def leaves() -> st.SearchStrategy[dict[str, Any]]:
    return (
        numbers()
        | strings()
        | st.lists(VALUES, min_size=1, max_size=4).map(lambda members: {"enum": members})
        | VALUES.map(lambda value: {"const": value})
        | st.sampled_from([{"type": "boolean"}, {"type": "null"}, {}, {"$ref": "#/$defs/node"}])
    )


def branches(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return objects(inner) | arrays(inner) | choices(inner)


def objects(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    others = st.sampled_from([{}, {"additionalProperties": False}]) | inner.map(
        lambda schema: {"additionalProperties": schema}
    )
    named = st.dictionaries(NAMES, inner, max_size=4).flatmap(
        lambda parts: st.lists(st.sampled_from(sorted(parts) or ["id"]), unique=True).map(
            lambda names: {"properties": parts, "required": [n for n in names if n in parts]}
        )
    )
    free = inner.map(
        lambda schema: {
            "additionalProperties": schema,
            "propertyNames": {"pattern": "^[a-z]{8}$"},
            "minProperties": 2,
        }
    )
    return joined(st.just({"type": "object"}), named, others) | joined(
        st.just({"type": "object"}), free
    )


def arrays(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    kind = st.just({"type": "array"})
    counts = between("minItems", "maxItems", st.integers(0, 4))
    unique = st.just({"type": "array", "uniqueItems": True, "items": {"enum": [1, 1.0, "1", True]}})
    return (
        joined(kind, counts, inner.map(lambda schema: {"items": schema}))
        | joined(kind, st.lists(inner, min_size=1, max_size=3).map(lambda p: {"prefixItems": p}))
        | joined(unique, st.just({"minItems": 3}))
    )


def choices(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    described = inner.map(lambda schema: {"description": "one", "allOf": [schema]})
    return described | st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"anyOf": parts})


NODE: dict[str, Any] = {
    "type": "object",
    "properties": {
        "value": {"type": "integer"},
        "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
        "children": {"type": "array", "items": {"$ref": "#/$defs/node"}},
    },
    "required": ["value", "next"],
    "additionalProperties": False,
}
SCHEMAS = st.recursive(leaves(), branches, max_leaves=8).map(
    lambda schema: {**schema, "$defs": {"node": NODE}}
)


@settings(max_examples=300, deadline=None)
@given(schema=SCHEMAS, seed=st.integers(0, 2**32))
def test_values_fit_their_schema(schema: dict[str, Any], seed: int) -> None:
    value = instance(schema, random.Random(seed))
    checker = jsonschema.Draft202012Validator.FORMAT_CHECKER
    jsonschema.validate(value, schema, jsonschema.Draft202012Validator, format_checker=checker)
    written = json.dumps(value, allow_nan=False)
    assert written == json.dumps(instance(schema, random.Random(seed)))
    assert len(written) < 20_000


def test_what_a_name_must_look_like_says_nothing_of_the_value() -> None:
    names = {"type": "object", "propertyNames": {"pattern": "^[A-Z]{9}$"}, "minProperties": 4}
    for seed in range(50):
        for name, value in instance(names, random.Random(seed)).items():
            assert re.fullmatch("[A-Z]{9}", name)
            assert set(value.split()) <= set(WORDS)


@settings(max_examples=200, deadline=None)
@given(pattern=st.sampled_from(PATTERNS), seed=st.integers(0, 2**32))
def test_texts_match_their_pattern(pattern: str, seed: int) -> None:
    assert re.search(pattern, matching(pattern, random.Random(seed)))


KEYWORDS = [
    "type",
    "properties",
    "required",
    "additionalProperties",
    "items",
    "prefixItems",
    "anyOf",
    "oneOf",
    "allOf",
    "$ref",
    "$defs",
    "enum",
    "const",
    "pattern",
    "format",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "uniqueItems",
    "propertyNames",
]
ODD = (
    VALUES
    | st.floats()
    | st.sampled_from(["#", "#/$defs/a", "object", "string", "(", "[", "a{9}", 10**30, 1e308])
    | st.sampled_from([["object", "null"], ["a", "b"], [], "number", "array", 5e-324, True])
)


@st.composite
def odd_schemas(draw: st.DrawFn) -> dict[str, Any]:
    """A sensible schema of which some keywords got values that make no sense."""
    schema: dict[str, Any] = copy.deepcopy(draw(SCHEMAS))
    parts = [part for _, part in subschemas(schema) if isinstance(part, dict)]
    for _ in range(draw(st.integers(1, 3))):
        draw(st.sampled_from(parts))[draw(st.sampled_from(KEYWORDS))] = draw(ODD)
    return schema


@settings(max_examples=500, deadline=None)
@given(schema=odd_schemas())
def test_a_senseless_schema_is_refused_or_answered(schema: dict[str, Any]) -> None:
    with contextlib.suppress(SchemaError):
        json.dumps(instance(schema, random.Random(0)), allow_nan=False)


FORMS = jsonschema.Draft202012Validator(jsonschema.Draft202012Validator.META_SCHEMA)


@settings(max_examples=300, deadline=None)
@given(schema=odd_schemas())
def test_what_is_well_formed_is_what_the_library_says(schema: dict[str, Any]) -> None:
    """And in its words, where there is one mistake only."""
    sentences = [f"{error.message}." for error in FORMS.iter_errors(schema)]
    problem = ""
    try:
        check_form(schema)
    except SchemaError as error:
        problem = error.message
    if "a number is" in problem or "too many parts" in problem or "…" in problem:
        return  # limits of ours, or a long value that was shortened
    assert bool(problem) == bool(sentences)
    assert not problem or problem in sentences


def doubling(depth: int) -> dict[str, Any]:
    """A schema of ``depth`` parts whose only value has 2 ** depth."""
    parts: dict[str, Any] = {
        f"p{k}": {
            "type": "object",
            "properties": {name: {"$ref": f"#/$defs/p{k + 1}"} for name in "ab"},
            "required": ["a", "b"],
        }
        for k in range(depth)
    }
    return {"$ref": "#/$defs/p0", "$defs": {**parts, f"p{depth}": {"type": "null"}}}


@pytest.mark.parametrize(
    "schema",
    [
        doubling(25),
        {"$ref": "#"},
        {"allOf": [{"$ref": "#"}], "minimum": 1},
        {"anyOf": [{"$ref": "#", "minimum": 1}, {"$ref": "#", "minimum": 2}], "maximum": 9},
        {"type": "object", "properties": {"me": {"$ref": "#"}}, "required": ["me"]},
        {"type": "array", "items": {"type": "array", "minItems": 4000}, "minItems": 4000},
        {"type": "array", "minItems": 10**12},
        {"type": "array", "items": {"type": "boolean"}, "uniqueItems": True, "minItems": 3},
        {"type": "string", "minLength": 10**12},
        {"type": "string", "minLength": 5, "maxLength": 4},
        {"type": "string", "pattern": "^abc$", "maxLength": 2},
        {"type": "integer", "minimum": 1.2, "maximum": 1.8},
        {"type": "number", "minimum": 2, "maximum": 1},
        {"type": "integer", "minimum": float("inf")},
        {"type": "integer", "minimum": float("nan")},
        {"type": "strin"},
        {"type": "string", "enum": [1, 2]},
        {"enum": []},
        {"anyOf": []},
        {"properties": [], "type": "object"},
        {"$ref": "#/$defs/none"},
        {"$ref": "other.json"},
        {"$ref": "#/x", "x": {"type": "object", "properties": {"a": {"minLength": "b"}}}},
        {"$ref": "#/x/y", "x": {"y": {"anyOf": {}}}},
        {"allOf": [{"type": "string"}, {"type": "integer"}]},
        {"type": "object", "properties": {"a": False}, "required": ["a"]},
        {"type": "object", "properties": {str(k): {} for k in range(6000)}},
    ],
    ids=lambda schema: repr(schema)[:60],
)
def test_a_schema_that_nothing_fits_is_refused(schema: dict[str, Any]) -> None:
    with pytest.raises(SchemaError):
        check_schema(schema, budget_of_request())


@pytest.mark.parametrize(
    "pattern",
    [
        "((((a{1000}){1000}){1000}){1000}){1000}",
        "((((){1000}){1000}){1000}){1000}",
        "(" * 1000,
        "^(?=a)b$",
        "a" * 100_000,
        "[z-a]",
        "*",
        "a{2,1}",
        "\\",
        "[]",
        r"\p{L}",
    ],
    ids=lambda pattern: pattern[:20],
)
def test_a_pattern_that_is_not_understood_is_passed_over(pattern: str) -> None:
    with pytest.raises(PatternError):
        matching(pattern, random.Random(0))
    value = instance({"type": "string", "pattern": pattern, "maxLength": 9}, random.Random(0))
    assert 0 < len(value) <= 9


def test_another_branch_is_taken_where_a_pattern_is_not_understood() -> None:
    schema = {"anyOf": [{"type": "string", "pattern": "(?!a)"}, {"type": "number"}]}
    for seed in range(20):
        assert isinstance(instance(schema, random.Random(seed)), int | float)


def test_recursive_values_stay_readable() -> None:
    schema = {
        "type": "object",
        "properties": {"children": {"type": "array", "items": {"$ref": "#"}}},
        "required": ["children"],
    }
    sizes = [len(json.dumps(instance(schema, random.Random(seed)))) for seed in range(200)]
    assert max(sizes) < 2_000
