"""A class on a real JupyterHub: ``python -m tests.hub.prove [LEARNERS] [SECONDS BETWEEN THEM]``.

Scripted learners log in one after the other, open lessons 01 and 05, and run all cells. Prints what
each of them needed; the exit status is 1 if a verdict fails, an address is used twice, or a process
is left after culling. ``make hub`` runs it in an environment made from hub/requirements.lock.
"""

from __future__ import annotations

import asyncio
import os
import resource
import secrets
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import httpx
import psutil

from tests.hub.learner import Learner, LessonRun

ROOT = Path(__file__).parents[2]
LESSONS = ("01_event_loop.ipynb", "05_rate_limits.ipynb")
IDLE_SECONDS = 120
_MIB = 1 << 20
_SAMPLE_SECONDS = 2.0
_CLASHES = ("Address already in use", "EADDRINUSE", "Errno 98")


@dataclass(slots=True)
class Visit:
    """One learner's afternoon."""

    name: str
    started: float = 0.0
    runs: list[LessonRun] = field(default_factory=list)
    peak_mib: float = 0.0
    """Of all the learner's processes; what they share is divided among them."""
    cpu_seconds: float = 0.0
    error: str = ""


@dataclass(frozen=True, slots=True)
class Hub:
    url: str
    password: str
    data: Path
    log: Path
    process: subprocess.Popen[bytes]

    def processes(self, name: str = "") -> list[psutil.Process]:
        """Those of the learner's home, or of every learner's."""
        home = str(self.data / "learners" / name)
        return [each for each in psutil.process_iter() if _home(each).startswith(home)]


def _home(process: psutil.Process) -> str:
    with suppress(psutil.Error):
        return str(process.environ().get("HOME", ""))
    return ""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running_hub(data: Path) -> Iterator[Hub]:
    url, password = f"http://127.0.0.1:{free_port()}", secrets.token_urlsafe(12)
    given = {
        "CLASS_AS_ROOT": "1",  # CI is root, in a machine that holds nothing else
        "CLASS_DATA": str(data),
        "CLASS_PASSWORD": password,
        "CLASS_URL": url,
        "CLASS_HUB_URL": f"http://127.0.0.1:{free_port()}",
        "CLASS_PROXY_API": f"http://127.0.0.1:{free_port()}",
        "CLASS_IDLE_SECONDS": str(IDLE_SECONDS),
    }
    log = data.parent / "hub.log"
    command = [sys.executable, "-m", "jupyterhub", "-f", str(ROOT / "hub/jupyterhub_config.py")]
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, cwd=data, env=os.environ | given, stdout=file, stderr=file
        )
    hub = Hub(url, password, data, log, process)
    try:
        _wait_until_it_answers(hub)
        yield hub
    finally:
        process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(60)
        process.kill()


def _wait_until_it_answers(hub: Hub) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and hub.process.poll() is None:
        with suppress(httpx.HTTPError):
            if httpx.get(f"{hub.url}/hub/health", trust_env=False).is_success:
                return
        time.sleep(0.2)
    raise SystemExit(f"The hub did not start:\n{hub.log.read_text()}")


async def visit(hub: Hub, visit: Visit, wait: float) -> None:
    await anyio.sleep(wait)
    learner = Learner(hub.url, visit.name, hub.password)
    try:
        visit.started = await learner.log_in()
        for lesson in LESSONS:
            visit.runs.append(await learner.run(lesson))
        visit.cpu_seconds = await anyio.to_thread.run_sync(_cpu_seconds, hub, visit.name)
    except (httpx.HTTPError, AssertionError, TimeoutError, OSError) as error:
        visit.error = f"{type(error).__name__}: {error}"[:300]
    finally:
        await learner.leave()


def _cpu_seconds(hub: Hub, name: str) -> float:
    """Of the learner's server, with those of its children that it saw end."""
    total = 0.0
    for process in hub.processes(name):
        with suppress(psutil.Error):
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


async def watch(hub: Hub, visits: list[Visit]) -> None:
    """Sample the memory of every learner's processes until cancelled."""
    while True:
        for each in visits:
            used = await anyio.to_thread.run_sync(_memory, hub, each.name)
            each.peak_mib = max(each.peak_mib, used)
        await anyio.sleep(_SAMPLE_SECONDS)


def _memory(hub: Hub, name: str) -> float:
    total = 0
    for process in hub.processes(name):
        with suppress(psutil.Error):
            total += process.memory_full_info().pss
    return total / _MIB


async def hold_class(hub: Hub, learners: int, between: float) -> list[Visit]:
    visits = [Visit(f"learner{i + 1:02}") for i in range(learners)]
    async with anyio.create_task_group() as watching:
        watching.start_soon(watch, hub, visits)
        async with anyio.create_task_group() as room:
            for i, each in enumerate(visits):
                room.start_soon(visit, hub, each, i * between)
        watching.cancel_scope.cancel()
    return visits


def wait_for_culling(hub: Hub) -> list[psutil.Process]:
    """What is left of the learners' processes when there was time to end them all."""
    deadline = time.monotonic() + 4 * IDLE_SECONDS
    while (left := hub.processes()) and time.monotonic() < deadline:
        time.sleep(1)
    return left


def report(visits: list[Visit]) -> None:
    print("| learner | server, s | 01, s | 05, s | peak, MiB | CPU, s | verdicts |")
    print("|---|---|---|---|---|---|---|")
    for each in visits:
        seconds = [f"{run.seconds:.0f}" for run in each.runs] + ["–"] * (2 - len(each.runs))
        said = "hold" if all_hold(each) else each.error or "; ".join(_complaints(each))
        numbers = f"{each.started:.1f} | {' | '.join(seconds)} | {each.peak_mib:.0f}"
        print(f"| {each.name} | {numbers} | {each.cpu_seconds:.0f} | {said} |")
    print(f"median peak: {statistics.median(each.peak_mib for each in visits):.0f} MiB, "
          f"CPU: {statistics.median(each.cpu_seconds for each in visits):.0f} s")  # fmt: skip


def all_hold(visit: Visit) -> bool:
    return len(visit.runs) == len(LESSONS) and all(run.holds for run in visit.runs)


def _complaints(visit: Visit) -> Iterator[str]:
    for run in visit.runs:
        yield from run.errors
        yield from (line for line in run.verdict if not line.startswith("PASS"))
        if not run.verdict:
            yield f"{run.lesson}: no verdict"


def main(learners: int = 20, between: float = 5.0) -> int:
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        data.mkdir()
        with running_hub(data) as hub:
            began = time.monotonic()
            visits = asyncio.run(hold_class(hub, learners, between))
            print(f"{learners} learners, one every {between:g} s, on {os.cpu_count()} cores: "
                  f"{time.monotonic() - began:.0f} s")  # fmt: skip
            report(visits)
            left = wait_for_culling(hub)
            print(f"after culling: {len(left)} processes of learners left")
            clashes = [line for line in hub.log.read_text().splitlines()
                       if any(clash in line for clash in _CLASHES)]  # fmt: skip
            print(f"addresses used twice: {len(clashes)}")
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        print(f"CPU of all processes, with the hub and its proxy: "
              f"{(used.ru_utime + used.ru_stime) / learners:.0f} s for each learner")  # fmt: skip
        after = hub.processes()
        print(f"after the hub: {len(after)} processes of learners left")
        if failed := not (all(map(all_hold, visits)) and not (left or clashes or after)):
            print("\n".join(hub.log.read_text().splitlines()[-40:]), file=sys.stderr)
    return int(failed)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the hub ends too
    sys.exit(main(*(float(each) if i else int(each) for i, each in enumerate(sys.argv[1:]))))  # type: ignore[arg-type]
