"""The map of the course: every lesson, and the learner's progress."""

from __future__ import annotations

import html

from helpers.lessons.catalogue import Lesson
from helpers.lessons.records.record import LessonRecord, Record, record


class CourseMap:
    """Shows itself as a table in a notebook and as lines of text elsewhere.

    Below the lessons it says how many exercises are solved, and how good the predictions were.
    """

    def _repr_html_(self) -> str:
        # Only a notebook has matplotlib for certain, which the report imports.
        from helpers.report.table import html_table

        done = record()
        head = ("", "Lesson", "The mistake", "Run", "Exercise", "Predictions right")
        rows = [_row(each) for each in done.lessons]
        return html_table(head, rows, "<br>".join(map(html.escape, done.sentences)))

    def __repr__(self) -> str:
        done = record()
        return "\n".join([*map(_line, done.lessons), *done.sentences, *_next(done)])


def _steps(each: LessonRecord) -> tuple[str, str]:
    """Whether the lesson was run and its exercise solved, in words."""
    if each.lesson.name is None:
        return "planned", "planned"
    run = "✓ done" if each.run else "○ to do"
    if not each.lesson.graded:
        return run, "your own"
    return run, "✓ solved" if each.solved else "○ to do"


def _predictions(each: LessonRecord) -> str:
    return f"{each.right} of {len(each.guesses)}" if each.guesses else ""


def _next(done: Record) -> list[str]:
    """How to go on where links are not shown."""
    to_do = [each.lesson for each in done.lessons if "○ to do" in _steps(each)]
    return [f"Next: open {lesson.stem}.ipynb" for lesson in to_do[:1]]


def _row(each: LessonRecord) -> tuple[str, ...]:
    lesson = each.lesson
    steps = (*_steps(each), _predictions(each))
    return lesson.number, _link(lesson), html.escape(lesson.mistake), *steps


def _link(lesson: Lesson) -> str:
    title = html.escape(lesson.title)
    return f'<a href="{lesson.stem}.ipynb">{title}</a>' if lesson.name else title


def _line(each: LessonRecord) -> str:
    run, solved = _steps(each)
    line = f"{each.lesson.number}  {each.lesson.title:<32}  run: {run:<8}  exercise: {solved:<8}"
    guessed = _predictions(each)
    return f"{line}  predictions right: {guessed}" if guessed else line.rstrip()
