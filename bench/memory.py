"""How much memory a process and all it started take. Linux only: the kernel alone knows.

PSS is what a process has for itself plus its share of what it shares with others, so that the sum
over processes counts each page once.
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

IS_MEASURED = Path("/proc/self/smaps_rollup").exists()
_EVERY = 0.1
# What a process is, by its name or a word of its command line.
_ROLES = {
    "mock_llm": "mock server",
    "lab.arm": "arm",
    "lab.worker": "worker",
    "report": "drawing",
    "ipykernel_launcher": "kernel",
    "helpers.forking": "fork server",
    "valkey": "valkey",
    "processes.py": "supervisor",
}
_TICK = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


@dataclass
class Usage:
    """What was seen while a `Meter` ran."""

    peak: Counter[str] = field(default_factory=Counter)
    """MiB by kind of process, when their sum was highest."""
    processes: Counter[str] = field(default_factory=Counter)
    """How many of each kind there were then."""
    cpu: dict[int, float] = field(default_factory=dict)
    """Seconds of CPU by process id, as last seen."""

    def __str__(self) -> str:
        parts = (f"{self._kind(kind)} {size:.0f}" for kind, size in self.peak.most_common())
        return ", ".join(parts)

    def _kind(self, kind: str) -> str:
        number = self.processes[kind]
        return kind if number == 1 else f"{number} x {kind}"


class Meter:
    """Samples all descendants of this process while its ``with`` statement runs."""

    def __init__(self) -> None:
        self.usage = Usage()
        self._halt = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        if IS_MEASURED:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._halt.set()
        if IS_MEASURED:
            self._thread.join()

    def _run(self) -> None:
        while not self._halt.wait(_EVERY):
            self._sample()

    def _sample(self) -> None:
        sizes: Counter[str] = Counter()
        number: Counter[str] = Counter()
        for process in _descendants():
            # It may have ended meanwhile.
            with suppress(OSError, IndexError):
                size = process.pss()
                sizes[process.role] += size  # type: ignore[assignment]  # a float
                number[process.role] += 1
                self.usage.cpu[process.pid] = process.cpu
        if sizes.total() > self.usage.peak.total():
            self.usage.peak, self.usage.processes = sizes, number


@dataclass(frozen=True, slots=True)
class _Process:
    pid: int
    role: str
    cpu: float

    def pss(self) -> float:
        """MiB."""
        for line in Path(f"/proc/{self.pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
        return 0.0


def _descendants() -> Iterator[_Process]:
    children: dict[int, list[tuple[int, float]]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            # The name, in parentheses, may have any character.
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            cpu = (int(fields[11]) + int(fields[12])) / _TICK
            children.setdefault(int(fields[1]), []).append((int(folder.name), cpu))
    waiting = [(pid, cpu, "") for pid, cpu in children.get(os.getpid(), [])]
    while waiting:
        pid, cpu, parent = waiting.pop()
        with suppress(OSError):
            role = _role(pid)
            # Until it runs its program, a process that is being started is its parent's twin and
            # has the same memory, which would count twice.
            if role != parent or role == "arm":
                yield _Process(pid, role, cpu)
            waiting += [(child, cpu, role) for child, cpu in children.get(pid, [])]


def _role(pid: int) -> str:
    words = (Path(f"/proc/{pid}/{file}").read_bytes() for file in ("comm", "cmdline"))
    described = b" ".join(words).decode("utf-8", "replace")
    return next((role for word, role in _ROLES.items() if word in described), "other")
