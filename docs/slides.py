"""Makes a deck of slides from each lesson's committed notebook: ``make slides``. Nothing is run.

A deck has the lesson's core without the exercise: headings, code, figures, tables and verdicts.
Long paragraphs are cut to their first sentences; the speaker notes (key S) have all of them, and
what TEACHING.md says about the lesson.
"""

from __future__ import annotations

import html
import re
import shutil
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
import sphinx_revealjs
from nbconvert import SlidesExporter
from traitlets.config import Config

from docs.site import stand_in_question
from helpers.lessons.catalogue import LESSONS, Lesson, notebooks_folder
from helpers.lessons.notebook import Notebook, read

DOCS = Path(__file__).parent
SLIDES = DOCS.parent / "slides"

WIDTH, HEIGHT = 1280, 720
# In pixels, as in deck/index.html.j2, with room for fonts that are wider than ours.
_ROOM = 520
_LINE, _CODE_LINE, _GAP = 37, 27, 20
_CHARACTERS = 84
_MOST_WORDS = 40

_INCIDENT = "## The incident"
_FIRST = "## The wrong way"
_END = "## Your turn"
_PICTURE = re.compile(r"<(img|figure|table)\b")
_SENTENCE = re.compile(r"(?<=[.?!:])\s+(?=[A-Z`*(])")
_TO_NOTEBOOK = re.compile(r"\[([^\]]*)\]\((\d\w+)\.ipynb[^)]*\)")
_SAID = re.compile(r"^\| (\d\d) \| (.+?) \| (.+?) \| (.+?) \|$", re.M)


@dataclass
class Slide:
    """One screen: a heading, cells, and what the speaker says."""

    heading: str
    cells: list[Any] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    used: int = 0
    """Pixels."""


def main() -> None:
    """Write every deck, reveal.js, and a page that lists the decks."""
    write(SLIDES)
    print(f"Open {SLIDES.name}/index.html in a browser.")


def write(folder: Path) -> None:
    """Write the decks into a folder, which is replaced."""
    shutil.rmtree(folder, ignore_errors=True)
    _copy_reveal(folder / "reveal")
    shutil.copy(DOCS / "deck" / "deck.css", folder)
    lessons = [each for each in LESSONS if each.name and each.notebook.is_file()]
    for lesson in lessons:
        (folder / f"{lesson.stem}.html").write_text(deck(lesson), "utf-8")
    (folder / "index.html").write_text(_index(lessons), "utf-8")


def deck(lesson: Lesson) -> str:
    """A lesson's slides as a page, which needs the folder ``reveal`` next to it."""
    notebook = nbformat.v4.new_notebook(metadata={"language_info": {"name": "python"}})
    notebook.metadata.title = f"{lesson.number} · {lesson.title}"
    notebook.cells = [cell for slide in slides(lesson, read(lesson)) for cell in _cells(slide)]
    exporter = SlidesExporter(
        extra_template_basedirs=[str(DOCS)],
        template_name="deck",
        exclude_input_prompt=True,
        exclude_output_prompt=True,
        exclude_anchor_links=True,
        config=Config({"CSSHTMLHeaderPreprocessor": {"style": "a11y-high-contrast-light"}}),
    )
    page, _ = exporter.from_notebook_node(notebook)
    return str(page)


def slides(lesson: Lesson, notebook: Notebook) -> list[Slide]:
    """The slides of a lesson, in order."""
    made = _Deck()
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            text = _links_to_decks(cell.source)
            if _END in text:
                made.text(text.partition(_END)[0])
                break
            made.text(text)
        elif made.has_begun:
            made.code(cell)
    made.start(_END)
    made.add(_markdown(f"The exercise is in your notebook, `{lesson.notebook.name}`."), 0)
    _say(lesson, made.slides)
    return [slide for slide in made.slides if slide.cells]


class _Deck:
    """Collects slides; begins another when one is full."""

    def __init__(self) -> None:
        self.slides: list[Slide] = []
        self.has_begun = False
        """Whether the set-up is over, which no slide shows."""

    def start(self, heading: str) -> None:
        self.slides.append(Slide(heading))
        self.has_begun = self.has_begun or heading == _FIRST

    def add(self, cell: Any, height: int, note: str = "") -> None:
        slide = self.slides[-1]
        if slide.cells and slide.used + height > _ROOM:
            self.start(slide.heading)
            slide = self.slides[-1]
        slide.cells.append(cell)
        slide.used += height + _GAP
        if note:
            slide.notes.append(note)

    def text(self, text: str) -> None:
        for block in _blocks(text):
            if block.startswith("#"):
                self.start(block)
                continue
            is_story = self.slides[-1].heading == _INCIDENT
            shown = block if is_story else _shortened(block)
            self.add(_markdown(shown), _height(shown), block if shown != block else "")

    def code(self, cell: Any) -> None:
        """The code of a cell that defines something; of the others, what they show."""
        shown = [output for output in cell.outputs if _is_shown(output)]
        if not shown:
            lines = cell.source.count("\n") + 1
            size = "" if lines <= 17 else "small"
            made = nbformat.v4.new_code_cell(cell.source, metadata={"tags": [size] if size else []})
            self.add(made, min(lines * _CODE_LINE, _ROOM))
        for output in shown:
            for made, height in _output(output):
                if height == _ROOM:
                    self._leave_to_the_notes()
                self.add(made, height)

    def _leave_to_the_notes(self) -> None:
        """Free a slide for a figure: a line or two of introduction can be said."""
        slide = self.slides[-1]
        if slide.used <= 3 * _LINE and all(cell.cell_type == "markdown" for cell in slide.cells):
            slide.notes += [cell.source for cell in slide.cells if "<" not in cell.source]
            slide.cells, slide.used = [], 0


def _blocks(text: str) -> Iterator[str]:
    """Headings, paragraphs, lists, tables and fenced code of a Markdown cell."""
    fenced = re.split(r"(^```.*?^```$)", text, flags=re.M | re.S)
    for index, part in enumerate(fenced):
        # What ends in a colon stays with what it introduces.
        blocks = [part] if index % 2 else re.split(r"(?<!:)\n\s*\n", part)
        yield from (block.strip() for block in blocks if block.strip())


def _shortened(block: str) -> str:
    """The first sentences of a long paragraph."""
    if (
        "\n\n" in block
        or block[0] in "-|`<>"
        or block[0].isdigit()
        or len(block.split()) <= _MOST_WORDS
    ):
        return block
    kept, *others = _SENTENCE.split(block)
    for sentence in others:
        if len(f"{kept} {sentence}".split()) > _MOST_WORDS:
            break
        kept = f"{kept} {sentence}"
    return kept


def _height(block: str) -> int:
    if block.startswith("|"):
        return _LINE * block.count("\n")
    lines = (max(1, -(-len(line) // _CHARACTERS)) for line in block.splitlines())
    # Lines of a paragraph flow together; those of a list do not.
    flows = block[0] not in "-`" and not block[0].isdigit()
    return _LINE * (-(-len(block) // _CHARACTERS) if flows else sum(lines))


def _is_shown(output: Any) -> bool:
    if output.output_type == "stream":
        return True
    data = output.get("data", {})
    return bool(stand_in_question(data) or _PICTURE.search(data.get("text/html", "")))


def _output(output: Any) -> Iterator[tuple[Any, int]]:
    """An output as cells, and their heights. A long text has several."""
    if output.output_type == "stream":
        yield from _said(output.text.rstrip().splitlines())
        return
    if question := stand_in_question(output.data):
        yield _markdown(f'<p class="vote">{html.escape(question)}</p>'), 2 * _LINE
        return
    page = output.data["text/html"]
    rows = page.count("<tr")
    kind = "wide" if rows > 9 or len(output.data["text/plain"]) > 1000 else ""
    # A blank line would end the HTML in Markdown.
    page = re.sub(r"\n\s*\n", "\n", page)
    shown = _markdown(f'<div class="shown {kind}">{page}</div>')
    yield shown, _ROOM if "<table" not in page else min(rows * 42, _ROOM - 1)


def _said(lines: Sequence[str]) -> Iterator[tuple[Any, int]]:
    rows = [max(1, -(-len(line) // 105)) for line in lines]
    size = "small" if sum(rows) > 16 else ""
    most = 24 if size else 16
    start = 0
    for end in range(1, len(lines) + 1):
        if end == len(lines) or sum(rows[start : end + 1]) > most:
            text = html.escape("\n".join(lines[start:end])).replace("\n\n", "\n&#8203;\n")
            height = min(sum(rows[start:end]) * 29, _ROOM - 1)
            yield _markdown(f'<pre class="said {size}">{text}</pre>'), height
            start = end


def _say(lesson: Lesson, made: Sequence[Slide]) -> None:
    """Add what TEACHING.md and schedule.toml say about the lesson to the slides' notes."""
    teaching = (notebooks_folder() / "TEACHING.md").read_text("utf-8")
    said = {number: rest for number, *rest in _SAID.findall(teaching)}
    misconception, vote, afterwards = said.get(lesson.number, ("", "", ""))
    if misconception:
        made[0].notes.append(f"**The misconception:** {misconception}")
    made[0].notes += _minutes(lesson)
    for slide in made:
        if vote and slide.heading == "## Predict, then run":
            slide.notes.append(f"**Vote on** {vote}. Discuss in pairs for two minutes, then run.")
            vote = ""
        if afterwards and slide.heading == "## Side by side":
            slide.notes.append(f"**Say afterwards:** {afterwards}")
            afterwards = ""


def _minutes(lesson: Lesson) -> Iterator[str]:
    data = tomllib.loads((notebooks_folder() / "schedule.toml").read_text("utf-8"))
    for plan in data["plans"]:
        for part in plan["parts"]:
            if part.get("lesson") == lesson.number:
                title = plan["title"]
                yield f"**{title}:** the core, and {part['talk']} minutes to vote and discuss."


def _cells(slide: Slide) -> Iterator[Any]:
    level = "slide" if slide.heading.startswith("# ") else "subslide"
    title = _markdown(slide.heading)
    title.metadata.slideshow = {"slide_type": "slide"}
    title.metadata.tags = ["title", level]
    yield title
    yield from slide.cells
    if slide.notes:
        notes = _markdown("\n\n".join(slide.notes))
        notes.metadata.slideshow = {"slide_type": "notes"}
        yield notes


def _markdown(text: str) -> Any:
    return nbformat.v4.new_markdown_cell(text)


def _links_to_decks(text: str) -> str:
    decks = {lesson.stem for lesson in LESSONS if lesson.name}

    def link(match: re.Match[str]) -> str:
        return f"[{match[1]}]({match[2]}.html)" if match[2] in decks else match[1]

    return _TO_NOTEBOOK.sub(link, text)


def _copy_reveal(folder: Path) -> None:
    found = Path(sphinx_revealjs.__file__).parent / "_static" / "revealjs"
    for part in ("dist/reset.css", "dist/reveal.css", "dist/reveal.js", "LICENSE"):
        (folder / part).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(found / part, folder / part)
    shutil.copytree(found / "plugin" / "notes", folder / "notes")


def _index(lessons: Iterable[Lesson]) -> str:
    items = (
        f'<li><a href="{each.stem}.html">{each.number} · {html.escape(each.title)}</a></li>'
        for each in lessons
    )
    page = (DOCS / "deck" / "list.html").read_text("utf-8")
    return page.replace("<!-- decks -->", "\n".join(items))


if __name__ == "__main__":
    main()
