"""Loads a learner's solution from a Python file or a notebook."""

from __future__ import annotations

import ast
import builtins
import linecache
import sys
import types
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import cloudpickle

# Not a name that a file of the learner's can have: those are imported too.
_MODULE = "learner's solution"
# A file name for tracebacks, and the code.
_Code: TypeAlias = tuple[str, ast.Module]
_DEFINITIONS = (
    ast.Import,
    ast.ImportFrom,
    ast.FunctionDef,
    ast.AsyncFunctionDef,
    ast.ClassDef,
    ast.Assign,
    ast.AnnAssign,
)


class UngradableError(ValueError):
    """A solution cannot be graded; the message is one sentence that says why."""


def load(file: Path, name: str) -> object:
    """What the file, .py or .ipynb, defines under this name; None if it does not.

    Of a notebook, the cells tagged ``exercise`` and the last cell that defines the name are run,
    with the imports, functions, classes and constants that they use of other cells.

    Raises `UngradableError` if the file cannot be run. Modules next to the file can be imported.
    """
    module = types.ModuleType(_MODULE)
    module.__file__ = str(file)
    # Dataclasses and pydantic look their module up. By value: the arm's process cannot import it.
    sys.modules[_MODULE] = module
    cloudpickle.register_pickle_by_value(module)
    if (folder := str(file.resolve().parent)) not in sys.path:
        sys.path.insert(0, folder)
    try:
        code = _cells(file, name) if file.suffix == ".ipynb" else [_script(file)]
        for filename, tree in code:
            exec(compile(tree, filename, "exec"), module.__dict__)  # noqa: S102 - the learner's own
    except UngradableError:
        raise
    except BaseException as error:  # SystemExit and KeyboardInterrupt too
        raise UngradableError(_why(file, error)) from error
    return getattr(module, name, None)


def _script(file: Path) -> _Code:
    return str(file), ast.parse(file.read_bytes(), str(file))


def _why(file: Path, error: BaseException) -> str:
    if isinstance(error, SyntaxError) and error.lineno:
        return f"{file} does not run: {type(error).__name__} in line {error.lineno}: {error.msg}"
    line, traceback = 0, error.__traceback__
    while traceback is not None:
        if traceback.tb_frame.f_globals.get("__name__") == _MODULE:
            line = traceback.tb_lineno
        traceback = traceback.tb_next
    where = f" in line {line}" if line else ""
    text = f"{file} does not run: {type(error).__name__}{where}: {_message(error)}"
    return text.rstrip(": ")


def _message(error: BaseException) -> str:
    try:
        return " ".join(str(error).split())
    except Exception:  # noqa: BLE001 - anybody's __str__
        return ""


@dataclass(frozen=True, slots=True)
class _Statement:
    """A statement at the top level of a notebook's cell."""

    filename: str
    node: ast.stmt
    is_chosen: bool
    """It is in one of the cells that are to be run."""

    @property
    def binds(self) -> set[str]:
        match self.node:
            case ast.Import(names) | ast.ImportFrom(names=names):
                return {alias.asname or alias.name.partition(".")[0] for alias in names}
            case ast.FunctionDef(name) | ast.AsyncFunctionDef(name) | ast.ClassDef(name):
                return {name}
        stored = (each for each in ast.walk(self.node) if isinstance(each, ast.Name))
        return {each.id for each in stored if isinstance(each.ctx, ast.Store)}

    @property
    def uses(self) -> set[str]:
        return {
            each.id
            for each in ast.walk(self.node)
            if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Load)
        }

    @property
    def is_interactive(self) -> bool:
        """A magic, or something that is awaited: it shows, it does not define."""
        if isinstance(self.node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            return False
        return any(isinstance(each, ast.Await) for each in ast.walk(self.node)) or (
            "get_ipython" in self.uses
        )

    @property
    def is_definition(self) -> bool:
        """It can be run apart from its cell."""
        if isinstance(self.node, ast.Assign | ast.AnnAssign):
            return isinstance(self.node.value, ast.Constant | ast.Tuple | ast.List | ast.Dict)
        return isinstance(self.node, _DEFINITIONS)


def _cells(file: Path, name: str) -> list[_Code]:
    statements = [each for each in _statements(file, name) if not each.is_interactive]
    if not any(each.is_chosen for each in statements):
        raise UngradableError(f"{file} has no cell that defines `{name}`: that is what is graded.")
    run = [each for each in statements if each.is_chosen]
    while wanted := _missing(run, statements):
        run += wanted
    return [
        (each.filename, ast.Module([each.node], type_ignores=[]))
        for each in statements
        if each in run
    ]


def _missing(run: list[_Statement], statements: list[_Statement]) -> list[_Statement]:
    """The definitions of names that are used and not bound yet; the last one of each name."""
    bound = set(dir(builtins)).union(*(each.binds for each in run))
    wanted = set().union(*(each.uses for each in run)) - bound
    found: dict[str, _Statement] = {}
    for each in statements:
        if each.is_definition:
            found |= dict.fromkeys(each.binds & wanted, each)
    return list(dict.fromkeys(found.values()))


def _statements(file: Path, name: str) -> Iterator[_Statement]:
    """The top-level statements of the notebook's cells. Raises `UngradableError`."""
    cells = list(_parsed(file, name))
    defining = [index for index, (_, _, body) in enumerate(cells) if _defines(body, name)]
    for index, (filename, is_tagged, body) in enumerate(cells):
        is_chosen = bool(defining) and (is_tagged or index == defining[-1])
        yield from (_Statement(filename, node, is_chosen) for node in body)


def _parsed(file: Path, name: str) -> Iterator[tuple[str, bool, list[ast.stmt]]]:
    """Each code cell: its file name, whether it is tagged, its statements."""
    import nbformat  # here: an arm's process imports this module, and need not wait for it

    try:
        notebook = nbformat.read(file, as_version=4)
        cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    except Exception as error:
        raise UngradableError(f"{file} is not a notebook: {_message(error)[:80]}") from error
    for number, cell in enumerate(cells, 1):
        filename = f"{file}, code cell {number}"
        is_tagged = "exercise" in cell.metadata.get("tags", [])
        lines = [line if line.endswith("\n") else f"{line}\n" for line in _python(cell.source)]
        linecache.cache[filename] = (sum(map(len, lines)), None, lines, filename)
        try:
            yield filename, is_tagged, ast.parse("".join(lines), filename).body
        except SyntaxError as error:
            if is_tagged or name in cell.source:
                raise UngradableError(_why(Path(filename), error)) from error


def _python(source: str) -> list[str]:
    """A cell's lines, with magics as Python. Of a cell with a cell magic, what is below it."""
    from IPython.core.inputtransformer2 import TransformerManager

    first, newline, rest = source.partition("\n")
    if first.startswith("%%"):
        source = newline + rest
    lines = TransformerManager().transform_cell(source).splitlines(keepends=True)
    # The transformer drops leading blank lines; JupyterLab numbers them.
    blank = len(source) - len(source.lstrip("\n"))
    return ["\n"] * blank + lines


def _defines(body: list[ast.stmt], name: str) -> bool:
    return any(name in _Statement("", node, False).binds for node in body)
