"""Proxies, certificates, ASCII terminals and homes that cannot be written stop no command."""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from helpers.lessons import environment
from helpers.lessons.catalogue import LESSONS, lesson
from tests.obstacles import full_disk

COMMAND = [sys.executable, "-m", "helpers.cli"]
HOSTILE = {
    "HTTP_PROXY": "http://127.0.0.1:9",
    "ALL_PROXY": "socks5://127.0.0.1:9",
    "no_proxy": "127.0.0.0/8,[::1]",
    "SSL_CERT_FILE": os.devnull,
    "SSL_CERT_DIR": "/nowhere/certificates",
    "REQUESTS_CA_BUNDLE": "/nowhere/certificates.pem",
    "TMPDIR": "/nowhere/temporary",
    "IPYTHONDIR": f"{os.devnull}/ipython",
    "JUPYTER_RUNTIME_DIR": f"{os.devnull}/runtime",
    "PYTHONSTARTUP": __file__,  # in a kernel, its imports would fail
    "PYTHONIOENCODING": "ascii",
    "LC_ALL": "C",
    "HOME": f"{os.devnull}/home",
    "LLM_ANTIPATTERNS_HOME": "",
}
NAMES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR")


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def call(*args: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *args], env=os.environ | variables, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("variables", "names"),
    [
        ({}, []),
        ({"NO_PROXY": "localhost,127.0.0.1"}, []),
        ({"NO_PROXY": "[::1]"}, ["NO_PROXY"]),
        ({"HTTP_PROXY": "http://127.0.0.1:9", "NO_PROXY": "127.0.0.0/8"}, ["HTTP_PROXY"]),
        ({"HTTP_PROXY": "http://127.0.0.1:9"}, ["HTTP_PROXY"]),
        ({"https_proxy": "http://127.0.0.1:9"}, ["https_proxy"]),
        ({"HTTP_PROXY": "http://127.0.0.1:9", "NO_PROXY": "127.0.0.1"}, []),
        ({"HTTP_PROXY": "http://127.0.0.1:9", "NO_PROXY": "*"}, []),
        ({"HTTP_PROXY": "nonsense://x", "NO_PROXY": "127.0.0.1"}, ["HTTP_PROXY"]),
        ({"HTTP_PROXY": "http://127.0.0.1:9", "NO_PROXY": "127.0.0.1,[::1]"}, ["HTTP_PROXY"]),
        ({"ALL_PROXY": "socks5://127.0.0.1:9", "NO_PROXY": "127.0.0.1"}, ["ALL_PROXY"]),
        ({"ALL_PROXY": "socks5://127.0.0.1:9", "NO_PROXY": "*"}, []),
        ({"SSL_CERT_FILE": "/nowhere"}, ["SSL_CERT_FILE"]),
        ({"SSL_CERT_FILE": __file__}, ["SSL_CERT_FILE"]),
        ({"SSL_CERT_DIR": "/nowhere"}, ["SSL_CERT_DIR"]),
    ],
)
def test_the_variable_is_named(
    variables: dict[str, str], names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    found = [*environment.proxies(), *environment.certificates()]
    assert [obstacle.what.split("=")[0] for obstacle in found] == names


@pytest.mark.parametrize(
    "variables",
    [
        {"HTTP_PROXY": "http://127.0.0.1:9"},
        {"HTTP_PROXY": "http://127.0.0.1:9", "NO_PROXY": "corp.example,127.0.0.0/8"},
        {"https_proxy": "http://127.0.0.1:9", "no_proxy": "corp.example"},
        {"https_proxy": "http://127.0.0.1:9", "no_proxy": "corp.example", "NO_PROXY": "other"},
        {"https_proxy": "http://127.0.0.1:9", "no_proxy": "", "NO_PROXY": "corp.example"},
        {"ALL_PROXY": "socks5://127.0.0.1:9", "NO_PROXY": "corp.example"},
        {"HTTP_PROXY": "nonsense://x"},
        {"NO_PROXY": "corp.example,[::1]"},
    ],
    ids=str,
)
def test_the_remedy_for_proxies_helps_and_loses_no_entry(
    variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    (found,) = environment.proxies()
    program = "from helpers.lessons import environment; print(environment.proxies())"
    shell = f'{found.remedy}; "$0" -c "{program}"; env'
    done = subprocess.run(
        ["sh", "-c", shell, sys.executable], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("[]\n"), found.remedy
    after = dict(line.split("=", 1) for line in done.stdout.splitlines()[1:] if "=" in line)
    assert {name: after[name][: len(value)] for name, value in variables.items()} == variables


def test_on_windows_remedies_are_those_of_powershell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "_POWERSHELL", True)
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "corp.example")
    assert [found.remedy for found in (*environment.proxies(), *environment.certificates())] == [
        '$env:NO_PROXY = "$env:NO_PROXY,127.0.0.1,localhost"',
        "Remove-Item Env:SSL_CERT_FILE",
    ]


def test_a_proxy_s_password_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://me:secret@127.0.0.1:9")
    (sentence,) = environment.problems()
    assert "HTTP_PROXY=http://…@127.0.0.1:9" in sentence
    assert "secret" not in sentence


def test_the_doctor_finds_a_full_disk(tmp_path: Path) -> None:
    environment = os.environ | {"LLM_ANTIPATTERNS_HOME": str(tmp_path)}
    done = subprocess.run(
        [*COMMAND, "doctor"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=full_disk,
    )
    assert done.returncode == 1
    assert "FAIL progress" in done.stdout
    assert "Traceback" not in done.stderr


def test_check_works_all_the_same() -> None:
    done = call("check", "01", str(lesson("01").solution), **HOSTILE)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("PASS") == 5
    assert done.stdout.count("Your progress cannot be kept") == 1
    assert done.stderr == ""


def test_run_works_all_the_same() -> None:
    done = call("run", "01", **HOSTILE)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "FAIL" not in done.stdout
    assert done.stdout.count("PASS") > 3
    assert set(done.stderr.replace("\r", "\n").split()) <= {
        "cell",
        "of",
        *map(str, range(60)),
    }, "nothing but the progress"


def test_run_on_a_full_disk_is_one_sentence() -> None:
    done = subprocess.run(
        [*COMMAND, "run", "01"],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=partial(full_disk, 0),
    )
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""


def test_progress_works_all_the_same() -> None:
    done = call("progress", **HOSTILE)
    assert done.returncode == 0
    *lessons, solved, following = done.stdout.splitlines()
    assert len(lessons) == len(LESSONS)
    assert solved == "0 of 8 exercises solved."
    assert following.startswith("Next: open ")
    assert done.stderr == ""


SDK_CELL = """
import asyncio, openai
from helpers import MockLLM, run

async def cells():
    with MockLLM() as llm:
        await run(lambda url: None, llm)
        async with openai.AsyncOpenAI(base_url=llm.url, api_key="any", max_retries=0) as client:
            messages = [{"role": "user", "content": "Hello?"}]
            await client.chat.completions.create(model="gpt-5", messages=messages)

asyncio.run(cells())
"""


def test_an_sdk_in_a_cell_reaches_the_server_past_a_proxy() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SDK_CELL],
        env=os.environ | {"HTTP_PROXY": "http://127.0.0.1:9", "ALL_PROXY": "socks5://127.0.0.1:9"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


INTERRUPTED = """
import sys
class Finder:
    def find_spec(name, path=None, target=None):
        if name == "helpers.cli":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Finder)
from llm_antipatterns_command import main; main()
"""


def test_ctrl_c_while_the_command_is_imported_prints_no_traceback() -> None:
    command = [sys.executable, "-c", INTERRUPTED, "update"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


@pytest.mark.parametrize("text", ["", "raise ValueError", "def main(): print('mine')"])
@pytest.mark.parametrize("name", ["helpers.py", "helpers/__init__.py"])
@pytest.mark.parametrize("command", ["progress", "doctor"])
def test_another_package_called_helpers_is_named(
    tmp_path: Path, command: str, name: str, text: str
) -> None:
    file = tmp_path / name
    file.parent.mkdir(exist_ok=True)
    for each in (file, file.with_name("cli.py")):
        each.write_text(text)
    program = "from llm_antipatterns_command import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, command],
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    said = (
        f"{file} hides the course's package helpers. It comes from PYTHONPATH={tmp_path}. "
        "Type: unset PYTHONPATH\n"
    )
    if command == "doctor":
        assert (done.stdout, done.stderr) == (f"FAIL helpers: {said}", "")
    else:
        assert (done.stdout, done.stderr) == ("", said)
