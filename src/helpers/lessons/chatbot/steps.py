"""The chatbot with any of the eight repairs.

A file ``NAME.steps`` has all its lines, each with tags before the bar: ``+04`` is a line that the
repair of mistake 04 adds, ``-04`` one that it removes. A line with several tags needs them all.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

MISTAKES = ("01", "02", "03", "04", "05", "06", "07", "08")
"""Each has the number of its lesson."""


@dataclass(frozen=True, slots=True)
class Chatbot:
    """One chatbot: ``Chatbot("chatbot")`` on the openai SDK."""

    name: str

    def text(self, repaired: Collection[str] = ()) -> str:
        """Its code with these mistakes repaired; by default with all eight mistakes."""
        lines = self._file.read_text("utf-8").splitlines()
        tagged = (line.split("|", 1) for line in lines)
        return "".join(f"{code}\n" for tags, code in tagged if _is_in(tags, repaired))

    def step(self, mistake: str) -> str:
        """The repair of one mistake as a unified diff, after those with lower numbers."""
        before = MISTAKES[: MISTAKES.index(mistake)]
        old, new = self.text(before), self.text([*before, mistake])
        parts = difflib.unified_diff(old.splitlines(), new.splitlines(), n=1, lineterm="")
        return "\n".join(line for line in parts if not line.startswith(("---", "+++")))

    @property
    def _file(self) -> Path:
        return Path(__file__).with_name(f"{self.name}.steps")


def _is_in(tags: str, repaired: Collection[str]) -> bool:
    return all((tag[0] == "+") == (tag[1:] in repaired) for tag in tags.split())
