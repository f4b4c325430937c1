"""Child processes end with their parent, and leave nothing behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from helpers.processes import Child, ChildFailedError, TemporaryFolder

PARENT = """
import sys, time
from helpers.processes import Child
child = Child("-c", CHILD)
print(child.process.pid, child.ask({}, 30), flush=True)
time.sleep(600)
"""
CHILD = """
import re
from helpers.processes import Parent
parent = Parent()
print("a word for nobody")
parent.ready(fine=True)
re.match(r"(a+)+$", "a" * 60 + "b")  # in C, with the GIL, for years
"""


def eventually(holds: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def is_gone(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGINT"])
def test_a_child_in_c_code_ends_with_its_parent(name: str) -> None:
    script = PARENT.replace("CHILD", repr(CHILD))
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as parent:
        assert parent.stdout is not None
        pid, answer = parent.stdout.readline().split(maxsplit=1)
        assert answer == "{'fine': True}\n"
        parent.send_signal(getattr(signal, name))
    eventually(lambda: is_gone(int(pid)), seconds=1)


def test_a_child_says_why_it_failed() -> None:
    child = Child("-c", "from helpers.processes import Parent; Parent().failed('had no luck')")
    with pytest.raises(ChildFailedError, match=r"^had no luck$"):
        child.ask({}, 30)
    child.stop()


@pytest.mark.parametrize(
    ("code", "error"),
    [("raise SystemExit", EOFError), ("import time; time.sleep(60)", TimeoutError)],
)
def test_a_child_without_an_answer_is_ended(code: str, error: type[Exception]) -> None:
    child = Child("-c", code)
    with pytest.raises(error):
        child.ask({}, 30 if error is EOFError else 0.2)
    child.stop()
    assert child.process.poll() is not None


@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGINT"])
def test_the_ca_certificate_goes_after_every_signal(name: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "helpers.cli", "serve", "--port", "0", "--tls"]
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        lines = [server.stdout.readline() for _ in range(3)]
        assert [line.split()[0] for line in lines] == ["listening", "CA", "control"]
        path = Path(lines[1].removeprefix("CA certificate ").strip())
        assert path.exists()
        server.send_signal(getattr(signal, name))
    eventually(lambda: list(tmp_path.iterdir()) == [])


def test_a_supervisor_ignores_what_is_meant_for_others() -> None:
    with TemporaryFolder() as folder:
        (supervisor,) = [
            each
            for each in psutil.Process().children()
            if "processes.py" in " ".join(each.cmdline())
        ]
        for name in ("SIGTERM", "SIGINT", "SIGHUP"):
            supervisor.send_signal(getattr(signal, name))
        time.sleep(0.1)
        assert folder.folder.is_dir()
    assert not folder.folder.exists()
