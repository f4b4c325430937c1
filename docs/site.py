"""Builds the course's static site from the committed notebooks: ``make site``.

Sphinx reads copies of the pages, changed where a page on the web differs from one in JupyterLab.
Nothing is run.
"""

from __future__ import annotations

import copy
import html
import re
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import nbformat
from sphinx.cmd.build import build_main

from helpers.audit.checks.table import CHECKS, Check
from helpers.audit.reports.wording import lesson_title
from helpers.audit.scenarios import SCENARIOS
from helpers.lessons.catalogue import LESSONS, notebooks_folder
from helpers.lessons.notebook import Notebook, tagged

DOCS = Path(__file__).parent
SITE = DOCS.parent / "site"

# before what to type where there are no widgets
_WITHOUT = " Without widgets"
_WIDGET = "application/vnd.jupyter.widget-view+json"
_LINK = re.compile(r"(?<=\]\()(\w+\.ipynb)#([^)\s]+)")
_RAW_LINK = re.compile(r'(?<=href=")(\w+)\.ipynb(?:#([^"]*))?(?=")')
_CODE = re.compile(r"```.*?```|`[^`\n]*`", re.S)


def build(site: Path = SITE) -> int:
    """Write the site into a folder, which is replaced. Return Sphinx's exit status."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "source"
        stage(source)
        # not into the site at once: MyST-NB writes a second folder next to it
        built = Path(folder) / "site"
        doctrees = str(Path(folder) / "doctrees")
        options = ["-q", "-W", "--keep-going", "-n", "-c", str(DOCS), "-d", doctrees]
        status = build_main([*options, "-b", "html", str(source), str(built)])
        shutil.rmtree(site, ignore_errors=True)
        shutil.copytree(built, site)
        return status


def stage(source: Path) -> None:
    """Put every page into a folder, as Sphinx is to read it."""
    notebooks = sorted(notebooks_folder().glob("[0-9]*_*.ipynb"))
    notebooks = [each for each in notebooks if "-kept-" not in each.name]
    shutil.copytree(notebooks_folder() / "images", source / "images")
    read = {each.stem: nbformat.read(each, as_version=4) for each in notebooks}
    for stem, notebook in read.items():
        nbformat.write(for_the_web(notebook), source / f"{stem}.ipynb")
    shutil.copy(notebooks_folder() / "TEACHING.md", source)
    shutil.copy(DOCS / "api.md", source)
    (source / "checks.md").write_text(checks_page(CHECKS), "utf-8")
    (source / "index.md").write_text(front_page(read), "utf-8")


def front_page(notebooks: dict[str, Notebook]) -> str:
    """The figure of each lesson, and the table of contents."""
    pages = (DOCS / "front.md").read_text("utf-8")
    cards = (card for stem, notebook in notebooks.items() for card in _card(stem, notebook))
    contents = "\n".join([*notebooks, "TEACHING", "checks", "api"])
    return pages.replace("<!-- lessons -->", "\n".join(cards)).replace(
        "<!-- contents -->", contents
    )


def _card(stem: str, notebook: Notebook) -> Iterator[str]:
    """A lesson's card; nothing for a page that is no lesson or has no figure."""
    found = next((each for each in LESSONS if each.name and each.stem == stem), None)
    alt = _alt(notebook)
    if found is None or not alt:
        return
    yield f"::::{{grid-item-card}} {found.number} · {found.title}"
    yield f":link: {stem}"
    yield ":link-type: doc"
    yield f":link-alt: {found.number} · {found.title}"
    yield f":img-bottom: images/{stem}.png"
    yield f":img-alt: {alt}"
    yield f"\nThe mistake: {found.mistake}.\n::::\n"


def _alt(notebook: Notebook) -> str:
    """The closing figure in words."""
    figures = (
        str(output.data["text/plain"])
        for cell in tagged(notebook, "figure")
        for output in cell.outputs
        if "image/png" in output.get("data", {})
    )
    return " ".join(next(figures, "").split())


def checks_page(checks: Iterable[Check]) -> str:
    """What `llm-antipatterns audit` checks, from its table."""
    lines = [(DOCS / "checks.md").read_text("utf-8")]
    lesson = ""
    for check in checks:
        if check.lesson != lesson:
            lesson = check.lesson
            lines += [f"\n## {lesson_title(lesson)}\n", *_lesson_link(lesson)]
            lines += ["| id | what it measures | scenario |", "|---|---|---|"]
        scenario = f"[{check.scenario}](#scenario-{check.scenario})"
        lines.append(f"| `{check.id}` | {check.measures} | {scenario} |")
    lines += ["\n## Scenarios\n\nWhat the mock provider plays while the application runs.\n"]
    for played in SCENARIOS.values():
        lines.append(f"(scenario-{played.name})=\n\n**{played.name}.** {played.description}\n")
    return "\n".join(lines)


def _lesson_link(number: str) -> Iterator[str]:
    for lesson in LESSONS:
        if lesson.number == number and lesson.name:
            yield f"The lesson: [{lesson.title}]({lesson.stem}.ipynb).\n"


def for_the_web(notebook: Notebook) -> Notebook:
    """The notebook with what a page without a kernel shows."""
    notebook = copy.deepcopy(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = _markdown(cell)
        else:
            cell.outputs = [_static(output) for output in cell.outputs if not _is_empty(output)]
    return notebook


def _markdown(cell: Any) -> str:
    text = _LINK.sub(lambda m: f"{m[1]}#{slug(unquote(m[2]))}", cell.source)
    text = _raw_links(text)
    # read by conf.py
    return f"{{.folded}}\n{text}" if "jp-MarkdownHeadingCollapsed" in cell.metadata else text


def _raw_links(text: str) -> str:
    """HTML's links to notebooks, which Sphinx does not see, as links to pages."""

    def page(match: re.Match[str]) -> str:
        anchor = f"#{slug(unquote(match[2]))}" if match[2] else ""
        return f"{match[1]}.html{anchor}"

    return _RAW_LINK.sub(page, text)


def slug(title: str) -> str:
    """A heading's anchor, as on GitHub; JupyterLab's keep capitals and punctuation."""
    return re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-")


def _is_empty(output: Any) -> bool:
    """The live view leaves an output without a text, in place of its frames."""
    return "data" in output and not any(output.data.values())


def _static(output: Any) -> Any:
    data = output.get("data", {})
    if _WIDGET in data:
        output.data = nbformat.from_dict({"text/html": _stand_in(data)})
    elif "text/html" in data:
        output.data = nbformat.from_dict({"text/html": _raw_links(data["text/html"])})
    return output


def _stand_in(data: Any) -> str:
    """What is there in place of an input field or a slider."""
    if question := stand_in_question(data):
        hint = "In the notebook, you commit to a number here."
        words = f"<p><strong>{html.escape(question)}</strong></p><p>{hint}</p>"
    else:
        words = f"<p>{html.escape(data['text/plain'].partition(_WITHOUT)[0])}</p>"
    return f'<div class="stand-in">{words}</div>'


def stand_in_question(data: Any) -> str:
    """What a prediction's widget asks; empty for other outputs."""
    said = data.get("text/plain", "").partition(_WITHOUT)[0] if _WIDGET in data else ""
    return said if said.endswith("?") else ""


if __name__ == "__main__":
    sys.exit(build())
