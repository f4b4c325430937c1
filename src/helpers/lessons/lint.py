"""Runs ruff on a function of the notebook, as it would run on the same code in a file."""

from __future__ import annotations

import ast
import inspect
import json
import subprocess
import sys
import textwrap
from collections.abc import Callable
from typing import Any


def lint(function: Callable[..., Any], rules: str = "ASYNC") -> list[str]:
    """Ruff's findings in the function's source, like "line 3: ASYNC210 …"; line 1 is its ``def``.

    Raises `RuntimeError` if ruff cannot run.
    """
    body = textwrap.dedent(inspect.getsource(function))
    # Without its imports the source would hide from ruff what a name stands for.
    names = {node.id for node in ast.walk(ast.parse(body)) if isinstance(node, ast.Name)}
    known = getattr(function, "__globals__", {})
    modules = sorted(name for name in names if inspect.ismodule(known.get(name)))
    source = "".join(f"import {name}\n" for name in modules) + body
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--no-cache"]
    options = ["--select", rules, "--output-format", "json", "-"]
    done = subprocess.run(
        command + options, input=source, capture_output=True, text=True, check=False
    )
    if done.returncode not in (0, 1):
        raise RuntimeError(f"ruff did not run: {done.stderr.strip()}")
    return [
        f"line {found['location']['row'] - len(modules)}: {found['code']} {found['message']}"
        for found in json.loads(done.stdout)
    ]
