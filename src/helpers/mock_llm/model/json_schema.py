"""JSON values that fit a JSON schema: the model's structured answers and tool arguments.

Understood are types (also lists of them), enum and const, properties, required and
additionalProperties, items, prefixItems, minItems, maxItems and uniqueItems, bounds and multipleOf,
lengths, pattern (see patterns.py) and format, anyOf, allOf, oneOf (as anyOf) and references into
the schema. Other keywords, such as ``not`` and ``if``, and other patterns are passed over: so is a
real model's answer sometimes, where the schema is not a strict one (see strict_schema.py).
"""

from __future__ import annotations

import datetime
import json
import math
import random
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache, reduce
from itertools import chain
from typing import Any, NamedTuple

from helpers.mock_llm.model.patterns import PatternError, matching
from helpers.mock_llm.model.schema_form import (
    Path,
    Schema,
    SchemaError,
    check_parts,
    has_type,
    shorten,
)
from helpers.mock_llm.model.words import WORDS

# Steps from a schema into its parts, references included, beyond which no value is looked for.
_MAX_DEPTH = 64
# The same for values that need not be deeper.
_USUAL_DEPTH = 12
# Items of an array, properties of an object, characters that a text must have.
_MAX_ITEMS = 5_000
# Things in an answer that could be left out: recursive schemas stay readable.
_SPARE = 30
# Characters of a schema.
_MAX_LENGTH = 400_000
# Characters of a schema whose check is remembered.
_MAX_REMEMBERED = 20_000
# For a text of the right length, or an item unlike the others.
_TRIES = 100


@dataclass(slots=True)
class Budget:
    """What one answer may cost, so that a small request cannot occupy the server for seconds."""

    values: int = 5_000
    characters: int = 200_000
    """Those of texts that did not fit are counted too."""
    steps: int = 150_000
    """Parts of the schema that are looked at."""

    def spend(self, *, values: int = 0, characters: int = 0, steps: int = 0) -> None:
        """Raises SchemaError when it is used up."""
        self.values -= values
        self.characters -= characters
        self.steps -= steps
        if self.values < 0 or self.characters < 0:
            raise SchemaError("its values are too large.")
        if self.steps < 0:
            raise SchemaError("the schema is too complicated.")


def budget_of_request() -> Budget:
    """What it may cost to check all schemas of one request: half a second at most."""
    return Budget(values=20_000, characters=1_500_000, steps=400_000)


def check_schema(schema: Schema, budget: Budget) -> None:
    """Raises SchemaError if the model could not answer with it, or the budget is used up."""
    text = _text_of(schema)
    cost = _cost(schema) if len(text) > _MAX_REMEMBERED else _remembered_cost(text)
    try:
        budget.spend(values=cost.values, characters=cost.characters + len(text), steps=cost.steps)
    except SchemaError:
        raise SchemaError("the schemas of the request are too large together.") from None


def check_form(schema: Schema) -> None:
    """Raises SchemaError for what is no JSON schema."""
    text = _text_of(schema)
    if len(text) > _MAX_REMEMBERED:
        check_parts(schema)
    else:
        _check_form(text)


def instance(schema: Schema, rng: random.Random, budget: Budget | None = None) -> Any:
    """A value that fits. Raises SchemaError."""
    check_form(schema)
    return _Writer(schema, rng, budget or Budget()).write()


def _count(schema: Schema, keyword: str, default: Any) -> Any:
    """JSON schema allows 3.0 and 3e2 where a count is wanted."""
    value = schema.get(keyword, default)
    return value if value == math.inf else int(value)


# Checks are remembered by the schema's text: clients send it with every request.
@lru_cache(maxsize=512)
def _remembered_cost(text: str) -> Budget:
    return _cost(json.loads(text))


@lru_cache(maxsize=512)
def _check_form(text: str) -> None:
    check_parts(json.loads(text))


def _cost(schema: Schema) -> Budget:
    """What an answer costs. Raises SchemaError if there is none."""
    full, left = Budget(), Budget()
    instance(schema, random.Random(0), left)  # noqa: S311
    return Budget(
        full.values - left.values, full.characters - left.characters, full.steps - left.steps
    )


def _text_of(schema: Schema) -> str:
    """Raises SchemaError for a schema that is too large."""
    try:
        text = json.dumps(schema, allow_nan=False)
    except ValueError:
        raise SchemaError("a number is not finite, or has too many digits.") from None
    if len(text) > _MAX_LENGTH:
        raise SchemaError("the schema is too large.")
    return text


_ANNOTATIONS = {"title", "description", "default", "examples", "$comment", "$defs", "definitions"}


class _Writer:
    """One value for one schema."""

    def __init__(self, root: Schema, rng: random.Random, budget: Budget) -> None:
        self._root = root
        self._rng = rng
        self._budget = budget
        self._spare = _SPARE
        self._checked: set[int] = {id(root)}
        self._known: dict[tuple[int, int], bool] = {}
        # By the id of a schema.
        self._simplified: dict[int, list[Any] | None] = {}
        self._members: dict[int, list[tuple[Any, int]]] = {}
        # Schemas whose ids are known: some are made on the way, and no id may be used again.
        self._alive: list[Any] = []

    def write(self) -> Any:
        depth = _USUAL_DEPTH if self._fits(self._root, _USUAL_DEPTH) else _MAX_DEPTH
        return self._value(self._root, depth, ())

    # What fits

    def _fits(self, schema: Any, depth: int) -> bool:
        """Whether a value exists that needs at most ``depth`` steps. Bounds are not looked at."""
        if depth <= 0 or schema is False:
            return False
        if not isinstance(schema, dict):
            return True
        key = (id(schema), depth)
        if key not in self._known:
            self._alive.append(schema)
            self._known[key] = self._find_out(schema, depth)
        return self._known[key]

    def _find_out(self, schema: Schema, depth: int) -> bool:
        self._budget.spend(steps=1 + len(schema.get("required", ())))
        if "const" in schema or "enum" in schema:
            return True
        if (simpler := self._simpler(schema)) is not None:
            return any(self._fits(branch, depth - 1) for branch in simpler)
        return any(self._type_fits(schema, name, depth) for name in _types(schema))

    def _type_fits(self, schema: Schema, name: str, depth: int) -> bool:
        if name == "object":
            return all(self._fits(part, depth - 1) for part in self._required(schema).values())
        if name == "array":
            least = _count(schema, "minItems", 0)
            parts = _first_items(schema, least)
            self._budget.spend(steps=len(parts))
            return len(parts) == least and all(self._fits(part, depth - 1) for part in parts)
        return "pattern" not in schema or name != "string" or _is_supported(schema["pattern"])

    def _simpler(self, schema: Schema) -> list[Any] | None:
        """The schemas of which one must fit, where this one is a reference or a combination."""
        key = id(schema)
        if key not in self._simplified:
            self._alive.append(schema)
            self._simplified[key] = self._simplify(schema)
        return self._simplified[key]

    def _simplify(self, schema: Schema) -> list[Any] | None:
        keyword = next((k for k in ("$ref", "allOf", "anyOf", "oneOf") if k in schema), None)
        if keyword is None:
            return None
        rest = {k: v for k, v in schema.items() if k != keyword and k not in _ANNOTATIONS}
        if keyword == "$ref":
            return [self._all([rest, self._target(schema["$ref"])])]
        if keyword == "allOf":
            return [self._all([rest, *schema["allOf"]])]
        return [self._all([rest, branch]) for branch in schema[keyword]]

    def _all(self, schemas: list[Any]) -> Any:
        """One schema in place of several that must all fit."""
        if False in schemas:
            return False
        parts = [part for part in schemas if part not in ({}, True)]
        if len(parts) < 2:
            return parts[0] if parts else {}
        by_keyword: dict[str, list[Any]] = {}
        for part in parts:
            for keyword, value in part.items():
                by_keyword.setdefault(keyword, []).append(value)
                self._budget.spend(steps=len(value) if isinstance(value, list | dict) else 1)
        return {
            keyword: values[0] if len(values) == 1 else _merged(keyword, values)
            for keyword, values in by_keyword.items()
        }

    def _target(self, reference: str) -> Any:
        target: Any = self._root
        pointer = reference.removeprefix("#")
        try:
            if pointer == reference:
                raise KeyError(reference)
            for step in pointer.split("/")[1:]:
                step = step.replace("~1", "/").replace("~0", "~")
                target = target[int(step) if isinstance(target, list) else step]
        except (KeyError, IndexError, TypeError, ValueError):
            raise SchemaError(
                f"reference {shorten(reference)} does not point to a schema."
            ) from None
        if id(target) not in self._checked:  # it may stand where no keyword leads
            check_parts(target)
            self._checked.add(id(target))
        return target

    def _required(self, schema: Schema) -> dict[str, Any]:
        """Properties that must be there, and their schemas."""
        properties = schema.get("properties", {})
        others = schema.get("additionalProperties", {})
        return {name: properties.get(name, others) for name in schema.get("required", ())}

    # Writing

    def _value(self, schema: Any, depth: int, path: Path) -> Any:
        self._budget.spend(values=1)
        if depth <= 0 or schema is False:
            raise SchemaError("no value fits, or only one nested too deeply.", path)
        if not isinstance(schema, dict):
            return self._words(1)
        if "const" in schema or "enum" in schema:
            return self._member(schema, path)
        if (simpler := self._simpler(schema)) is not None:
            return self._value(self._branch(simpler, depth), depth - 1, path)
        match name := self._type(schema, depth):
            case "object":
                return self._object(schema, depth, path)
            case "array":
                return self._array(schema, depth, path)
            case "string":
                return self._string(schema, path)
            case "boolean":
                return self._rng.random() < 0.5
            case "null":
                return None
            case "":
                raise SchemaError("no type fits all of its parts.", path)
        return self._number(schema, whole=name == "integer", path=path)

    def _type(self, schema: Schema, depth: int) -> str:
        names = _types(schema)
        if len(names) > 1:
            names = [name for name in names if self._type_fits(schema, name, depth)] or names
        return self._rng.choice(names) if names else ""

    def _member(self, schema: Schema, path: Path) -> Any:
        if id(schema) not in self._members:
            self._alive.append(schema)
            self._members[id(schema)] = _members(schema)
        members = self._members[id(schema)]
        if not members:
            raise SchemaError("enum has no value of the type.", path)
        member, size = members[0] if "const" in schema else self._rng.choice(members)
        self._budget.spend(characters=size)
        return member

    def _branch(self, branches: list[Any], depth: int) -> Any:
        self._budget.spend(steps=len(branches))
        fitting = [branch for branch in branches if self._fits(branch, depth - 1)]
        if len(fitting) > 1 and not self._spend():
            return min(fitting, key=self._least_depth)
        return self._rng.choice(fitting or branches or [False])

    def _least_depth(self, schema: Any) -> int:
        return next((d for d in range(_MAX_DEPTH) if self._fits(schema, d)), _MAX_DEPTH)

    def _spend(self) -> bool:
        self._spare -= 1
        return self._spare >= 0

    def _object(self, schema: Schema, depth: int, path: Path) -> dict[str, Any]:
        required = self._required(schema)
        least = max(_count(schema, "minProperties", 0), len(required))
        most = _count(schema, "maxProperties", math.inf)
        if least > most:
            raise SchemaError(f"no object has {least} to {most} properties.", path)
        self._budget.spend(steps=len(required) + len(schema.get("properties", ())))
        parts = {
            name: part
            for name, part in schema.get("properties", {}).items()
            if name in required or self._may(part, depth)
        }
        parts |= {name: part for name, part in required.items() if name not in parts}
        for name in [name for name in parts if name not in required]:
            if len(parts) > most:
                del parts[name]
        self._add_properties(schema, parts, depth, path)
        self._budget.spend(characters=sum(map(len, parts)))
        return {
            name: self._value(part, depth - 1, (*path, "properties", name))
            for name, part in parts.items()
        }

    def _may(self, part: Any, depth: int) -> bool:
        """Whether an optional part is written."""
        return self._fits(part, depth - 1) and self._rng.random() < 0.7 and self._spend()

    def _add_properties(
        self, schema: Schema, parts: dict[str, Any], depth: int, path: Path
    ) -> None:
        """Those that the schema does not name: if it says what they are, or to make up the least
        number."""
        least, most = _count(schema, "minProperties", 0), _count(schema, "maxProperties", math.inf)
        named = schema.get("properties", {})
        for name, part in named.items():
            if len(parts) < least and self._fits(part, depth - 1):
                parts.setdefault(name, part)
        others = schema.get("additionalProperties")
        free = isinstance(others, dict) and self._fits(others, depth - 1)
        count = max(least, min(len(parts) + self._rng.randint(1, 2), most) if free else 0)
        if len(parts) < least and (others is False or (not free and isinstance(others, dict))):
            raise SchemaError("it has fewer properties than minProperties.", path)
        if count > _MAX_ITEMS:
            raise SchemaError("its values are too large.", path)
        while len(parts) < count and (len(parts) < least or self._spend()):
            name = self._name(schema.get("propertyNames", {}), len(parts), depth, path)
            if name not in named:
                parts.setdefault(name, {} if others is None else others)

    def _name(self, schema: Any, others: int, depth: int, path: Path) -> str:
        """For a property that the schema does not name, in addition to ``others``."""
        if not schema or schema is True:
            return self._words(1 + others // len(WORDS), "_")
        return str(self._value({"type": "string", "allOf": [schema]}, depth, path))

    def _array(self, schema: Schema, depth: int, path: Path) -> list[Any]:
        least = _count(schema, "minItems", 0)
        most = _count(schema, "maxItems", max(least, 3))
        if least > most or least > _MAX_ITEMS:
            raise SchemaError(f"no array has {least} to {most} items.", path)
        count = max(least, min(most, self._rng.randint(1, 3)))
        items: list[Any] = []
        seen: set[str] = set()
        unique = schema.get("uniqueItems", False)
        for index, part in enumerate(_first_items(schema, count)):
            if index >= least and not (self._fits(part, depth - 1) and self._spend()):
                break
            for _ in range(_TRIES if unique else 1):
                item = self._value(part, depth - 1, (*path, "items"))
                if not unique or (key := _key(item)) not in seen:
                    seen.add(key if unique else "")
                    items.append(item)
                    break
            else:
                if len(items) < least:
                    raise SchemaError("there are fewer different items than minItems.", path)
                break
        if len(items) < least:
            raise SchemaError("there are fewer items than minItems.", path)
        return items

    def _string(self, schema: Schema, path: Path) -> str:
        least, most = _count(schema, "minLength", 0), _count(schema, "maxLength", math.inf)
        if least > most or least > _MAX_ITEMS:
            raise SchemaError(f"no string has {least} to {most} characters.", path)
        if "pattern" not in schema and schema.get("format") not in _FORMATS:
            return self._text(least, most)
        longest = int(min(most, 2 * least, _MAX_ITEMS)) + 1
        spares = (range(7), range(2), range(longest), range(least, longest))
        try:
            for attempt in range(_TRIES):
                text = self._attempt(schema, spares[attempt % 4])
                # Reading a pattern takes as long as writing a text.
                self._budget.spend(characters=len(text) + len(schema.get("pattern", "")))
                if "pattern" in schema and "$" not in schema["pattern"]:  # more may follow
                    text = text.ljust(least, "s")
                if least <= len(text) <= most:
                    return text
        except PatternError:
            return self._text(least, most)
        raise SchemaError("no string has both this pattern or format and this length.", path)

    def _attempt(self, schema: Schema, spare: range) -> str:
        if "pattern" in schema:
            return matching(schema["pattern"], self._rng, spare)
        return _FORMATS[schema["format"]](self._rng)

    def _text(self, least: int, most: float) -> str:
        self._budget.spend(characters=least)
        text = self._words(self._rng.randint(1, 3))
        while len(text) < least:
            text += " " + self._words(1)
        if len(text) > most:
            text = text[: int(max(least, most))]
            if text.endswith(" "):
                text = text[:-1] + "s"
        return text

    def _words(self, count: int, between: str = " ") -> str:
        return between.join(self._rng.choices(WORDS, k=count))

    def _number(self, schema: Schema, *, whole: bool, path: Path) -> int | float:
        low, high = _bounds(schema)
        step = Fraction(str(schema["multipleOf"])) if "multipleOf" in schema else Fraction(0)
        if whole:  # whole multiples of a fraction are multiples of its numerator
            step = Fraction(step.numerator or 1)
        elif not step:
            step = Fraction(1, 100)
        width = max(Fraction(100), 20 * step)
        if low is None:
            low = Limit(Fraction(0))
            if high is not None and high.value < width:
                low = Limit(high.value - width)
        if high is None:
            high = Limit(low.value + width)
        return self._multiple(schema, step, low, high, whole=whole, path=path)

    def _multiple(
        self,
        schema: Schema,
        step: Fraction,
        low: Limit,
        high: Limit,
        *,
        whole: bool,
        path: Path,
    ) -> int | float:
        first, last = math.ceil(low.value / step), math.floor(high.value / step)
        first += low.excluded and first * step == low.value
        last -= high.excluded and last * step == high.value
        if first > last:
            middle = (low.value + high.value) / 2
            excluded = low.value == high.value and (low.excluded or high.excluded)
            if whole or "multipleOf" in schema or low.value > high.value or excluded:
                raise SchemaError("no number is within its bounds.", path)
            return _written(middle)
        for _ in range(_TRIES):
            self._budget.spend(characters=30)
            value = _written(self._rng.randint(first, last) * step)
            if "multipleOf" not in schema or _divides(step, value):
                return value
        return _written((0 if first <= 0 <= last else first) * step)


def _types(schema: Schema) -> list[str]:
    """The types a value may have; without one, the type that the other keywords are about."""
    names = schema.get("type")
    if names is not None:
        return names if isinstance(names, list) else [names]
    for name, keywords in (
        ("object", ("properties", "required", "additionalProperties", "minProperties")),
        ("array", ("items", "prefixItems", "minItems", "maxItems")),
        ("number", ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")),
    ):
        if any(keyword in schema for keyword in keywords):
            return [name]
    return ["string"]


def _first_items(schema: Schema, count: int) -> list[Any]:
    """The schemas of an array's first items; fewer where it can have no more."""
    items = schema.get("items", {})
    first = list(schema.get("prefixItems", ()))
    count = min(count, _MAX_ITEMS + 1)
    return first[:count] if items is False else (first + [items] * (count - len(first)))[:count]


def _merged(keyword: str, values: list[Any]) -> Any:
    """The value of a keyword for what fits several schemas that have it."""
    if keyword == "properties":
        parts: dict[str, list[Any]] = {}
        for properties in values:
            for name, part in properties.items():
                parts.setdefault(name, []).append(part)
        return {
            n: all_of[0] if len(all_of) == 1 else {"allOf": all_of} for n, all_of in parts.items()
        }
    if keyword == "required":
        return list(dict.fromkeys(chain(*values)))
    if keyword == "enum":
        return _common_values(values)
    if keyword == "type":
        return reduce(_common_types, values)
    if keyword == "allOf":
        return list(chain(*values))
    if keyword.startswith(("min", "exclusiveMin")):
        return max(values)
    if keyword.startswith(("max", "exclusiveMax")):
        return min(values)
    if keyword == "additionalProperties" and False in values:
        return False
    return values[-1]


def _common_values(enums: list[list[Any]]) -> list[Any]:
    first, *others = [{_key(value): value for value in enum} for enum in enums]
    return [value for key, value in first.items() if all(key in other for other in others)]


def _common_types(one: Any, other: Any) -> list[str]:
    first, second = ([t] if isinstance(t, str) else t for t in (one, other))
    common = [name for name in first if name in second]
    if not common and {"integer", "number"} <= {*first, *second}:
        return ["integer"]
    return common


class Limit(NamedTuple):
    value: Fraction
    excluded: bool = False


def _bounds(schema: Schema) -> tuple[Limit | None, Limit | None]:
    """Lowest and highest number."""
    lows, highs = (
        [
            Limit(Fraction(str(schema[keyword])), keyword.startswith("exclusive"))
            for keyword in keywords
            if keyword in schema
        ]
        for keywords in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum"))
    )
    low = max(lows, default=None)
    high = min(highs, key=lambda limit: (limit.value, not limit.excluded), default=None)
    return low, high


def _written(value: Fraction) -> int | float:
    try:
        number = float(value)
    except OverflowError:
        raise SchemaError("a number is not finite, or has too many digits.") from None
    return int(value) if value.denominator == 1 else number


def _divides(step: Fraction, value: int | float) -> bool:
    """As a validator sees it, which divides floats: 0.07 is no multiple of 0.01."""
    if isinstance(value, int) and step.denominator == 1:
        return value % step == 0
    try:
        return (value / float(step)).is_integer()
    except OverflowError:
        return False


@lru_cache(maxsize=1024)
def _is_supported(pattern: str) -> bool:
    try:
        matching(pattern, random.Random(0), range(1))  # noqa: S311
    except PatternError:
        return False
    return True


def _members(schema: Schema) -> list[tuple[Any, int]]:
    """The values that a const or an enum allows, each with its characters as JSON."""
    values = [schema["const"]] if "const" in schema else schema["enum"]
    if "enum" in schema and "type" in schema and "const" not in schema:
        names = _types(schema)
        values = [value for value in values if any(has_type(value, name) for name in names)]
    return [(value, len(json.dumps(value))) for value in values]


def _key(value: Any) -> str:
    """The same for values that JSON schema takes for equal: 1 and 1.0."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return json.dumps(value, sort_keys=True)


def _date(rng: random.Random) -> str:
    return str(datetime.date(2024, 1, 1) + datetime.timedelta(days=rng.randrange(730)))


def _time(rng: random.Random) -> str:
    return f"{rng.randrange(24):02}:{rng.randrange(60):02}:{rng.randrange(60):02}Z"


def _word(rng: random.Random) -> str:
    return rng.choice(WORDS)


# Names and addresses are of the ranges reserved for documentation (RFC 2606, 5737, 3849).
_FORMATS: dict[str, Callable[[random.Random], str]] = {
    "date-time": lambda rng: f"{_date(rng)}T{_time(rng)}",
    "date": _date,
    "time": _time,
    "duration": lambda rng: f"PT{rng.randint(1, 59)}M",
    "email": lambda rng: f"{_word(rng)}@{_word(rng)}.example",
    "hostname": lambda rng: f"{_word(rng)}.{_word(rng)}.example",
    "ipv4": lambda rng: f"192.0.2.{rng.randint(1, 254)}",
    "ipv6": lambda rng: f"2001:db8::{rng.randint(1, 65535):x}",
    "uuid": lambda rng: str(uuid.UUID(int=rng.getrandbits(128), version=4)),
    "uri": lambda rng: f"https://{_word(rng)}.example/{_word(rng)}",
}
