"""Sends an arm to its process: its code by value, as a notebook's cannot be imported."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, cast

import cloudpickle

from helpers.lab.arm.events import text_of


def pickled(arm: Callable[..., Any], args: tuple[Any, ...], name: str) -> bytes:
    try:
        return cast(bytes, cloudpickle.dumps((arm, args)))
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
