"""`check` grades what is in a file, and says in one sentence why it cannot."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import nbformat
import psutil
import pytest

from helpers.lessons import progress
from helpers.lessons.catalogue import lesson
from helpers.lessons.exercises import grading
from helpers.lessons.exercises.solution import UngradableError
from helpers.lessons.notebook import read_source, tagged

COMMAND = [sys.executable, "-m", "helpers.cli", "check"]
BUILD = lesson("03").solution.read_text("utf-8")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLM_ANTIPATTERNS_HOME", str(tmp_path / "home"))


def check(number: str, file: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, number, str(file)], capture_output=True, text=True, check=False, timeout=120
    )


def script(folder: Path, text: str) -> Path:
    file = folder / "answer.py"
    file.write_text(text)
    return file


def notebook(folder: Path, *cells: str | tuple[str, str]) -> Path:
    """A notebook with these code cells; one that is tagged is a tuple."""
    book = nbformat.v4.new_notebook()
    for cell in cells:
        source, *tags = (cell,) if isinstance(cell, str) else cell
        book.cells.append(nbformat.v4.new_code_cell(source, metadata={"tags": tags}))
    file = folder / "answer.ipynb"
    nbformat.write(book, file)
    return file


def test_a_solved_file_is_noted(tmp_path: Path) -> None:
    done = check("3", script(tmp_path, "print('hello')\n" + BUILD))
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert all(line.startswith("PASS") for line in lines[:-3])
    assert lines[-3] == "Solved."
    assert "counting tokens" in lines[-2]
    assert lines[-1].endswith("notebooks/solutions/03_prompt_tokens.py")
    assert "exercise" in progress.read("03")


@pytest.mark.parametrize("text", ["import sys; sys.exit(0)", "import os; os._exit(0)"])
def test_a_file_that_exits_is_not_solved(tmp_path: Path, text: str) -> None:
    done = check("01", script(tmp_path, f"async def handle(client, url, question): ...\n{text}"))
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""


def test_a_file_that_is_not_solved_is_not_noted(tmp_path: Path) -> None:
    (starter,) = tagged(read_source(lesson("03")), "exercise")
    done = check("03", script(tmp_path, starter.source))
    assert done.returncode == 1
    assert "FAIL" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("Not yet.")
    assert progress.read("03") == {}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "has no function `handle`"),
        ("handle = 5", "has no function `handle`"),
        ("handle = None", "has no function `handle`"),
        ("def handle(:", "does not run: SyntaxError in line 2"),
        ("\n1 / 0", "does not run: ZeroDivisionError in line 3: division by zero"),
        ("import nowhere_to_be_found", "does not run: ModuleNotFoundError in line 2"),
        ("import sys; sys.exit()", "does not run: SystemExit in line 2"),
        ("import sys; sys.exit(0)", "does not run: SystemExit in line 2: 0"),
        ("import sys; sys.exit(3)", "does not run: SystemExit in line 2: 3"),
        ("raise KeyboardInterrupt", "does not run: KeyboardInterrupt in line 2"),
        ("raise BaseException('a\\nb')", "does not run: BaseException in line 2: a b"),
        ("import os; os._exit(0)", "ended its process (exit status 0) before it was graded"),
        ("import os; os.kill(os.getpid(), 11)", "ended its process (signal 11)"),
        ("import ctypes; ctypes.string_at(0)", "ended its process (signal 11)"),
        ("input()", "does not run: EOFError in line 2"),
        ("def f(): f()\nf()", "does not run: RecursionError in line 2"),
        (
            "class E(Exception):\n    def __str__(self): 1 / 0\nraise E",
            "does not run: E in line 4",
        ),
        ("\ud800", "does not run: SyntaxError"),
        ("\0", "does not run: SyntaxError"),
    ],
)
def test_what_cannot_be_graded_is_one_sentence(
    tmp_path: Path, text: str, sentence: str, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "answer.py"
    before = "" if "has no function" in sentence else "async def handle(c, u, q): pass\n"
    file.write_bytes((before + text).encode("utf-8", "surrogatepass"))
    with pytest.raises(UngradableError) as caught:
        grading.grade_file("01", file)
    assert sentence in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert capfd.readouterr() == ("", ""), "the sentence is the command's to print"


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ("import os; os._exit(0)", "process"),
        ("import sys; sys.exit(0)", "SystemExit"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("import ctypes; ctypes.string_at(0)", "segmentation fault"),
        ("return (x for x in [])", "cannot pickle"),
    ],
)
def test_a_function_that_ends_its_process_fails(tmp_path: Path, body: str, found: str) -> None:
    done = check("03", script(tmp_path, f"def build(system, history, budget):\n    {body}\n"))
    assert done.returncode == 1
    assert "FAIL your code runs to its end" in done.stdout
    assert found in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize("text", ["while True: pass", "import re; re.match(r'(a+)+$', 'a'*60+'b')"])
def test_a_file_that_never_ends_is_given_up(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grading, "LIMIT", 6.0)
    with pytest.raises(UngradableError, match="was not graded within 6 s"):
        grading.grade_file("01", script(tmp_path, text))
    assert not descendants()


def descendants() -> list[str]:
    children = psutil.Process().children(recursive=True)
    return [name for child in children if "main()" in (name := _command_line(child))]


def _command_line(process: psutil.Process) -> str:
    """ "" once it has ended, also while it waits for its parent to notice."""
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:  # of which ZombieProcess is one
        return ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_command_that_is_ended_leaves_no_process(number: int, tmp_path: Path) -> None:
    file = script(tmp_path, "import time\ntime.sleep(100)")
    command = subprocess.Popen([*COMMAND, "01", str(file)], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (children := psutil.Process(command.pid).children()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    command.send_signal(number)
    assert command.wait(30) != 0
    _, alive = psutil.wait_procs(children, timeout=30)
    assert alive == []


def test_modules_next_to_the_file_are_found(tmp_path: Path) -> None:
    (tmp_path / "prompts.py").write_text(BUILD)
    file = script(tmp_path, "import prompts\ndef build(*args):\n    return prompts.build(*args)\n")
    done = subprocess.run(
        [*COMMAND, "03", file.name], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


UNSENDABLE = """
import functools, threading
LOCK = threading.Lock()

class Builder:
    lock = LOCK

    @functools.cached_property
    def pool(self):
        import concurrent.futures
        return concurrent.futures.ThreadPoolExecutor()

    def __call__(self, system, history, budget):
        with self.lock:
            return self.pool.submit(build_it, system, history, budget).result()

build = Builder()
"""


def test_what_cannot_be_sent_to_a_process_is_made_there(tmp_path: Path) -> None:
    done = check("03", script(tmp_path, BUILD.replace("def build(", "def build_it(") + UNSENDABLE))
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_client_of_another_cell_of_a_notebook_is_made_too(tmp_path: Path) -> None:
    before, build = BUILD.split("def build(", 1)
    file = notebook(
        tmp_path,
        before,
        "import threading\nLOCK = threading.Lock()\nanswer = await wrong()",
        "room = done.result()\nasync with 5:\n    pass",
        ("def build_it(" + build, "exercise"),
        "def build(*args):\n    with LOCK:\n        return build_it(*args)",
    )
    done = check("03", file)
    assert done.returncode == 0, done.stdout + done.stderr


def test_dataclasses_with_lazy_annotations_can_be_graded(tmp_path: Path) -> None:
    text = """
    from __future__ import annotations
    from dataclasses import dataclass, field
    from pydantic import BaseModel

    @dataclass
    class Limits:
        budget: int
        names: list[str] = field(default_factory=list)

    class Model(BaseModel):
        limits: Limits
    """
    wrapped = BUILD.replace("def build(", "def build_it(").replace('"""', "'''")
    call = """
    def build(system, history, budget):
        model = Model(limits=Limits(budget))
        return build_it(system, history, model.limits.budget)
    """
    done = check("03", script(tmp_path, textwrap.dedent(text) + wrapped + textwrap.dedent(call)))
    assert done.returncode == 0, done.stdout + done.stderr


def test_of_a_notebook_the_last_definition_is_graded(tmp_path: Path) -> None:
    imports, function = BUILD.split("def build(", 1)
    function, beginning = function.split("def beginning(", 1)
    file = notebook(
        tmp_path,
        "%matplotlib inline\nimport os\n" + imports + "LATER = 1 / 1",
        "1 / 0",
        "def beginning(text, room):\n    return ''",
        ("def build(system, history, budget):\n    return []", "exercise"),
        "async def later(): ...\nawait later()",
        "def beginning(" + beginning,
        "this is no Python",
        "%%time\n\ndef build(" + function + "\nawait check('03', build)\n!ls",
        "raise SystemExit",
    )
    done = check("03", file)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("cells", "sentence"),
    [
        ([], "has no cell that defines `build`"),
        (["x = 1"], "has no cell that defines `build`"),
        (["x = 1", "def build(:"], "answer.ipynb, code cell 2 does not run: SyntaxError in line 1"),
        (["def build(): pass\n\n1 / 0"], "does not run: ZeroDivisionError in line 3"),
    ],
)
def test_what_is_wrong_with_a_notebook(tmp_path: Path, cells: list[str], sentence: str) -> None:
    with pytest.raises(UngradableError) as caught:
        grading.grade_file("03", notebook(tmp_path, *cells))
    assert sentence in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"cells": 5, "nbformat": 4}', "\x00"])
def test_a_file_that_is_not_a_notebook(tmp_path: Path, text: str) -> None:
    file = tmp_path / "answer.ipynb"
    file.write_text(text)
    with pytest.raises(UngradableError, match="is not a notebook") as caught:
        grading.grade_file("03", file)
    assert len(str(caught.value).splitlines()) == 1


def test_a_line_of_a_notebook_is_named(tmp_path: Path) -> None:
    code = "\n\ndef build(system, history, budget):\n    return oops(system)"
    done = check("03", notebook(tmp_path, "1", code))
    assert "answer.ipynb, code cell 2, line 4" in done.stdout
    assert os.sep + "answer" not in done.stdout
