"""Computes the workshop plans of notebooks/TEACHING.md. A script: ``make schedule``."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from helpers.lessons.catalogue import lesson

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
PAGE = NOTEBOOKS / "TEACHING.md"
_CORE = re.compile(r"\*\*Time\.\*\* (\d+) minutes for the core")
_BETWEEN = re.compile(r"(?<=<!-- plans -->\n).*?(?=<!-- /plans -->)", re.S)


def minutes_of_core(number: str) -> int:
    """What a lesson's card states. Raises `ValueError` if it states nothing."""
    stated = _CORE.search(lesson(number).source.read_text("utf-8"))
    if stated is None:
        raise ValueError(f"Lesson {number} does not state its minutes.")
    return int(stated[1])


def plans() -> str:
    """All plans, as Markdown tables."""
    data = tomllib.loads((NOTEBOOKS / "schedule.toml").read_text("utf-8"))
    return "\n".join("\n".join(_plan(plan)) for plan in data["plans"])


def _plan(plan: dict[str, Any]) -> Iterator[str]:
    yield f"\n### {plan['title']}\n"
    yield "| starts at | minutes | |"
    yield "|---|---|---|"
    now = 0
    for part in plan["parts"]:
        title, minutes = _part(part)
        yield f"| {now // 60}:{now % 60:02} | {minutes or ''} | {title} |"
        now += minutes
    left = plan["budget"] - now
    balance = f"{left} to spare" if left >= 0 else f"**{-left} too many**"
    yield f"\n{now} minutes of {plan['budget']}: {balance}.\n"


def _part(part: dict[str, Any]) -> tuple[str, int]:
    if "lesson" not in part:
        return part["title"], part["minutes"]
    chosen, core = lesson(part["lesson"]), minutes_of_core(part["lesson"])
    title = f"[{chosen.number} {chosen.title}]({chosen.notebook.name}): {core} for the core"
    return f"{title}, {part['talk']} to vote and discuss", core + part["talk"]


def page() -> str:
    """TEACHING.md with the plans of today."""
    return _BETWEEN.sub(lambda _: plans(), PAGE.read_text("utf-8"))


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
    print(plans())
