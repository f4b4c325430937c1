"""The static site and the slides are whole, and load nothing from elsewhere."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from bs4 import BeautifulSoup, Tag

from docs import site as pages
from docs import slides
from helpers.audit.checks.table import CHECKS, IDS
from helpers.audit.scenarios import SCENARIOS
from helpers.lessons.catalogue import LESSONS, lesson, notebooks_folder

READY = [each for each in LESSONS if each.name and each.notebook.is_file()]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, BeautifulSoup]:
    """Every page of the site and of the decks, by its path."""
    folder = tmp_path_factory.mktemp("site")
    # Warnings are errors: links that lead nowhere, images without a file, broken Markdown.
    assert pages.build(folder / "site") == 0
    slides.write(folder / "slides")
    return {str(file): _parsed(file) for file in sorted(folder.glob("*/*.html"))}


def _parsed(file: Path) -> BeautifulSoup:
    return BeautifulSoup(file.read_text("utf-8"), "html.parser")


def _page(built: dict[str, BeautifulSoup], name: str) -> BeautifulSoup:
    return next(page for file, page in built.items() if file.endswith(f"site/{name}.html"))


def _elsewhere(page: BeautifulSoup) -> list[str]:
    """What a browser would load from another place when it shows the page."""
    found = [
        str(element[attribute])
        for name, attribute in (
            *(("script", "src"), ("link", "href"), ("img", "src"), ("iframe", "src")),
            *(("source", "src"), ("video", "src"), ("object", "data"), ("use", "href")),
        )
        for element in page.find_all(name)
        if element.get(attribute)
    ]
    styles = " ".join(str(style.string) for style in page.find_all("style"))
    found += re.findall(r"url\(['\"]?([^'\")]+)", styles)
    found += re.findall(r"(?:import|require)\(['\"]([^'\"]+)", str(page.find_all("script")))
    return [each for each in found if re.match(r"(https?:)?//", each)]


@pytest.mark.slow
def test_no_page_loads_anything_from_elsewhere(built: dict[str, BeautifulSoup]) -> None:
    assert {file: _elsewhere(page) for file, page in built.items() if _elsewhere(page)} == {}
    for style in Path(next(iter(built))).parents[1].glob("**/*.css"):
        assert not re.search(r"(url\(|@import )['\"]?(https?:)?//", style.read_text("utf-8")), style


def test_what_comes_from_elsewhere_is_seen() -> None:
    for tag in (
        '<script src="https://cdn.example/x.js">',
        '<link href="//fonts.example/x.css">',
        '<img src="http://badge.example/x.svg">',
        "<style>a { background: url(https://x.example/y.png) }</style>",
        "<script>import('https://cdn.example/x.js')</script>",
    ):
        assert len(_elsewhere(BeautifulSoup(tag, "html.parser"))) == 1, tag


@pytest.mark.slow
def test_every_link_and_anchor_leads_somewhere(built: dict[str, BeautifulSoup]) -> None:
    ids = {
        file: {str(each["id"]) for each in page.find_all(id=True)} for file, page in built.items()
    }
    lost = []
    for file, page in built.items():
        for link in page.find_all("a", href=True):
            target = urlsplit(str(link["href"]))
            # In a deck, "#/…" is a slide.
            if target.scheme or target.netloc or target.fragment.startswith("/"):
                continue
            path = (
                (Path(file).parent / unquote(target.path)).resolve() if target.path else Path(file)
            )
            known = ids.get(str(path))
            anchor = unquote(target.fragment)
            if not path.is_file() or (anchor and (known is None or anchor not in known)):
                lost.append((Path(file).name, link["href"]))
    assert lost == []


@pytest.mark.slow
def test_every_notebook_and_reference_page_is_there_and_listed(
    built: dict[str, BeautifulSoup],
) -> None:
    notebooks = [file.stem for file in notebooks_folder().glob("[0-9]*.ipynb")]
    listed = {str(link["href"]) for link in _page(built, "index").select(".bd-sidebar-primary a")}
    for name in [*notebooks, "TEACHING", "checks", "api"]:
        assert f"{name}.html" in listed
        assert _page(built, name).h1


@pytest.mark.slow
def test_the_front_page_shows_each_lessons_figure(built: dict[str, BeautifulSoup]) -> None:
    front = _page(built, "index")
    for each in READY:
        picture = front.find("img", src=f"_images/{each.stem}.png")
        assert isinstance(picture, Tag)
        assert len(str(picture["alt"])) > 40
        card = picture.find_parent(class_="sd-card")
        assert isinstance(card, Tag)
        assert card.find("a", href=f"{each.stem}.html")


@pytest.mark.slow
def test_sections_are_folded_as_in_jupyterlab(built: dict[str, BeautifulSoup]) -> None:
    for each in READY:
        folded = each.source.read_text("utf-8").count("jp-MarkdownHeadingCollapsed=true")
        found = _page(built, each.stem).select("details.fold")
        assert len(found) == folded, each.stem
        assert not [fold for fold in found if fold.has_attr("open")]
        assert all(fold.select("summary h3") for fold in found)


@pytest.mark.slow
def test_widgets_have_a_stand_in(built: dict[str, BeautifulSoup]) -> None:
    page = _page(built, "01_event_loop")
    said = [" ".join(each.get_text(" ").split()) for each in page.select(".stand-in")]
    assert said[0] == (
        "After how many seconds will the last answer arrive? "
        "In the notebook, you commit to a number here."
    )
    assert not page.find_all("script", type="application/vnd.jupyter.widget-view+json")


def test_the_checks_page_has_every_check_and_scenario() -> None:
    page = pages.checks_page(CHECKS)
    assert re.findall(r"^\| `(LAP[\w.]+)` \| [^|]{20,} \|", page, re.M) == list(IDS)
    for name in SCENARIOS:
        assert f"(scenario-{name})=" in page


@pytest.mark.parametrize(
    ("title", "anchor"),
    [
        ("The right way", "the-right-way"),
        ("When-is-the-wrong-way-fine?", "when-is-the-wrong-way-fine"),
        ("Coming from asyncio, coming from Rust", "coming-from-asyncio-coming-from-rust"),
    ],
)
def test_anchors_are_githubs(title: str, anchor: str) -> None:
    assert pages.slug(title) == anchor


@pytest.fixture(scope="module")
def deck() -> BeautifulSoup:
    return BeautifulSoup(slides.deck(lesson("01")), "html.parser")


def test_a_deck_has_the_core_without_the_exercise(deck: BeautifulSoup) -> None:
    titles = [heading.get_text() for heading in deck.select("section h1, section h2")]
    assert list(dict.fromkeys(title.removesuffix("¶") for title in titles)) == [
        "01 · Keep the event loop free",
        *("The incident", "The wrong way", "Predict, then run", "The right way"),
        *("Side by side", "Verdict", "Your turn"),
    ]
    assert "httpx.post" in deck.get_text()
    assert "moderate" not in deck.get_text()
    assert "Going deeper" not in deck.select("section")[-1].get_text()


def test_a_decks_pictures_have_words(deck: BeautifulSoup) -> None:
    pictures = deck.find_all("img")
    assert len(pictures) == 2
    assert all(len(str(picture.get("alt", ""))) > 40 for picture in pictures)


def test_the_speaker_notes_have_what_the_teacher_says(deck: BeautifulSoup) -> None:
    notes = " ".join(note.get_text(" ") for note in deck.select("aside.notes"))
    assert "“" not in notes
    for said in (
        'The misconception: "It is in an async def , so it is asynchronous."',
        "Half a day: the core, and 10 minutes to vote and discuss.",
        "Vote on the time of the last answer.",
        "Say afterwards: async only allows a function to wait without blocking.",
    ):
        assert said in " ".join(notes.replace(" :", ":").split()), notes


def test_a_deck_loads_only_what_lies_next_to_it(deck: BeautifulSoup) -> None:
    assert _elsewhere(deck) == []
    assert [script["src"] for script in deck.find_all("script", src=True)] == [
        "reveal/dist/reveal.js",
        "reveal/notes/notes.js",
    ]
