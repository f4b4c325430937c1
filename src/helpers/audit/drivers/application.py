"""The application's processes: started, read, and ended with nothing left behind."""

from __future__ import annotations

import contextlib
import os
import secrets
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, cast

from helpers.audit.errors import AuditError

# Bytes kept of what an application prints.
_KEPT = 64 * 1024
_TAG = "LLM_AUDIT_PROCESS"
_POLITE_SECONDS = 3.0
_LISTENING = "0A"  # in /proc/net/tcp


def split(command: str) -> list[str]:
    """The words of a command, as a shell would split them. Raises AuditError."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise AuditError(f"The command {command[:200]!r} cannot be split: {error}.") from None
    if not words:
        raise AuditError("There is no command to start the application with.")
    return words


class _Pipe:
    """Reads all that is written, and keeps its first and its last bytes."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._pipe = pipe
        self.first = b""
        self.last = b""
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            while data := os.read(self._pipe.fileno(), _KEPT):
                if len(self.first) < _KEPT:
                    self.first = (self.first + data)[:_KEPT]
                self.last = (self.last + data)[-_KEPT:]

    def close(self) -> None:
        self._thread.join(2.0)
        if (
            not self._thread.is_alive()
        ):  # if not, one of the application's processes still holds the other end
            self._pipe.close()


class Application:
    """One process of the application, and those that it starts."""

    def __init__(
        self,
        command: list[str],
        environment: Mapping[str, str],
        on_end: Callable[[Application], None],
    ) -> None:
        """Raises AuditError if it cannot be started."""
        self._on_end = on_end
        self._tag = secrets.token_hex(16)
        try:
            self.process = subprocess.Popen(
                command,
                env={**environment, _TAG: self._tag},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                # A group of its own, to be ended with all that is in it.
                start_new_session=True,
            )
        except OSError as error:
            raise AuditError(
                f"The command {command[0][:200]!r} cannot be started: {error.strerror}."
            ) from None
        except ValueError as error:
            raise AuditError(f"The command cannot be started: {error}.") from None
        self._output = _Pipe(cast(IO[bytes], self.process.stdout))
        self._errors = _Pipe(cast(IO[bytes], self.process.stderr))

    @property
    def exit_status(self) -> int | None:
        """None while it runs."""
        return self.process.poll()

    @property
    def output(self) -> str:
        """The beginning of what it printed."""
        return self._output.first.decode(errors="replace")

    @property
    def errors(self) -> str:
        """The end of what it printed to standard error."""
        return self._errors.last.decode(errors="replace")

    @property
    def last_words(self) -> str:
        """Its last line, for a sentence; "" if there is none."""
        for text in (self.errors, self._output.last.decode(errors="replace")):
            lines = [line.strip() for line in text.splitlines() if line.strip()]
            if lines:
                return "".join(c if c.isprintable() else " " for c in lines[-1])[:200]
        return ""

    def ports(self) -> list[int]:
        """On which its processes listen, where that can be known (Linux)."""
        return sorted({port for pid in self._tagged() for port in _listening(pid)})

    def stop(self) -> None:
        """Ask it to end, and kill what is left 3 s later."""
        if self.exit_status is None:
            self._signal_group("SIGTERM")
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(_POLITE_SECONDS)
        self.kill()

    def kill(self) -> None:
        """As a crash would: without a chance to save anything."""
        for _ in range(100):  # a process may fork while it is looked for
            self._signal_group("SIGKILL")
            tagged = self._tagged()
            for pid in tagged:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            self.process.wait()
            if not tagged:
                break
            time.sleep(0.01)
        self._output.close()
        self._errors.close()
        self._on_end(self)

    def _signal_group(self, name: str) -> None:
        with contextlib.suppress(OSError):
            if hasattr(os, "killpg"):
                os.killpg(self.process.pid, getattr(signal, name))
            else:  # Windows has neither groups nor these signals
                self.process.kill()

    def _tagged(self) -> list[int]:
        """Processes that it started and that still run, also those that left its group (Linux)."""
        if sys.platform != "linux":
            return []
        mark = f"{_TAG}={self._tag}".encode()
        return [pid for pid in _pids() if mark in _environ(pid)]


class Applications:
    """The processes of one audit."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[Application] = set()
        self._is_over = False

    def start(self, command: list[str], environment: Mapping[str, str]) -> Application:
        """Raises AuditError if it cannot be started or the audit is over."""
        # Under the lock, so that `end_all` misses none that a thread is about to start.
        with self._lock:
            if self._is_over:
                raise AuditError("The audit is over.")
            application = Application(command, environment, self._running.discard)
            self._running.add(application)
        return application

    def end_all(self) -> None:
        """Kill all that run, and start no more."""
        with self._lock:
            self._is_over = True
            running = [*self._running]
        for application in running:
            application.kill()


def _pids() -> Iterator[int]:
    for name in os.listdir("/proc"):
        if name.isdigit():
            yield int(name)


def _environ(pid: int) -> list[bytes]:
    try:
        if Path(f"/proc/{pid}/stat").read_bytes().rpartition(b") ")[2][:1] in (b"Z", b"X"):
            return []
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []


def _listening(pid: int) -> Iterator[int]:
    sockets = set()
    with contextlib.suppress(OSError):
        for descriptor in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                sockets.add(os.readlink(f"/proc/{pid}/fd/{descriptor}"))
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
                cells = line.split()
                if cells[3] == _LISTENING and f"socket:[{cells[9]}]" in sockets:
                    yield int(cells[1].rpartition(":")[2], 16)
