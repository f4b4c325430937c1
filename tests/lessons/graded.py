"""Grades solutions that are given as text, as they stand in a learner's file."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import pytest

from helpers.lessons.exercise import Criterion, grade, load_solution


def criteria(number: str, text: str, folder: Path) -> list[Criterion]:
    file = folder / "answer.py"
    file.write_text(text, "utf-8")
    return asyncio.run(grade(number, load_solution(number, file)))


def unmet(number: str, text: str, folder: Path) -> list[str]:
    """A line for each criterion that is not met."""
    return [str(each) for each in criteria(number, text, folder) if not each.met]


def changed(text: str, *changes: tuple[str, str]) -> str:
    """The text with each first part, which must be in it once, replaced by the second."""
    for before, after in changes:
        assert text.count(before) == 1, before
        text = text.replace(before, after)
    return text


def table(solutions: Mapping[str, Any], in_every_run: Collection[str]) -> list[Any]:
    """Parameters of a test: all but those ``in_every_run`` are marked slow."""
    assert solutions.keys() >= set(in_every_run)
    return [
        pytest.param(
            *(row if isinstance(row, tuple) else (row,)),
            id=name,
            marks=() if name in in_every_run else pytest.mark.slow,
        )
        for name, row in solutions.items()
    ]
