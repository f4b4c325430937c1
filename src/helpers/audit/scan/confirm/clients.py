"""Finds which client an expression stands for, and which calls reach a model."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from helpers.audit.scan.confirm.source import Function, Source, keyword, last_name, own

_SDKS = ("openai", "anthropic")
_SDK_CLASSES = re.compile(
    r"(Async)?(OpenAI|AzureOpenAI|BedrockOpenAI|Anthropic|AnthropicBedrock|AnthropicVertex"
    r"|AnthropicFoundry|Client)"
)
_HTTP_CLASSES = {
    "httpx.Client": True,
    "httpx.AsyncClient": False,
    "httpx2.Client": True,
    "httpx2.AsyncClient": False,
    "requests.Session": True,
    "aiohttp.ClientSession": False,
}
"""True if its calls block."""
_SAME_CLIENT = {"with_options", "copy", "enter_async_context", "enter_context"}
_WRAPPERS = {"from_openai", "from_anthropic", "wrap_openai", "wrap_anthropic", "patch"}
_PATH = re.compile(
    r"(?:^|\.)(?:beta\.)?(?P<path>chat\.completions|completions|responses|messages|embeddings"
    r"|images|audio\.\w+|moderations)(?:\.with_(?:raw|streaming)_response)?"
    r"\.(?P<verb>create|parse|stream|generate|edit|count_tokens)$"
)
_OLD_SDK = re.compile(r"^openai\.(ChatCompletion|Completion|Embedding)\.(a?)create$")
_LITELLM = re.compile(r"^litellm(\.main)?\.(a?)(completion|responses|embedding|text_completion)$")
_ENDPOINT = re.compile(
    r"chat/completions|/v1/messages|/v1/responses|/responses\b|/v1/completions|api\.openai\.com"
    r"|api\.anthropic\.com|/api/generate\b|/api/chat\b|/v1/embeddings|generativelanguage\.googleapis"
)
_ENDPOINT_PATH = re.compile(r"chat/completions|/messages\b|/responses\b")
_LIKELY = re.compile(
    r"(^|_)(llm|gpt\w*|claude|openai|anthropic|chat|completions?|aask|a?model_call|ask_model|call_model"
    r"|query_model|prompt_model)(_|$)"
)
_RUNS_A_MODEL = {"invoke", "ainvoke", "generate", "agenerate", "astream", "apredict", "predict"}
_MODEL_NAME = re.compile(r"(^|[._])(llm|model|chat_?model|chain)\w*$", re.IGNORECASE)
_DEPTH = 6


@dataclass(frozen=True, slots=True)
class Client:
    """A client, as the code makes it."""

    library: str
    """"sdk" or "http"."""
    blocking: bool
    made: ast.Call | None
    """None if only its type is known."""


@dataclass(frozen=True, slots=True)
class ModelCall:
    call: ast.Call
    verb: str
    client: Client | None
    """None if it is not known where the client comes from."""
    blocking: bool | None
    """None if it is not known."""


class Clients:
    """The clients of one file."""

    def __init__(self, source: Source) -> None:
        self.source = source

    def made_by(self, call: ast.Call) -> Client | None:
        """The client that a call makes."""
        return self._of_class(self.source.dotted(call.func), call)

    @staticmethod
    def _of_class(name: str | None, made: ast.Call | None) -> Client | None:
        if name is None:
            return None
        if name in _HTTP_CLASSES:
            return Client("http", _HTTP_CLASSES[name], made)
        *package, last = name.split(".")
        of_sdk = bool(package) and (package[0] in _SDKS or package == ["langfuse", "openai"])
        if of_sdk and _SDK_CLASSES.fullmatch(last):
            return Client("sdk", not last.startswith("Async"), made)
        return None

    def of(self, node: ast.AST | None, depth: int = 0) -> Client | None:
        """The client that an expression is."""
        if node is None or depth > _DEPTH:
            return None
        if isinstance(node, (ast.Await, ast.NamedExpr)):
            return self.of(node.value, depth)
        if isinstance(node, ast.BoolOp):
            return self._one([self.of(value, depth + 1) for value in node.values])
        if isinstance(node, ast.IfExp):
            return self._one([self.of(each, depth + 1) for each in (node.body, node.orelse)])
        if isinstance(node, ast.Call):
            return self._of_call(node, depth)
        if isinstance(node, ast.Name):
            if self.source.dotted(node) in _SDKS:
                return Client("sdk", blocking=True, made=None)
            return self._one(self._named(node, depth + 1))
        if isinstance(node, ast.Attribute):
            return self._one(self._attribute(node, depth + 1))
        return None

    @staticmethod
    def _one(found: list[Client | None]) -> Client | None:
        """The client if all that is known agrees on its kind."""
        known = [each for each in found if each]
        kinds = {(each.library, each.blocking) for each in known}
        return known[0] if len(kinds) == 1 else None

    def _of_call(self, call: ast.Call, depth: int) -> Client | None:
        if made := self.made_by(call):
            return made
        name = last_name(call.func)
        if name in ("with_options", "copy") and isinstance(call.func, ast.Attribute):
            return self.of(call.func.value, depth + 1)
        if name in _SAME_CLIENT | _WRAPPERS and call.args:
            return self.of(call.args[0], depth + 1)
        if not (function := self.source.callee(call)):
            return None
        returned = [each.value for each in own(function) if isinstance(each, ast.Return)]
        found = [self._of_type(function.returns), *(self.of(each, depth + 1) for each in returned)]
        return self._one(found)

    def _of_type(self, annotation: ast.AST | None) -> Client | None:
        if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
            try:
                annotation = ast.parse(annotation.value, mode="eval").body
            except SyntaxError:
                return None
        if annotation is None:
            return None
        names = [self.source.dotted(each) for each in ast.walk(annotation)]
        return self._one([self._of_class(name, None) for name in names])

    def _named(self, name: ast.Name, depth: int) -> list[Client | None]:
        for scope in [self.source.scope_of(name), *self._outer(name)]:
            if (scope, name.id) in self._bindings:
                return self._resolve(self._bindings[scope, name.id], depth)
        return []

    def _outer(self, node: ast.AST) -> Iterator[ast.AST]:
        kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.Module)
        return (each for each in self.source.ancestors(node) if isinstance(each, kinds))

    def _attribute(self, node: ast.Attribute, depth: int) -> list[Client | None]:
        if cls := self.source.owner(node.value, node):
            for each in self.source.lineage(cls):
                if (each, node.attr) in self._bindings:
                    return self._resolve(self._bindings[each, node.attr], depth)
                for method in each.body:
                    if isinstance(method, ast.FunctionDef) and method.name == node.attr:
                        returned = [x.value for x in own(method) if isinstance(x, ast.Return)]
                        found = [self.of(value, depth) for value in returned]
                        return [self._of_type(method.returns), *found]
            return []
        return self._resolve(self._bindings.get((self.source.tree, ast.unparse(node)), []), depth)

    def _resolve(self, bound: list[tuple[str, ast.AST | None]], depth: int) -> list[Client | None]:
        return [
            self._of_type(node) if kind == "type" else self.of(node, depth) for kind, node in bound
        ]

    @cached_property
    def _bindings(self) -> dict[tuple[ast.AST, str], list[tuple[str, ast.AST | None]]]:
        """What is assigned to each name of a scope and each attribute of a class."""
        bound: dict[tuple[ast.AST, str], list[tuple[str, ast.AST | None]]] = {}
        for node in self.source.nodes:
            for target, kind, value in _assignments(node):
                if key := self._key(target, node):
                    bound.setdefault(key, []).append((kind, value))
        return bound

    def _key(self, target: ast.AST, at: ast.AST) -> tuple[ast.AST, str] | None:
        if isinstance(target, ast.arg):
            return (at, target.arg)
        if isinstance(target, ast.Name):
            scope = self.source.scope_of(at)
            shared = (scope, target.id) in self.source.shared
            return (self.source.tree if shared else scope, target.id)
        if isinstance(target, ast.Attribute):
            cls = self.source.owner(target.value, at)
            return (cls, target.attr) if cls else (self.source.tree, ast.unparse(target))
        return None

    # Calls of a model

    def model_call(self, call: ast.Call) -> ModelCall | None:
        """The call, if it is certain to reach a model."""
        name = self.source.dotted(call.func) or ""
        if old := _OLD_SDK.match(name):
            return ModelCall(call, "create", None, not old[2])
        if lite := _LITELLM.match(name):
            return ModelCall(call, "create", None, not lite[2])
        if not isinstance(call.func, ast.Attribute):
            return None
        root, path = _chain(call.func)
        if not (found := _PATH.search(path)):
            return None
        client = self.of(root)
        if client and client.library != "sdk":
            return None
        if not client and not _looks_like_a_prompt(call, found["path"]):
            return None
        blocking = self._blocks(call, client, found["verb"])
        return ModelCall(call, found["verb"], client, blocking)

    def _blocks(self, call: ast.Call, client: Client | None, verb: str) -> bool | None:
        used = self._used_as_blocking(call, verb)
        if client:
            # Awaiting a blocking client's call would fail, so this is another client.
            return client.blocking and used is not False
        return used

    def _used_as_blocking(self, call: ast.Call, verb: str) -> bool | None:
        """Whether the call must be a blocking one, from what happens to its value."""
        up = self.source.parents[call]
        if isinstance(up, (ast.Await, ast.AsyncFor)):
            return False
        if isinstance(up, ast.withitem):
            statement = self.source.parents[up]
            return isinstance(statement, ast.With)
        if isinstance(up, ast.comprehension):
            return not up.is_async
        if isinstance(up, (ast.Attribute, ast.Subscript, ast.For)):
            return verb != "stream" or None
        if isinstance(up, ast.Assign) and isinstance(up.targets[0], ast.Name):
            return self._name_used_as_blocking(up.targets[0].id, call)
        return None

    def _name_used_as_blocking(self, name: str, call: ast.Call) -> bool | None:
        function = self.source.function_of(call) or self.source.tree
        evidence: set[bool] = set()
        for node in ast.walk(function):
            if isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, ast.Load):
                up = self.source.parents[node]
                if isinstance(up, (ast.Await, ast.AsyncFor)):
                    evidence.add(False)
                elif isinstance(up, ast.For) or _reads_an_answer(up):
                    evidence.add(True)
        return evidence.pop() if len(evidence) == 1 else None

    def reaches_model(self, node: ast.AST, likely: bool = False, depth: int = 2) -> bool:
        """Whether what runs in a function or statement calls a model, in this file.

        `likely` also counts calls whose name says so, such as ``ask_llm``.
        """
        for each in own(node):
            if not isinstance(each, ast.Call):
                continue
            if self.model_call(each) or (likely and self._likely(each)):
                return True
            callee = self.source.callee(each)
            if depth and callee and self.reaches_model(callee, likely, depth - 1):
                return True
        return False

    def is_about_a_model(self, node: ast.AST) -> bool:
        """Whether a function or statement calls a model, as far as its own and other names say."""
        named = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and _LIKELY.search(
            node.name
        )
        return bool(named) or self.reaches_model(node, likely=True)

    def _likely(self, call: ast.Call) -> bool:
        name = last_name(call.func)
        if name in _RUNS_A_MODEL and isinstance(call.func, ast.Attribute):
            return bool(_MODEL_NAME.search(ast.unparse(call.func.value)))
        return bool(_LIKELY.search(name))

    @cached_property
    def names_an_endpoint(self) -> bool:
        """Whether the file has an endpoint of a provider in a string."""
        return any(_ENDPOINT.search(text) for text in self.source.strings)

    @cached_property
    def speaks_to_a_model(self) -> bool:
        """Whether the file has an SDK, or an endpoint of a provider."""
        return self.source.imported(*_SDKS, "litellm") or self.names_an_endpoint

    def speaks_http(self, call: ast.Call) -> bool:
        """Whether it is a call of an HTTP library, or makes one of its clients."""
        name = self.source.dotted(call.func) or ""
        if name.split(".")[0] in ("httpx", "httpx2", "requests"):
            return True
        root = call.func.value if isinstance(call.func, ast.Attribute) else None
        client = self.of(root)
        return client is not None and client.library == "http"


_OF_AN_ANSWER = {"choices", "content", "output_text", "output", "usage", "data", "stop_reason"}


def _reads_an_answer(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) and node.attr in _OF_AN_ANSWER


def _assignments(node: ast.AST) -> Iterator[tuple[ast.AST, str, ast.AST | None]]:
    """The target, whether a type or a value follows, and the type or value."""
    if isinstance(node, ast.Assign):
        for target in node.targets:
            yield target, "value", node.value
    elif isinstance(node, ast.AnnAssign):
        yield node.target, "type", node.annotation
        yield node.target, "value", node.value
    elif isinstance(node, ast.NamedExpr):
        yield node.target, "value", node.value
    elif isinstance(node, (ast.With, ast.AsyncWith)):
        for item in node.items:
            if item.optional_vars is not None:
                yield item.optional_vars, "value", item.context_expr
    elif isinstance(node, (ast.For, ast.AsyncFor)):
        yield node.target, "value", None
    elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
        arguments = node.args
        for each in [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]:
            yield each, "type", each.annotation


def _chain(node: ast.expr) -> tuple[ast.expr, str]:
    """``client`` and "chat.completions.create"; attributes of the client belong to the root."""
    parts: list[str] = []
    known = re.compile(
        r"chat|completions|responses|messages|embeddings|images|audio|moderations|beta|speech"
        r"|transcriptions|translations|with_\w+_response|create|parse|stream|generate|edit"
        r"|count_tokens"
    )
    while isinstance(node, ast.Attribute) and known.fullmatch(node.attr):
        parts.append(node.attr)
        node = node.value
    return node, ".".join(reversed(parts))


def _looks_like_a_prompt(call: ast.Call, path: str) -> bool:
    """Other libraries have a ``messages.create``, too."""
    if path == "chat.completions":
        return True
    names = {each.arg for each in call.keywords}
    return "model" in names and bool(names & {"messages", "input", "prompt", "max_tokens"})


def posts_to_a_model(call: ast.Call) -> bool:
    """Whether it is an HTTP request to a provider's endpoint, as its first argument says."""
    return (
        last_name(call.func) == "post"
        and bool(call.args)
        and bool(_ENDPOINT_PATH.search(ast.unparse(call.args[0])))
    )


def decorators(function: Function, source: Source) -> set[str]:
    """The last names of a function's decorators, such as "get" of ``@app.get("/")``."""
    heads = [d.func if isinstance(d, ast.Call) else d for d in function.decorator_list]
    return {last_name(head) for head in heads}


def max_retries(client: Client) -> ast.expr | None:
    return keyword(client.made, "max_retries") if client.made else None
