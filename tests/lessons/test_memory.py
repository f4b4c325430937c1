"""A lesson fits into the memory that a learner has on a shared server."""

import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[2] / "bench" / "lesson.py"
# MiB (PSS) of the kernel and all it started, at their peak.
MOST = 330


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says what processes share")
@pytest.mark.parametrize("number", ["03", "07"])
def test_a_whole_lesson_stays_below_the_limit(number: str) -> None:
    command = [sys.executable, str(BENCH), number]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    (row,) = [line for line in done.stdout.splitlines() if line.startswith(number)]
    peak = int(row.split("|")[1].split()[0])
    assert peak <= MOST, done.stdout
