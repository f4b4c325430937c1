"""A parsed Python file, with what ast-grep cannot follow: scopes, imports, callers."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cached_property
from typing import TypeVar

Function = ast.FunctionDef | ast.AsyncFunctionDef
Scope = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
Node = TypeVar("Node", bound=ast.AST)

_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_FUNCTIONS = (*_DEFINITIONS, ast.Lambda)
_CANDIDATES = (ast.Call, ast.Try, ast.Assign, ast.AnnAssign, ast.For, ast.While)
"""What `Source.at` finds; of names and attributes, it finds decorators."""
_SHARED = (ast.expr_context, ast.operator, ast.unaryop, ast.cmpop, ast.boolop)
_LOOPS = (ast.For, ast.AsyncFor, ast.While)


class Source:
    """One file. Raises `SyntaxError` or `ValueError` if Python cannot parse it."""

    def __init__(self, code: bytes) -> None:
        self._bom = 3 if code.startswith(b"\xef\xbb\xbf") else 0
        self.code = code[self._bom :]
        self.text = self.code.decode("utf-8")
        self.tree = ast.parse(self.code)
        self._starts = [0]
        for line in self.code.splitlines(keepends=True):
            self._starts.append(self._starts[-1] + len(line))
        self.nodes: list[ast.AST] = []
        self.parents: dict[ast.AST, ast.AST] = {}
        self._spans: dict[int, list[ast.AST]] = {}
        self._index()

    def _index(self) -> None:
        # `ast.walk` and `ast.iter_child_nodes` take three times as long.
        waiting: list[ast.AST] = [self.tree]
        while waiting:
            node = waiting.pop()
            self.nodes.append(node)
            if isinstance(node, _CANDIDATES):
                self._spans.setdefault(self._offset(node), []).append(node)
            elif isinstance(node, _DEFINITIONS):
                for decorator in node.decorator_list:
                    self._spans.setdefault(self._offset(decorator), []).append(decorator)
            children: list[ast.AST] = []
            for field in node._fields:
                value = getattr(node, field, None)
                for each in value if isinstance(value, list) else (value,):
                    # Contexts and operators are shared between nodes.
                    if isinstance(each, ast.AST) and not isinstance(each, _SHARED):
                        self.parents[each] = node
                        children.append(each)
            waiting += reversed(children)

    def _offset(self, node: ast.AST, end: bool = False) -> int:
        prefix = "end_" if end else ""
        line, column = getattr(node, f"{prefix}lineno"), getattr(node, f"{prefix}col_offset")
        start: int = self._starts[line - 1]
        return start + int(column)

    def at(self, start: int, end: int, kind: type[Node]) -> Node | None:
        """The node of a kind between two offsets in the file, or else from the first one on."""
        nodes = [node for node in self._spans.get(start - self._bom, []) if isinstance(node, kind)]
        exact = (node for node in nodes if self._offset(node, end=True) == end - self._bom)
        return next(exact, nodes[0] if nodes else None)

    def column(self, node: ast.AST) -> int:
        """From 1, in characters."""
        start = self._starts[node.lineno - 1]  # type: ignore[attr-defined]
        return len(self.code[start : self._offset(node)].decode("utf-8", "replace")) + 1

    def ancestors(self, node: ast.AST) -> Iterator[ast.AST]:
        while (up := self.parents.get(node)) is not None:
            yield up
            node = up

    def function_of(self, node: ast.AST) -> Function | ast.Lambda | None:
        """The innermost function around a node."""
        return next((each for each in self.ancestors(node) if isinstance(each, _FUNCTIONS)), None)

    def class_of(self, node: ast.AST) -> ast.ClassDef | None:
        return next((each for each in self.ancestors(node) if isinstance(each, ast.ClassDef)), None)

    def loop_of(self, node: ast.AST) -> ast.For | ast.AsyncFor | ast.While | None:
        """The innermost loop of the same function around a node, which is part of its body."""
        for each in self.ancestors(node):
            if isinstance(each, _FUNCTIONS):
                return None
            if isinstance(each, _LOOPS):
                head = [each.test] if isinstance(each, ast.While) else [each.iter]
                if not any(node is part for top in head for part in ast.walk(top)):
                    return each
        return None

    @cached_property
    def imports(self) -> dict[str, str]:
        """The dotted name that each imported name stands for."""
        names = {}
        for node in self.nodes:
            if isinstance(node, ast.Import):
                for alias in node.names:
                    top = alias.name.split(".")[0]
                    names[alias.asname or top] = alias.name if alias.asname else top
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                for alias in node.names:
                    names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
        return names

    def dotted(self, node: ast.AST | None) -> str | None:
        """What an expression names, if it begins with an import, such as "openai.OpenAI"."""
        if isinstance(node, ast.Name):
            return self.imports.get(node.id)
        if isinstance(node, ast.Attribute) and (before := self.dotted(node.value)):
            return f"{before}.{node.attr}"
        return None

    def imported(self, *libraries: str) -> bool:
        return any(name.split(".")[0] in libraries for name in self.imports.values())

    @cached_property
    def shared(self) -> set[tuple[ast.AST, str]]:
        """The names that a scope declares as global or nonlocal."""
        return {
            (self.scope_of(node), name)
            for node in self.nodes
            if isinstance(node, (ast.Global, ast.Nonlocal))
            for name in node.names
        }

    @cached_property
    def functions(self) -> list[Function]:
        return [
            node for node in self.nodes if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        ]

    @cached_property
    def classes(self) -> dict[str, ast.ClassDef]:
        return {node.name: node for node in self.nodes if isinstance(node, ast.ClassDef)}

    def lineage(self, cls: ast.ClassDef) -> Iterator[ast.ClassDef]:
        """A class and those of its bases that are in the same file."""
        waiting, seen = [cls], set[ast.ClassDef]()
        while waiting:
            if (each := waiting.pop(0)) not in seen:
                seen.add(each)
                yield each
                names = [base.id for base in each.bases if isinstance(base, ast.Name)]
                waiting += [self.classes[name] for name in names if name in self.classes]

    def owner(self, node: ast.expr, at: ast.AST) -> ast.ClassDef | None:
        """The class whose attributes `self.x`, `cls.x` or `Name.x` are."""
        if not isinstance(node, ast.Name):
            return None
        if node.id in ("self", "cls"):
            return self.class_of(at)
        return self.classes.get(node.id)

    def callee(self, call: ast.Call) -> Function | None:
        """The function of the same file that a call runs, if that is certain."""
        return self.definition(call.func, call)

    def definition(self, name: ast.expr, at: ast.AST) -> Function | None:
        """The function that ``f``, ``self.f`` or ``Class.f`` is."""
        if isinstance(name, ast.Name):
            return self._function_named(name.id, at)
        if isinstance(name, ast.Attribute) and (cls := self.owner(name.value, at)):
            for each in self.lineage(cls):
                for node in each.body:
                    if isinstance(node, _DEFINITIONS) and node.name == name.attr:
                        return node
        return None

    def in_a_test(self, node: ast.AST) -> bool:
        """Whether a node belongs to a test or to a fixture of one."""
        for each in self.ancestors(node):
            if isinstance(each, _DEFINITIONS) and (
                each.name.startswith("test_")
                or any("fixture" in ast.unparse(d) for d in each.decorator_list)
            ):
                return True
        return False

    def _function_named(self, name: str, at: ast.AST) -> Function | None:
        scopes = [each for each in self.ancestors(at) if not isinstance(each, ast.ClassDef)]
        for function in self.functions:
            if function.name == name and self.scope_of(function) in scopes:
                return function
        return None

    def scope_of(self, node: ast.AST) -> ast.AST:
        """The module, class or function in whose body a node is."""
        return next(
            each
            for each in self.ancestors(node)
            if isinstance(each, (ast.Module, ast.ClassDef, *_FUNCTIONS))
        )

    @cached_property
    def calls(self) -> list[ast.Call]:
        return [node for node in self.nodes if isinstance(node, ast.Call)]

    @cached_property
    def strings(self) -> list[str]:
        return [
            node.value
            for node in self.nodes
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        ]


def own(function: ast.AST) -> Iterator[ast.AST]:
    """The nodes that run when a function's (or a statement's) own body runs."""
    waiting = list(ast.iter_child_nodes(function))
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, (*_FUNCTIONS, ast.ClassDef)):
            waiting += ast.iter_child_nodes(node)


def keyword(call: ast.Call, name: str) -> ast.expr | None:
    return next((each.value for each in call.keywords if each.arg == name), None)


def has_splat(call: ast.Call) -> bool:
    return any(each.arg is None for each in call.keywords)


def last_name(node: ast.AST) -> str:
    """The last part of a name: "create" of ``client.responses.create``."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""
