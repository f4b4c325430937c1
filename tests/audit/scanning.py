"""Files to scan, and the command as a person or a script would call it."""

import subprocess
import sys
from pathlib import Path
from textwrap import dedent

from helpers.audit.scan.scanner import scan


def call(*args: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "helpers.cli", "scan", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd)


def write(file: Path, text: str) -> Path:
    file.write_text(dedent(text), "utf-8")
    return file


def found(folder: Path, text: str, name: str = "service.py") -> list[tuple[str, int]]:
    """The rule and the line of each finding in a file with this text."""
    report = scan([write(folder / name, text)])
    assert report.notes == ()
    return [(finding.rule, finding.line) for finding in report.findings]


SLEEPS = """\
import time

async def chat(ask):
    time.sleep(1)
    return await ask()
"""
"""One finding: LAP01.sleep in line 4."""
