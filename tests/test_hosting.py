"""The files for hosting services are valid, and agree with the project."""

import re
import tomllib
from typing import Any

import pytest
import yaml

from helpers.lessons.catalogue import LESSONS, START
from tests.environment import ROOT

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
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
    assert options == [f"{each.number} {each.title}" for each in (START, *LESSONS) if each.name]


def test_every_pre_commit_hook_runs_a_tool_of_the_project() -> None:
    (local,) = read(ROOT / ".pre-commit-config.yaml")["repos"]
    assert local["repo"] == "local"
    for hook in local["hooks"]:
        assert hook["language"] == "system"
        assert hook["entry"].startswith(".venv/bin/python -m ruff ")
