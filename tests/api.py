"""Makes docs/api.md from the docstrings of what `helpers` exports. A script: ``make api``."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import griffe

import helpers
from helpers.mock_llm.settings.options import Options
from helpers.mock_llm.settings.settings import Settings

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "api.md"

_HEAD = """\
# The public API

Everything that `from helpers import …` offers. Other names may change without notice.
This page is made from the docstrings by `make api`; do not edit it.
"""


def page() -> str:
    """The text of docs/api.md."""
    package = griffe.load("helpers", search_paths=[ROOT / "src"])
    names = sorted(dir(helpers), key=lambda name: (name.casefold(), name))
    parts = [_HEAD, " · ".join(_links(names))]
    for name in names:
        parts += _entry(name, package.modules_collection.get_member(_path(name)))
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def _links(names: list[str]) -> Iterator[str]:
    """A link to each heading: GitHub numbers those that differ only in case."""
    seen: Counter[str] = Counter()
    for name in names:
        anchor = name.lower()
        yield f"[`{name}`](#{anchor}-{seen[anchor]})" if seen[anchor] else f"[`{name}`](#{anchor})"
        seen[anchor] += 1


def _path(name: str) -> str:
    """Where an exported name is defined."""
    exported = getattr(helpers, name)
    inner = getattr(exported, "__qualname__", None)
    return f"{exported.__module__}.{inner}" if inner else str(exported.__name__)


def _entry(name: str, exported: griffe.Object) -> Iterator[str]:
    yield f"## {name}"
    if isinstance(exported, griffe.Function | griffe.Class):
        decorators = "".join(f"@{each.value}\n" for each in exported.decorators)
        yield f"```python\n{decorators}{_wrapped(_signature(exported, name))}\n```"
    yield _text(exported)
    yield from _options(name)
    for member in exported.members.values():
        if not member.is_alias and not member.name.startswith("_") and member.has_docstring:
            yield _member(member, f"{name}.{member.name}")


def _options(name: str) -> Iterator[str]:
    """The fields of a settings model, which have descriptions in place of docstrings."""
    made = getattr(helpers, name)
    model = Settings if made is helpers.MockLLM else made
    if isinstance(model, type) and issubclass(model, Options):
        for field, parameter in inspect.signature(model).parameters.items():
            words = model.model_fields[field].description
            yield f"- `{_plain(str(parameter))}`\n\n  {words}"


def _member(member: griffe.Object | griffe.Alias, name: str) -> str:
    shown = name
    if isinstance(member, griffe.Function):
        shown = _signature(member, name)
    elif isinstance(member, griffe.Attribute) and member.annotation:
        shown = f"{name}: {member.annotation}"
    return f"- `{shown}`\n\n{textwrap.indent(_text(member), '  ')}"


def _signature(called: griffe.Function | griffe.Class, name: str) -> str:
    prefix = "async " if "async" in called.labels else ""
    made: Any = helpers
    for part in name.split("."):
        made = getattr(made, part)
    if isinstance(made, type) and issubclass(made, Options):
        return f"{name}(*, …)"  # each is listed with its words
    if any(str(parameter.annotation) == "Any" for parameter in called.parameters):
        return name + _plain(str(inspect.signature(made))).replace("(self, ", "(")
    return prefix + str(called.signature(name=name))


def _plain(signature: str) -> str:
    """Without the modules of types."""
    text = re.sub(r"\b(?:[a-z_]+\.)+(?=[A-Z])", "", signature)
    return re.sub(r"Optional\[((?:[^\[\]]|\[[^\[\]]*\])*)\]", r"\1 | None", text)


def _wrapped(signature: str) -> str:
    """A signature, with a line for each parameter where one line does not hold them."""
    if len(signature) > 90:
        head, _, rest = signature.partition("(")
        parameters, _, tail = rest.rpartition(")")
        lines = re.split(r", (?=[*\w]+(?::|,|$)|/)", parameters)
        signature = f"{head}(\n" + "".join(f"    {line},\n" for line in lines) + f"){tail}"
    return signature


def _text(documented: griffe.Object | griffe.Alias) -> str:
    """A docstring as Markdown."""
    text = documented.docstring.value if documented.docstring else ""
    text = _TABLE.sub(_table, text)
    text = re.sub(r"::$", ":", text, flags=re.MULTILINE)
    return text.replace("``", "`")


_TABLE = re.compile(r"^=+ =+\n(.*?)\n=+ =+$", re.MULTILINE | re.DOTALL)


def _table(match: re.Match[str]) -> str:
    """A simple reStructuredText table of two columns as Markdown."""
    width = match[0].index(" ")
    rows: list[str] = []
    for line in match[1].splitlines():
        left, right = line[:width].strip(), line[width:].strip()
        if left:
            rows.append(f"| {left} | {right}")
        else:
            rows[-1] += f" {right}"
    return "\n".join(["| | |", "|---|---|", *(f"{row} |" for row in rows)])


if __name__ == "__main__":
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page(), "utf-8")
