"""Imports between the rooms run one way, and so do those between the parts of the mock server."""

import ast
from pathlib import Path

import pytest

import helpers

PACKAGE = Path(helpers.__file__).parent
ROOMS = ("mock_llm", "lab", "report", "lessons", "audit", "classroom")
"""From the lowest up: a room may import from those before it, and `classroom` from none."""
PARTS = {
    "settings": set[str](),
    "records": set[str](),
    "model": {"settings"},
    "http": {"records"},
    "serving": {"settings", "records", "model", "http"},
    "openai": {"settings", "records", "model", "serving"},
    "anthropic": {"settings", "records", "model", "serving"},
}
"""What each part of the mock server may import besides itself."""
NO_HTTP = ("settings", "records", "model")
"""Parts that know nothing of HTTP, not even its messages."""
MODULES_PER_FOLDER = 15


def imported(file: Path) -> set[str]:
    """The full names that a module imports."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{file.name}: a relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def inside(names: set[str], package: str) -> set[str]:
    """The first part of each name after the package's own, where there is one."""
    prefix = package + "."
    return {name.removeprefix(prefix).split(".")[0] for name in names if name.startswith(prefix)}


def modules(folder: Path) -> list[Path]:
    files = sorted(folder.rglob("*.py"))
    assert files
    return files


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_from_the_rooms_below(room: str) -> None:
    above = {*ROOMS[ROOMS.index(room) + 1 :], "cli"}
    for file in modules(PACKAGE / room):
        assert not inside(imported(file), "helpers") & above, file.name


def test_lessons_reach_the_classroom_by_http_only() -> None:
    for file in modules(PACKAGE / "classroom"):
        assert not inside(imported(file), "helpers") - {"classroom"}, file.name


def test_what_starts_processes_imports_no_room() -> None:
    assert not inside(imported(PACKAGE / "processes.py"), "helpers")


@pytest.mark.parametrize("part", PARTS)
def test_a_part_of_the_server_imports_only_what_it_may(part: str) -> None:
    for file in modules(PACKAGE / "mock_llm" / part):
        others = inside(imported(file), "helpers.mock_llm") & PARTS.keys() - {part}
        assert others <= PARTS[part], file.name


@pytest.mark.parametrize("part", NO_HTTP)
def test_some_parts_of_the_server_know_no_http(part: str) -> None:
    for file in modules(PACKAGE / "mock_llm" / part):
        names = imported(file)
        assert "asgi" not in inside(names, "helpers.mock_llm"), file.name
        libraries = {name.split(".")[0] for name in names}
        assert not libraries & {"h2", "http", "httptools", "httpx", "starlette", "uvicorn"}


def test_a_folder_has_at_most_fifteen_modules() -> None:
    folders = {file.parent for file in modules(PACKAGE)}
    sizes = {
        str(folder.relative_to(PACKAGE)): sum(
            file.name != "__init__.py" for file in folder.glob("*.py")
        )
        for folder in folders
    }
    assert {name: size for name, size in sizes.items() if size > MODULES_PER_FOLDER} == {}
