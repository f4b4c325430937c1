"""Imports between the rooms run one way."""

import ast
from pathlib import Path

import pytest

import helpers

ROOMS = ("mock_llm", "lab", "report", "lessons")
"""From the lowest up: a room may import from those before it."""
PACKAGE = Path(helpers.__file__).parent


def imported(file: Path) -> set[str]:
    """The rooms that a module imports."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    parts = [name.split(".") for name in names if name.startswith("helpers.")]
    return {part[1] for part in parts if part[1] in ROOMS or part[1] == "cli"}


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_from_the_rooms_below(room: str) -> None:
    allowed = set(ROOMS[: ROOMS.index(room) + 1])
    files = sorted((PACKAGE / room).rglob("*.py"))
    assert files
    for file in files:
        assert imported(file) <= allowed, file.name
