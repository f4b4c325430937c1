"""The learner's copy of the course is made and updated, and nothing of theirs is ever lost."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Any

import nbformat
import pytest

from helpers.lessons.catalogue import notebooks
from helpers.lessons.course.delivery import init, update
from helpers.lessons.course.manifest import NewerCourseError
from helpers.lessons.course.packaged import Course, packaged_course
from helpers.lessons.course.staging import write_manifest
from helpers.lessons.exercise import hints
from tests.obstacles import full_disk

MANIFEST = ".llm-antipatterns.json"
LESSON = "05_rate_limits.ipynb"
NEW = "05_rate_limits.new.ipynb"
OTHERS = ("01_event_loop.ipynb", "README.md", ".vscode/settings.json")


def notebook(text: str) -> bytes:
    cell = nbformat.v4.new_code_cell(text, id="05-00", metadata={"tags": ["exercise"]})
    made = nbformat.v4.new_notebook(cells=[cell], metadata=packaged_metadata())
    return f"{nbformat.writes(made)}\n".encode()


def packaged_metadata() -> dict[str, Any]:
    kernel = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
    return {"kernelspec": kernel, "language_info": {"name": "python"}}


def course(version: str) -> Course:
    files = {name: f"{name} of version {version}\n".encode() for name in OTHERS}
    return Course(version, {LESSON: notebook(f"lesson = '{version}'")} | files)


OLD, NEWER = course("1.0"), course("1.1")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A learner's copy of version 1.0."""
    folder = tmp_path / "my course"
    init(folder, OLD)
    return folder


def files(folder: Path) -> dict[str, bytes]:
    """All files but the manifest."""
    found = {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file()
    }
    found.pop(MANIFEST, None)
    return found


def lines(folder: Path, to: Course = NEWER) -> dict[str, str]:
    """What `update` says about each file."""
    return dict(str(each).split(": ", 1) for each in update(folder, to))


def assert_settled(folder: Path, to: Course = NEWER) -> None:
    """A further update changes nothing, not even the time of a file."""
    before = files(folder), {file: file.lstat().st_mtime_ns for file in folder.rglob("*")}
    update(folder, to)
    assert (files(folder), {file: file.lstat().st_mtime_ns for file in folder.rglob("*")}) == before


def test_a_copy_holds_what_is_delivered_and_its_digests(folder: Path) -> None:
    assert files(folder) == OLD.files
    manifest = json.loads((folder / MANIFEST).read_text("utf-8"))
    assert manifest == {
        "version": "1.0",
        "files": {name: sha256(content).hexdigest() for name, content in OLD.files.items()},
    }
    assert_settled(folder, OLD)


def test_what_nobody_has_touched_is_replaced(folder: Path) -> None:
    assert set(lines(folder).values()) == {"updated"}
    assert files(folder) == NEWER.files
    assert_settled(folder)


def saved(source: bytes, **cell: Any) -> bytes:
    """As JupyterLab saves a notebook that it has opened: with the kernel's details."""
    book = nbformat.reads(source.decode(), as_version=4)
    book.metadata.language_info |= {"version": "3.12.1", "mimetype": "text/x-python"}
    book.cells[0].metadata["trusted"] = True
    book.cells[0] |= cell
    return f"{nbformat.writes(book)}\n".encode()


def test_opening_and_saving_a_notebook_is_not_touching_it(folder: Path) -> None:
    (folder / LESSON).write_bytes(saved(OLD.files[LESSON]))
    assert lines(folder)[LESSON] == "updated"
    assert files(folder) == NEWER.files


OUTPUT = nbformat.v4.new_output("stream", text="429\n")
MINE: dict[str, bytes] = {
    "edited": notebook("lesson = '1.0'  # my notes"),
    "run": saved(OLD.files[LESSON], outputs=[OUTPUT], execution_count=1),
    "cut off": OLD.files[LESSON][:50],
    "emptied": b"",
    "not UTF-8": b"\xff\xfe",
}


UNREADABLE = (
    ". Yours is not a readable notebook: `llm-antipatterns reset 05` brings a fresh copy and keeps "
    "this one"
)


@pytest.mark.parametrize("mine", MINE.values(), ids=MINE)
def test_what_is_touched_stays_and_the_new_one_is_put_next_to_it(folder: Path, mine: bytes) -> None:
    (folder / LESSON).write_bytes(mine)
    said = lines(folder)
    hint = "" if mine.endswith(b"}\n") else UNREADABLE
    assert said.pop(LESSON) == f"yours stays; the new version is {NEW}{hint}"
    assert set(said.values()) == {"updated"}
    assert files(folder) == {**NEWER.files, LESSON: mine, NEW: NEWER.files[LESSON]}
    assert_settled(folder)
    assert lines(folder)[LESSON] == f"yours stays{hint}"


def test_without_a_newer_one_there_is_nothing_to_put(folder: Path) -> None:
    (folder / LESSON).write_bytes(MINE["edited"])
    same_lesson = replace(NEWER, files={**NEWER.files, LESSON: OLD.files[LESSON]})
    assert lines(folder, same_lesson)[LESSON] == "yours stays"
    assert NEW not in files(folder)


def test_an_older_new_one_is_replaced_unless_it_is_touched(folder: Path) -> None:
    (folder / LESSON).write_bytes(MINE["edited"])
    update(folder, NEWER)
    update(folder, course("1.2"))
    assert files(folder)[NEW] == course("1.2").files[LESSON]
    (folder / NEW).write_bytes(b"my notes")
    second = "05_rate_limits.new-2.ipynb"
    assert lines(folder, course("1.3"))[LESSON] == f"yours stays; the new version is {second}"
    assert files(folder)[LESSON] == MINE["edited"]
    assert files(folder)[NEW] == b"my notes"
    assert files(folder)[second] == course("1.3").files[LESSON]
    assert_settled(folder, course("1.3"))


def test_a_new_one_that_was_looked_at_and_deleted_stays_deleted(folder: Path) -> None:
    (folder / LESSON).write_bytes(MINE["edited"])
    update(folder, NEWER)
    (folder / NEW).unlink()
    assert_settled(folder)


def test_a_new_one_that_took_the_lesson_s_place_is_replaced_by_a_newer_one(folder: Path) -> None:
    (folder / LESSON).write_bytes(MINE["edited"])
    update(folder, NEWER)
    (folder / NEW).replace(folder / LESSON)
    assert_settled(folder)
    update(folder, course("1.2"))
    assert files(folder) == course("1.2").files


def test_a_deleted_file_comes_back(folder: Path) -> None:
    (folder / LESSON).unlink()
    assert lines(folder)[LESSON] == "was deleted or renamed; added again"
    assert files(folder) == NEWER.files
    assert_settled(folder)


def test_a_renamed_file_is_left(folder: Path) -> None:
    (folder / LESSON).rename(folder / "my rate limits.ipynb")
    update(folder, NEWER)
    assert files(folder) == {**NEWER.files, "my rate limits.ipynb": OLD.files[LESSON]}
    assert_settled(folder)


def test_a_lesson_that_is_new_is_added_and_one_that_is_gone_stays(folder: Path) -> None:
    fewer = {name: text for name, text in NEWER.files.items() if name != "README.md"}
    said = lines(folder, Course("1.1", {**fewer, "10_audit.ipynb": b"new"}))
    assert said["10_audit.ipynb"] == "added"
    assert files(folder) == {**fewer, "10_audit.ipynb": b"new", "README.md": OLD.files["README.md"]}


@pytest.mark.parametrize("text", [None, "", "{", "[]", '{"version": "one", "files": {}}', '"\xff"'])
def test_without_a_manifest_everything_counts_as_touched(folder: Path, text: str | None) -> None:
    if text is None:
        (folder / MANIFEST).unlink()
    else:
        (folder / MANIFEST).write_bytes(text.encode("latin-1"))
    update(folder, NEWER)
    found = files(folder)
    assert {name: found[name] for name in OLD.files} == OLD.files
    assert found["README.new.md"] == NEWER.files["README.md"]
    assert found[".vscode/settings.new.json"] == NEWER.files[".vscode/settings.json"]
    assert_settled(folder)


def test_a_newer_course_is_refused(folder: Path) -> None:
    update(folder, course("1.10"))
    for deliver in (init, update):
        with pytest.raises(NewerCourseError) as caught:
            deliver(folder, course("1.9"))
        assert str(caught.value) == (
            f"The course in {folder} comes from version 1.10, which is newer than this one (1.9): "
            "upgrade llm-antipatterns."
        )
    assert files(folder) == course("1.10").files


@pytest.mark.parametrize("place", ["", "été/a b"])
def test_a_new_copy_overwrites_nothing(tmp_path: Path, place: str) -> None:
    folder = tmp_path / place
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ".git").mkdir()
    (folder / "README.md").write_bytes(b"mine")
    (folder / LESSON).mkdir()
    (folder / "01_event_loop.ipynb").symlink_to("nowhere")
    said = {each.name: each.fate for each in init(folder, OLD)}
    assert said == {
        LESSON: "kept",
        "01_event_loop.ipynb": "kept",
        "README.md": "kept",
        ".vscode/settings.json": "added",
    }
    settings = {".vscode/settings.json": OLD.files[".vscode/settings.json"]}
    assert files(folder) == {"README.md": b"mine", **settings}
    update(folder, NEWER)
    found = files(folder)
    assert found["README.md"] == b"mine"
    assert found[NEW] == NEWER.files[LESSON]
    assert found["01_event_loop.new.ipynb"] == NEWER.files["01_event_loop.ipynb"]
    assert (folder / LESSON).is_dir()
    assert (folder / "01_event_loop.ipynb").is_symlink()
    assert_settled(folder)


def test_a_second_init_adds_what_is_missing_and_replaces_nothing(folder: Path) -> None:
    (folder / "README.md").unlink()
    (folder / LESSON).write_bytes(MINE["edited"])
    said = {each.name: each.fate for each in init(folder, NEWER)}
    assert said.pop("README.md") == "restored"
    assert set(said.values()) == {"older"}
    expected = {**OLD.files, LESSON: MINE["edited"], "README.md": NEWER.files["README.md"]}
    assert files(folder) == expected
    update(folder, NEWER)
    assert files(folder) == {**NEWER.files, LESSON: MINE["edited"], NEW: NEWER.files[LESSON]}


def in_a_child(work: Callable[[], object], obstacle: Callable[[], None]) -> int:
    """Its exit status: 3 for an `OSError`, negative for a signal."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    try:
        obstacle()
        work()
    except OSError:
        os._exit(3)
    except BaseException:  # noqa: BLE001 - it must not go on as pytest
        os._exit(4)
    os._exit(0)


def test_on_a_full_disk_nothing_changes(folder: Path) -> None:
    before = files(folder), (folder / MANIFEST).read_bytes()
    assert in_a_child(lambda: update(folder, NEWER), lambda: full_disk(20)) == 3
    assert (files(folder), (folder / MANIFEST).read_bytes()) == before
    assert list(folder.glob(".llm-antipatterns-*")) == []


WRITES = {"open", "os.rename", "os.link", "os.mkdir", "os.remove", "os.rmdir", "shutil.rmtree"}


def killed_before(number: int) -> Callable[[], None]:
    """SIGKILL before the process's write of this number."""

    def obstacle() -> None:
        numbers = count()

        def hook(event: str, args: tuple[Any, ...]) -> None:
            reads = event == "open" and not args[2] & (os.O_WRONLY | os.O_RDWR)
            if event in WRITES and not reads and next(numbers) == number:
                os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)

    return obstacle


@pytest.mark.parametrize("finished_by", [NEWER, course("1.2")], ids=lambda each: each.version)
def test_a_killed_update_loses_nothing_and_the_next_one_finishes(
    tmp_path: Path, finished_by: Course
) -> None:
    kills = 0
    for number in count():
        folder = tmp_path / str(number)
        init(folder, OLD)
        (folder / LESSON).write_bytes(MINE["edited"])
        (folder / "README.md").unlink()
        status = in_a_child(partial(update, folder, NEWER), killed_before(number))
        between = files(folder)
        assert between[LESSON] == MINE["edited"]
        for name in set(OTHERS) - {"README.md"}:
            assert between[name] in (OLD.files[name], NEWER.files[name])
        update(folder, finished_by)
        expected = {LESSON: MINE["edited"], NEW: finished_by.files[LESSON]}
        assert files(folder) == {**finished_by.files, **expected}, f"killed at write {number}"
        assert list(folder.glob(".llm-antipatterns-*")) == []
        assert_settled(folder, finished_by)
        if status == 0:
            break
        assert status == -signal.SIGKILL
        kills += 1
    assert kills > 12


@pytest.mark.parametrize("killed_at", range(0, 30, 3))
def test_a_killed_init_is_finished_by_the_next_one(tmp_path: Path, killed_at: int) -> None:
    folder = tmp_path / "course"
    in_a_child(lambda: init(folder, OLD), killed_before(killed_at))
    init(folder, OLD)
    assert files(folder) == OLD.files
    assert_settled(folder, OLD)


def test_what_is_saved_while_an_update_runs_stays(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The learner saves when the update has made its plan."""

    def save_first(*args: Any) -> None:
        (folder / LESSON).write_bytes(MINE["edited"])
        write_manifest(*args)

    monkeypatch.setattr("helpers.lessons.course.delivery.write_manifest", save_first)
    assert lines(folder)[LESSON] == f"yours stays; the new version is {NEW}"
    monkeypatch.undo()
    assert files(folder) == {**NEWER.files, LESSON: MINE["edited"], NEW: NEWER.files[LESSON]}
    assert_settled(folder)


def test_the_packaged_course_has_no_outputs_and_opens_unchanged() -> None:
    files = packaged_course().files
    names = [f"{each.stem}.ipynb" for each in notebooks()]
    assert [*files] == [*names, "README.md", "AGENTS.md", ".vscode/settings.json"]
    assert {"00", "01", "09", "10", "98", "99"} <= {name[:2] for name in names}
    for name, content in files.items():
        if name.endswith(".ipynb"):
            book = nbformat.reads(content.decode(), as_version=4)
            nbformat.validate(book)
            assert all(not cell.get("outputs") for cell in book.cells)
            assert f"{nbformat.writes(book)}\n".encode() == content, "as Jupyter would save it"
    assert json.loads(files[".vscode/settings.json"])["python.defaultInterpreterPath"]


def test_the_rules_for_assistants_name_what_the_course_has() -> None:
    rules = packaged_course().files["AGENTS.md"].decode()
    for rule in ("Prediction first.", "Hints in order.", "Never write the exercise."):
        assert f"**{rule}**" in rules
    assert "before `check` has printed `Solved.`" in rules
    assert "first hint" in rules
    assert "hint(1)" in repr(hints("01"))
    assert len(rules.split()) < 300
