"""Grades a file in a process of its own: it may exit, crash, or never end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any

from helpers.lessons.environment import clean_environment
from helpers.lessons.exercise import Criterion, grade, load_solution
from helpers.lessons.exercises.solution import UngradableError

# Seconds for everything: importing the file, running it, judging it.
LIMIT = 120.0
_PROGRAM = f"from {__name__} import main; main()"


def grade_file(number: str, file: Path) -> list[Criterion]:
    """Grade the solution in a .py file or a notebook. Takes at most `LIMIT` seconds.

    What the file prints goes to stderr. Raises `UngradableError` if it cannot be graded.
    """
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        # -P: what lies in the current directory is not imported in place of a package.
        command = [sys.executable, "-P", "-c", _PROGRAM, number, str(file), str(report)]
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, env=clean_environment(), start_new_session=True
        )
        try:
            status = process.wait(LIMIT)
        except subprocess.TimeoutExpired:
            raise UngradableError(
                f"{file} was not graded within {LIMIT:.0f} s: it waits or loops forever."
            ) from None
        finally:
            _end(process)
        return _read(report, file, status)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill the process and what it has started."""
    if os.name == "posix":
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.wait()
    if process.stdin:
        process.stdin.close()


def _read(report: Path, file: Path, status: int) -> list[Criterion]:
    try:
        outcome = json.loads(report.read_text("utf-8"))
    except FileNotFoundError:
        how = f"signal {-status}" if status < 0 else f"exit status {status}"
        raise UngradableError(f"{file} ended its process ({how}) before it was graded.") from None
    if "error" in outcome:
        raise UngradableError(outcome["error"])
    return [Criterion(**criterion) for criterion in outcome["criteria"]]


def main() -> None:
    """The process: its arguments are the lesson's number, the file and where to write the report.

    Its standard input ends when the process that started it does.
    """
    number, file, report = sys.argv[1:]
    sys.argv = [file]
    _end_with_parent()
    os.dup2(2, 1)  # what the solution prints is no part of the command's output
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    outcome = _graded(number, Path(file))
    partial = Path(f"{report}.partial")
    partial.write_text(json.dumps(outcome), "utf-8")
    partial.replace(report)
    with contextlib.suppress(ValueError):  # the solution closed it
        sys.stdout.flush()
    os._exit(0)  # a thread that the solution left running does not hold it up


def _graded(number: str, file: Path) -> dict[str, Any]:
    try:
        criteria = asyncio.run(grade(number, load_solution(number, file)))
    except UngradableError as error:
        return {"error": str(error)}
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer
        return {"error": f"{file} cannot be graded: {type(error).__name__}: {error}"}
    return {"criteria": [asdict(criterion) for criterion in criteria]}


def _end_with_parent() -> None:
    pipe = os.dup(0)
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)  # `input()` in a solution must not wait

    def watch() -> None:
        while os.read(pipe, 1):
            pass
        if os.name == "posix":
            os.killpg(0, signal.SIGKILL)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
