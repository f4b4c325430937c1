"""The files for a class's JupyterHub agree with each other and with the course's lock."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

from tests.environment import LOCK, ROOT, pins
from tests.installed import make_environment

HUB = ROOT / "hub"
README = (HUB / "README.md").read_text("utf-8")
CONFIGURATION = (HUB / "jupyterhub_config.py").read_text("utf-8")


def locked(file: Path) -> dict[str, str]:
    return {Requirement(pin).name: pin for pin in pins(file.read_text("utf-8"))}


def values() -> Any:
    return yaml.safe_load((HUB / "values.yaml").read_text("utf-8"))


def test_the_hub_has_the_versions_of_the_course() -> None:
    course, hub = locked(LOCK), locked(HUB / "requirements.lock")
    both = course.keys() & hub.keys()
    assert len(both) > 100
    assert {name: (course[name], hub[name]) for name in both if course[name] != hub[name]} == {}
    text = (HUB / "requirements.lock").read_text("utf-8")
    assert "://" not in text
    assert "--index" not in text


def test_everything_that_the_hub_asks_for_is_locked() -> None:
    hub = locked(HUB / "requirements.lock")
    lines = (HUB / "requirements.in").read_text("utf-8").splitlines()
    for wanted in map(Requirement, (line for line in lines if line and line[0] != "#")):
        version = next(iter(Requirement(hub[wanted.name]).specifier)).version
        assert wanted.specifier.contains(version), wanted


def test_the_readme_explains_every_variable_that_a_teacher_sets() -> None:
    read = set(re.findall(r'"((?:CLASS|LLM)_[A-Z_]+)"', CONFIGURATION))
    # For the proof: ports that are free, and the root of a container.
    inner = {"CLASS_HUB_URL", "CLASS_PROXY_API", "CLASS_AS_ROOT"}
    explained = set(re.findall(r"^\| `(\w+)`", README, re.M))
    assert explained == read - inner


def test_kubernetes_starts_what_the_image_has() -> None:
    command = values()["singleuser"]["cmd"]
    assert command[:2] == ["sh", "-c"]
    assert command[2].startswith("llm-antipatterns init ~/llm-antipatterns-course && exec ")
    image = (HUB / "Dockerfile").read_text("utf-8")
    for source in re.findall(r"^COPY (.*) \S+$", image, re.M):
        for name in source.split():
            assert (ROOT / name).exists(), name
    assert re.search(r"^FROM python:3\.1[123]-slim$", image, re.M)


def test_both_hubs_limit_and_cull() -> None:
    chart = values()
    assert chart["cull"]["enabled"]
    assert chart["singleuser"]["memory"]["limit"] == "1G"
    for limit in ("mem_limit", "cpu_limit", "RLIMIT_DATA", "idle-culler"):
        assert limit in CONFIGURATION


def test_jupyter_loads_the_providers_view_where_its_file_is_copied(tmp_path: Path) -> None:
    config = tmp_path / "jupyter_server_config.d"
    config.mkdir()
    shutil.copy(HUB / "provider_proxy.json", config)
    command = [sys.executable, "-m", "jupyter", "server", "extension", "list"]
    environment = {**os.environ, "JUPYTER_CONFIG_DIR": str(tmp_path), "NO_COLOR": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    said = re.sub(r"\x1b\[\d+m", "", done.stdout + done.stderr)
    assert re.search(r"helpers\.classroom\.provider_proxy enabled\s", said)
    assert re.search(r"helpers\.classroom\.provider_proxy\s+OK", said), said
    for file in (HUB / "Dockerfile", ROOT / "postBuild"):
        assert "provider_proxy.json" in file.read_text("utf-8")


@pytest.mark.slow
def test_repo2docker_accepts_the_repository(tmp_path: Path) -> None:
    """It writes its Dockerfile without a container engine."""
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", ROOT, clone], check=True)
    scripts = make_environment(tmp_path / "environment", "jupyter-repo2docker")
    command = [str(scripts / "jupyter-repo2docker"), "--no-build", "--debug", str(clone)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert 'env update -p ${NB_PYTHON_PREFIX} --file "environment.yml"' in done.stdout
    assert "RUN ./postBuild" in done.stdout
    assert "Building conda environment for python=3.12" in done.stderr
