"""What lies in folders: bad paths, broken files, notebooks, and what git ignores."""

import json
import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from helpers.audit.scan.scanner import scan
from tests.audit.scanning import SLEEPS, call, write
from tests.audit.test_scan_python import PASSES
from tests.obstacles import permissions_count


def test_no_finding_is_exit_status_0(tmp_path: Path) -> None:
    done = call(write(tmp_path / "a.py", "x = 1\n"))
    assert (done.returncode, done.stdout, done.stderr) == (0, "No findings in 1 file.\n", "")


def test_a_folder_without_code_gets_a_note(tmp_path: Path) -> None:
    write(tmp_path / "README.md", "Hello")
    done = call(tmp_path)
    assert done.returncode == 0
    assert done.stderr == "There is no Python or Rust file.\n"


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (["missing.py"], "missing.py: No such file or directory."),
        ([".", "missing"], "missing: No such file or directory."),
        ([""], "'': No such file or directory."),
        ([], "Missing argument"),
        ([".", "--format", "html"], "html"),
        ([".", "--output", "no/such/folder"], "no/such/folder: No such file or directory."),
    ],
)
def test_bad_calls_are_exit_status_2(args: list[str], sentence: str, tmp_path: Path) -> None:
    write(tmp_path / "a.py", SLEEPS)
    done = call(*args, cwd=tmp_path)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_path_that_cannot_be_read_is_exit_status_2(tmp_path: Path) -> None:
    file = write(tmp_path / "a.py", SLEEPS)
    file.chmod(0)
    done = subprocess.run(
        [sys.executable, "-m", "helpers.cli", "scan", str(file)],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=permissions_count,
    )
    assert done.returncode == 2
    assert done.stderr == f"{file}: Permission denied.\n"


def test_a_name_may_look_like_an_option(tmp_path: Path) -> None:
    write(tmp_path / "--rule.py", SLEEPS)
    done = call("--", "--rule.py", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout.startswith("--rule.py:4:5: LAP01.sleep")


def test_a_file_that_is_given_twice_is_scanned_once(tmp_path: Path) -> None:
    write(tmp_path / "a.py", SLEEPS)
    done = call(".", "a.py", cwd=tmp_path)
    assert "1 finding in 1 file." in done.stdout


def test_a_syntax_error_is_a_note(tmp_path: Path) -> None:
    write(tmp_path / "broken.py", SLEEPS + "\ndef f(:\n")
    write(tmp_path / "good.py", SLEEPS)
    done = call(".", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr == "broken.py was not scanned: Python cannot parse it.\n"
    assert done.stdout.startswith("good.py:4:5: LAP01.sleep")


def test_odd_bytes_end_nothing(tmp_path: Path) -> None:
    (tmp_path / "bom.py").write_bytes(b"\xef\xbb\xbf" + SLEEPS.encode())
    (tmp_path / "crlf.py").write_bytes(SLEEPS.replace("\n", "\r\n").encode())
    (tmp_path / "empty.py").write_bytes(b"")
    (tmp_path / "latin.py").write_bytes(SLEEPS.encode() + b"# caf\xe9\n")
    (tmp_path / "nul.py").write_bytes(SLEEPS.encode() + b"\x00\n")
    report = scan([tmp_path])
    assert [Path(each.path).name for each in report.findings] == ["bom.py", "crlf.py"]
    assert {each.line for each in report.findings} == {4}
    assert [note.rsplit("/", 1)[-1] for note in report.notes] == [
        "latin.py was not scanned: it is not UTF-8.",
        "nul.py was not scanned: Python cannot parse it.",
    ]


def test_links_that_lead_in_a_circle_or_nowhere_are_left_out(tmp_path: Path) -> None:
    write(tmp_path / "a.py", SLEEPS)
    (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "nowhere.py").symlink_to(tmp_path / "gone.py")
    report = scan([tmp_path])
    assert [Path(each.path).name for each in report.findings] == ["a.py"]


def test_a_huge_file_is_a_note(tmp_path: Path) -> None:
    (tmp_path / "huge.py").write_text(SLEEPS + "data = [\n" + "  1,\n" * 800_000 + "]\n")
    (tmp_path / "data.json").write_text("[\n" + "  1,\n" * 800_000 + "  1]\n")
    report = scan([tmp_path])
    assert report.findings == ()
    assert [note.split(": ")[1] for note in report.notes] == ["it is larger than ast-grep reads."]


def test_a_file_that_is_nested_deeply_ends_nothing(tmp_path: Path) -> None:
    write(tmp_path / "deep.py", SLEEPS + f"x = {'(' * 5000}1{')' * 5000}\n")
    report = scan([tmp_path])
    assert len(report.notes) + len(report.findings) == 1


def test_what_git_ignores_is_left_out(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    write(tmp_path / ".gitignore", "build/\n*_generated.py\nold.ipynb\n")
    (tmp_path / "build").mkdir()
    book = json.dumps({"cells": [], "nbformat": 4})
    for name in ("a.py", "a_generated.py", "build/b.py"):
        write(tmp_path / name, SLEEPS)
    write(tmp_path / "old.ipynb", book)
    write(tmp_path / "new.ipynb", book)
    report = scan([tmp_path])
    assert [Path(each.path).name for each in report.findings] == ["a.py"]
    assert report.files == 2


def test_a_notebook_may_hold_anything(tmp_path: Path) -> None:
    cells = [
        {"cell_type": "code", "source": ["%%bash\n", "time.sleep(1)"]},
        {"cell_type": "code", "source": ["import time\n", "!pip install x\n", "time?"]},
        {"cell_type": "code", "source": "def broken(:"},
        {"cell_type": "code"},
        None,
        {
            "cell_type": "code",
            "source": "await f()\nasync def f():\n    %time 1\n    time.sleep(1)",
        },
    ]
    write(tmp_path / "good.ipynb", json.dumps({"cells": cells, "nbformat": 4}))
    julia = {"kernelspec": {"language": "julia"}}
    write(tmp_path / "julia.ipynb", json.dumps({"cells": [], "nbformat": 4, "metadata": julia}))
    write(tmp_path / "none.ipynb", '{"nbformat": 4, "cells": 3}')
    write(tmp_path / "half.ipynb", '{"nbformat": 4, "cells": [')
    write(tmp_path / "other.json", '{"nbformat": 4, "cells": []}')
    report = scan([tmp_path])
    assert [(each.cell, each.line) for each in report.findings] == [(6, 4)]
    assert [Path(note.split(" was")[0]).name for note in report.notes] == [
        *("half.ipynb", "julia.ipynb", "none.ipynb"),
    ]


def test_a_thousand_files_take_less_than_ten_seconds_of_work(tmp_path: Path) -> None:
    for number in range(1000):
        write(tmp_path / f"module_{number}.py", SLEEPS + dedent(PASSES["a test"]))
    # Processor time, so that a busy machine does not matter.
    before = sum(os.times()[:4])
    report = scan([tmp_path])
    assert len(report.findings) == 1000
    assert sum(os.times()[:4]) - before < 10
