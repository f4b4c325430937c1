"""Makes environment.yml from requirements.lock. Run as a script by ``make lock``.

The lines carry no hashes: conda hands all lines of the pip section to one ``pip install``, and pip
refuses an editable line as soon as one line has a hash.
"""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "requirements.lock"
ENVIRONMENT = ROOT / "environment.yml"

_HEAD = """\
# For conda, repo2docker and Binder: the set of requirements.lock. Made by `make lock`; do not edit.
name: llm-antipatterns
channels:
  - conda-forge
dependencies:
  - python=3.12
  - pip
  - pip:
"""


def pins(lock: str) -> list[str]:
    """The lock's requirements, "name==version ; marker", without hashes and comments."""
    return re.findall(r"^([a-z0-9][^\\\n]*?) *(?:\\\n|$)", lock, flags=re.MULTILINE)


def environment(lock: str) -> str:
    """The text of environment.yml."""
    lines = [f'      - "{pin}"\n' for pin in pins(lock)]
    return _HEAD + "".join(lines) + '      - "-e ."\n'


def pip_section(text: str) -> list[str]:
    """The lines that conda hands to pip."""
    return re.findall(r'^ {6}- "(.*)"$', text, flags=re.MULTILINE)


if __name__ == "__main__":
    ENVIRONMENT.write_text(environment(LOCK.read_text()))
