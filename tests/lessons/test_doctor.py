"""The doctor finds what makes a morning fail, and the course works where it can."""

import importlib.util
import os
import re
import resource
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from helpers.lessons.doctor import packages
from tests.obstacles import permissions_count

COMMAND = "from llm_antipatterns_command import main; main()"
# What no test can have for real; each is a line of Python that is run before the command.
NO_SPACE = "import shutil; shutil.disk_usage = lambda folder: shutil._ntuple_diskusage(1, 1, 0)"
OLD_PIP = (
    "import importlib.metadata as m; version = m.version; "
    "m.version = lambda name: '20.3.4' if name == 'pip' else version(name)"
)
NO_MODULE = (
    "import importlib.util as u; u.find_spec = lambda name, package=None, find=u.find_spec: "
    "None if name in {!r} else find(name, package)"
)
SMALL_GROUP = (
    "from pathlib import Path; from helpers.lessons.doctor import machine; "
    "machine.CGROUPS = machine.PROC = Path('cgroup')"
)


@dataclass(frozen=True)
class Morning:
    """An environment, and what the doctor must say about it."""

    question: str
    said: tuple[str, ...]
    status: int = 0
    variables: dict[str, str] = field(default_factory=dict)
    before: str = ""
    prepare: Callable[[], None] = permissions_count
    files: dict[str, str] = field(default_factory=dict)
    """By their path in the working directory, which `{here}` stands for in variables."""


def limited(number: int, soft: int, hard: int) -> None:
    permissions_count()
    resource.setrlimit(number, (soft, hard))


OTHER_KERNEL = '{"argv": ["/usr/bin/other-python", "-m", "x"], "display_name": "x"}'
GROUP = {
    "cgroup/self/cgroup": "0::/a/b\n",
    "cgroup/meminfo": "MemAvailable: 99999999 kB\n",
    "cgroup/a/memory.max": "314572800\n",
    "cgroup/a/memory.current": "104857600\n",
    "cgroup/a/memory.stat": "inactive_file 52428800\n",
    "cgroup/a/b/memory.max": "max\n",
}
OLD_GROUP = {
    "cgroup/self/cgroup": "4:cpu,memory:/a\n0::/\n",
    "cgroup/meminfo": "MemAvailable: 99999999 kB\n",
    "cgroup/memory/a/memory.limit_in_bytes": "314572800\n",
    "cgroup/memory/a/memory.usage_in_bytes": "104857600\n",
    "cgroup/memory/a/memory.stat": "total_inactive_file 0\n",
}
PROXY = "http://127.0.0.1:9"
LONG, ODD_FOLDER = "x" * 60, "/tmp/llm-antipatterns-%20#?"  # noqa: S108 - short
MORNINGS = {
    "HTTP_PROXY": Morning("proxies", (f"HTTP_PROXY={PROXY}",), variables={"HTTP_PROXY": PROXY}),
    "all_proxy": Morning(
        "proxies",
        ("all_proxy=socks5://127.0.0.1:9", 'export NO_PROXY="$NO_PROXY,127.0.0.1,localhost,*"'),
        variables={"all_proxy": "socks5://127.0.0.1:9", "NO_PROXY": "127.0.0.1"},
    ),
    "CIDR": Morning(
        "proxies",
        ("127.0.0.0/8", 'export NO_PROXY="$NO_PROXY,127.0.0.1,localhost"'),
        variables={"https_proxy": PROXY, "NO_PROXY": "127.0.0.0/8,10.0.0.0/8"},
    ),
    "brackets": Morning("proxies", ("NO_PROXY=[::1]",), variables={"NO_PROXY": "[::1]"}),
    "SSL_CERT_FILE": Morning(
        "certificates",
        ("SSL_CERT_FILE=/nowhere.pem: No such file", "unset SSL_CERT_FILE"),
        variables={"SSL_CERT_FILE": "/nowhere.pem"},
    ),
    "SSL_CERT_FILE without certificates": Morning(
        "certificates", ("no certificates in it",), variables={"SSL_CERT_FILE": os.devnull}
    ),
    "SSL_CERT_DIR": Morning(
        "certificates",
        ("SSL_CERT_DIR=/nowhere", "unset SSL_CERT_DIR"),
        variables={"SSL_CERT_DIR": "/nowhere"},
    ),
    "REQUESTS_CA_BUNDLE": Morning(
        "certificates",
        ("REQUESTS_CA_BUNDLE=/nowhere", "unset REQUESTS_CA_BUNDLE"),
        variables={"REQUESTS_CA_BUNDLE": "/nowhere"},
    ),
    "TMPDIR too long": Morning(
        "temporary folder",
        (f"/{LONG}: ", "too many for the path of a socket", "export TMPDIR=/tmp"),
        variables={"TMPDIR": "{here}/" + LONG},
        files={f"{LONG}/file": ""},
    ),
    "TMPDIR gone": Morning(
        "temporary folder",
        ("TMPDIR=/nowhere: No such file", "unset TMPDIR"),
        variables={"TMPDIR": "/nowhere"},
    ),
    "TMPDIR read-only": Morning(
        "temporary folder", ("TMPDIR=/proc", "unset TMPDIR"), variables={"TMPDIR": "/proc"}
    ),
    "TMPDIR with special characters": Morning(
        "store",
        ("Valkey 9",),
        variables={"TMPDIR": ODD_FOLDER},
        before=f"import os; os.makedirs('{ODD_FOLDER}', exist_ok=True)",
    ),
    "few open files": Morning(
        "open files",
        ("at most 96", "lessons need 256", "ulimit -n 256"),
        status=1,
        prepare=partial(limited, resource.RLIMIT_NOFILE, 96, 96),
    ),
    "few open files for now": Morning(
        "open files",
        ("ulimit -n says 96", "raises it"),
        prepare=partial(limited, resource.RLIMIT_NOFILE, 96, 2000),
    ),
    "HOME": Morning(
        "Jupyter's folders",
        (f"HOME={os.devnull}/me: {os.devnull} is not a folder", "export HOME="),
        variables={"HOME": f"{os.devnull}/me"},
    ),
    "JUPYTER_RUNTIME_DIR": Morning(
        "Jupyter's folders",
        ("JUPYTER_RUNTIME_DIR=/proc/me", "export JUPYTER_RUNTIME_DIR=$(mktemp -d)"),
        variables={"JUPYTER_RUNTIME_DIR": "/proc/me"},
    ),
    "IPYTHONDIR": Morning(
        "Jupyter's folders",
        ("IPYTHONDIR=/proc/me", "export IPYTHONDIR=$(mktemp -d)"),
        variables={"IPYTHONDIR": "/proc/me"},
    ),
    "progress": Morning(
        "progress",
        ("/proc/me", "export LLM_ANTIPATTERNS_HOME=FOLDER"),
        status=1,
        variables={"LLM_ANTIPATTERNS_HOME": "/proc/me"},
    ),
    "helpers.py": Morning(
        "helpers", ("{here}/helpers.py", "mv "), status=1, files={"helpers.py": ""}
    ),
    "folder helpers": Morning(
        "helpers", ("{here}/helpers", "mv "), status=1, files={"helpers/__init__.py": ""}
    ),
    "folder helpers that is no package": Morning(
        "helpers", ("the course's own",), files={"helpers/notes.txt": ""}
    ),
    "another distribution": Morning(
        "helpers",
        ("utils-of-helpers", "pip uninstall utils-of-helpers"),
        status=1,
        before="import importlib.metadata as m; m.packages_distributions = "
        "lambda: {'helpers': ['llm-antipatterns', 'utils-of-helpers']}",
    ),
    "old pip": Morning("pip", ("pip 20.3.4", "-m pip install --upgrade pip"), before=OLD_PIP),
    "disk": Morning("disk", ("0 MiB are free in {here}",), status=1, before=NO_SPACE),
    "memory of a container": Morning(
        "memory",
        ("250 MiB are available (cgroup/a/memory.max)",),
        status=1,
        before=SMALL_GROUP,
        files=GROUP,
    ),
    "memory of an older container": Morning(
        "memory", ("200 MiB are available",), status=1, before=SMALL_GROUP, files=OLD_GROUP
    ),
    "address space": Morning(
        "memory",
        ("ulimit -v says 950000", "ulimit -v unlimited"),
        status=1,
        prepare=partial(limited, resource.RLIMIT_AS, 950_000 * 1024, 950_000 * 1024),
    ),
    "kernel of another environment": Morning(
        "kernel",
        ("{here}/data/kernels/python3 starts /usr/bin/other-python",),
        variables={"JUPYTER_PATH": "{here}/data"},
        files={"data/kernels/python3/kernel.json": OTHER_KERNEL},
    ),
    "PYTHONPATH": Morning(
        "packages",
        ("{here}/other/numpy/__init__.py", "for another Python", "unset PYTHONPATH"),
        status=1,
        variables={"PYTHONPATH": "{here}/other"},
        files={"other/numpy/__init__.py": "raise ImportError('for another Python')"},
    ),
    "PYTHONPATH that works": Morning(
        "Python's variables",
        ("PYTHONPATH={here}/other: {here}/other hides simpy", "unset PYTHONPATH"),
        variables={"PYTHONPATH": "{here}/other"},
        before="import simpy",
        files={"other/simpy.py": ""},
    ),
    "PYTHONSTARTUP": Morning(
        "Python's variables",
        ("PYTHONSTARTUP=/nowhere", "unset PYTHONSTARTUP"),
        variables={"PYTHONSTARTUP": "/nowhere"},
    ),
    "half of the extra": Morning(
        "packages",
        (
            "matplotlib, nbclient and jupyterlab are missing",
            "pip install 'llm-antipatterns[course]'",
        ),
        status=1,
        before=NO_MODULE.format(("matplotlib", "jupyterlab", "nbclient")),
    ),
    "no ipywidgets": Morning(
        "widgets",
        ("ipywidgets is missing", "pip install ipywidgets"),
        before=NO_MODULE.format(("ipywidgets",)),
    ),
    "no SDK": Morning(
        "SDKs",
        ("openai is missing", '"In your SDK"', "pip install openai"),
        before=NO_MODULE.format(("openai",)),
    ),
}


def doctor(morning: Morning, here: Path) -> subprocess.CompletedProcess[str]:
    make_files(morning, here)
    given = {name: value.format(here=here) for name, value in morning.variables.items()}
    return subprocess.run(
        [sys.executable, "-P", "-c", f"{morning.before}\n{COMMAND}", "doctor"],
        cwd=here,
        env=unencumbered() | given,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=morning.prepare,
    )


def make_files(morning: Morning, here: Path) -> None:
    for name, text in morning.files.items():
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).write_text(text)


def unencumbered() -> dict[str, str]:
    names = {"no_proxy", "http_proxy", "https_proxy", "all_proxy"}
    named = {"SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "PYTHONSTARTUP", "IPYTHONDIR"}
    return {k: v for k, v in os.environ.items() if k.lower() not in names and k not in named}


def is_found(morning: Morning, here: Path, done: subprocess.CompletedProcess[str]) -> None:
    (line,) = [
        line for line in done.stdout.splitlines() if line[5:].startswith(f"{morning.question}: ")
    ]
    for word in morning.said:
        assert word.format(here=here) in line, line
    assert line.startswith("FAIL") == (morning.status == 1), line
    assert done.stderr == ""


def together(mornings: list[Morning]) -> Morning:
    """One morning with all of it."""
    prepare = next((m.prepare for m in mornings if m.prepare is not permissions_count), None)
    return Morning(
        question="",
        said=(),
        status=mornings[0].status,
        variables={name: value for each in mornings for name, value in each.variables.items()},
        files={name: text for each in mornings for name, text in each.files.items()},
        before="\n".join(each.before for each in mornings),
        prepare=prepare or permissions_count,
    )


def can_meet(one: Morning, other: Morning) -> bool:
    return not (
        one.status != other.status
        or one.question == other.question
        or {*one.variables, *one.files} & {*other.variables, *other.files}
        or permissions_count not in (one.prepare, other.prepare)
    )


def groups() -> list[list[str]]:
    """All mornings, in few groups that a single call can have at the same time."""
    made: list[list[str]] = []
    for name, morning in MORNINGS.items():
        fitting = (group for group in made if all(can_meet(morning, MORNINGS[m]) for m in group))
        group = next(fitting, None)
        if group is None:
            made.append([name])
        else:
            group.append(name)
    return made


def in_groups(groups: list[list[str]]) -> pytest.MarkDecorator:
    """Of each exit status, `make test` takes the first group, which has the most in it."""
    statuses = [MORNINGS[group[0]].status for group in groups]
    return pytest.mark.parametrize(
        "names",
        [
            pytest.param(group, marks=[pytest.mark.slow] if status in statuses[:index] else [])
            for index, (group, status) in enumerate(zip(groups, statuses, strict=True))
        ],
        ids=lambda group: f"{group[0]} and {len(group) - 1} more",
    )


@in_groups(groups())
def test_the_doctor_finds(names: list[str], tmp_path: Path) -> None:
    mornings = [MORNINGS[name] for name in names]
    done = doctor(together(mornings), tmp_path)
    for morning in mornings:
        is_found(morning, tmp_path, done)
    assert done.returncode == mornings[0].status, done.stdout
    assert "llm-antipatterns serve" not in done.stdout


def test_without_the_extra_there_is_one_note(tmp_path: Path) -> None:
    missing = ("matplotlib", "ipykernel", "nbclient", "jupyterlab", "jupytext", "ipywidgets")
    before = NO_MODULE.format((*missing, "openai", "anthropic"))
    done = doctor(Morning("", (), before=before), tmp_path)
    (note,) = [line for line in done.stdout.splitlines() if "pip install" in line]
    assert note.startswith("note packages: enough for the mock server")
    assert "pip install 'llm-antipatterns[course]'" in note
    assert done.returncode == 0, done.stdout


def test_an_open_notebook_needs_no_jupyterlab(monkeypatch: pytest.MonkeyPatch) -> None:
    """In Colab, say, where none is installed."""
    absent, find = ("jupyterlab", "nbclient", "jupytext"), importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name in absent else find(name)
    )
    with pytest.raises(RuntimeError, match="nbclient, jupyterlab and jupytext are missing"):
        packages.required()
    monkeypatch.setattr(packages, "get_ipython", lambda: SimpleNamespace(kernel=None))
    assert packages.required().startswith("httpx ")


def test_an_unwritable_home_has_one_remedy(tmp_path: Path) -> None:
    unset = "import os; os.environ.pop('LLM_ANTIPATTERNS_HOME')"
    done = doctor(Morning("", (), variables={"HOME": "/proc/me"}, before=unset), tmp_path)
    lines = {line[5:].split(":")[0]: line for line in done.stdout.splitlines()}
    assert "FAIL progress: /proc/me" in lines["progress"]
    for question in ("progress", "Jupyter's folders"):
        remedy = "To fix this: export HOME=FOLDER, with a folder that you may write to"
        assert lines[question].rstrip(".").endswith(remedy)
    assert done.stdout.count("export ") == 2


def test_the_doctor_makes_no_home(tmp_path: Path) -> None:
    home = tmp_path / "home"
    unset = "import os; os.environ.pop('LLM_ANTIPATTERNS_HOME')"
    done = doctor(Morning("", (), variables={"HOME": str(home)}, before=unset), tmp_path)
    assert done.returncode == 0, done.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_library_of_another_python_is_named_by_every_command(tmp_path: Path) -> None:
    (tmp_path / "httpx.py").write_text("raise ImportError('for another Python')")
    done = doctor(Morning("", (), variables={"PYTHONPATH": str(tmp_path)}), tmp_path)
    assert done.returncode == 1
    (sentence,) = done.stderr.splitlines()
    assert f"PYTHONPATH={tmp_path}" in sentence
    assert "unset PYTHONPATH" in sentence


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="from 3.13 on, Python does not name it")
def test_python_itself_names_a_wrong_pythonhome(tmp_path: Path) -> None:
    done = doctor(Morning("", (), variables={"PYTHONHOME": "/nowhere"}), tmp_path)
    assert done.returncode == 1
    assert "PYTHONHOME = '/nowhere'" in done.stderr


ARM = """
import asyncio, sys, tempfile
import httpx
from helpers import MockLLM, run

async def ask(url):
    async with httpx.AsyncClient() as client:
        message = {"role": "user", "content": "Hello?"}
        body = {"model": "gpt-5", "messages": [message]}
        reply = await client.post(f"{url}/chat/completions", json=body)
        return reply.status_code

async def cells():
    with MockLLM(speed=100) as llm:
        assert (await run(ask, llm)).result == 200
        assert await ask(llm.url) == 200

asyncio.run(cells())
"""
WORKING = [group for group in groups() if MORNINGS[group[0]].status == 0]


@pytest.mark.slow
@pytest.mark.parametrize("names", WORKING, ids=lambda group: f"{group[0]} and more")
def test_an_arm_and_a_client_work_all_the_same(names: list[str], tmp_path: Path) -> None:
    morning = together([MORNINGS[name] for name in names])
    make_files(morning, tmp_path)
    given = {key: value.format(here=tmp_path) for key, value in morning.variables.items()}
    done = subprocess.run(
        [sys.executable, "-P", "-c", ARM],
        cwd=tmp_path,
        env=unencumbered() | given,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=morning.prepare,
    )
    assert done.returncode == 0, done.stderr


LAB = """
import os, sys
from helpers.lessons.environment import clean_environment
options = ["--no-browser", "--allow-root", "--ServerApp.port=0", "--ServerApp.root_dir=."]
command = [sys.executable, "-m", "jupyterlab", *options]
os.execve(command[0], command, clean_environment())
"""


@pytest.mark.slow
def test_jupyterlab_starts_with_this_python_as_its_kernel(tmp_path: Path) -> None:
    """Although it can write to no home, and finds the kernel of another environment first."""
    spec = tmp_path / "data" / "kernels" / "python3" / "kernel.json"
    spec.parent.mkdir(parents=True)
    spec.write_text(OTHER_KERNEL)
    hostile = {"HOME": f"{os.devnull}/me", "JUPYTER_PATH": str(tmp_path / "data")}
    hostile |= {"JUPYTER_RUNTIME_DIR": "/proc/me", "IPYTHONDIR": "/proc/me"}
    log = tmp_path / "log"
    with log.open("w") as out:
        lab = subprocess.Popen(
            [sys.executable, "-P", "-c", LAB],
            cwd=tmp_path,
            env=unencumbered() | hostile,
            stdout=out,
            stderr=out,
        )
    try:
        found, deadline = None, time.monotonic() + 60
        while found is None and time.monotonic() < deadline and lab.poll() is None:
            found = re.search(r"(http://127\S+?)lab\?(token=\w+)", log.read_text())
            time.sleep(0.1)
        assert found, log.read_text()
        with urllib.request.urlopen(f"{found[1]}api/kernelspecs?{found[2]}") as page:  # noqa: S310
            assert "other-python" not in page.read().decode()
    finally:
        lab.terminate()
        lab.wait(timeout=30)
