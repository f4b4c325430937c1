"""A notebook runs without a browser: over sockets in a folder, and a kernel that fails says why."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import psutil
import pytest
from nbclient.exceptions import CellExecutionError
from nbformat.v4 import new_code_cell, new_markdown_cell

from helpers.lessons.kernel import KernelError
from helpers.lessons.notebook import each_section_after_the_core, execute

CONNECTION = """
import json, os
from ipykernel.connect import get_connection_file
print(json.load(open(get_connection_file()))["transport"], os.environ["IPYTHONDIR"])
"""


def run(*cells: str) -> Any:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    execute(notebook, Path.cwd())
    return notebook


@pytest.mark.parametrize("length", [0, 60, 150])
def test_a_kernel_needs_no_port_however_long_the_path_is(
    length: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / ("x" * length)
    folder.mkdir(exist_ok=True)
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    transport, home = run(CONNECTION).cells[0].outputs[0].text.split()
    assert transport == ("ipc" if os.name == "posix" else "tcp")
    assert not Path(home).exists(), "what the kernel wrote is removed"
    assert list(folder.iterdir()) == []


def test_a_kernel_that_does_not_start_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "ipykernel_launcher.py").write_text("raise OSError('out of luck')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(KernelError) as caught:
        run("1")
    assert str(caught.value) == "The notebook's kernel failed: OSError: out of luck"
    assert capfd.readouterr() == ("", "")


def test_a_run_whose_kernel_does_not_start_prints_that_sentence_alone(tmp_path: Path) -> None:
    (tmp_path / "ipykernel_launcher.py").write_text("raise OSError('out of luck')")
    done = subprocess.run(
        [sys.executable, "-m", "helpers.cli", "run", "01"],
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == "The notebook's kernel failed: OSError: out of luck\n"
    assert done.stdout == ""


def test_a_kernel_that_dies_is_one_sentence() -> None:
    before = psutil.Process().children()  # other tests' servers have a common parent, which stays
    with pytest.raises(KernelError, match="The notebook's kernel failed: "):
        run("import os; os._exit(1)")
    assert psutil.Process().children() == before


def test_the_learner_s_ipython_has_no_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    startup = tmp_path / "profile_default" / "startup"
    startup.mkdir(parents=True)
    (startup / "00.py").write_text("print('noise'); changed = True")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    (cell,) = run("print('changed' in dir())").cells
    assert cell.outputs[0].text == "False\n"


ARM = """
from helpers import run

def parse(answer):
    return answer["choices"]

async def wrong():
    return parse({})
"""


def test_an_error_in_an_arm_shows_the_learner_s_own_stack() -> None:
    with pytest.raises(CellExecutionError) as caught:
        run(ARM, "await run(wrong, None)")
    # Below nbclient's own heading.
    assert caught.value.traceback.splitlines()[-6:] == [
        "Traceback of your code (most recent call last):",
        "cell 1, line 8, in wrong",
        "    return parse({})",
        "cell 1, line 5, in parse",
        '    return answer["choices"]',
        "ArmError: wrong raised KeyError at cell 1, line 5: 'choices'",
    ]
    assert "helpers/" not in caught.value.traceback


def _lesson(*sections: str) -> Any:
    """A lesson whose core defines ``total`` and ``square``."""
    cells = [
        new_code_cell("total = 1\ndef square(n): return n * n"),
        new_markdown_cell("## Going deeper\n\nText."),
    ]
    for section in sections:
        cells += [new_markdown_cell("### Section"), new_code_cell(section)]
    return nbformat.v4.new_notebook(cells=cells)


def test_each_section_meets_the_core_as_it_was() -> None:
    notebook = each_section_after_the_core(
        _lesson("total = 5; del square", "assert total == square(1)", "print(square(total + 1))")
    )
    execute(notebook, Path.cwd())
    assert notebook.cells[-1].outputs[0].text == "4\n"


def test_a_section_that_needs_another_section_fails() -> None:
    notebook = each_section_after_the_core(_lesson("import math", "math.pi"))
    with pytest.raises(CellExecutionError, match="name 'math' is not defined"):
        execute(notebook, Path.cwd())
