"""The map of the course: every lesson, and the learner's progress."""

from __future__ import annotations

import html

from helpers.lessons import progress
from helpers.lessons.catalogue import LESSONS, Lesson


class CourseMap:
    """Shows itself as a table in a notebook and as lines of text elsewhere."""

    def _repr_html_(self) -> str:
        # Only a notebook has matplotlib for certain, which the report imports.
        from helpers.report.table import html_table

        head = ("", "Lesson", "The mistake", "Run", "Exercise")
        return html_table(head, [_row(lesson) for lesson in LESSONS])

    def __repr__(self) -> str:
        return "\n".join([*map(_line, LESSONS), *_next()])


def _steps(lesson: Lesson) -> tuple[str, str]:
    """Whether the lesson was run and its exercise solved, in words."""
    if lesson.name is None:
        return "planned", "planned"
    noted = progress.read(lesson.number)
    run = "✓ done" if "verdict" in noted else "○ to do"
    if not lesson.graded:
        return run, "your own"
    return run, "✓ solved" if "exercise" in noted else "○ to do"


def _next() -> list[str]:
    """How to go on where links are not shown."""
    to_do = [each for each in LESSONS if each.name and "○" in "".join(_steps(each))]
    return [f"Next: open {each.stem}.ipynb" for each in to_do[:1]]


def _row(lesson: Lesson) -> tuple[str, ...]:
    title = html.escape(lesson.title)
    if lesson.name:
        title = f'<a href="{lesson.stem}.ipynb">{title}</a>'
    return lesson.number, title, html.escape(lesson.mistake), *_steps(lesson)


def _line(lesson: Lesson) -> str:
    run, solved = _steps(lesson)
    return f"{lesson.number}  {lesson.title:<32}  run: {run:<8}  exercise: {solved}"
