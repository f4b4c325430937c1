"""environment.yml, pyproject.toml and requirements.lock agree."""

import json
import os
import re
import subprocess
import tomllib
import venv
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.environment import ENVIRONMENT, LOCK, ROOT, environment, pins, pip_section


def _pyproject() -> Any:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_environment_yml_is_made_from_the_lock() -> None:
    assert ENVIRONMENT.read_text() == environment(LOCK.read_text())


def test_every_locked_version_is_in_the_declared_range() -> None:
    project = _pyproject()["project"]
    extras = project["optional-dependencies"].values()
    wanted = [*project["dependencies"], *(line for extra in extras for line in extra)]
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


def test_the_readme_names_the_wheel_of_this_version() -> None:
    named = set(re.findall(r"[\w.-]+\.whl", (ROOT / "README.md").read_text("utf-8")))
    version = _pyproject()["project"]["version"]
    assert named == {f"llm_antipatterns-{version}-py3-none-any.whl"}


def test_without_an_extra_nothing_of_jupyter_is_required_and_nothing_is_capped() -> None:
    project = _pyproject()["project"]
    wanted = [Requirement(line) for line in project["dependencies"]]
    assert not {each.name for each in wanted} & {"ipykernel", "ipython", "jupyterlab", "matplotlib"}
    assert {one.operator for each in wanted for one in each.specifier} == {">="}
    assert set(project["optional-dependencies"]) == {"course", "test", "dev"}


@pytest.mark.slow
def test_the_pip_section_installs_as_conda_would(tmp_path: Path) -> None:
    """conda puts all lines in one requirements file and runs pip in environment.yml's folder."""
    venv.create(tmp_path / "env", with_pip=True)
    requirements = tmp_path / "condaenv.requirements.txt"
    requirements.write_text("\n".join(pip_section(ENVIRONMENT.read_text())))
    scripts = tmp_path / "env" / ("Scripts" if os.name == "nt" else "bin")
    pip = [str(scripts / "python"), "-m", "pip"]
    install = [*pip, "install", "-q", "-U", "-r", str(requirements), "--exists-action=b"]
    done = subprocess.run(install, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    listed = subprocess.run([*pip, "list", "--format=json"], capture_output=True, check=True)
    installed = {
        canonicalize_name(package["name"]): package["version"]
        for package in json.loads(listed.stdout)
    }
    for pin in map(Requirement, pins(LOCK.read_text())):
        if pin.marker is None or pin.marker.evaluate():
            assert str(pin.specifier) == f"=={installed[canonicalize_name(pin.name)]}"
    asked = [str(scripts / "llm-antipatterns"), "--help"]
    assert subprocess.run(asked, capture_output=True, check=False).returncode == 0
