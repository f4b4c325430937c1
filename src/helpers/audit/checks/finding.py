"""What a check says of one recording."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from helpers.audit.outcome import Verdict


@dataclass(frozen=True, slots=True)
class Finding:
    verdict: Verdict
    evidence: str
    counted: Mapping[str, float | int | str | bool | None]


Number = float | int | str | bool | None


def found(is_right: bool, evidence: str, **counted: Number) -> Finding:
    return Finding("pass" if is_right else "fail", evidence, counted)


def not_seen(missing: str, **counted: Number) -> Finding:
    """``missing``: one sentence that says what did not happen."""
    return Finding("not seen", missing, counted)


def was(count: int) -> str:
    return "was" if count == 1 else "were"


def plural(count: int, thing: str) -> str:
    """``1 request``, ``2 requests``."""
    return f"{count:,} {thing}" if count == 1 else f"{count:,} {thing}s"
