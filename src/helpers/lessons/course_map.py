"""The map of the course: every lesson, and how far the learner has come."""

from __future__ import annotations

import html

from helpers.lessons import progress
from helpers.lessons.catalogue import LESSONS, Lesson


class CourseMap:
    """Shows itself as a table in a notebook and as lines of text elsewhere."""

    def _repr_html_(self) -> str:
        head = "".join(
            f'<th scope="col" style="text-align:left">{name}</th>'
            for name in ("", "Lesson", "The mistake", "Run", "Exercise")
        )
        rows = "".join(_row(lesson) for lesson in LESSONS)
        return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"

    def __repr__(self) -> str:
        return "\n".join(_line(lesson) for lesson in LESSONS)


def _steps(lesson: Lesson) -> tuple[str, str]:
    """In words: was the lesson run, is its exercise solved?"""
    if lesson.name is None:
        return "planned", "planned"
    noted = progress.read(lesson.number)
    run = "✓ done" if "verdict" in noted else "○ to do"
    return run, "✓ solved" if "exercise" in noted else "○ to do"


def _row(lesson: Lesson) -> str:
    title = html.escape(lesson.title)
    if lesson.name:
        title = f'<a href="{lesson.stem}.ipynb">{title}</a>'
    cells = [lesson.number, title, html.escape(lesson.mistake), *_steps(lesson)]
    return "<tr>" + "".join(f'<td style="text-align:left">{c}</td>' for c in cells) + "</tr>"


def _line(lesson: Lesson) -> str:
    run, solved = _steps(lesson)
    return f"{lesson.number}  {lesson.title:<32}  run: {run:<8}  exercise: {solved}"
