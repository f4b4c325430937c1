"""Runs ruff on a function or class from a notebook as if the code were in a file."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import json
import linecache
import subprocess
import sys
import textwrap
from collections.abc import Callable
from types import FunctionType, ModuleType
from typing import Any


def lint(function: Callable[..., Any], rules: str = "ASYNC") -> list[str]:
    """Ruff's findings in the source of a function or a class, like "line 3: ASYNC210 …".

    Line 1 is its ``def`` or ``class``, or its first decorator. ``rules`` are ruff's codes or
    prefixes of them, separated by commas: ``lint(batch, "BLE001,E722,RUF006")``.

    Raises `OSError` if there is no source to read, `RuntimeError` if ruff cannot run,
    `ModuleNotFoundError` if it is not installed.
    """
    if importlib.util.find_spec("ruff") is None:
        raise ModuleNotFoundError("lint needs ruff: pip install ruff", name="ruff")
    body = _source(function)
    # The imports and constants above the source, so that ruff knows what its names mean.
    above = _meanings(body, _globals(function))
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--no-cache"]
    options = ["--select", rules, "--output-format", "json", "-"]
    done = subprocess.run(
        command + options, input="".join(above) + body, capture_output=True, text=True, check=False
    )
    if done.returncode not in (0, 1):
        raise RuntimeError(f"ruff did not run: {done.stderr.strip()}")
    return [
        f"line {found['location']['row'] - len(above)}: {found['code']} {found['message']}"
        for found in json.loads(done.stdout)
        if found["location"]["row"] > len(above)
    ]


def _source(thing: Any) -> str:
    try:
        return textwrap.dedent(inspect.getsource(thing))
    except (OSError, TypeError):
        # Before Python 3.13, inspect finds the methods of a notebook's class, but not the class.
        if not inspect.isclass(thing) or not (method := _a_method(thing)):
            raise
    file = method.__code__.co_filename
    tree = ast.parse("".join(linecache.getlines(file)))
    line = method.__code__.co_firstlineno
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and node.name == thing.__name__:
            first = min(node.lineno, *(each.lineno for each in node.decorator_list), node.lineno)
            if first <= line <= (node.end_lineno or first):
                text = linecache.getlines(file)[first - 1 : node.end_lineno]
                return textwrap.dedent("".join(text))
    raise OSError(f"The source of {thing.__name__} cannot be found.")


def _a_method(thing: type) -> FunctionType | None:
    """A method written in the class, not one that a decorator (such as dataclass) generated."""
    own = (getattr(each, "__func__", each) for each in vars(thing).values())
    methods = (each for each in own if inspect.isfunction(each))
    return next((m for m in methods if linecache.getlines(m.__code__.co_filename)), None)


def _globals(thing: Any) -> dict[str, Any]:
    if inspect.isclass(thing):
        method = _a_method(thing)
        return method.__globals__ if method else vars(sys.modules[thing.__module__])
    known: dict[str, Any] = getattr(thing, "__globals__", {})
    return known


def _meanings(body: str, known: dict[str, Any]) -> list[str]:
    """An import or an assignment for each global name that the source uses, one line each."""
    names = {node.id for node in ast.walk(ast.parse(body)) if isinstance(node, ast.Name)}
    lines = (_meaning(name, known[name]) for name in sorted(names & known.keys()))
    return [line for line in lines if line]


def _meaning(name: str, value: Any) -> str:
    if isinstance(value, ModuleType):
        return f"import {value.__name__} as {name}\n"
    if value is None or isinstance(value, bool | int | float):
        return f"{name} = {value!r}\n"
    module, own_name = getattr(value, "__module__", None), getattr(value, "__name__", None)
    if not isinstance(module, str) or not isinstance(own_name, str):
        return ""
    # Ruff knows a function by its public name: asyncio.create_task, not asyncio.tasks.….
    parts = module.split(".")
    for length in range(1, len(parts) + 1):
        address = ".".join(parts[:length])
        if getattr(sys.modules.get(address), own_name, None) is value and address != "__main__":
            return f"from {address} import {own_name} as {name}\n"
    return ""
