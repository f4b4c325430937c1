"""What a confirmation returns."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from helpers.audit.scan.confirm.clients import Clients


@dataclass(frozen=True, slots=True)
class Hit:
    """A candidate that is confirmed."""

    node: ast.AST
    """Where the mistake is: the candidate itself, or the place that makes it a mistake."""
    message: str | None = None
    """A message that replaces the rule's own."""


Confirm = Callable[[Clients, int, int], Iterator[Hit]]
"""Judges ast-grep's candidate between two offsets of a file."""
