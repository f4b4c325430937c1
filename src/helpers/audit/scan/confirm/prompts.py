"""Lesson 03: what changes at the front of a prompt."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from helpers.audit.scan.confirm.clients import Clients
from helpers.audit.scan.confirm.hit import Hit
from helpers.audit.scan.confirm.source import Function, Source, keyword, last_name, own

_CLOCKS = {"datetime.now", "datetime.utcnow", "time.time", "time.time_ns", "time.ctime"}
_CLOCKS |= {"time.strftime", "time.asctime"}
_RANDOM = {"uuid.uuid1", "uuid.uuid4", "uuid.uuid7"}
_TIME_OF_DAY = re.compile(r"%[-#]?[HIMSfcXTRrs]")
_SYSTEM = re.compile(r"(^|_)(system|instructions?|prompts?|preamble)(_|$)", re.IGNORECASE)
_SYSTEM_ROLES = ("system", "developer")
_FRONT = 200
"""Characters. Before a value this near the front, nothing is worth caching."""
_WORTH_CACHING = 40


def clock_front(clients: Clients, start: int, end: int) -> Iterator[Hit]:
    source = clients.source
    call = source.at(start, end, ast.Call)
    if not call or not _changes(source, call):
        return
    for value in _uses(source, call):
        text = _text_around(source, value)
        if text and _at_the_front(text, value) and _is_a_system_prompt(source, text):
            yield Hit(call)
            return


def _changes(source: Source, call: ast.Call) -> bool:
    name = source.dotted(call.func) or ""
    short = ".".join(name.split(".")[-2:])
    if name in _RANDOM:
        return True
    return short in _CLOCKS and not _only_the_day(source, call)


def _only_the_day(source: Source, call: ast.Call) -> bool:
    """Whether the time of day is left out: a prompt that changes at midnight can be cached."""
    node: ast.AST = call
    if last_name(call.func) == "strftime":
        return not _has_time_of_day(call.args)
    while isinstance(up := source.parents[node], (ast.Attribute, ast.Call)):
        if isinstance(up, ast.Attribute) and up.attr in ("date", "year", "month", "day"):
            return True
        if isinstance(up, ast.Attribute) and up.attr == "strftime":
            whole = source.parents[up]
            return isinstance(whole, ast.Call) and not _has_time_of_day(whole.args)
        if isinstance(up, ast.Call) and node is not up.func:
            break
        node = up
    return isinstance(up, ast.FormattedValue) and _formatted_as_a_day(up)


def _has_time_of_day(args: list[ast.expr]) -> bool:
    formats = [each.value for each in args if isinstance(each, ast.Constant)]
    return not formats or any(_TIME_OF_DAY.search(str(each)) for each in formats)


def _formatted_as_a_day(value: ast.FormattedValue) -> bool:
    spec = ast.unparse(value.format_spec) if value.format_spec else ""
    return "%" in spec and not _TIME_OF_DAY.search(spec)


def _uses(source: Source, call: ast.Call) -> Iterator[ast.AST]:
    """The expression with the clock, the name it is assigned to, calls of what returns it."""
    yield call
    statement = next(each for each in source.ancestors(call) if isinstance(each, ast.stmt))
    function = source.function_of(call)
    if isinstance(function, ast.Lambda) or function is None:
        return
    if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
        name = statement.targets[0].id
        read = (n for n in own(function) if isinstance(n, ast.Name) and n.id == name)
        for node in read:
            if isinstance(node.ctx, ast.Load) and not _only_the_day_of_name(source, node):
                yield node
    elif isinstance(statement, ast.Return):
        yield from _calls_of(source, function)


def _only_the_day_of_name(source: Source, node: ast.Name) -> bool:
    up = source.parents[node]
    if isinstance(up, ast.FormattedValue):
        return _formatted_as_a_day(up)
    if isinstance(up, ast.Attribute) and up.attr == "strftime":
        whole = source.parents[up]
        return isinstance(whole, ast.Call) and not _has_time_of_day(whole.args)
    return isinstance(up, ast.Attribute) and up.attr in ("date", "year", "month", "day")


def _calls_of(source: Source, function: Function) -> Iterator[ast.Call]:
    for outer in source.calls:
        if last_name(outer.func) == function.name and source.callee(outer) is function:
            yield outer


def _text_around(source: Source, value: ast.AST) -> ast.JoinedStr | ast.BinOp | None:
    found: ast.JoinedStr | ast.BinOp | None = None
    for up in source.ancestors(value):
        if isinstance(up, (ast.stmt, ast.Dict, ast.keyword, ast.Lambda)):
            break
        if isinstance(up, ast.JoinedStr) or (
            isinstance(up, ast.BinOp) and isinstance(up.op, ast.Add)
        ):
            found = up
    return found


def _at_the_front(text: ast.JoinedStr | ast.BinOp, value: ast.AST) -> bool:
    """Whether there is little before the value, and something worth caching after it."""
    before, after, seen = 0, 0, False
    for part in _parts(text):
        if any(node is value for node in ast.walk(part)):
            seen = True
        elif isinstance(part, ast.Constant):
            length = len(str(part.value))
            before, after = (before, after + length) if seen else (before + length, after)
        elif seen:
            after += _WORTH_CACHING
        else:
            return False  # a variable of unknown length comes before it
    return seen and before <= _FRONT and after >= max(before, _WORTH_CACHING)


def _parts(text: ast.expr) -> Iterator[ast.expr]:
    if isinstance(text, ast.JoinedStr):
        for value in text.values:
            yield from _parts(value)
    elif isinstance(text, ast.BinOp) and isinstance(text.op, ast.Add):
        yield from _parts(text.left)
        yield from _parts(text.right)
    else:
        yield text


def _is_a_system_prompt(source: Source, text: ast.AST) -> bool:
    node = text
    for up in source.ancestors(text):
        if isinstance(up, ast.Dict):
            return _role(up) in _SYSTEM_ROLES
        if isinstance(up, ast.keyword) and up.arg != "content":
            return bool(_SYSTEM.search(up.arg or ""))
        if isinstance(up, ast.Call):
            role = keyword(up, "role")
            words = [each.value for each in [*up.args, role] if isinstance(each, ast.Constant)]
            return last_name(up.func) == "SystemMessage" or any(w in _SYSTEM_ROLES for w in words)
        if isinstance(up, ast.Tuple) and isinstance(up.elts[0], ast.Constant):
            return up.elts[0].value in _SYSTEM_ROLES
        if isinstance(up, ast.Assign):
            return any(_SYSTEM.search(last_name(target)) for target in up.targets)
        if isinstance(up, ast.Return):
            function = source.function_of(node)
            return isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)) and bool(
                re.search(r"(^|_)(system|instructions|prompt)$", function.name)
            )
        if isinstance(up, ast.stmt):
            return False
        node = up
    return False


def _role(entry: ast.Dict) -> object:
    for key, value in zip(entry.keys, entry.values, strict=True):
        if isinstance(key, ast.Constant) and key.value == "role":
            return value.value if isinstance(value, ast.Constant) else None
    return None
