"""Every command of docs/ci.md runs as printed, and every file that it shows is an example."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.environment import ROOT

PAGE = ROOT / "docs" / "ci.md"
EXAMPLES = ROOT / "examples" / "ci"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text("utf-8"), re.M | re.S)


def run(commands: str, folder: Path) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-ec", commands],
        cwd=folder,
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A team's project, outside this one."""
    return Path(shutil.copytree(EXAMPLES, tmp_path / "project"))


def test_there_is_something_to_run() -> None:
    assert [block.split()[0] for block in blocks("sh")] == [
        "pytest",
        "llm-antipatterns",
        "llm-antipatterns",
    ]


@pytest.mark.slow
@pytest.mark.parametrize("commands", blocks("sh"), ids=lambda block: block.splitlines()[-1][:30])
def test_the_commands_pass_as_printed(project: Path, commands: str) -> None:
    done = run(commands, project)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_the_audit_fails_for_what_nobody_expects(project: Path) -> None:
    file = project / "expected-failures.yaml"
    known = yaml.safe_load(file.read_text("utf-8"))
    file.write_text(yaml.safe_dump([each for each in known if each["id"] != "LAP08.siblings"]))
    audit = blocks("sh")[1].replace(" --junit", " --only LAP08 --junit")
    done = run(audit, project)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "LAP08.siblings" in done.stdout


def test_the_clients_tests_fail_with_a_client_per_request_in_turn(project: Path) -> None:
    file = project / "summaries.py"
    text = file.read_text("utf-8")
    gathered = "await asyncio.gather(*(summarize(client, text) for text in texts))"
    assert gathered in text
    file.write_text(text.replace(gathered, "[await summarize(client, text) for text in texts]"))
    done = run("pytest test_summaries.py -k one_client", project)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "peak_in_flight" in done.stdout


def test_what_the_page_shows_is_in_the_examples() -> None:
    (code,) = blocks("python")
    assert code in (EXAMPLES / "test_summaries.py").read_text("utf-8")
    (entry,) = blocks("yaml")
    assert entry in (EXAMPLES / "expected-failures.yaml").read_text("utf-8")


def test_the_workflow_runs_the_pages_commands() -> None:
    workflow = yaml.safe_load((EXAMPLES / "workflow.yml").read_text("utf-8"))
    steps = workflow["jobs"]["llm"]["steps"]
    ran = [step["run"].strip() for step in steps if "run" in step]
    for command in "".join(blocks("sh")).splitlines():
        assert command in ran
    assert blocks("text")[0].strip() in ran
    pinned = [step["uses"] for step in steps if "uses" in step]
    assert [each for each in pinned if not re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", each)] == []
