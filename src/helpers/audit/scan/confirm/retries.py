"""Lesson 05: retries of everything, retries without limit, and retries of retries."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from helpers.audit.scan.confirm.clients import Clients, max_retries, posts_to_a_model
from helpers.audit.scan.confirm.hit import Hit
from helpers.audit.scan.confirm.source import Function, Source, has_splat, keyword, last_name, own

_EVERYTHING = {"Exception", "BaseException", "OpenAIError", "AnthropicError", "APIError"}
_TENACITY = {f"tenacity.{name}" for name in ("retry", "Retrying", "AsyncRetrying")}
_STAMINA = {"stamina.retry", "stamina.retry_context"}
_BACKOFF = "backoff.on_exception"
_READS = {
    "input",
    "receive",
    "receive_text",
    "receive_json",
    "recv",
    "readline",
    "get_nowait",
    "prompt",
}
"""Calls of a loop that goes from one piece of work to the next."""
Loop = ast.For | ast.AsyncFor | ast.While


# Decorators and retrying objects


def retry_all(clients: Clients, start: int, end: int) -> Iterator[Hit]:
    """A library's retry of every exception, though with an end."""
    found = _library_retry(clients, start, end)
    if found and _retries_everything(clients.source, found) and not _endless(clients.source, found):
        yield Hit(found)


def retry_endless(clients: Clients, start: int, end: int) -> Iterator[Hit]:
    """A library's retry that nothing stops."""
    found = _library_retry(clients, start, end)
    if found and _endless(clients.source, found):
        yield Hit(found)


def stacked(clients: Clients, start: int, end: int) -> Iterator[Hit]:
    """A library's retry around a client that retries, too."""
    found = _library_retry(clients, start, end)
    around = _around(clients, found) if found else None
    if found and around and _sdk_retries(clients, around):
        yield Hit(found)


def _library_retry(clients: Clients, start: int, end: int) -> ast.expr | None:
    """The call or the bare decorator, if a model call is reached through it."""
    source = clients.source
    found: ast.expr | None = source.at(start, end, ast.Call)
    if found is None:
        found = source.at(start, end, ast.Attribute) or source.at(start, end, ast.Name)
    if found is None or _retrier(source, found) is None:
        return None
    if not isinstance(found, ast.Call) and not _decorated(source, found):
        return None
    around = _around(clients, found)
    return found if around and clients.is_about_a_model(around) else None


def _retrier(source: Source, node: ast.expr) -> str | None:
    name = source.dotted(node.func if isinstance(node, ast.Call) else node) or ""
    name = name.replace("tenacity.asyncio.", "tenacity.").replace("tenacity._asyncio.", "tenacity.")
    return name if name in _TENACITY | _STAMINA | {_BACKOFF} else None


def _decorated(source: Source, node: ast.expr) -> Function | None:
    up = source.parents[node]
    is_one = isinstance(up, (ast.FunctionDef, ast.AsyncFunctionDef)) and node in up.decorator_list
    return up if is_one else None  # type: ignore[return-value]


def _around(clients: Clients, node: ast.expr) -> ast.AST | None:
    """What is run again: the decorated function, the argument, or the loop over attempts."""
    source = clients.source
    if decorated := _decorated(source, node):
        return decorated
    up = source.parents[node]
    if isinstance(up, ast.Call) and up.func is node and up.args:
        return source.definition(up.args[0], up)
    return source.loop_of(node) or _loop_over(source, node)


def _loop_over(source: Source, node: ast.expr) -> ast.AST | None:
    up = source.parents[node]
    return up if isinstance(up, (ast.For, ast.AsyncFor)) and up.iter is node else None


def _retries_everything(source: Source, node: ast.expr) -> bool:
    name = _retrier(source, node)
    if not isinstance(node, ast.Call):
        return name == "tenacity.retry"
    if has_splat(node):
        return False
    if name in _TENACITY:
        return _tenacity_retries_everything(keyword(node, "retry"))
    if name in _STAMINA:
        return _is_everything(keyword(node, "on"))
    exception = node.args[1] if len(node.args) > 1 else keyword(node, "exception")
    return _is_everything(exception) and keyword(node, "giveup") is None


def _tenacity_retries_everything(condition: ast.expr | None) -> bool:
    if condition is None:
        return True
    if isinstance(condition, ast.Call) and last_name(condition.func) == "retry_if_exception_type":
        return not condition.args or _is_everything(condition.args[0])
    return False


def _is_everything(exception: ast.expr | None) -> bool:
    if isinstance(exception, ast.Tuple):
        return any(_is_everything(each) for each in exception.elts)
    return exception is not None and last_name(exception) in _EVERYTHING


def _endless(source: Source, node: ast.expr) -> bool:
    name = _retrier(source, node)
    if not isinstance(node, ast.Call):
        return name == "tenacity.retry"
    if has_splat(node) or name in _STAMINA:
        return False
    if name == _BACKOFF:
        return not keyword(node, "max_tries") and not keyword(node, "max_time")
    stop = keyword(node, "stop")
    return stop is None or last_name(stop) == "stop_never"


# Loops


def loop_retry_all(clients: Clients, start: int, end: int) -> Iterator[Hit]:
    """``for attempt in range(5): try: … except Exception: …``"""
    for loop, handler in _retry_loops(clients, start, end):
        if not _runs_forever(loop) and _catches_everything(handler) and not _looks_at(handler):
            yield Hit(handler)


def loop_retry_endless(clients: Clients, start: int, end: int) -> Iterator[Hit]:
    """``while True: try: … except …: sleep``, with no way out of the handler."""
    for loop, handler in _retry_loops(clients, start, end):
        leaves = any(isinstance(n, (ast.Raise, ast.Return, ast.Break)) for n in own(handler))
        if _runs_forever(loop) and not leaves and not _counts(loop):
            yield Hit(handler)


def loop_stacked(clients: Clients, start: int, end: int) -> Iterator[Hit]:
    """A loop of retries around a client that retries, too."""
    for loop, handler in _retry_loops(clients, start, end):
        if _sleeps(handler) and _sdk_retries(clients, loop):
            yield Hit(loop)
            return


def loop_early(clients: Clients, start: int, end: int) -> Iterator[Hit]:
    """A loop that sends a refused request again at once."""
    loop = clients.source.at(start, end, ast.For) or clients.source.at(start, end, ast.While)
    if not loop or not is_about_attempts(loop):
        return
    calls = [node for node in own(loop) if isinstance(node, ast.Call)]
    waits = any(re.search("sleep|wait|back_?off", last_name(call.func)) for call in calls)
    posts = any(posts_to_a_model(call) for call in calls)
    if posts and not waits and any(_leaves_on_success(node) for node in own(loop)):
        yield Hit(loop)


def _leaves_on_success(node: ast.AST) -> bool:
    """``if reply.is_success: return …``"""
    return (
        isinstance(node, ast.If)
        and any(
            isinstance(each, ast.Attribute) and each.attr in ("is_success", "ok", "status_code")
            for each in ast.walk(node.test)
        )
        and any(isinstance(each, (ast.Return, ast.Break, ast.Continue)) for each in own(node))
    )


def _retry_loops(
    clients: Clients, start: int, end: int
) -> Iterator[tuple[Loop, ast.ExceptHandler]]:
    """The loop, and each of its handlers that leads to another attempt at a model call."""
    source = clients.source
    block = source.at(start, end, ast.Try)
    loop = source.loop_of(block) if block else None
    if not block or not loop or not is_about_attempts(loop):
        return
    if not clients.reaches_model(_body(block), likely=True):
        return
    permanent = False
    for handler in block.handlers:
        always_raises = isinstance(handler.body[-1], ast.Raise)
        if always_raises and not _catches_everything(handler):
            permanent = True  # it lets errors pass that no attempt can fix
        elif not always_raises and not permanent and _tries_again(loop, block, handler):
            yield loop, handler


def _body(block: ast.Try) -> ast.Module:
    return ast.Module(body=block.body, type_ignores=[])


def is_about_attempts(loop: Loop) -> bool:
    """A loop over attempts, not over work: nothing new is read or taken in it."""
    if any(isinstance(node, ast.Call) and _takes_work(node) for node in own(loop)):
        return False
    if isinstance(loop, ast.While):
        return True
    if not isinstance(loop.iter, ast.Call) or last_name(loop.iter.func) not in ("range", "count"):
        return False
    counter = loop.target.id if isinstance(loop.target, ast.Name) else "_"
    named = any(word in counter for word in ("attempt", "retry", "retries", "tr", "_"))
    indexed = any(
        isinstance(n, ast.Subscript) and isinstance(n.slice, ast.Name) and n.slice.id == counter
        for n in own(loop)
    )
    return (named or _mentions_retries(loop.iter)) and not indexed


def _mentions_retries(node: ast.AST) -> bool:
    text = ast.unparse(node).lower()
    return any(word in text for word in ("retr", "attempt", "tries"))


def _takes_work(call: ast.Call) -> bool:
    """Whether a call brings the next piece of work, as that of a queue does."""
    name = last_name(call.func)
    if name != "get":
        return name in _READS
    if not isinstance(call.func, ast.Attribute):
        return False
    from_queue = "queue" in ast.unparse(call.func.value).lower()
    return from_queue or not call.args


def _tries_again(loop: Loop, block: ast.Try, handler: ast.ExceptHandler) -> bool:
    """Whether success ends the loop, and the handler does not."""
    leaves = (ast.Return, ast.Break)
    inside = {node for each in block.handlers for node in ast.walk(each)}
    succeeds = any(isinstance(n, leaves) and n not in inside for n in own(loop))
    gives_up = isinstance(handler.body[-1], leaves) and not any(
        isinstance(n, ast.Continue) for n in own(handler)
    )
    return succeeds and not gives_up


def _runs_forever(loop: Loop) -> bool:
    if isinstance(loop, ast.While):
        return isinstance(loop.test, ast.Constant) and bool(loop.test.value)
    return isinstance(loop.iter, ast.Call) and last_name(loop.iter.func) == "count"


def _counts(loop: Loop) -> bool:
    """Whether something else may end it: a counter or a clock that is compared."""
    return any(
        isinstance(n, ast.If)
        and any(isinstance(op, (ast.Gt, ast.GtE, ast.Lt, ast.LtE)) for op in _operators(n.test))
        and any(isinstance(each, (ast.Raise, ast.Return, ast.Break)) for each in own(n))
        for n in own(loop)
    )


def _operators(test: ast.AST) -> list[ast.cmpop]:
    return [op for n in ast.walk(test) if isinstance(n, ast.Compare) for op in n.ops]


def _catches_everything(handler: ast.ExceptHandler) -> bool:
    return handler.type is None or _is_everything(handler.type)


def _looks_at(handler: ast.ExceptHandler) -> bool:
    """Whether the handler decides by the exception."""
    if handler.name is None:
        return False
    tests = [n.test for n in own(handler) if isinstance(n, (ast.If, ast.IfExp))]
    looked_at = {handler.name} | {
        target.id
        for n in own(handler)
        if isinstance(n, ast.Assign) and _names(n.value, {handler.name})
        for target in n.targets
        if isinstance(target, ast.Name)
    }
    return any(_names(test, looked_at) for test in tests)


def _names(node: ast.AST, names: set[str]) -> bool:
    return any(isinstance(n, ast.Name) and n.id in names for n in ast.walk(node))


def _sleeps(handler: ast.ExceptHandler) -> bool:
    return any(isinstance(n, ast.Call) and "sleep" in last_name(n.func) for n in own(handler))


def _sdk_retries(clients: Clients, node: ast.AST) -> bool:
    """Whether a client that is made in the file is called, and keeps its own retries."""
    for each in own(node):
        if not isinstance(each, ast.Call) or not (found := clients.model_call(each)):
            continue
        if not found.client or not found.client.made or has_splat(found.client.made):
            continue
        if any(keyword(call, "max_retries") for call in _with_options(clients)):
            continue
        own_retries = max_retries(found.client)
        if not (isinstance(own_retries, ast.Constant) and own_retries.value == 0):
            return True
    return False


def _with_options(clients: Clients) -> list[ast.Call]:
    return [call for call in clients.source.calls if last_name(call.func) == "with_options"]
