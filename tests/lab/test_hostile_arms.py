"""Whatever an arm does, the lab says what happened, and nothing of the arm is left."""

import asyncio
import concurrent.futures
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import anyio
import anyio.to_process
import psutil
import pytest

from helpers.lab import ArmError, Run, run_arm


def run(arm: Callable[..., Any], *args: Any, limit: float = 20.0) -> Run:
    return asyncio.run(run_arm(arm, None, *args, name="arm", limit=limit))


def hold_the_interpreter() -> None:
    """Computes in C for years, and never gives up the GIL."""
    re.match(r"(a+)+$", "a" * 60 + "b")


def is_gone(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def pid_in(file: Path) -> int:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if file.exists() and (text := file.read_text()):
            return int(text)
        time.sleep(0.01)
    raise AssertionError(f"nothing was written to {file}")


def eventually(holds: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def fork_servers() -> list[psutil.Process]:
    family = psutil.Process().children()
    return [each for each in family if "helpers.lab.arm.fork_server" in each.cmdline()]


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    run(lambda: None)  # the fork server is there from now on
    before = set(psutil.Process().children(recursive=True))
    yield
    left = set(psutil.Process().children(recursive=True)) - before - set(fork_servers())
    _, alive = psutil.wait_procs(left, timeout=5)
    assert alive == []


# Arms that do not come back.


async def computes_in_c() -> None:
    hold_the_interpreter()


async def stops_itself() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


@pytest.mark.parametrize("arm", [computes_in_c, hold_the_interpreter, stops_itself])
def test_an_arm_that_blocks_from_its_first_line_is_given_up_at_its_limit(arm: Any) -> None:
    start = time.monotonic()
    assert run(arm, limit=1).outcome == "gave up"
    assert time.monotonic() - start < 10


LAB = """
import asyncio, os, re, sys
from pathlib import Path
from helpers.lab import run_arm

async def computes():
    Path(sys.argv[2]).write_text(str(os.getpid()))
    if sys.argv[1] == "C":
        re.match(r"(a+)+$", "a" * 60 + "b")
    elif sys.argv[1] == "Python":
        while True:
            pass
    await asyncio.sleep(600)

asyncio.run(run_arm(computes, None, limit=600))
"""


@pytest.mark.parametrize(
    ("arm", "name"),
    [("C", name) for name in ("SIGKILL", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGINT")]
    + [("Python", "SIGKILL"), ("sleep", "SIGKILL")],
)
def test_a_killed_lab_takes_arm_and_fork_server_along(arm: str, name: str, tmp_path: Path) -> None:
    file, script = tmp_path / "pid", tmp_path / "lab.py"
    script.write_text(LAB)
    lab = psutil.Popen([sys.executable, script, arm, file], stderr=subprocess.DEVNULL)
    pid = pid_in(file)
    family = lab.children(recursive=True)
    assert pid in {process.pid for process in family}
    time.sleep(0.1)
    lab.send_signal(getattr(signal, name))
    lab.wait(10)
    _, alive = psutil.wait_procs(family, timeout=5)
    assert alive == []


# Processes that an arm starts.


def forks(file: str) -> str:
    if os.fork() == 0:
        partial = Path(f"{file}.partial")
        partial.write_text(str(os.getpid()))
        partial.rename(file)  # it may be killed between any two steps
        time.sleep(600)
    return "returned"


def starts_a_program(file: str) -> str:
    child = subprocess.Popen(["sleep", "600"], close_fds=False)
    Path(file).write_text(str(child.pid))
    return "returned"


def leaves_the_group(file: str) -> str:
    if os.fork() == 0:
        os.setsid()
        Path(file).write_text(str(os.getpid()))
        time.sleep(3)
        os._exit(0)
    pid_in(Path(file))
    return "returned"


@pytest.mark.parametrize("arm", [forks, starts_a_program])
def test_a_child_that_outlives_its_arm_does_not_outlive_the_run(arm: Any, tmp_path: Path) -> None:
    file = tmp_path / "pid"
    start = time.monotonic()
    assert run(arm, str(file)).result == "returned"
    assert time.monotonic() - start < 5
    if file.exists():  # else it was ended before it could write
        eventually(lambda: is_gone(pid_in(file)), seconds=2)


def test_a_child_that_leaves_the_arms_group_does_not_freeze_the_lab(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    longest = 0.0

    async def watch_the_loop() -> None:
        nonlocal longest
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.01)
            longest = max(longest, time.monotonic() - before)

    async def main() -> Run:
        watcher = asyncio.create_task(watch_the_loop())
        done = await run_arm(leaves_the_group, None, str(file))
        watcher.cancel()
        return done

    start = time.monotonic()
    assert asyncio.run(main()).result == "returned"
    assert not is_gone(pid_in(file))
    assert time.monotonic() - start < 3
    assert longest < 2
    psutil.Process(pid_in(file)).kill()


def square(number: int) -> int:
    return number * number


def test_pools_work_in_an_arm() -> None:
    async def pools() -> list[list[int]]:
        found = []
        with concurrent.futures.ProcessPoolExecutor(2) as executor:
            found.append(list(executor.map(square, range(4))))
        with concurrent.futures.ThreadPoolExecutor(2) as executor:
            found.append(list(executor.map(square, range(4))))
        with multiprocessing.Pool(2) as pool:
            found.append(pool.map(square, range(4)))
        found.append([await anyio.to_process.run_sync(square, 3)])
        queue: Any = multiprocessing.Queue()
        process = multiprocessing.Process(target=queue.put, args=([9],))
        process.start()
        found.append(queue.get())
        process.join()
        return found

    assert run(pools).result == [[0, 1, 4, 9]] * 3 + [[9]] * 2


SCRIPT = """
import asyncio
from concurrent.futures import ProcessPoolExecutor
from helpers.lab import run_arm

print("the script runs")

class Answer:
    def __init__(self, value):
        self.value = value

def square(number):
    return number * number

async def arm(offset):
    with ProcessPoolExecutor(2) as executor:
        return Answer([offset.value + each for each in executor.map(square, range(3))])

done = asyncio.run(run_arm(arm, None, Answer(1)))
print(done.result.value, isinstance(done.result, Answer))
"""


def test_a_script_needs_no_main_guard(tmp_path: Path) -> None:
    """Its arm is sent by value: the script does not run again in the arm's process."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "the script runs\n[1, 2, 5] True\n"
    assert done.stderr == ""


# Much, and strange, output.


def test_half_a_million_prints_are_seen(capsys: pytest.CaptureFixture[str]) -> None:
    def prints() -> str:
        for i in range(500_000):
            print(i)
        return "done"

    done = run(prints)
    assert done.result == "done"
    lines = capsys.readouterr().out.splitlines()
    assert (len(lines), lines[-1]) == (500_000, "499999")
    assert done.printed.count("\n") == 500_000


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise TypeError("not that either")


class ExitsWhenPickled:
    def __reduce__(self) -> Any:
        sys.exit(4)


class RaisesWhenRebuilt:
    def __reduce__(self) -> Any:
        return int, ("not a number",)


class ExitsWhenRebuilt:
    def __reduce__(self) -> Any:
        return sys.exit, (5,)


class KillsWhenRebuilt:
    def __reduce__(self) -> Any:
        return os._exit, (6,)


def raises_unprintable() -> NoReturn:
    raise UnprintableError


def exits() -> NoReturn:
    sys.exit(7)


def exits_at_once() -> NoReturn:
    os._exit(8)


def crashes() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def is_killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize(
    ("arm", "sentence"),
    [
        (raises_unprintable, r"raised UnprintableError at .*: \(its __str__ raised TypeError\)"),
        (exits, r"raised SystemExit at .*: 7"),
        (exits_at_once, r"ended its own process with exit status 8, as os\._exit does"),
        (crashes, r"crashed in C code \(SIGSEGV, a segmentation fault\)"),
        (is_killed, r"was killed \(SIGKILL\), as the system does when memory runs out"),
        (
            ExitsWhenPickled,
            "returned a ExitsWhenPickled, which cannot be sent back: SystemExit: 4",
        ),
        (
            RaisesWhenRebuilt,
            "returned a RaisesWhenRebuilt, which cannot be rebuilt in the lab: ValueError: .*",
        ),
        (
            ExitsWhenRebuilt,
            "returned a ExitsWhenRebuilt, which cannot be rebuilt in the lab: SystemExit: 5",
        ),
        (
            KillsWhenRebuilt,
            r"ended its own process with exit status 6, as os\._exit does",
        ),
    ],
)
def test_each_end_has_its_own_sentence(
    arm: Any, sentence: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ArmError, match=f"^arm {sentence}$"):
        run(arm)
    assert capfd.readouterr().err == ""
    assert run(square, 3).result == 9  # the next arm runs


def test_memory_that_runs_out_is_a_sentence() -> None:
    def grows() -> None:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))
        bytes(2**31)

    with pytest.raises(ArmError, match=r"^arm raised MemoryError at test_hostile_arms\.py"):
        run(grows)


def test_an_arm_that_ends_its_process_when_rebuilt_never_began() -> None:
    with pytest.raises(RuntimeError, match=r"^arm ended .* status 6, .* does, before it began\.$"):
        run(square, KillsWhenRebuilt())
    with pytest.raises(TypeError, match=r"could not be rebuilt in its own process: ValueError"):
        run(square, RaisesWhenRebuilt())


# The lab's surroundings.

LOOPBACK = """
import asyncio, httpx
from helpers.lab import Valkey, Workers, run_arm
from helpers.mock_llm import MockLLM

body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello?"}]}

async def handle(ask, session, text):
    return await ask([{"role": "user", "content": text}])

async def asks(url):
    async with httpx.AsyncClient() as client:
        status = (await client.post(f"{url}/chat/completions", json=body)).status_code
    async with Workers(handle, url) as service:
        answer = await service.send("s", "Hello?")
    return status, bool(answer)

with MockLLM() as llm:
    print(asyncio.run(run_arm(asks, llm)).result)
with Valkey() as server:
    import redis
    print(redis.Redis.from_url(server.url).ping())
"""


@pytest.mark.parametrize(
    "environment",
    [
        {"HTTP_PROXY": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9"},
        {"ALL_PROXY": "socks5://127.0.0.1:9", "NO_PROXY": "127.0.0.1"},
        {"all_proxy": "socks5://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9"},
        {"SSL_CERT_FILE": "/nowhere/ca.pem", "SSL_CERT_DIR": "/nowhere"},
        {"TMPDIR": "long"},
        {"TMPDIR": "odd"},
    ],
    ids=["proxy", "socks", "lower-case", "certificates", "long-folder", "odd-folder"],
)
def test_arms_workers_and_stores_stay_on_loopback(
    environment: dict[str, str], tmp_path: Path
) -> None:
    folders = {"long": tmp_path / ("x" * 120), "odd": tmp_path / "ä #%?&'\" (1)"}
    if folder := folders.get(environment.get("TMPDIR", "")):
        folder.mkdir()
        environment = {"TMPDIR": str(folder)}
    script = tmp_path / "script.py"
    script.write_text(LOOPBACK)
    done = subprocess.run(
        [sys.executable, script],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (done.stdout, done.stderr) == ("(200, True)\nTrue\n", "")


def test_nothing_is_left_in_the_temporary_folder(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(LOOPBACK)
    folder = tmp_path / "temporary"
    folder.mkdir()
    environment = os.environ | {"TMPDIR": str(folder)}
    subprocess.run([sys.executable, script], env=environment, check=True, timeout=120)
    eventually(lambda: list(folder.iterdir()) == [])


def test_an_arm_sees_what_the_lab_has_set_since(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def looks() -> tuple[str, str]:
        return os.environ["A_KEY_SET_LATE"], os.getcwd()

    monkeypatch.setenv("A_KEY_SET_LATE", "sk-1")
    monkeypatch.chdir(tmp_path)
    assert run(looks).result == ("sk-1", str(tmp_path))


def test_a_killed_fork_server_is_started_again() -> None:
    (server,) = fork_servers()
    server.kill()
    server.wait(10)
    assert run(square, 3).result == 9


def test_a_failed_task_that_is_left_behind_says_nothing_after_the_run(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        """
import asyncio
from helpers.lab import run_arm

left = set()

async def arm():
    async def fails():
        raise LookupError("nobody awaits this")
    left.add(asyncio.create_task(fails()))
    await asyncio.sleep(0.05)
    return len(left)

print(asyncio.run(run_arm(arm, None)).result)
"""
    )
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.stdout, done.stderr) == ("1\n", "")
