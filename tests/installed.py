"""Environments with the package installed as a learner or a team would, from a wheel."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.environment import ROOT

UV = [sys.executable, "-m", "uv"]
COMMAND = "llm-antipatterns"
# Variables with which this process has been set up, not the learner's machine.
_OURS = ("XDG_", "LLM_ANTIPATTERNS_", "IPYTHON", "JUPYTER", "MPL", "PYTHON", "VIRTUAL_ENV")


def build_wheel(folder: Path) -> Path:
    """Build it without network, with the build backend that is installed here."""
    build = [*UV, "build", "--quiet", "--wheel", "--no-build-isolation", "--offline"]
    subprocess.run([*build, "--out-dir", folder, ROOT], check=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


def make_environment(folder: Path, *packages: str, installer: str = "uv") -> Path:
    """A fresh virtual environment with these packages; returns the folder of its commands."""
    seed = ["--seed"] if installer == "pip" else []
    subprocess.run([*UV, "venv", "-q", *seed, "--python", sys.executable, folder], check=True)
    install(folder, *packages, installer=installer)
    return scripts(folder)


def install(folder: Path, *packages: str, installer: str = "uv") -> None:
    python = str(scripts(folder) / "python")
    pip = [*UV, "pip", "install", "-p"] if installer == "uv" else []
    command = [*pip, python] if pip else [python, "-m", "pip", "install"]
    subprocess.run([*command, "-q", *packages], check=True)


def scripts(folder: Path) -> Path:
    return folder / ("Scripts" if os.name == "nt" else "bin")


def versions(folder: Path) -> dict[str, str]:
    """What is installed there."""
    listing = [*UV, "pip", "list", "-q", "--format=json", "-p", str(scripts(folder) / "python")]
    listed = subprocess.run(listing, capture_output=True, check=True)
    return {package["name"]: package["version"] for package in json.loads(listed.stdout)}


def elsewhere(path: Path, home: Path) -> dict[str, str]:
    """The variables of a machine with these commands alone, not even git or make, and this home."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
    return kept | {"HOME": str(home), "USERPROFILE": str(home), "PATH": str(path)}
