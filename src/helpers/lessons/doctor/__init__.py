"""Examines whether this machine can run the course: one line per question, with the remedy."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from helpers.lessons import environment
from helpers.lessons.doctor import machine, packages, services
from helpers.lessons.doctor.answers import Note, worked_around
from helpers.lessons.environment import Obstacle


@dataclass(frozen=True, slots=True)
class Finding:
    ok: bool
    """False if lessons cannot run until this is fixed."""
    question: str
    answer: str
    """What was found, or what is wrong and what to do about it."""
    note: bool = False
    """Whether there is something to know even though the course works."""

    def __str__(self) -> str:
        mark = "FAIL" if not self.ok else "note" if self.note else "ok  "
        return f"{mark} {self.question}: {self.answer}"


def doctor() -> Iterator[Finding]:
    """Examine the machine; yields each finding as soon as it is known. Blocks for some seconds."""
    for question, examine, remedy in _EXAMINATIONS:
        try:
            answer = examine()
            yield Finding(True, question, answer, isinstance(answer, Note))
        except Exception as error:  # noqa: BLE001 - what is wrong is the finding
            reason = " ".join(str(error).split()) or type(error).__name__
            yield Finding(False, question, f"{reason.rstrip('.')}. {remedy}".strip())


def _python() -> str:
    if sys.version_info < (3, 11):  # noqa: UP036 - this is the question
        raise RuntimeError(f"Python {platform.python_version()} is too old")
    return f"{platform.python_version()} on {platform.system()}"


def _around(find: Callable[[], list[Obstacle]], fine: str) -> Callable[[], str]:
    """The examination for obstacles that the course can mostly work around."""

    def examine() -> str:
        found = find()
        for obstacle in found:
            if not obstacle.instead:
                raise RuntimeError(str(obstacle))
        return worked_around(found) if found else fine

    return examine


_TMPDIR = environment.set_variable("TEMP" if os.name == "nt" else "TMPDIR", "FOLDER")
_EXAMINATIONS: tuple[tuple[str, Callable[[], str], str], ...] = (
    ("Python", _python, "Install Python 3.11 or later, and the course with it."),
    ("packages", packages.required, ""),
    ("widgets", packages.widgets, ""),
    ("SDKs", packages.sdks, ""),
    ("helpers", packages.helpers, ""),
    ("pip", packages.pip, ""),
    ("kernel", _around(environment.kernels, "python3 is this environment's"), ""),
    ("proxies", _around(environment.proxies, "none for 127.0.0.1"), ""),
    ("certificates", _around(environment.certificates, "no variable in the way"), ""),
    ("Python's variables", _around(environment.python_variables, "none in the way"), ""),
    ("temporary folder", machine.temporary_folder, f"To fix this: {_TMPDIR}"),
    ("Jupyter's folders", _around(environment.jupyter_folders, "can be written to"), ""),
    ("open files", machine.open_files, ""),
    ("disk", machine.disk, ""),
    ("memory", machine.memory, ""),
    ("loopback", services.loopback, "Let a firewall or VPN allow connections to 127.0.0.1."),
    ("tokenizer", services.tokenizer, packages.REINSTALL),
    ("mock server", services.server, ""),
    ("timers", services.timers, ""),
    ("store", services.store, f"Free some disk space, or choose a local disk: {_TMPDIR}"),
    ("progress", services.progress, ""),
)
