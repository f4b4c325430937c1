"""The checks that a team expects to fail, in a file that it keeps with its application."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from helpers.mock_llm.settings.files import read_values


def read_expected_failures(path: Path, ids: Collection[str]) -> dict[str, str]:
    """The reason for each check that is expected to fail, by the check's id.

    The file is YAML: a list of ``{id: LAP04.hang, reason: …}``, or reasons by id. ``ids`` are those
    of all checks. Raises ValueError: one sentence that names the file.
    """
    try:
        found = read_values(path, "an expected-failures", (".yaml", ".yml"))
        entries = found.items() if isinstance(found, dict) else map(_entry, _listed(found))
        return _checked(list(entries), ids)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _listed(found: Any) -> list[Any]:
    if not isinstance(found, list):
        raise ValueError("the file must hold a list of `{id: LAP04.hang, reason: …}`")
    return found


def _entry(item: Any) -> tuple[Any, Any]:
    if not isinstance(item, dict) or "id" not in item or not item.keys() <= {"id", "reason"}:
        raise ValueError(f"an entry needs an id and a reason, and nothing else: {str(item)[:80]}")
    return item["id"], item.get("reason")


def _checked(entries: list[tuple[Any, Any]], ids: Collection[str]) -> dict[str, str]:
    expected: dict[str, str] = {}
    for name, reason in entries:
        if not isinstance(name, str) or name not in ids:
            raise ValueError(
                f"there is no check {str(name)[:80]!r}; the checks are {', '.join(sorted(ids))}"
            )
        if name in expected:
            raise ValueError(f"{name} is listed twice")
        if not isinstance(reason, str) or not reason.strip():
            raise ValueError(f"{name} has no reason: say why it is expected to fail")
        expected[name] = reason.strip()
    return expected
