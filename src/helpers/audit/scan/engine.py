"""Runs ast-grep: it walks the folders, respects ignore files and finds the candidates."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

TIMEOUT = 300.0
_FILE = re.compile(r"^sg: entity\|file\|(.*): (?:language=(\w+)|skipped=(\w+))")


class EngineError(Exception):
    """ast-grep did not run; the message is one sentence with the remedy."""


@dataclass(frozen=True, slots=True)
class Match:
    """A place that a rule's pattern fits."""

    rule: str
    file: str
    start: int
    """Offset in bytes, from the beginning of the file."""
    end: int
    line: int
    """From 1."""
    column: int
    """From 1, in characters."""
    end_line: int
    text: str


@dataclass(frozen=True, slots=True)
class Matches:
    found: tuple[Match, ...]
    languages: Mapping[str, str]
    """The language of each file that was scanned, by path."""
    skipped: Mapping[str, str]
    """Why a file was not scanned, by path."""


def find(paths: Sequence[str], config: Path) -> Matches:
    """The matches of all rules of an ast-grep project in files and folders.

    Raises `EngineError` if ast-grep cannot run or does not end.
    """
    options = ["--config", str(config), "--json=stream", "--inspect", "entity", "--color", "never"]
    command = [str(_binary()), "scan", *options, "--", *paths]
    try:
        done = subprocess.run(command, capture_output=True, check=False, timeout=TIMEOUT)
    except subprocess.TimeoutExpired as error:
        raise EngineError(
            f"ast-grep did not end within {TIMEOUT:.0f} s: scan fewer files."
        ) from error
    except OSError as error:
        raise EngineError(f"ast-grep cannot be started: {error.strerror}.") from error
    log = done.stderr.decode("utf-8", "replace")
    if "sg: summary|file" not in log:
        reason = " ".join(log.split())[:300]
        raise EngineError(f"ast-grep did not run: {reason or 'it gave no reason'}.")
    seen = [match for match in map(_FILE.match, log.splitlines()) if match]
    return Matches(
        found=tuple(_match(line) for line in done.stdout.splitlines() if line),
        languages={match[1]: match[2].lower() for match in seen if match[2]},
        skipped={match[1]: match[3] for match in seen if match[3]},
    )


def _match(line: bytes) -> Match:
    found = json.loads(line)
    span, place = found["range"]["byteOffset"], found["range"]
    return Match(
        rule=found["ruleId"],
        file=found["file"],
        start=span["start"],
        end=span["end"],
        line=place["start"]["line"] + 1,
        column=place["start"]["column"] + 1,
        end_line=place["end"]["line"] + 1,
        text=found["text"],
    )


def _binary() -> Path:
    """The binary of this environment: the one on PATH may be another program called ast-grep."""
    name = "ast-grep.exe" if sys.platform == "win32" else "ast-grep"
    here = Path(sysconfig.get_path("scripts")) / name
    if here.is_file():
        return here
    try:
        installed = distribution("ast-grep-cli").files or []
    except PackageNotFoundError:
        installed = []
    for file in installed:
        if file.name == name:
            return Path(str(file.locate()))
    if elsewhere := shutil.which(name):
        return Path(elsewhere)
    raise EngineError("ast-grep is not installed: run `pip install ast-grep-cli`.")
