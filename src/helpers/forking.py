"""Starts Python processes in milliseconds, as forks of one that has imported what they need.

Forks share their memory until they write to it: the tokenizer's 46 MiB and the modules are in
memory once, however many servers and arms there are.

A fork runs ``main()`` of a module, with pipes as its standard input and output. Before the first
fork, the fork server imports the module, and calls its ``preload()`` if it has one. The caller and
the fork server share a socket per fork: the caller sends what to run; anything more, or the end of
the socket, asks the fork server to kill the fork and what it has started; the answer is the fork's
exit code. A fork can ask for forks of its own, which end with it.

This is not `multiprocessing.forkserver`: its forks inherit the pipe that keeps it alive, cannot
have children, run the caller's main script again, and leave folders behind.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import selectors
import signal
import socket
import struct
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

from helpers.processes import Child, die_with_parent, name_process, trim

_EXIT_CODE = struct.Struct("i")
_SIZE = struct.Struct("I")
_LOOK_EVERY = 0.5
LOST = -1000
"""The exit code if the fork server died before it could send one."""


def start(module: str) -> Child:
    """Run ``main()`` of a module in a process of its own, which ends with this one.

    Where there is no fork (Windows), that is a new interpreter, in about a second.
    """
    return _ForkedChild(module) if hasattr(os, "fork") else Child("-P", "-m", module)


def is_running() -> bool:
    """Whether this process has a fork server: then a fork costs milliseconds."""
    return _server is not None and _server.is_usable()


class _ForkedChild(Child):
    """A fork of the fork server, seen from the process that asked for it."""

    def __init__(self, module: str) -> None:
        orders, stdin = os.pipe()
        stdout, answers = os.pipe()
        process = _usable_server().fork(module, orders, answers)
        os.close(orders)
        os.close(answers)
        self._attach(os.fdopen(stdin, "wb"), os.fdopen(stdout, "rb"), process)


class _Fork:
    """A fork whose exit code is read as with `subprocess.Popen`."""

    def __init__(self, status: socket.socket) -> None:
        self._status = status
        self._reading, self._closing = threading.Lock(), threading.Lock()
        self._code: int | None = None

    def poll(self) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.wait(0.0)
        return None

    def wait(self, timeout: float | None = None) -> int:
        with self._reading:
            if self._code is None:
                self._code = self._read(timeout)
        return self._code

    def _read(self, timeout: float | None) -> int:
        self._status.settimeout(timeout)
        try:
            code = self._status.recv(_EXIT_CODE.size)
        except (TimeoutError, BlockingIOError):
            raise subprocess.TimeoutExpired("fork", timeout or 0.0) from None
        except OSError:
            code = b""
        with self._closing:
            self._status.close()
        return int(_EXIT_CODE.unpack(code)[0]) if len(code) == _EXIT_CODE.size else LOST

    def kill(self) -> None:
        # Not while another thread closes it: its number might then belong to another file.
        with self._closing, contextlib.suppress(OSError):
            self._status.send(b"k")


class _ForkServer:
    """The fork server as seen from a process that it serves: its starter, or one of its forks."""

    def __init__(self, control: socket.socket, is_alive: Callable[[], bool]) -> None:
        self._control, self._is_alive = control, is_alive
        self._owner = os.getpid()

    @classmethod
    def launch(cls) -> Self:
        control, theirs = socket.socketpair()
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "helpers.forking"],
                stdin=theirs.fileno(),
                start_new_session=True,
            )
        server = cls(control, lambda: process.poll() is None)
        weakref.finalize(server, _end, control, process, os.getpid())
        return server

    def is_usable(self) -> bool:
        """False once the fork server has died, and in a fork that the served process made."""
        return self._owner == os.getpid() and self._is_alive()

    def fork(self, module: str, stdin: int, stdout: int) -> _Fork:
        ours, theirs = socket.socketpair()
        request = {"module": module, "environment": dict(os.environ), "folder": _folder()}
        data = json.dumps(request).encode()
        # If it has just died, the missing exit code says so.
        with theirs, contextlib.suppress(OSError):
            socket.send_fds(self._control, [b"f"], [theirs.fileno(), stdin, stdout])
        with contextlib.suppress(OSError):
            ours.sendall(_SIZE.pack(len(data)) + data)
        return _Fork(ours)


def _end(control: socket.socket, process: subprocess.Popen[bytes], owner: int) -> None:
    if os.getpid() == owner:
        control.close()
        process.wait()


def _folder() -> str:
    try:
        return os.getcwd()
    except FileNotFoundError:  # it has been removed
        return ""


_server: _ForkServer | None = None
_starting = threading.Lock()


def _usable_server() -> _ForkServer:
    global _server
    with _starting:
        if _server is None or not _server.is_usable():
            _server = _ForkServer.launch()
        return _server


@dataclass
class _Made:
    """A fork, seen from the fork server."""

    status: socket.socket
    """Closing it asks to kill the fork; the exit code is sent back on it."""
    control: socket.socket
    """The socket on which the fork asks for forks of its own."""
    caller: int
    """The process ID of the process that asked for the fork."""


class _Host:
    """The fork server itself."""

    def __init__(self) -> None:
        self._caller = os.getppid()
        self._control = socket.socket(fileno=os.dup(0))
        self._forks: dict[int, _Made] = {}
        self._wake, self._waker = os.pipe()
        os.set_blocking(self._wake, False)
        os.set_blocking(self._waker, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)
        self._selector = selectors.DefaultSelector()
        self._when_readable(self._wake, lambda: os.read(self._wake, 4096))
        self._when_readable(self._control, lambda: self._take(self._control, self._caller))

    def run(self) -> None:
        """Until the caller is gone. A fork of the caller keeps the socket open."""
        with contextlib.suppress(EOFError):
            while os.getppid() == self._caller:
                for key, _ in self._selector.select(_LOOK_EVERY):
                    key.data()
                self._reap()
        for pid in self._forks:
            self._kill(pid)

    def _when_readable(self, what: socket.socket | int, act: Callable[[], object]) -> None:
        self._selector.register(what, selectors.EVENT_READ, act)

    def _ignore(self, *sockets: socket.socket) -> None:
        for each in sockets:
            with contextlib.suppress(KeyError):
                self._selector.unregister(each)

    def _take(self, control: socket.socket, caller: int) -> None:
        """A request. Raises EOFError when the process that the fork server is for has ended."""
        _, descriptors, *_ = socket.recv_fds(control, 1, 3)
        if len(descriptors) < 3:
            if control is self._control:
                raise EOFError
            self._ignore(control)
            return
        status, stdin, stdout = socket.socket(fileno=descriptors[0]), *descriptors[1:]
        # Exactly the request: anything after it asks to kill the fork.
        size = status.recv(_SIZE.size, socket.MSG_WAITALL)
        if len(size) == _SIZE.size:
            request = status.recv(int(_SIZE.unpack(size)[0]), socket.MSG_WAITALL)
            self._fork(json.loads(request), status, caller, stdin, stdout)
        else:  # the caller has just died
            status.close()
        os.close(stdin)
        os.close(stdout)

    def _fork(
        self, request: dict[str, Any], status: socket.socket, caller: int, *pipes: int
    ) -> None:
        _preload(request["module"])
        control, theirs = socket.socketpair()
        pid = os.fork()
        if pid == 0:
            self._leave(status, control)
            _become(request, theirs, *pipes)
        theirs.close()
        self._forks[pid] = _Made(status, control, caller)
        self._when_readable(status, lambda: self._kill(pid))
        self._when_readable(control, lambda: self._take(control, pid))

    def _leave(self, *sockets: socket.socket) -> None:
        """Close what a fork must not keep, because it would keep others alive."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._selector.close()
        others = [each for made in self._forks.values() for each in (made.status, made.control)]
        for each in (self._control, *sockets, *others):
            each.close()
        for descriptor in (self._wake, self._waker):
            os.close(descriptor)

    def _kill(self, pid: int) -> None:
        self._ignore(self._forks[pid].status)
        _kill_group(pid)
        # It may not lead a process group yet.
        os.kill(pid, signal.SIGKILL)

    def _reap(self) -> None:
        for pid in list(self._forks):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                self._forget(pid, os.waitstatus_to_exitcode(status))

    def _forget(self, pid: int, code: int) -> None:
        _kill_group(pid)  # what it has started must not outlive it
        for other, made in self._forks.items():
            if made.caller == pid:
                self._kill(other)
        made = self._forks.pop(pid)
        self._ignore(made.status, made.control)
        made.control.close()
        with made.status, contextlib.suppress(OSError):  # the caller is gone
            made.status.sendall(_EXIT_CODE.pack(code))


def _preload(module: str) -> None:
    """Load what the forks share: imported once, and then never written to."""
    if module in sys.modules:
        return
    # If it cannot be imported, the fork says why.
    with contextlib.suppress(Exception):
        preload = getattr(importlib.import_module(module), "preload", None)
        if preload is not None:
            preload()
    gc.collect()
    gc.freeze()  # garbage collection in a fork need not look at what is loaded now
    trim()


def _become(request: dict[str, Any], control: socket.socket, stdin: int, stdout: int) -> None:
    global _server
    os.setsid()  # the fork and what it starts can be killed together
    die_with_parent()
    name_process(request["module"].removeprefix("helpers."))
    host = os.getppid()
    _server = _ForkServer(control, lambda: os.getppid() == host)
    for descriptor, standard in ((stdin, 0), (stdout, 1)):
        os.dup2(descriptor, standard)
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(request["environment"])
    with contextlib.suppress(OSError):  # it may have been removed
        os.chdir(request["folder"])
    code = 1
    try:
        importlib.import_module(request["module"]).main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else bool(end.code)
    except BaseException:  # noqa: BLE001 - as an interpreter does
        sys.excepthook(*sys.exc_info())
    finally:
        # At once: when an interpreter exits, abandoned tasks complain on the notebook's stderr.
        os._exit(code)


def _kill_group(pid: int) -> None:
    # PermissionError: macOS, when only zombies are left.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def serve() -> None:
    """Be the fork server, until the process that started it is gone."""
    _Host().run()


if __name__ == "__main__":
    # Not the module that is run, `__main__`: forks import it by its name.
    importlib.import_module("helpers.forking").serve()
