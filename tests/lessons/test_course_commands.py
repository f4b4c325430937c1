"""The commands find the learner's copy of the course, wherever it is."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import nbformat
import pytest

from helpers.lessons.catalogue import lesson, notebooks, notebooks_folder
from tests.jupyterlab import first_page
from tests.obstacles import permissions_count

MANIFEST = ".llm-antipatterns.json"
STEM = lesson("01").stem
COURSE = "llm-antipatterns-course"
FILES = len(notebooks()) + 3
"""Notebooks, README.md, AGENTS.md and settings.json."""


def call(
    here: Path, *args: str, obstacle: Callable[[], None] | None = None
) -> subprocess.CompletedProcess[str]:
    """The command, in a folder; in a clone of the project, it is that clone's."""
    environment = os.environ | {"LLM_ANTIPATTERNS_HOME": str(here / ".home")}
    if (here / "src").is_dir():
        environment["PYTHONPATH"] = str(here / "src")
    return subprocess.run(
        [sys.executable, "-m", "helpers.cli", *args],
        cwd=here,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=obstacle,
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in a git repository, with a copy of the course that `init` has made."""
    here = tmp_path_factory.mktemp("repository") / "Kürs für alle"
    here.mkdir()
    subprocess.run(["git", "init", "-q", here.parent], check=True)
    done = call(here, "init")
    assert done.returncode == 0, done.stderr
    *lines, last = done.stdout.splitlines()
    (hint,) = done.stderr.splitlines()
    assert hint.startswith("It is in a git repository. To keep it out of `git status`: echo ")
    assert len(lines) == FILES
    assert all(line.endswith(": added") for line in lines)
    assert last.startswith(f"Your copy of the course is in {here / COURSE}.")
    return here


@pytest.fixture
def here(made: Path, tmp_path: Path) -> Path:
    """A folder with a fresh copy of the course."""
    return Path(shutil.copytree(made, tmp_path / made.name))


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone of the project: the real one is not ours to change."""
    root = tmp_path / "project"
    shutil.copytree(notebooks_folder(), root / "notebooks")
    package = notebooks_folder().parent / "src"
    shutil.copytree(package, root / "src", ignore=shutil.ignore_patterns("__pycache__"))
    return root


def learners(file: Path, text: str = "print('PASS', 'mine')", tag: str = "verdict") -> None:
    """A lesson's notebook that takes no time."""
    cell = nbformat.v4.new_code_cell(text, metadata={"tags": [tag]})
    file.parent.mkdir(exist_ok=True)
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), file)


def outdated(folder: Path) -> None:
    """The README comes from an older version, and nobody has touched it."""
    (folder / "README.md").write_bytes(b"older")
    manifest = json.loads((folder / MANIFEST).read_text("utf-8"))
    manifest["files"]["README.md"] = sha256(b"older").hexdigest()
    (folder / MANIFEST).write_text(json.dumps(manifest), "utf-8")


def contents(folder: Path) -> dict[str, bytes]:
    found = (file for file in folder.rglob("*") if file.is_file())
    return {str(file.relative_to(folder)): file.read_bytes() for file in found}


def test_a_copy_made_elsewhere_is_named(tmp_path: Path) -> None:
    done = call(tmp_path, "init", "a/b c")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a" / "b c" / "00_start_here.ipynb").exists()
    assert done.stderr == ""
    done = call(tmp_path, "init", "a/../a/b c")
    assert f"Your copy of the course is in {tmp_path / 'a' / 'b c'}. Go there" in done.stdout


def git(here: Path, *args: str) -> str:
    return subprocess.run(["git", *args], cwd=here, capture_output=True, text=True).stdout


def test_in_a_repository_the_hint_keeps_the_copy_out_of_git_status(tmp_path: Path) -> None:
    repository = tmp_path / "the repository"
    folder = repository / "a b" / "mine"
    folder.parent.mkdir(parents=True)
    git(repository, "init", "-q")
    hint = call(folder.parent, "init", "mine").stderr
    assert git(repository, "status", "--porcelain") != ""
    subprocess.run(["sh", "-c", hint.split("`git status`: ")[1]], check=True)
    assert git(repository, "status", "--porcelain", "--ignored") == '!! "a b/"\n'
    assert call(folder.parent, "init", "mine").stderr == "", "it is ignored now"
    (repository / ".git" / "info" / "exclude").unlink()
    git(folder, "init", "-q")
    assert call(folder.parent, "init", "mine").stderr == "", "it is a repository of its own"


@pytest.mark.parametrize("place", [".", COURSE, f"{COURSE}/.vscode"])
def test_update_says_one_line_for_each_file(here: Path, place: str) -> None:
    outdated(here / COURSE)
    learners(here / COURSE / f"{STEM}.ipynb")
    done = call(here / place, "update")
    assert done.returncode == 0, done.stderr
    first, *lines = done.stdout.splitlines()
    assert first == f"Your copy of the course in {here / COURSE}:"
    said = dict(line.split(": ", 1) for line in lines)
    assert len(said) == FILES
    assert said.pop("README.md") == "updated"
    assert said.pop(f"{STEM}.ipynb") == "yours stays"
    assert set(said.values()) == {"up to date"}


def test_update_takes_a_folder_that_is_a_copy(here: Path) -> None:
    outdated(here / COURSE)
    refused = call(here.parent, "update", here.name)
    assert refused.returncode == 2
    assert f"There is no copy of the course in {here}: make one" in refused.stderr
    assert [each.name for each in here.iterdir()] == [COURSE]
    done = call(here.parent, "update", f"{here.name}/{COURSE}")
    assert done.stdout.startswith(f"Your copy of the course in {here / COURSE}:\n")
    assert "README.md: updated" in done.stdout


INTERRUPTED = """
import os, signal, sys
def hook(event, args):
    if event == "os.link":
        os.kill(os.getpid(), signal.SIGINT)
sys.addaudithook(hook)
from helpers.cli import main; main()
"""


def test_an_update_that_is_interrupted_says_how_to_finish(here: Path) -> None:
    file = here / COURSE / f"{STEM}.ipynb"
    file.unlink()
    command = [sys.executable, "-c", INTERRUPTED, "update"]
    done = subprocess.run(command, cwd=here, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == "Interrupted. Nothing is lost: run the same command again to finish.\n"
    assert list(file.parent.glob(".llm-antipatterns-*")) == []
    assert call(here, "update").returncode == 0
    assert file.exists()


def test_a_notebook_that_a_crash_has_emptied_is_named_with_the_remedy(here: Path) -> None:
    file = here / COURSE / f"{STEM}.ipynb"
    file.write_bytes(b"")
    sentence = (
        "is not a readable notebook: `llm-antipatterns reset 01` brings a fresh copy and keeps "
        "this one"
    )
    assert f"{file.name}: yours stays. Yours {sentence}\n" in call(here, "update").stdout
    assert f"{file} {sentence}.\n" in call(here, "run", "01").stderr
    assert call(here, "reset", "01").returncode == 0
    (kept,) = file.parent.glob(f"{STEM}-kept-*.ipynb")
    assert kept.read_bytes() == b""
    assert "not a readable" not in call(here, "update").stdout


@pytest.mark.parametrize("args", [["init"], ["init", "x/y"], ["lab"], ["lab", "x"]])
def test_where_nothing_can_be_written_the_remedy_is_said(tmp_path: Path, args: list[str]) -> None:
    here = tmp_path / "read-only"
    here.mkdir(mode=0o555)
    done = call(here, *args, obstacle=permissions_count)
    assert done.returncode == 2
    assert f"Nothing can be written to {here}: Permission denied." in done.stderr
    assert "`llm-antipatterns init ~/llm-antipatterns-course`" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("args", [["init", "file"], ["init", "file/x"], ["lab", "file"]])
def test_a_file_is_no_folder(tmp_path: Path, args: list[str]) -> None:
    (tmp_path / "file").write_text("mine")
    done = call(tmp_path, *args)
    assert done.returncode == 2
    assert done.stderr == f"{tmp_path / 'file'} is a file: choose another FOLDER.\n"
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("args", [["init"], ["update"], ["doctor"], ["check", "01", "a.py"]])
def test_in_a_deleted_folder_the_command_says_so(tmp_path: Path, args: list[str]) -> None:
    shell = f'rmdir "$PWD"; exec "$0" -m helpers.cli {" ".join(args)}'
    done = subprocess.run(
        ["sh", "-c", shell, sys.executable], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr == "The current directory was deleted: go to another one with `cd`.\n"


def test_a_lesson_whose_verdict_holds_counts_as_run(here: Path) -> None:
    file = here / COURSE / f"{STEM}.ipynb"
    for text, run in (("raise ValueError", "○ to do"), ("print('PASS')", "✓ done")):
        learners(file, text)
        call(here, "run", "01")
        assert f"run: {run}" in call(here, "progress").stdout.splitlines()[0]


def test_updates_at_the_same_time_do_not_disturb_each_other(here: Path) -> None:
    folder = here / COURSE
    (folder / MANIFEST).unlink()
    for file in folder.glob("*.ipynb"):
        file.write_bytes(b"mine")
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda _: call(here, "update"), range(4)))
    assert [each.returncode for each in done] == [0] * 4, [each.stderr for each in done]
    notebooks = {file.name: file.read_bytes() for file in folder.glob("*.ipynb")}
    mine = {name for name in notebooks if ".new." not in name}
    assert {notebooks[name] for name in mine} == {b"mine"}
    assert set(notebooks) - mine == {name.replace(".ipynb", ".new.ipynb") for name in mine}
    assert list(folder.glob(".llm-antipatterns-*")) == []


def test_an_update_that_cannot_write_is_one_sentence_and_changes_nothing(here: Path) -> None:
    folder = here / COURSE
    outdated(folder)
    before = contents(folder)
    folder.chmod(0o555)
    done = call(here, "update", obstacle=permissions_count)
    folder.chmod(0o755)
    assert done.returncode == 2
    assert "Permission denied" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""
    assert contents(folder) == before


@pytest.mark.parametrize("args", [["update"], ["init"], ["reset", "01"]])
def test_a_newer_course_is_refused_in_one_sentence(here: Path, args: list[str]) -> None:
    file = here / COURSE / MANIFEST
    file.write_text(json.dumps({"version": "99.1", "files": {}}))
    before = contents(here / COURSE)
    done = call(here, *args)
    assert done.returncode == 2
    assert "comes from version 99.1, which is newer than this one" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert contents(here / COURSE) == before


@pytest.mark.parametrize("args", [["update"], ["reset", "01"]])
def test_without_a_copy_the_sentence_says_how_to_make_one(tmp_path: Path, args: list[str]) -> None:
    done = call(tmp_path, *args)
    assert done.returncode == 2
    assert "make one with `llm-antipatterns init`, or go to its folder." in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", [".", COURSE])
def test_reset_restores_the_lesson_and_keeps_the_learner_s_copy(here: Path, place: str) -> None:
    file = here / COURSE / f"{STEM}.ipynb"
    came = file.read_bytes()
    file.write_bytes(came.replace(b"The wrong way", b"My notes"))
    done = call(here / place, "reset", "01")
    assert done.returncode == 0, done.stderr
    (kept,) = file.parent.glob(f"{STEM}-kept-*.ipynb")
    assert b"My notes" in kept.read_bytes()
    assert file.read_bytes() == came
    assert "01_event_loop.ipynb: up to date" in call(here, "update").stdout


@pytest.mark.parametrize("place", [".", COURSE, f"{COURSE}/.vscode"])
def test_run_runs_the_learner_s_notebook(here: Path, place: str) -> None:
    learners(here / COURSE / f"{STEM}.ipynb", "import os; print('PASS', os.getcwd())")
    done = call(here / place, "run", "01")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[1] == f"PASS {here / COURSE}"


def test_run_says_what_is_wrong_with_the_learner_s_notebook(here: Path) -> None:
    file = here / COURSE / f"{STEM}.ipynb"
    for harm, sentence in (
        (lambda: learners(file, tag="other"), "has lost its verdict cell: `llm-antipatterns reset"),
        (lambda: file.write_text("{"), "01_event_loop.ipynb is not a readable notebook: `llm-anti"),
        (file.unlink, "is not there: `llm-antipatterns update` brings it back."),
    ):
        harm()
        done = call(here, "run", "01")
        assert done.returncode == 2
        assert sentence in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_in_a_clone_run_uses_its_notebooks_and_the_rest_its_course(clone: Path) -> None:
    source = clone / "notebooks" / "source" / f"{STEM}.py"
    source.write_text("# %% tags=['verdict']\nimport os; print('PASS', os.getcwd())\n")
    learners(clone / "course" / f"{STEM}.ipynb")
    assert call(clone, "run", "01").stdout.split("\n")[1] == f"PASS {clone / 'notebooks'}"
    assert call(clone / "course", "reset", "01").returncode == 2, "it is no copy of the course yet"
    assert call(clone, "reset", "01").returncode == 0
    (kept,) = (clone / "course").glob(f"{STEM}-kept-*.ipynb")
    assert "mine" in kept.read_text()
    assert f"{STEM}.ipynb: up to date" in call(clone, "update").stdout


def test_check_finds_a_file_in_the_copy_of_the_course(here: Path) -> None:
    answer = here / COURSE / "answer.py"
    answer.write_text("answer = 1")
    done = call(here, "check", "01", "answer.py")
    assert done.returncode == 1
    assert f"{answer} has no function `handle`" in done.stderr


def test_lab_serves_the_first_page(clone: Path, tmp_path: Path) -> None:
    """Of the learner's copy, which has no outputs, and keeps what the learner wrote."""
    log = tmp_path / "log"
    mine = clone / "course" / "02_shared_client.ipynb"
    mine.parent.mkdir()
    mine.write_text("precious")
    environment = os.environ | {"HOME": str(tmp_path), "PYTHONPATH": str(clone / "src")}
    with log.open("w") as out:
        command = [sys.executable, "-m", "helpers.cli", "lab", "--no-browser", "--port=0"]
        lab = subprocess.Popen(command, cwd=clone, stdout=out, stderr=out, env=environment)
    try:
        address = first_page(log, lab)
        assert "/lab/tree/00_start_here.ipynb?" in address
        with urllib.request.urlopen(address, timeout=30) as page:  # noqa: S310
            assert page.status == 200
        assert mine.read_text() == "precious"
        copies = sorted(file.name for file in mine.parent.glob("*.ipynb"))
        assert copies == sorted(file.name for file in (clone / "notebooks").glob("*.ipynb"))
        assert '"output_type"' not in (clone / "course" / "01_event_loop.ipynb").read_text()
    finally:
        lab.terminate()
        lab.wait(timeout=30)
