"""A reset lesson is as new, and no copy of the learner's notebook is ever lost."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from helpers.lessons.catalogue import lesson, notebooks_folder
from tests.obstacles import full_disk, permissions_count

NOTEBOOK = lesson("01").notebook
STEM = lesson("01").stem
RESET = "from helpers.cli import main; main()"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The learner's copy of a course of one lesson, with nothing in it yet."""
    source = tmp_path / "notebooks" / "source"
    source.mkdir(parents=True)
    shutil.copy(NOTEBOOK, source.parent)
    folder = tmp_path / "course"
    folder.mkdir()
    # The package finds the notebooks next to itself.
    package = notebooks_folder().parent / "src" / "helpers"
    shutil.copytree(package, tmp_path / "src" / "helpers", ignore=shutil.ignore_patterns("*.pyc"))
    return folder


def reset(
    folder: Path, obstacle: Callable[[], None] | None = None
) -> subprocess.CompletedProcess[str]:
    root = folder.parent
    environment = os.environ | {
        "PYTHONPATH": str(root / "src"),
        "LLM_ANTIPATTERNS_HOME": str(root / "home"),
    }
    return subprocess.run(
        [sys.executable, "-c", RESET, "reset", "01"],
        env=environment,
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=obstacle,
    )


def write(folder: Path, text: str) -> None:
    (folder / f"{STEM}.ipynb").write_text(text)


def kept(folder: Path) -> list[str]:
    return sorted(file.read_text() for file in folder.glob(f"{STEM}-kept-*.ipynb"))


def is_fresh(folder: Path) -> bool:
    return "The wrong way" in (folder / f"{STEM}.ipynb").read_text()


def files(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()}


def test_resets_in_the_same_second_keep_every_copy(folder: Path) -> None:
    texts = ["precious", "more precious", "most precious"]
    for text in texts:
        write(folder, text)
        assert reset(folder).returncode == 0
    assert kept(folder) == sorted(texts)
    assert is_fresh(folder)


def test_resets_at_the_same_time_keep_the_copy(folder: Path) -> None:
    write(folder, "precious")
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda _: reset(folder), range(4)))
    assert [each.returncode for each in done] == [0] * 4, [each.stderr for each in done]
    assert kept(folder).count("precious") == 1
    assert is_fresh(folder)
    assert not [name for name in files(folder) if name.endswith(".new")]


def test_an_untouched_notebook_stays_without_a_copy(folder: Path) -> None:
    reset(folder)
    file = folder / f"{STEM}.ipynb"
    before = file.lstat().st_mtime_ns
    done = reset(folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{file} is as it came.\n"
    assert file.lstat().st_mtime_ns == before
    assert kept(folder) == []


def test_a_deleted_notebook_is_made_again(folder: Path) -> None:
    done = reset(folder)
    assert done.returncode == 0
    assert "There was no notebook to keep." in done.stdout
    assert is_fresh(folder)
    assert kept(folder) == []


def test_without_the_packaged_notebook_the_learner_s_stays(folder: Path) -> None:
    write(folder, "precious")
    (folder.parent / "notebooks" / NOTEBOOK.name).unlink()
    assert_refused(folder, reset(folder), NOTEBOOK.name)


def test_in_a_read_only_folder_the_notebook_stays(folder: Path) -> None:
    write(folder, "precious")
    folder.chmod(0o555)
    done = reset(folder, permissions_count)
    folder.chmod(0o755)
    assert_refused(folder, done, "Permission denied")


def test_on_a_full_disk_the_notebook_stays(folder: Path) -> None:
    write(folder, "precious")
    assert_refused(folder, reset(folder, full_disk), "too large")


def assert_refused(folder: Path, done: subprocess.CompletedProcess[str], reason: str) -> None:
    assert done.returncode == 2
    assert reason in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert (folder / f"{STEM}.ipynb").read_text() == "precious"
    assert files(folder) == {f"{STEM}.ipynb"}
