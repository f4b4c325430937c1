"""Child processes that end with the process that started them, SIGKILL included.

A child gets its orders as one JSON line on standard input and answers with one JSON line on
standard output: ``{"ready": {…}}``, or ``{"failed": "why"}``. The end of its standard input means
that its parent is gone. Run as a script, this module is the supervisor of a `TemporaryFolder`; so
that it starts at once, it imports the standard library only.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, NoReturn, Protocol, Self, cast

if sys.platform == "linux":
    import fcntl

# prctl(2)
_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_STOP_SECONDS = 5.0
_PARENT_POLL = 0.5
# A UNIX socket's path has at most 103 bytes on macOS, 107 on Linux; this leaves room for a name.
_LONGEST_FOLDER = 60


class StartStop:
    """A ``with`` statement starts it and stops it."""

    def start(self) -> Self:
        return self

    def stop(self) -> None:
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


class ChildFailedError(Exception):
    """The child reported that it failed; the message is the child's own."""


class Process(Protocol):
    """The part of `subprocess.Popen` that a `Child` needs."""

    def poll(self) -> int | None: ...

    def wait(self, timeout: float | None = None) -> int | None: ...

    def kill(self) -> None: ...


class Child:
    """A Python process, seen from its parent."""

    def __init__(self, *arguments: str) -> None:
        # A session (on Windows, a group) of its own: an interrupt, whether from the keyboard or
        # from a notebook, is meant for the parent alone.
        process = subprocess.Popen(
            [sys.executable, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )
        self._attach(cast(IO[bytes], process.stdin), cast(IO[bytes], process.stdout), process)

    def _attach(self, stdin: IO[bytes], stdout: IO[bytes], process: Process) -> None:
        self.stdin, self.stdout, self.process = stdin, stdout, process
        self._owner = os.getpid()

    def ask(self, orders: Any, timeout: float) -> dict[str, Any]:
        """Send orders, and return what the child says in ``ready``. Blocks.

        Raises `ChildFailedError`, `TimeoutError` after ``timeout`` seconds, or `EOFError` if the
        child ends without an answer. A child that is late is killed.
        """
        deadline = time.monotonic() + timeout
        timer = threading.Timer(timeout, self.process.kill)
        timer.daemon = True
        timer.start()
        with contextlib.suppress(OSError):  # it has ended; the missing answer says so
            self.stdin.write(json.dumps(orders).encode() + b"\n")
            self.stdin.flush()
        line = self.stdout.readline()
        timer.cancel()
        if not line:
            raise EOFError if time.monotonic() < deadline else TimeoutError
        answer = json.loads(line)
        if "failed" in answer:
            raise ChildFailedError(answer["failed"])
        ready: dict[str, Any] = answer["ready"]
        return ready

    def stop(self) -> None:
        """Close its standard input, and kill it if it is still there 5 s later."""
        if self.is_foreign:
            return
        with contextlib.suppress(OSError):
            self.stdin.close()
        try:
            self.process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.stdout.close()

    def kill(self) -> None:
        if not self.is_foreign:
            self.process.kill()
            self.stop()

    @property
    def is_foreign(self) -> bool:
        """Whether this is a fork of the process that started the child; a fork must not stop it."""
        return os.getpid() != self._owner


class Parent:
    """The process that started this one, seen from its child. Make it before anything else."""

    def __init__(self) -> None:
        self.orders: dict[str, Any] = json.loads(sys.stdin.buffer.readline())
        self._stdout = os.fdopen(os.dup(1), "w")
        # What the child's code prints is not an answer, and must not fill a pipe that nobody reads.
        os.dup2(2, 1)
        _end_with_stdin()
        end_with_parent(lambda: os._exit(1))

    def ready(self, **facts: Any) -> None:
        self._say({"ready": facts})

    def failed(self, why: str) -> NoReturn:
        self._say({"failed": why})
        os._exit(1)

    def _say(self, answer: Mapping[str, Any]) -> None:
        with contextlib.suppress(OSError):  # the parent is gone
            print(json.dumps(answer), file=self._stdout, flush=True)


def _end_with_stdin() -> None:
    threading.Thread(target=_wait_for_the_end, daemon=True).start()
    if sys.platform == "linux":
        # The thread needs the GIL, which C code may hold. The signal that the kernel sends when
        # the pipe's other end closes does not. (PR_SET_PDEATHSIG would come too early: when the
        # thread that started the process ends.)
        fcntl.fcntl(0, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(0, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(0, fcntl.F_SETFL, fcntl.fcntl(0, fcntl.F_GETFL) | os.O_ASYNC)


def _wait_for_the_end() -> None:
    while os.read(0, 4096):
        pass
    os._exit(0)


def end_with_parent(end: Callable[[], object]) -> None:
    """Call ``end``, in a thread, within half a second of the parent's end (POSIX only).

    A fork of the parent keeps standard input open.
    """
    threading.Thread(target=_wait_for_the_parent, args=(os.getppid(), end), daemon=True).start()


def _wait_for_the_parent(parent: int, end: Callable[[], object]) -> None:
    while os.getppid() == parent:
        time.sleep(_PARENT_POLL)
    end()


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent ends, where it can (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def name_process(name: str) -> None:
    """What ``ps`` and ``top`` call this process (Linux): 15 letters at most."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_NAME, name.encode()[:15])


def trim() -> None:
    """Give free memory, which glibc would otherwise keep, back to the system."""
    if sys.platform == "linux":
        with contextlib.suppress(AttributeError):  # another C library
            ctypes.CDLL(None).malloc_trim(0)


def stay_on_loopback() -> None:
    """Ignore the environment's proxies, and certificates that do not exist.

    HTTP clients of this process and of its children talk to servers on this machine only.
    """
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "*"
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        if not os.path.exists(os.environ.get(name, "")):
            os.environ.pop(name, None)


class TemporaryFolder(StartStop):
    """A temporary folder, and at most one server in it, managed by a supervisor process.

    Both end on ``stop``, when this object is garbage collected, and when the process that made it
    ends, however that happens.
    """

    def __init__(self, *command: str) -> None:
        self._supervisor = Child("-I", __file__)
        self._finalizer = weakref.finalize(self, self._supervisor.stop)
        self.folder = Path(self._ask(list(command))["folder"])

    def stop(self) -> None:
        self._finalizer()

    def _ask(self, orders: Any) -> dict[str, Any]:
        try:
            return self._supervisor.ask(orders, timeout=30)
        except (EOFError, TimeoutError):
            raise RuntimeError(
                "The supervisor of the temporary folder has ended: make a new one."
            ) from None


def _supervise() -> None:
    """Keep a folder, and its server, until standard input ends."""
    # The end of the parent is the only signal to go; until then the folder is in use.
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    folder = _make_folder()
    server: subprocess.Popen[bytes] | None = None
    command: list[str] = []

    def end() -> None:
        _kill(server)
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(0)

    end_with_parent(end)
    try:
        for line in sys.stdin:
            match json.loads(line):
                case list(words):
                    command = words
                case "start":
                    _kill(server)
                    server = _start(command, folder)
                case "kill":
                    _kill(server)
            print(json.dumps({"ready": {"folder": folder}}), flush=True)
    except BrokenPipeError:
        pass  # the parent is gone
    finally:
        end()


def _make_folder() -> str:
    base = tempfile.gettempdir()
    if os.name == "posix" and len(os.fsencode(base)) > _LONGEST_FOLDER:
        base = "/tmp"  # noqa: S108 - mkdtemp makes a folder of its own there
    return tempfile.mkdtemp(prefix="llm-antipatterns-", dir=base)


def _start(command: list[str], folder: str) -> subprocess.Popen[bytes]:
    with open(f"{folder}/server.log", "ab") as log:
        return subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            preexec_fn=die_with_parent if sys.platform == "linux" else None,
        )


def _kill(server: subprocess.Popen[bytes] | None) -> None:
    """Kill it as a crash would: without a chance to save anything."""
    if server is not None:
        server.kill()
        server.wait()


if __name__ == "__main__":
    _supervise()
