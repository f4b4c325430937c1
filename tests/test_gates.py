"""What CI proves about every lesson besides nbval: it can fail, and it can be solved."""

import asyncio
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from nbclient.exceptions import CellExecutionError
from nbformat.v4 import new_code_cell

from helpers.lessons import notebook
from helpers.lessons.catalogue import LESSONS, START, Lesson, notebooks
from helpers.lessons.exercise import Criterion, exercise, grade, load_solution
from tests.guard import CHECK, language, limits, problems

READY = [each for each in LESSONS if each.name]
GRADED = [each for each in READY if each.graded]
each_lesson = pytest.mark.parametrize("lesson", READY, ids=lambda lesson: lesson.stem)
each_graded = pytest.mark.parametrize("lesson", GRADED, ids=lambda lesson: lesson.stem)


@pytest.mark.parametrize("lesson", notebooks(), ids=lambda lesson: lesson.stem)
def test_static_guard(lesson: Lesson) -> None:
    source = notebook.read_source(lesson)
    assert problems(notebook.read(lesson), source) + language(source) == []


@each_lesson
def test_the_lesson_keeps_to_its_form(lesson: Lesson) -> None:
    following = next((each for each in READY if each.number > lesson.number), None)
    assert limits(notebook.read_source(lesson), following) == []


@each_lesson
def test_verdict_gate(lesson: Lesson) -> None:
    """The committed verdict holds, and nbval compares it with what the lesson prints now."""
    (cell,) = notebook.tagged(notebook.read(lesson), "verdict")
    assert CHECK in cell.metadata.tags
    lines = notebook.text_of(cell).splitlines()
    assert lines
    assert [line for line in lines if not line.startswith("PASS ")] == []


def test_the_command_runs_a_lesson() -> None:
    command = [sys.executable, "-m", "helpers.cli", "run", READY[0].number]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "PASS" in done.stdout
    assert "FAIL" not in done.stdout


@each_lesson
def test_mutation_gate(lesson: Lesson) -> None:
    """With the fix replaced by the mistake, the verdict must fail, and nothing before it."""
    mutant = notebook.up_to_the_verdict(notebook.read_source(lesson))
    definition = re.compile(r"^((async )?def right\(|right = )", re.MULTILINE)
    fixes = [cell for cell in mutant.cells if definition.search(cell.source)]
    assert len(fixes) == 1
    fixes[0].source += "\n\nright = wrong"
    with pytest.raises(CellExecutionError) as caught:
        notebook.execute(mutant, lesson.notebook.parent)
    assert caught.value.ename == "VerdictFailed"


@pytest.mark.parametrize("lesson", [START, *READY], ids=lambda lesson: lesson.stem)
def test_skip_gate(lesson: Lesson) -> None:
    """Each section of "Going deeper" runs after the core alone, and without widgets."""
    skipping = notebook.each_section_after_the_core(notebook.read_source(lesson))
    skipping.cells.insert(0, new_code_cell("import sys; sys.modules['ipywidgets'] = None"))
    notebook.execute(skipping, lesson.notebook.parent)


def _graded(lesson: Lesson, file: Path) -> list[Criterion]:
    return asyncio.run(grade(lesson.number, load_solution(lesson.number, file)))


@pytest.mark.timed
@each_graded
def test_exercise_gate_the_starter_fails(lesson: Lesson, tmp_path: Path) -> None:
    (cell,) = notebook.tagged(notebook.read_source(lesson), "exercise")
    starter = tmp_path / "starter.py"
    starter.write_text(cell.source)
    criteria = _graded(lesson, starter)
    assert not all(criterion.met for criterion in criteria)
    assert any(criterion.met for criterion in criteria), "it fails for its mistakes, not outright"


@pytest.mark.timed
@each_graded
def test_exercise_gate_the_solution_passes(lesson: Lesson) -> None:
    unmet = [str(criterion) for criterion in _graded(lesson, lesson.solution) if not criterion.met]
    assert unmet == []


@each_graded
def test_exercise_gate_three_hints(lesson: Lesson) -> None:
    hints: tuple[Any, ...] = exercise(lesson.number).hints
    assert len({hint for hint in hints if hint.strip()}) == 3
