"""Lesson 06: a conversation that exists in one process only."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from helpers.audit.scan.confirm.clients import Clients
from helpers.audit.scan.confirm.connections import serves
from helpers.audit.scan.confirm.hit import Hit
from helpers.audit.scan.confirm.source import Source, last_name

_CONVERSATIONS = re.compile(
    r"(^|_)(sessions?|conversations?|histor(y|ies)|chats?|messages|memor(y|ies)|threads?|dialogs?"
    r"|dialogues?)(_|$)",
    re.IGNORECASE,
)
_SOMETHING_ELSE = re.compile(
    r"lock|task|token|client|factor|queue|event|socket|config|type|setting|model|maker|class"
    r"|handler|schema|count|stat",
    re.IGNORECASE,
)
_KEPT = {"append", "setdefault", "extend", "update"}


def module_history(clients: Clients, start: int, end: int) -> Iterator[Hit]:
    source = clients.source
    node: ast.Assign | ast.AnnAssign | None = source.at(start, end, ast.Assign)
    node = node or source.at(start, end, ast.AnnAssign)
    if node is None or source.parents[node] is not source.tree:
        return
    target = node.targets[0] if isinstance(node, ast.Assign) else node.target
    if not isinstance(target, ast.Name) or not _is_an_empty_dict(node.value):
        return
    if not _CONVERSATIONS.search(target.id) or _SOMETHING_ELSE.search(target.id):
        return
    speaks = clients.speaks_to_a_model or _has_roles(source)
    if (speaks or serves(source)) and _is_filled_per_key(source, target.id):
        yield Hit(node)


def _is_an_empty_dict(value: ast.expr | None) -> bool:
    if isinstance(value, ast.Dict):
        return not value.keys
    return isinstance(value, ast.Call) and (
        (last_name(value.func) in ("dict", "OrderedDict") and not value.args + value.keywords)
        or last_name(value.func) == "defaultdict"
    )


def _has_roles(source: Source) -> bool:
    """Whether the file makes messages of a conversation."""
    return "role" in source.strings and "content" in source.strings


def _is_filled_per_key(source: Source, name: str) -> bool:
    """Whether a function adds something under a key that it was given."""
    for node in source.nodes:
        if not isinstance(node, ast.Name) or node.id != name or not source.function_of(node):
            continue
        up = source.parents[node]
        if isinstance(up, ast.Subscript) and not isinstance(up.slice, ast.Constant):
            over = source.parents[up]
            stored = isinstance(up.ctx, ast.Store)
            if stored or (isinstance(over, ast.Attribute) and over.attr in _KEPT):
                return True
        if isinstance(up, ast.Attribute) and up.attr == "setdefault":
            return True
    return False
