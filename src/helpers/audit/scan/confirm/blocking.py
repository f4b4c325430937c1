"""Lesson 01: calls that stop the event loop."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from helpers.audit.scan.confirm.clients import Clients, decorators
from helpers.audit.scan.confirm.hit import Hit
from helpers.audit.scan.confirm.source import Function, keyword, last_name, own

_HARMLESS = {
    *("retry", "on_exception", "wraps", "cache", "lru_cache", "staticmethod", "classmethod"),
    *("traceable", "observe", "override", "trace", "traced", "track"),
}
"""Decorators that leave a function what it is; another one may move it to a thread."""
_HTTP_FUNCTIONS = {"get", "post", "put", "patch", "delete", "head", "request", "send", "stream"}


def sync_call(clients: Clients, start: int, end: int) -> Iterator[Hit]:
    call = clients.source.at(start, end, ast.Call)
    if call and _calls_a_blocking_model(clients, call) and not _streams(call):
        yield from _stops_the_loop(clients, call, "makes a synchronous SDK call")


def sync_stream(clients: Clients, start: int, end: int) -> Iterator[Hit]:
    call = clients.source.at(start, end, ast.Call)
    if call and _calls_a_blocking_model(clients, call) and _streams(call):
        yield from _stops_the_loop(clients, call, "reads a synchronous SDK stream")


def sleep(clients: Clients, start: int, end: int) -> Iterator[Hit]:
    call = clients.source.at(start, end, ast.Call)
    if call and clients.source.dotted(call.func) == "time.sleep":
        yield from _stops_the_loop(clients, call, "calls time.sleep")


def sync_http(clients: Clients, start: int, end: int) -> Iterator[Hit]:
    call = clients.source.at(start, end, ast.Call)
    if not call or last_name(call.func) not in _HTTP_FUNCTIONS:
        return
    *library, _ = (clients.source.dotted(call.func) or "").split(".")
    client = clients.of(call.func.value) if isinstance(call.func, ast.Attribute) else None
    is_client = client is not None and client.library == "http" and client.blocking
    awaited = isinstance(clients.source.parents[call], ast.Await)
    if (library in (["httpx"], ["httpx2"], ["requests"]) or is_client) and not awaited:
        yield from _stops_the_loop(clients, call, "makes a synchronous HTTP request")


def _calls_a_blocking_model(clients: Clients, call: ast.Call) -> bool:
    found = clients.model_call(call)
    return found is not None and found.blocking is True


def _streams(call: ast.Call) -> bool:
    wanted = keyword(call, "stream")
    constant = isinstance(wanted, ast.Constant) and wanted.value is True
    return constant or last_name(call.func) == "stream"


def _stops_the_loop(clients: Clients, call: ast.Call, what: str) -> Iterator[Hit]:
    """The call itself in an ``async def``; or those that call its function from one."""
    source = clients.source
    function = source.function_of(call)
    if isinstance(function, ast.AsyncFunctionDef):
        yield Hit(call)
    elif isinstance(function, ast.FunctionDef) and decorators(function, source) <= _HARMLESS:
        for outer in source.calls:
            if last_name(outer.func) == function.name and _runs_at_once(clients, outer, function):
                yield Hit(outer, f"`{function.name}` blocks the event loop: it {what}.")


def _runs_at_once(clients: Clients, call: ast.Call, function: Function) -> bool:
    """Whether a call in an ``async def`` runs the function there and then."""
    source = clients.source
    if not isinstance(source.function_of(call), ast.AsyncFunctionDef):
        return False
    if source.callee(call) is not function:
        return False
    up = source.parents[call]
    lazy = any(isinstance(each, (ast.Yield, ast.YieldFrom)) for each in own(function))
    return isinstance(up, ast.For) if lazy else not isinstance(up, ast.Await)
