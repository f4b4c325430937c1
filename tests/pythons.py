"""The untimed tests and lesson 01 on every declared Python that this machine has: ``make pythons``.

Each has a virtual environment of its own under build/, installed from the lock. No interpreter is
downloaded. The exit status is the number of Pythons that failed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
UNTIMED = ["-n", "4", "-m", "not timed and not slow and not browser"]
# Gates execute every lesson; here lesson 01 is enough.
TESTS = ["tests", "notebooks/01_event_loop.ipynb", "--ignore=tests/test_gates.py"]


def declared() -> list[str]:
    """The versions that pyproject.toml declares, like "3.12"."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    return re.findall(r"Python :: (3\.\d+)", "\n".join(project["classifiers"]))


def interpreter(version: str) -> str | None:
    """An interpreter of this version: on the PATH, of pyenv, or one that uv has installed."""
    return next((path for path in _candidates(version) if _is(path, version)), None)


def _candidates(version: str) -> Iterator[str]:
    if found := shutil.which(f"python{version}"):
        yield found
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    yield from map(str, sorted(root.glob(f"versions/{version}.*/bin/python")))
    command = [sys.executable, "-m", "uv", "python", "find", "--no-python-downloads", version]
    found_by_uv = subprocess.run(command, capture_output=True, text=True, check=False)
    if found_by_uv.returncode == 0:
        yield found_by_uv.stdout.strip()


def _is(path: str, version: str) -> bool:
    """A shim of pyenv's is there for versions that it does not run."""
    code = "import sys, venv; print('%d.%d' % sys.version_info[:2])"
    try:
        asked = subprocess.run([path, "-c", code], capture_output=True, text=True, check=False)
    except OSError:
        return False
    return asked.stdout.strip() == version


def environment(version: str, python: str) -> str:
    """The interpreter of a fresh virtual environment with everything in the lock."""
    folder = ROOT / "build" / f"python{version}"
    subprocess.run(
        [sys.executable, "-m", "uv", "venv", "--quiet", "--clear", "--python", python, folder],
        check=True,
    )
    inside = str(folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))
    pip = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", inside]
    lock = ["--compile-bytecode", "--require-hashes", "-r", str(ROOT / "requirements.lock")]
    subprocess.run([*pip, *lock], check=True)
    subprocess.run([*pip, "--no-deps", "--no-build-isolation", "-e", ROOT], check=True)
    return inside


def main() -> int:
    others = [each for each in declared() if each != "{}.{}".format(*sys.version_info[:2])]
    failed = 0
    for version in others:
        python = interpreter(version)
        if python is None:
            print(f"Python {version}: not on this machine", flush=True)
            continue
        print(f"Python {version}: {python}", flush=True)
        command = [environment(version, python), "-m", "pytest", "-q", *UNTIMED, *TESTS]
        failed += bool(subprocess.run(command, cwd=ROOT, check=False).returncode)
    return failed


if __name__ == "__main__":
    sys.exit(main())
