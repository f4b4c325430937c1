"""Loads a learner's solution from a Python file or a notebook."""

from __future__ import annotations

import ast
import builtins
import contextlib
import dis
import linecache
import sys
import types
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import cloudpickle

from helpers.lab.arm.pickling import send_as

# Not a name that a file of the learner's can have: those are imported too.
_MODULE = "learner's solution"
# A file name for tracebacks, and the code.
_Code: TypeAlias = tuple[str, ast.Module]
# A cell: its file name, whether it is tagged, its statements.
_Cell: TypeAlias = tuple[str, bool, list[ast.stmt]]
_ASYNCHRONOUS = (ast.Await, ast.AsyncFor, ast.AsyncWith)
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
    if (folder := str(file.resolve().parent)) not in sys.path:
        sys.path.insert(0, folder)
    try:
        code = _cells(file, name) if file.suffix == ".ipynb" else [_script(file)]
        solution = _run(code, name, str(file))
    except UngradableError:
        raise
    except BaseException as error:  # SystemExit and KeyboardInterrupt too
        raise UngradableError(_why(file, error)) from error
    send_as(solution, load, file, name)
    return solution


def make_sendable(solution: object, name: str) -> None:
    """Let arms run a solution of this kernel even if it holds what cannot be sent: a client, say.

    Then the cells that define it run once more, in the arm's process.
    """
    try:
        cloudpickle.dumps(solution)
    except Exception:  # noqa: BLE001 - pickling runs anybody's code
        if code := _needed(list(_statements(_history(), name))):
            send_as(solution, _run, code, name)


def _run(code: list[_Code], name: str, file: str | None = None) -> object:
    """What the code defines under this name; None if it does not."""
    module = types.ModuleType(_MODULE)
    module.__file__ = file
    # Dataclasses and pydantic look their module up. By value: the lab's process has another one.
    sys.modules[_MODULE] = module
    cloudpickle.register_pickle_by_value(module)
    for filename, tree in code:
        exec(compile(tree, filename, "exec"), module.__dict__)  # noqa: S102 - the learner's own
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
        """Global names that it reads, now or when it is called."""
        if self.is_interactive:
            return set()
        tree = ast.Module([self.node], type_ignores=[])
        return set(_globals(compile(tree, self.filename, "exec")))

    @property
    def is_interactive(self) -> bool:
        """A magic, or something asynchronous: it shows, it does not define."""
        if isinstance(self.node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            return False
        inside = list(ast.walk(self.node))
        return any(isinstance(each, _ASYNCHRONOUS) for each in inside) or any(
            isinstance(each, ast.Name) and each.id == "get_ipython" for each in inside
        )

    @property
    def is_definition(self) -> bool:
        """It can be run apart from its cell."""
        return isinstance(self.node, _DEFINITIONS) and not self.is_interactive


def _globals(code: types.CodeType) -> Iterator[str]:
    for one in dis.get_instructions(code):
        if one.opname in ("LOAD_NAME", "LOAD_GLOBAL"):
            yield one.argval
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _globals(constant)


def _cells(file: Path, name: str) -> list[_Code]:
    code = _needed(list(_statements(_parsed(file, name), name)))
    if not code:
        raise UngradableError(f"{file} has no cell that defines `{name}`: that is what is graded.")
    return code


def _needed(statements: list[_Statement]) -> list[_Code]:
    """The chosen statements, and the definitions that they use of others."""
    statements = [each for each in statements if not each.is_interactive]
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


def _statements(parsed: Iterator[_Cell], name: str) -> Iterator[_Statement]:
    """The top-level statements of the cells; those of the last that binds the name are chosen."""
    cells = list(parsed)
    defining = [index for index, (_, _, body) in enumerate(cells) if _defines(body, name)]
    for index, (filename, is_tagged, body) in enumerate(cells):
        is_chosen = bool(defining) and (is_tagged or index == defining[-1])
        yield from (_Statement(filename, node, is_chosen) for node in body)


def _history() -> Iterator[_Cell]:
    """The cells that this kernel has run; none outside of a kernel."""
    from IPython.core.getipython import get_ipython

    shell: Any = get_ipython()
    history = shell.history_manager if shell else None
    pairs = zip(history.input_hist_raw, history.input_hist_parsed, strict=False) if history else ()
    for number, (raw, code) in enumerate(pairs):
        with contextlib.suppress(SyntaxError):  # it did not run
            filename = _filename(shell.compile, raw, code, number)
            yield filename, False, ast.parse(code, filename).body


def _filename(compiler: Any, raw: str, code: str, number: int) -> str:
    """The name under which the kernel compiled a cell: a line that blocks is located by it."""
    # The history drops the newlines at a cell's end, which count for the name.
    names: list[str] = [
        compiler.get_code_name(raw + "\n" * more, code, number) for more in range(4)
    ]
    return next((name for name in names if name in linecache.cache), names[0])


def _parsed(file: Path, name: str) -> Iterator[_Cell]:
    """The notebook's code cells. Raises `UngradableError`."""
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
