"""The static guard: what nbval lets pass, found by reading a committed notebook.

nbval's lax mode compares only tagged cells, and passes a tagged cell that was never executed or
has no output, a magic that does not exist, and a ``raises-exception`` cell that no longer raises.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterator
from typing import Any

from helpers.lessons.catalogue import Lesson
from helpers.lessons.notebook import core_and_sections

CHECK = "nbval-check-output"
_RAISES = {"raises-exception", "nbval-raises-exception"}
_PATH = re.compile(r"(?<![\w/:.<])(/(home|Users|tmp|root|var|usr|opt|private|mnt)/|[A-Z]:\\\\)\w")
_CORE = (
    *("The incident", "The wrong way", "Predict, then run", "The right way"),
    *("Side by side", "Verdict", "Your turn"),
)
_DEEPER = {
    *("When is the wrong way fine?", "Catch it", "In your SDK", "In a service"),
    *("Coming from asyncio, coming from Rust", "Recap and further reading"),
}
_CELLS, _SECTIONS, _WORDS, _MEDIAN = 20, 8, 900, 6
# The capstone's exercise is eight repairs.
_MINUTES, _MINUTES_OF_THE_CAPSTONE, _CAPSTONE = 25, 45, "# 09 "
_FOLDED = "jp-MarkdownHeadingCollapsed"
_WORDS_NOT_USED = re.compile(
    r"\b(told|deaf|beside|anew|for ever|whoever|dearer|in another dress|the other horn)\b", re.I
)
_OLD_MODEL = re.compile(
    r"\b(gpt-3\.5|gpt-4o?(-mini|-turbo)?(?![.\w])|o1-(mini|preview)|text-davinci|"
    r"claude-(instant|2|3|(haiku|sonnet|opus)-4(-[0-5])?(?![-.\d])))[\w.-]*"
)
_LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")
_FENCE = re.compile(r"^```.*?^```$", re.M | re.S)
_CASE = re.compile(r"[\w.-]+/[\w.-]+#\d+")
_TIME = re.compile(r"\*\*Time\.\*\* (\d+) minutes for the core, (\d+) with ")
_SILENT_FAILURE = re.compile(r"UsageError:|command not found|ModuleNotFoundError")


def problems(committed: Any, source: Any) -> list[str]:
    """Everything wrong with a committed notebook, one sentence each."""
    found = list(_out_of_step(committed, source))
    code = [cell for cell in committed.cells if cell.cell_type == "code"]
    counts = [cell.execution_count for cell in code]
    if counts != list(range(1, len(code) + 1)):
        found.append(f"was not executed once from top to bottom: {counts}")
    for number, cell in enumerate(code, 1):
        found += [f"code cell {number} {problem}" for problem in _of_cell(cell)]
    return found


def _out_of_step(committed: Any, source: Any) -> Iterator[str]:
    if [_essence(cell) for cell in committed.cells] != [_essence(cell) for cell in source.cells]:
        yield "differs from its source: edit notebooks/source and run `make notebooks`"


def _essence(cell: Any) -> tuple[str, str, list[str]]:
    tags = [*cell.metadata.get("tags", []), *([_FOLDED] if cell.metadata.get(_FOLDED) else [])]
    return cell.cell_type, cell.source, sorted(tags)


def _of_cell(cell: Any) -> Iterator[str]:
    tags = set(cell.metadata.get("tags", []))
    if CHECK in tags and not cell.outputs:
        yield "is tagged for comparison and has no output"
    if tags & _RAISES and CHECK not in tags:
        yield "may raise and is not compared: it would pass if it stopped raising"
    if cell.source.rstrip().endswith(";"):
        yield "ends with a semicolon, which does not silence nbval"
    if len(cell.source.splitlines()) > 25:
        yield "has more than 25 lines"
    for output in cell.outputs:
        yield from _of_output(output, tags)


def _of_output(output: Any, tags: set[str]) -> Iterator[str]:
    if output.output_type == "error" and not tags & _RAISES:
        yield f"failed: {output.ename}"
    if output.get("name") == "stderr":
        yield f"wrote to stderr: {output.text.strip()[:80]}"
    data = output.get("data", {})
    if "image/png" in data and not output.metadata.get("image/png", {}).get("alt", "").strip():
        yield "shows a figure without alternative text"
    if CHECK in tags and any(kind.startswith("application/vnd.jupyter") for kind in data):
        yield "is tagged for comparison and shows a widget"
    text = output.get("text", "") + "".join(v for k, v in data.items() if k.startswith("text/"))
    text = re.sub(r"data:image/png;base64,[\w+/=]*", "", text)
    if path := _PATH.search(text):
        yield f"shows a path of the machine it was built on: {path.group()}…"
    if _SILENT_FAILURE.search(text):
        yield "shows an error that raised no exception"


def _lines(cell: Any) -> int:
    """Without blank ones: the formatter sets two before each function."""
    return sum(bool(line.strip()) for line in cell.source.splitlines())


def limits(notebook: Any, following: Lesson | None) -> list[str]:
    """Where a lesson leaves the form of a lesson; ``following`` is the next lesson."""
    core, sections = core_and_sections(notebook)
    found = list(_of_core(core))
    found += _of_sections(notebook.cells[len(core) :], sections)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    if (median := statistics.median(map(_lines, code))) > _MEDIAN:
        found.append(f"has a median of {median:g} lines in a code cell")
    tags = {tag for cell in notebook.cells for tag in cell.metadata.get("tags", [])}
    missing = {"verdict", "exercise", "figure", "table"} - tags
    found += [f"has no cell tagged {tag}" for tag in sorted(missing)]
    if following and f"]({following.notebook.name})" not in _markdown(notebook.cells):
        found.append("does not link to the next lesson")
    return found


def _of_core(core: list[Any]) -> Iterator[str]:
    text = _markdown(core)
    titles = tuple(re.findall(r"^## (.+)$", text, re.M))
    if titles != _CORE:
        yield f"has a core with other sections: {titles}"
    if len(core) > _CELLS:
        yield f"has a core of {len(core)} cells"
    if (words := count_words(core)) > _WORDS:
        yield f"has a core of {words} words"
    time = _TIME.search(text)
    if time is None:
        yield "does not state its minutes"
    elif not words / 200 < int(time[1]) <= min(_most_minutes(text), int(time[2])):
        yield f"states {time[1]} minutes for the core and {time[2]} for the whole"


def _most_minutes(text: str) -> int:
    return _MINUTES_OF_THE_CAPSTONE if text.startswith(_CAPSTONE) else _MINUTES


def _of_sections(deeper: list[Any], sections: list[list[Any]]) -> Iterator[str]:
    titles = [section[0].source.splitlines()[0].removeprefix("### ") for section in sections]
    if missing := sorted(_DEEPER - set(titles)):
        yield f"has no section {missing}"
    for title in set(titles) - _DEEPER:
        if not title.endswith("?"):
            yield f"has a section whose title is not a question: {title}"
    if len(sections) > _SECTIONS:
        yield f"has {len(sections)} sections in Going deeper"
    if (words := count_words(deeper)) > _WORDS:
        yield f"has {words} words in Going deeper"
    for section, title in zip(sections, titles, strict=True):
        if section[0].metadata.get(_FOLDED) is not True:
            yield f"does not fold {title}"
    if not any("Predict(" in cell.source for cell in deeper):
        yield "asks for no prediction in Going deeper"


def language(notebook: Any) -> list[str]:
    """Words and models that the course does not use, accidental mathematics, unlinked cases."""
    prose = _FENCE.sub("", _markdown(notebook.cells))
    everything = "\n".join(cell.source for cell in notebook.cells)
    found = [f"uses the word {word!r}" for word in _WORDS_NOT_USED.findall(prose)]
    found += [f"names an old model: {old[0]}" for old in _OLD_MODEL.finditer(everything)]
    if re.search(r"(?<!\\)\$", re.sub(r"`[^`\n]*`", "", prose)):
        found.append("has a $ that JupyterLab takes for mathematics")
    cases = _CASE.findall(_LINK.sub("", prose))
    return found + [f"does not link {case}" for case in cases]


def count_words(cells: list[Any]) -> int:
    """Words to read: those of the Markdown cells without link targets and fenced code."""
    return len(re.findall(r"\w+", _LINK.sub(r"\1", _FENCE.sub("", _markdown(cells)))))


def _markdown(cells: list[Any]) -> str:
    return "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
