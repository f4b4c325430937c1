"""Runs the proof in a throw-away environment: ``make hub``. It downloads what the lock names."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from tests.environment import ROOT
from tests.installed import UV, scripts


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "environment"
        subprocess.run([*UV, "venv", "-q", "--python", sys.executable, place], check=True)
        python = str(scripts(place) / "python")
        pip = [*UV, "pip", "install", "-q", "-p", python]
        lock = str(ROOT / "hub" / "requirements.lock")
        subprocess.run([*pip, "--require-hashes", "-r", lock], check=True)
        subprocess.run([*pip, "--no-deps", "--no-build-isolation", "-e", str(ROOT)], check=True)
        done = subprocess.run([python, "-m", "tests.hub.prove", *sys.argv[1:]], check=False)
        return done.returncode


if __name__ == "__main__":
    sys.exit(main())
