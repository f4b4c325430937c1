"""Sends an arm to its process: its code by value, as a notebook's cannot be imported."""

from __future__ import annotations

import inspect
import io
import marshal
from collections.abc import Callable
from types import CodeType
from typing import Any, TypeAlias

import cloudpickle

from helpers.lab.arm.events import text_of

_Recipe: TypeAlias = tuple[Callable[..., Any], tuple[Any, ...]]
# The thing itself is kept too: its id must stay its own.
_recipes: dict[int, tuple[object, _Recipe]] = {}


def send_as(thing: object, make: Callable[..., Any], *args: Any) -> None:
    """From now on an arm gets, in place of ``thing``, what ``make(*args)`` returns in its process.

    For what holds clients, locks or thread pools, which cannot be sent.
    """
    _recipes[id(thing)] = thing, (make, args)


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    def reducer_override(self, thing: Any) -> Any:
        # cloudpickle 3.1.3 and later drop the file's name, which tells the learner's lines.
        if isinstance(thing, CodeType):
            return marshal.loads, (marshal.dumps(thing),)
        _, recipe = _recipes.get(id(thing), (None, None))
        return recipe or super().reducer_override(thing)


def pickled(arm: Callable[..., Any], args: tuple[Any, ...], name: str) -> bytes:
    code = io.BytesIO()
    try:
        _Pickler(code).dump((arm, args))
        return code.getvalue()
    except Exception as error:
        why, culprit = text_of(error), _unpicklable(arm, args)
        raise TypeError(
            f"{name} runs in a process of its own, and {culprit} cannot be sent there ({why}). "
            f"Make it inside {name}."
        ) from error


def _unpicklable(arm: Callable[..., Any], args: tuple[Any, ...]) -> str:
    """Names the argument or the variable that stops an arm from being sent."""
    used = inspect.getclosurevars(arm) if inspect.isfunction(arm) else None
    suspects = {**used.globals, **used.nonlocals} if used else {}
    suspects |= {f"argument {i}": value for i, value in enumerate(args, 1)}
    for name, value in suspects.items():
        try:
            cloudpickle.dumps(value)
        except Exception:  # noqa: BLE001 - pickling runs anybody's code
            return f"`{name}`, a {type(value).__name__}," if name.isidentifier() else name
    return "something it uses"
