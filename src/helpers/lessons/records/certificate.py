"""A page that the learner can keep: what was solved, and when. Local; nothing is sent anywhere."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from html import escape
from importlib.resources import files
from pathlib import Path

from helpers.lessons.records.record import LessonRecord, Record

_OURS = b'<meta name="generator" content="llm-antipatterns progress">'


def save(file: Path, page: str) -> None:
    """Write the page. An earlier certificate is replaced, nothing else. Raises `OSError`."""
    try:
        new = file.open("xb")
    except FileExistsError:
        if _OURS not in file.read_bytes()[:1000]:
            raise FileExistsError(
                f"{str(file)[:200]!r} is not a certificate and stays as it is: choose another name."
            ) from None
        new = file.open("wb")
    with new:
        new.write(page.encode("utf-8", "replace"))


def render(record: Record, name: str) -> str:
    """The page, complete in itself; ``name`` may be empty."""
    style = files(__package__).joinpath("certificate.css").read_text("utf-8")
    return "\n".join(
        [
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            _OURS.decode(),
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            '<meta http-equiv="Content-Security-Policy" '
            "content=\"default-src 'none'; style-src 'unsafe-inline'\">",
            f"<title>{escape(_title(name))}</title>\n<style>\n{style}</style>",
            "</head>\n<body>\n<main>",
            *_body(record, name),
            "</main>\n</body>\n</html>\n",
        ]
    )


def _title(name: str) -> str:
    return f"LLM Anti-Patterns Lab: {name}" if name else "LLM Anti-Patterns Lab"


def _body(record: Record, name: str) -> Iterator[str]:
    yield '<p class="course">LLM Anti-Patterns Lab</p>'
    yield f"<h1>{escape(name) or 'Record of a course'}</h1>"
    yield f'<p class="score">{_score(record)}</p>'
    yield '<table>\n<thead><tr><th scope="col"></th><th scope="col">Lesson</th>'
    yield '<th scope="col">Run</th><th scope="col">Exercise solved</th></tr></thead>\n<tbody>'
    yield from (_row(each) for each in record.lessons if each.lesson.name)
    yield "</tbody>\n</table>"
    yield from (f"<p>{escape(sentence)}</p>" for sentence in record.sentences[1:])
    day = datetime.now(UTC).date().isoformat()
    yield (
        f"<footer>Made on {day} by <code>llm-antipatterns progress</code>, from the notes on the "
        "learner’s own computer. Each exercise was graded there, by measurement; nobody else has "
        "checked it.</footer>"
    )


def _score(record: Record) -> str:
    """All of it, or honestly how much."""
    total = len(record.exercises)
    score = record.sentences[0].removesuffix(".")
    return escape(score.replace(f"{total} of {total} exercises", f"All {total} exercises"))


def _row(each: LessonRecord) -> str:
    lesson = each.lesson
    solved = _cell(each.solved, "solved") if lesson.graded else "<td>–</td>"
    return (
        f'<tr><td>{lesson.number}</td><th scope="row">{escape(lesson.title)}<br>'
        f"<small>{escape(lesson.mistake)}</small></th>{_cell(each.run, 'run')}{solved}</tr>"
    )


def _cell(day: str | None, state: str) -> str:
    return f'<td class="{state}">{escape(day)}</td>' if day else '<td class="open">not yet</td>'
