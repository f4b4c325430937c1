"""Options as pydantic models with errors of one sentence, which names the option and the remedy."""

from __future__ import annotations

import difflib
import inspect
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass
from reprlib import Repr
from typing import (
    Any,
    Concatenate,
    Literal,
    ParamSpec,
    TypeVar,
    get_args,
    get_origin,
    get_type_hints,
)

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, PydanticCustomError

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")
_VALUE = Repr()
_VALUE.maxlevel, _VALUE.maxstring, _VALUE.maxother = 2, 100, 100


class OptionError(ValueError):
    """A value that an option cannot have."""


@dataclass(frozen=True, slots=True)
class Wording:
    """What pydantic has no place for, in an option's ``Annotated``."""

    must: str = ""
    """What a value must be, where type and bounds do not say it."""
    unit: str = ""
    flag: str = ""
    """Its name on the command line, unless it is the option's own."""


class Options(BaseModel):
    """Raises ValueError, in one sentence, for an unknown option or a wrong value."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        # A profile may be infinitely fast.
        ser_json_inf_nan="constants",
    )

    def __init__(self, *args: Any, **values: Any) -> None:
        values |= _named(type(self), args, values)
        try:
            super().__init__(**values)
        except ValidationError as failure:
            error = failure.errors(include_url=False)[0]
            raise OptionError(_sentence(type(self), error, values)) from None

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Editors show the signature: without pydantic's additions to the types."""
        types, fields = get_type_hints(cls), cls.model_fields
        parameters = [_parameter(name, field, types[name]) for name, field in fields.items()]
        cls.__signature__ = inspect.Signature(parameters)
        texts = "\n".join(f"- ``{name}``: {field.description}" for name, field in fields.items())
        cls.__doc__ = f"{inspect.getdoc(cls)}\n\n{texts}"

    def given(self) -> dict[str, Any]:
        """The options that were not left at their defaults."""
        return {name: getattr(self, name) for name in self.model_fields_set}

    def to_json(self, names: Collection[str] | None = None) -> dict[str, Any]:
        """The options, or those with these names, as `Options` takes them."""
        return self.model_dump(mode="json", include=None if names is None else set(names))

    @field_validator("*", mode="before")
    @classmethod
    def _is_no_larger_than_a_float(cls, value: object) -> object:
        if isinstance(value, int) and abs(value) > sys.float_info.max:
            raise PydanticCustomError("too_large", "beyond any float")
        return value


def takes(
    options: Callable[_Arguments, Options],
) -> Callable[[Callable[..., _Result]], Callable[Concatenate[Any, _Arguments], _Result]]:
    """Give a method the arguments of ``options``, for type checkers, editors and ``help``."""

    def decorate(
        method: Callable[..., _Result],
    ) -> Callable[Concatenate[Any, _Arguments], _Result]:
        own = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
        given = inspect.signature(options)
        vars(method)["__signature__"] = given.replace(parameters=[own, *given.parameters.values()])
        method.__doc__ = f"{inspect.getdoc(method) or 'Options:'}\n\n{inspect.getdoc(options)}"
        return method

    return decorate


def _named(
    options: type[Options], args: tuple[Any, ...], values: Collection[str]
) -> dict[str, Any]:
    """Positional arguments by name."""
    fields = options.model_fields.items()
    names = [name for name, field in fields if field.kw_only is False and name not in values]
    if len(args) > len(names):
        raise TypeError(
            f"{options.__name__} takes all but {len(names)} of its options by name only"
        )
    return dict(zip(names, args, strict=False))


def _parameter(name: str, field: FieldInfo, type: Any) -> inspect.Parameter:
    positional = field.kw_only is False
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD if positional else inspect.Parameter.KEYWORD_ONLY
    default = inspect.Parameter.empty if field.is_required() else field.default
    return inspect.Parameter(name, kind, default=default, annotation=type)


def wording_of(field: FieldInfo) -> Wording:
    return next((item for item in field.metadata if isinstance(item, Wording)), Wording())


def unknown_option(name: str, known: Collection[str], called: str | None = None) -> str:
    """``called``: what it is called where it was found, if that is not ``name``."""
    near = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(sorted(known))}"
    return f"there is no setting {shorten(called or name)}: {hint}"


def shorten(value: object) -> str:
    """A value as a sentence quotes it, whatever its size and depth."""
    try:
        return _VALUE.repr(value)[:200]
    except ValueError:  # Python does not print integers of more than 4,300 digits
        return "a number of thousands of digits"


def _sentence(options: type[Options], error: ErrorDetails, values: dict[str, Any]) -> str:
    cause = error.get("ctx", {}).get("error")
    name, *place = error["loc"] or ("",)
    name = str(name)
    if isinstance(cause, OptionError):  # of options within these
        where = f"{name.removesuffix('s')} {int(place[0]) + 1}" if place else name
        return f"{where}: {cause}"
    if cause is not None:
        return str(cause)
    if error["type"] == "extra_forbidden":
        fields = options.model_fields
        flags = {wording_of(field).flag: option for option, field in fields.items()}
        return unknown_option(flags.get(name, name), fields, called=name)
    field = options.model_fields[name]
    if error["type"] == "missing":
        return f"needs a {name}, such as `{name}: {(field.examples or [''])[0]}`"
    must = _requirement(field)
    if error["type"] == "too_large":
        must = f"at most {sys.float_info.max:.1e}"
    elif error["type"] == "finite_number":
        must += " and finite"
    return f"{name} must be {must}, not {shorten(values[name])}"


def _requirement(field: FieldInfo) -> str:
    """What a value must be."""
    wording, types = wording_of(field), get_args(field.annotation) or (field.annotation,)
    if wording.must:
        return wording.must
    if get_origin(field.annotation) is Literal:
        return f"one of {', '.join(map(repr, types))}"
    if bool in types:
        return "True or False"
    number = "a whole number " if int in types else ""
    return f"{number}{_bounds(field, bool(number))} {wording.unit}".strip()


def _bounds(field: FieldInfo, whole: bool) -> str:
    bounds = {
        name: getattr(item, name)
        for item in field.metadata
        for name in ("gt", "ge", "lt", "le")
        if hasattr(item, name)
    }
    match bounds:
        case {"ge": low, "le": high}:
            return f"from {low} to {high}"
        case {"ge": low, "lt": high}:
            return f"from {low} to below {high}"
        case {"gt": low, "le": high}:
            return f"more than {low} and at most {high}"
        case {"gt": low}:
            return f"more than {low}"
        case {"ge": low}:
            return f"{'of ' if whole else ''}at least {low}"
    return ""
