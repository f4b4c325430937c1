"""The files for hosting services are valid, and agree with the project."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from helpers.lessons.catalogue import START, notebooks
from tests.environment import ENVIRONMENT, ROOT

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
DATA = ROOT / "tests" / "data"
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))


def read(file: Any) -> Any:
    return yaml.safe_load(file.read_text("utf-8"))


def test_the_workflow_covers_every_declared_python_on_three_systems() -> None:
    matrix = read(ROOT / ".github/workflows/test.yml")["jobs"]["portable"]["strategy"]["matrix"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    declared = re.findall(r"Python :: (3\.\d+)", "\n".join(project["classifiers"]))
    assert matrix["python"] == declared
    assert [system.partition("-")[0] for system in matrix["os"]] == ["ubuntu", "macos", "windows"]


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: str(file.stem))
def test_every_action_is_pinned_to_a_commit(file: Any) -> None:
    steps = [step for job in read(file)["jobs"].values() for step in job["steps"]]
    used = [step["uses"] for step in steps if "uses" in step]
    assert used
    assert [each for each in used if not re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", each)] == []
    assert all("run" in step or "uses" in step for step in steps)


@pytest.mark.parametrize("file", FORMS, ids=lambda file: str(file.stem))
def test_every_issue_form_has_what_its_schema_requires(file: Any) -> None:
    form = read(file)
    if file.stem == "config":
        assert form == {"blank_issues_enabled": True}
        return
    assert form["name"]
    assert form["description"]
    fields = form["body"]
    assert len({field["id"] for field in fields}) == len(fields)
    for field in fields:
        assert field["type"] in {"input", "textarea", "dropdown"}
        assert field["attributes"]["label"]
        assert (field["type"] == "dropdown") == ("options" in field["attributes"])


def test_the_lesson_form_lists_every_lesson() -> None:
    form = read(ROOT / ".github/ISSUE_TEMPLATE/lesson.yml")
    (options,) = [f["attributes"]["options"] for f in form["body"] if f["id"] == "lesson"]
    assert options == [f"{each.number} {each.title}" for each in notebooks()]


def test_every_pre_commit_hook_runs_a_tool_of_the_project() -> None:
    (local,) = read(ROOT / ".pre-commit-config.yaml")["repos"]
    assert local["repo"] == "local"
    for hook in local["hooks"]:
        assert hook["language"] == "system"
        assert hook["entry"].startswith(".venv/bin/python -m ruff ")


def _devcontainer() -> Any:
    lines = (ROOT / ".devcontainer" / "devcontainer.json").read_text("utf-8").splitlines()
    return json.loads("\n".join(line for line in lines if not line.startswith("//")))


def test_the_dev_container_is_as_its_schema_wants() -> None:
    """The schema is devcontainers/spec's, at c95ffee."""
    schema = json.loads((DATA / "devContainer.base.schema.json").read_text("utf-8"))
    validator = jsonschema.Draft201909Validator(schema)
    assert [error.message for error in validator.iter_errors(_devcontainer())] == []
    for wrong in ({"image": 3}, {"postCreateCommand": 1}, {"hostRequirements": {"cpus": "two"}}):
        assert list(validator.iter_errors(_devcontainer() | wrong)), wrong


def test_the_dev_container_runs_what_the_project_has() -> None:
    container = _devcontainer()
    python = environment_python()
    assert container["image"] == f"mcr.microsoft.com/devcontainers/python:{python}"
    program, target = container["updateContentCommand"].split()
    assert program == "make"
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert container["postCreateCommand"] == f".venv/bin/{MAKE_A_COPY}"
    settings = container["customizations"]["vscode"]["settings"]
    assert settings["python.defaultInterpreterPath"].endswith("/.venv/bin/python")
    extensions = container["customizations"]["vscode"]["extensions"]
    assert extensions == ["ms-python.python", "ms-toolsai.jupyter"]
    (first,) = container["customizations"]["codespaces"]["openFiles"]
    assert first == f"course/{START.stem}.ipynb"


MAKE_A_COPY = "llm-antipatterns init"


def environment_python() -> str:
    """Binder's Python, which repo2docker reads from environment.yml as text."""
    (python,) = re.findall(r"^  - python ?= ?([\d.]+)$", ENVIRONMENT.read_text("utf-8"), re.M)
    return str(python)


def test_repo2docker_finds_what_binder_is_to_have() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert f"Programming Language :: Python :: {environment_python()}" in declared["classifiers"]
    # With one of these, repo2docker would not read environment.yml in the root.
    for other in ("binder", ".binder", "Dockerfile"):
        assert not (ROOT / other).exists()
    script = ROOT / "postBuild"
    assert os.access(script, os.X_OK)
    assert script.read_text("utf-8").startswith("#!/bin/bash\n")
    assert f"\nset -e\n{MAKE_A_COPY}\n" in script.read_text("utf-8")


def test_the_copy_that_hosts_make_holds_the_first_page(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "helpers.cli", *MAKE_A_COPY.split()[1:], str(tmp_path / "c")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "c" / f"{START.stem}.ipynb").is_file()
