"""Lessons 02 and 04: where a client is made, and how long it waits."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from helpers.audit.scan.confirm.clients import Clients, decorators
from helpers.audit.scan.confirm.hit import Hit
from helpers.audit.scan.confirm.source import (
    Function,
    Source,
    has_splat,
    keyword,
    last_name,
    own,
)

_HANDLERS = {
    *("get", "post", "put", "patch", "delete", "head", "options", "route", "websocket"),
    *("api_route", "on_message", "event", "command", "message"),
}
"""Decorators of functions that run once for each request."""
_ONCE = {
    *("__init__", "__aenter__", "__enter__", "__post_init__", "main", "amain", "_main"),
    *("async_main", "main_async", "run_main", "lifespan", "setup", "startup", "on_startup"),
    *("connect", "initialize", "init", "start", "open", "setUp", "asyncSetUp"),
}
"""Functions that run once in the lifetime of their object or program."""
_ONCE_DECORATORS = {
    *("contextmanager", "asynccontextmanager", "cache", "lru_cache", "alru_cache"),
    *("on_event", "cached_property", "on_chat_start", "cache_resource", "on_startup"),
}
_SENDS = {"post", "stream", "request", "send", "aconnect_sse", "connect_sse"}
_DEADLINES = {"wait_for", "fail_after", "move_on_after", "timeout", "timeout_at", "with_options"}


def client_per_call(clients: Clients, start: int, end: int) -> Iterator[Hit]:
    source = clients.source
    call = source.at(start, end, ast.Call)
    made = clients.made_by(call) if call else None
    if not call or not made:
        return
    if made.library == "http" and not (clients.names_an_endpoint and _sends(source, call)):
        return
    if keyword(call, "transport") or keyword(call, "app"):
        return  # a client of an application in the same process
    function = source.function_of(call)
    looping = source.loop_of(call) is not None
    if isinstance(function, ast.Lambda) or (function is None and not looping):
        return
    if _is_kept(source, call) or _in_comprehension(source, call) or _in_guard(source, call):
        return
    if function and _makes_one(clients, function, call, looping):
        return
    if looping or (function and _makes_it_per_call(source, function, call)):
        yield Hit(call)


def _sends(source: Source, call: ast.Call) -> bool:
    """Whether a prompt may be sent where the client is made: reading a page is not a model call."""
    where = source.function_of(call) or source.tree
    return any(
        isinstance(node, ast.Call) and last_name(node.func) in _SENDS for node in ast.walk(where)
    )


def _makes_it_per_call(source: Source, function: Function, call: ast.Call) -> bool:
    if decorators(function, source) & _HANDLERS:
        return True
    return isinstance(function, ast.AsyncFunctionDef) and not _is_shared(source, function, call)


def _is_shared(source: Source, function: Function, call: ast.Call) -> bool:
    """Whether many calls may use the client, as in a function that does a whole batch."""
    names = {name.id for name in _names_of(source, call)}
    for node in ast.walk(function):
        if isinstance(node, ast.Name) and node.id in names and isinstance(node.ctx, ast.Load):
            if isinstance(source.parents[node], (ast.Call, ast.keyword)):
                return True  # another function gets it
            nested = source.function_of(node) is not function
            if nested or source.loop_of(node) or _in_comprehension(source, node):
                return True
    return False


def _is_kept(source: Source, call: ast.Call) -> bool:
    """Whether the client is put where later calls find it."""
    for up in source.ancestors(call):
        if isinstance(up, (ast.Assign, ast.AnnAssign)):
            targets = up.targets if isinstance(up, ast.Assign) else [up.target]
            return any(_outlives(source, target) for target in targets)
        if isinstance(up, (ast.withitem, ast.stmt)):
            return False
    return False


def _outlives(source: Source, target: ast.expr) -> bool:
    if isinstance(target, (ast.Attribute, ast.Subscript)):
        return True
    scope = source.scope_of(target)
    return isinstance(target, ast.Name) and (scope, target.id) in source.shared


def _in_comprehension(source: Source, call: ast.AST) -> bool:
    kinds = (ast.ListComp, ast.DictComp, ast.SetComp, ast.GeneratorExp)
    return any(isinstance(each, kinds) for each in source.ancestors(call))


def _in_guard(source: Source, call: ast.Call) -> bool:
    """Whether it is made only if there is none yet, as in ``if client is None:``."""
    for up in source.ancestors(call):
        if isinstance(up, ast.If) and any(
            isinstance(each, ast.Compare) and isinstance(each.ops[0], ast.Is)
            for each in ast.walk(up.test)
        ):
            return True
        if isinstance(up, (ast.FunctionDef, ast.AsyncFunctionDef)):
            return False
    return False


def _makes_one(clients: Clients, function: Function, call: ast.Call, looping: bool) -> bool:
    """Whether the function is a factory, or runs once."""
    source = clients.source
    if function.name in _ONCE or decorators(function, source) & _ONCE_DECORATORS:
        return True
    names = {target.id for target in _names_of(source, call)}
    for node in own(function):
        if isinstance(node, (ast.Yield, ast.Return)) and node.value is not None:
            value = node.value
            if value is call or (isinstance(value, ast.Name) and value.id in names):
                return True
        # A client that is stored, as in `self.client = client`, outlives the call.
        if (
            isinstance(node, ast.Assign)
            and any(_outlives(source, target) for target in node.targets)
            and isinstance(node.value, ast.Name)
            and node.value.id in names
        ):
            return True
    return not looping and _is_a_script(source, function)


def _names_of(source: Source, call: ast.Call) -> list[ast.Name]:
    up = source.parents[call]
    if isinstance(up, ast.Await):
        up = source.parents[up]
    if isinstance(up, ast.Assign):
        return [target for target in up.targets if isinstance(target, ast.Name)]
    if isinstance(up, ast.withitem) and isinstance(up.optional_vars, ast.Name):
        return [up.optional_vars]
    return []


def serves(source: Source) -> bool:
    """Whether the file has functions that run once for each request."""
    return any(decorators(each, source) & _HANDLERS for each in source.functions)


def _is_a_script(source: Source, function: Function) -> bool:
    """Whether the file is run as a program, and serves nobody."""
    guarded = any(
        isinstance(node, ast.If) and "__name__" in ast.unparse(node.test)
        for node in source.tree.body
    )
    runs_it = any(
        last_name(call.func) in ("run", "run_until_complete", "create_task")
        and call.args
        and isinstance(call.args[0], ast.Call)
        and source.callee(call.args[0]) is function
        for call in source.calls
    )
    return not serves(source) and (guarded or runs_it)


def no_timeout(clients: Clients, start: int, end: int) -> Iterator[Hit]:
    source = clients.source
    call = source.at(start, end, ast.Call)
    made = clients.made_by(call) if call else None
    if not call or not made or made.library != "sdk" or has_splat(call):
        return
    given = keyword(call, "timeout")
    if isinstance(given, ast.Constant) and given.value is None:
        yield Hit(call, "This client has no time limit: timeout=None.")
        return
    if given or keyword(call, "http_client"):
        return
    if not _has_deadlines(clients):
        yield Hit(call)


def unbounded_http(clients: Clients, start: int, end: int) -> Iterator[Hit]:
    source = clients.source
    call = source.at(start, end, ast.Call)
    if not call or not clients.names_an_endpoint or not clients.speaks_http(call):
        return
    if _has_async_deadline(clients, _outermost(source, call)):
        return
    given = keyword(call, "timeout")
    if _is_none(given) or (isinstance(given, ast.Call) and _never_ends(given)):
        yield Hit(call)
    elif (
        source.dotted(call.func) in ("requests.post", "requests.request")
        and given is None
        and not has_splat(call)
    ):
        yield Hit(call, "requests waits without limit unless it gets a timeout.")


def _is_none(node: ast.expr | None) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _never_ends(timeout: ast.Call) -> bool:
    """``httpx.Timeout(None)``, which sets no limit."""
    return (
        last_name(timeout.func) == "Timeout"
        and not timeout.keywords
        and bool(timeout.args)
        and _is_none(timeout.args[0])
    )


def _outermost(source: Source, node: ast.AST) -> ast.AST:
    """The outermost function around a node, or the whole file."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return next((n for n in [*source.ancestors(node)][::-1] if isinstance(n, kinds)), source.tree)


def _has_async_deadline(clients: Clients, where: ast.AST) -> bool:
    return any(
        isinstance(node, ast.Call)
        and (clients.source.dotted(node.func) or "").split(".")[0]
        in ("asyncio", "anyio", "trio", "async_timeout")
        and last_name(node.func) in _DEADLINES
        for node in ast.walk(where)
    )


def _has_deadlines(clients: Clients) -> bool:
    """Whether the file sets the time of a call elsewhere."""
    if _has_async_deadline(clients, clients.source.tree) or "timeout" in clients.source.strings:
        return True
    return any(
        keyword(call, "timeout")
        and (clients.model_call(call) or last_name(call.func) in _DEADLINES)
        for call in clients.source.calls
    )
