"""Lesson 08: incomplete answers and failures that nobody notices."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from helpers.audit.scan.confirm.clients import Clients, posts_to_a_model
from helpers.audit.scan.confirm.hit import Hit
from helpers.audit.scan.confirm.retries import is_about_attempts
from helpers.audit.scan.confirm.source import Function, Source, keyword, last_name, own

_FINISH = re.compile(r"finish_reason|stop_reason|incomplete_details|\.status\b")
_CONTENT = re.compile(
    r"\.choices\[0\]\.message\.content|\['choices'\]\[0\]\['message'\]\['content'\]"
    r"|\.content\[0\]\.text|\.output_text\b|\.function\.arguments\b"
    r"|\['function'\]\['arguments'\]"
)
_BROAD = {"Exception", "BaseException", "OpenAIError", "AnthropicError", "APIError"}
_PARSES = {"loads", "model_validate_json", "parse_raw", "validate_json"}


def unchecked_json(clients: Clients, start: int, end: int) -> Iterator[Hit]:
    source = clients.source
    call = source.at(start, end, ast.Call)
    if not call or not call.args or last_name(call.func) not in _PARSES:
        return
    if last_name(call.func) == "loads" and source.dotted(call.func) not in (
        *("json.loads", "orjson.loads", "ujson.loads"),
    ):
        return
    function = source.function_of(call) or source.tree
    if not _is_an_answer(call.args[0], function) or _FINISH.search(source.text):
        return
    if not _in_try(source, call):
        yield Hit(call)


def _is_an_answer(value: ast.expr, function: ast.AST) -> bool:
    if _CONTENT.search(ast.unparse(value)):
        return True
    names = {node.id for node in ast.walk(value) if isinstance(node, ast.Name)}
    return any(
        isinstance(node, ast.Assign)
        and any(isinstance(t, ast.Name) and t.id in names for t in node.targets)
        and bool(_CONTENT.search(ast.unparse(node.value)))
        for node in own(function)
    )


def _in_try(source: Source, node: ast.AST) -> bool:
    """Whether a handler of the same function may see what goes wrong."""
    for up in source.ancestors(node):
        if isinstance(up, ast.Try) and up.handlers and _is_inside(node, up.body):
            return True
        if isinstance(up, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            return False
    return False


def _is_inside(node: ast.AST, body: list[ast.stmt]) -> bool:
    return any(node is each for statement in body for each in ast.walk(statement))


def gather(clients: Clients, start: int, end: int) -> Iterator[Hit]:
    source = clients.source
    call = source.at(start, end, ast.Call)
    if not call or source.dotted(call.func) != "asyncio.gather":
        return
    if keyword(call, "return_exceptions") or any(each.arg is None for each in call.keywords):
        return
    if _in_try(source, call) or not _gathers_many(call):
        return
    for inner in _gathered(source, call):
        if clients.model_call(inner) or _lets_errors_out(clients, source.callee(inner)):
            yield Hit(call)
            return


def _gathers_many(call: ast.Call) -> bool:
    return len(call.args) > 1 or any(isinstance(each, ast.Starred) for each in call.args)


def _gathered(source: Source, call: ast.Call) -> Iterator[ast.Call]:
    """The calls whose coroutines are gathered, also from a list made before."""
    for argument in call.args:
        yield from (node for node in ast.walk(argument) if isinstance(node, ast.Call))
        inner = argument.value if isinstance(argument, ast.Starred) else argument
        function = source.function_of(call)
        if isinstance(inner, ast.Name) and function:
            for node in own(function):
                if isinstance(node, ast.Assign) and any(
                    isinstance(t, ast.Name) and t.id == inner.id for t in node.targets
                ):
                    yield from (n for n in ast.walk(node.value) if isinstance(n, ast.Call))
                if (
                    isinstance(node, ast.Call)
                    and isinstance(node.func, ast.Attribute)
                    and node.func.attr == "append"
                    and isinstance(node.func.value, ast.Name)
                    and node.func.value.id == inner.id
                ):
                    yield from (n for n in ast.walk(node) if isinstance(n, ast.Call))


def _lets_errors_out(clients: Clients, function: Function | None, depth: int = 1) -> bool:
    """Whether a failing model call of the function reaches its caller."""
    if function is None:
        return False
    for node in own(function):
        if not isinstance(node, ast.Call) or _in_try(clients.source, node):
            continue
        if clients.model_call(node) or posts_to_a_model(node):
            return True
        if depth and _lets_errors_out(clients, clients.source.callee(node), depth - 1):
            return True
    return False


def swallowed(clients: Clients, start: int, end: int) -> Iterator[Hit]:
    source = clients.source
    block = source.at(start, end, ast.Try)
    if not block:
        return
    loop = source.loop_of(block)
    if loop and is_about_attempts(loop):
        return  # another attempt follows
    body = ast.Module(body=block.body, type_ignores=[])
    if not any(clients.model_call(node) for node in own(body) if isinstance(node, ast.Call)):
        return
    for handler in block.handlers:
        broad = handler.type is None or last_name(handler.type) in _BROAD
        if broad and all(_says_nothing(statement) for statement in handler.body):
            yield Hit(handler)


def _says_nothing(statement: ast.stmt) -> bool:
    if isinstance(statement, (ast.Pass, ast.Continue, ast.Break)):
        return True
    if isinstance(statement, (ast.Return, ast.Assign)):
        return statement.value is None or _is_empty(statement.value)
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def _is_empty(value: ast.expr) -> bool:
    if isinstance(value, (ast.List, ast.Tuple)):
        return not value.elts
    if isinstance(value, ast.Dict):
        return not value.keys
    return isinstance(value, ast.Constant)
