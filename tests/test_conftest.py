"""Tests write nothing into a contributor's home, and are grouped as CONTRIBUTING.md says."""

import os
import subprocess
import sys
from pathlib import Path

import matplotlib
import pytest

from conftest import GROUPS
from helpers.lessons.catalogue import START
from tests.environment import ROOT


@pytest.mark.parametrize("workers", [0, 1])
def test_nbval_writes_nothing_into_the_home_folder(workers: int, tmp_path: Path) -> None:
    ours = {name: os.environ[name] for name in os.environ if not name.startswith("XDG_")}
    ours |= {"HOME": str(tmp_path), "MPLCONFIGDIR": matplotlib.get_cachedir()}
    for name in ("LLM_ANTIPATTERNS_HOME", "IPYTHONDIR"):
        del ours[name]
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-n", str(workers)]
    command.append(str(START.notebook.relative_to(ROOT)))
    done = subprocess.run(command, cwd=ROOT, env=ours, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
    assert [file.relative_to(tmp_path) for file in tmp_path.rglob("*") if file.is_file()] == []
    assert not (tmp_path / ".local/share/llm-antipatterns").exists()


@pytest.mark.parametrize("prefix", [each for tests in GROUPS.values() for each in tests])
def test_every_group_names_tests_that_exist(prefix: str) -> None:
    """A file that was moved or renamed would silently change its group."""
    file, _, name = prefix.partition("::")
    found = [path for path in ROOT.glob(f"{file}*") if path.suffix == ".py" or path.is_dir()]
    assert found
    assert all(f"def {name}(" in path.read_text("utf-8") for path in found if name)
