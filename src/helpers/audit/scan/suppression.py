"""Comments that suppress a finding: ``# lap: ignore[LAP01] reason``."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from helpers.audit.scan.engine import Match

_COMMENT = re.compile(r"(?:#|//)\s*lap:\s*ignore(?P<ids>\[[^\]]*\])?(?P<reason>.*)", re.DOTALL)
_ID = re.compile(r"LAP\d\d(\.[\w-]+)?")


@dataclass(frozen=True, slots=True)
class Suppression:
    """A comment in a file."""

    rule: str
    """The rule of the finding if the comment has a problem."""
    line: int
    """From 1."""
    alone: bool
    """Whether nothing else is on its line; then it applies to the next line, too."""
    ids: tuple[str, ...]
    problem: str | None
    """Why it suppresses nothing."""

    def covers(self, rule: str, line: int) -> bool:
        """Whether it suppresses a rule's finding in a line."""
        near = line == self.line or (self.alone and line == self.line + 1)
        return (
            near
            and self.problem is None
            and any(rule == each or rule.startswith(f"{each}.") for each in self.ids)
        )


def read_suppression(match: Match, lines: list[str], known: Collection[str]) -> Suppression | None:
    """The comment that ast-grep found, in a file of these lines; None if it only mentions one."""
    found = _COMMENT.match(match.text)
    if not found:
        return None
    ids = tuple(each.strip() for each in (found["ids"] or "[]")[1:-1].split(","))
    wrong = [each for each in ids if not _is_known(each, known)]
    problem = None
    if wrong:
        problem = (
            f"There is no rule {wrong[0]!r}."
            if wrong[0]
            else "A suppression names its rules: `lap: ignore[LAP01] reason`."
        )
    elif not re.search(r"\w", found["reason"]):
        problem = "A suppression needs a reason: `lap: ignore[LAP01] reason`."
    alone = not lines[match.line - 1][: match.column - 1].strip()
    return Suppression(match.rule, match.line, alone, ids, problem)


def _is_known(name: str, known: Collection[str]) -> bool:
    return bool(_ID.fullmatch(name)) and any(
        rule == name or rule.startswith(f"{name}.") for rule in known
    )
