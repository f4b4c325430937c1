"""environment.yml, pyproject.toml and requirements.lock say the same."""

import os
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import Requirement

from tests.environment import ENVIRONMENT, LOCK, ROOT, environment, pins, pip_section


def _pyproject() -> dict[str, dict[str, object]]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_the_environment_is_made_from_the_lock() -> None:
    assert ENVIRONMENT.read_text() == environment(LOCK.read_text())


def test_every_dependency_is_locked_in_the_range_it_asks_for() -> None:
    project = _pyproject()["project"]
    wanted = [*project["dependencies"], *sum(project["optional-dependencies"].values(), [])]
    locked = {pin.name: pin for pin in map(Requirement, pins(LOCK.read_text()))}
    for requirement in map(Requirement, wanted):
        if requirement.name == project["name"]:
            continue
        version = next(iter(locked[requirement.name].specifier)).version
        assert requirement.specifier.contains(version), requirement


def test_the_lock_is_hashed_and_names_no_index() -> None:
    text = LOCK.read_text()
    assert text.count("--hash=sha256:") >= len(pins(text)) > 100
    assert "://" not in text
    assert "--index" not in text


def test_the_build_backend_is_the_locked_one() -> None:
    required = _pyproject()["build-system"]["requires"]
    assert all(requirement in pins(LOCK.read_text()) for requirement in required)


def test_the_pip_section_installs_as_conda_would(tmp_path: Path) -> None:
    """conda puts all lines in one requirements file and runs pip in environment.yml's folder."""
    venv.create(tmp_path / "env", with_pip=True)
    requirements = tmp_path / "condaenv.requirements.txt"
    requirements.write_text("\n".join(pip_section(ENVIRONMENT.read_text())))
    python = tmp_path / "env" / ("Scripts" if os.name == "nt" else "bin") / "python"
    install = [python, "-m", "pip", "install", "-U", "-r", requirements, "--exists-action=b", "-q"]
    done = subprocess.run(install, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    frozen = subprocess.run(
        [python, "-m", "pip", "list", "--format=freeze"], capture_output=True, text=True, check=True
    )
    here = default_environment()
    for pin in map(Requirement, pins(LOCK.read_text())):
        if pin.marker is None or pin.marker.evaluate(dict(here)):
            assert f"{pin.name}{pin.specifier}" in frozen.stdout.lower().replace("_", "-"), pin
    asked = [python.parent / "llm-antipatterns", "--help"]
    assert subprocess.run(asked, capture_output=True, check=False).returncode == 0
