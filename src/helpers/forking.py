"""Starts Python processes in milliseconds, as forks of one that has imported what they need.

Forks share their memory until they write to it: the tokenizer's 46 MiB and the modules are there
once, however many servers and arms there are.

A fork runs ``main()`` of a module, with pipes as its standard input and output. Before the first
one, the module is imported in the fork server, and its ``preload()`` called if it has one. The
caller and the fork server have a socket per fork: the caller sends what to run; anything more, or
the socket's end, asks to kill the fork and what it has started; the answer is its exit code.

This is not `multiprocessing.forkserver`: a fork would inherit the pipe that keeps that one alive,
could have no children, would run the caller's main script again, and leave folders behind.
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
from typing import Any

from helpers.processes import Child, die_with_parent, trim

_EXIT_CODE = struct.Struct("i")
_LOOK_EVERY = 0.5
LOST = -1000
"""The exit code if the fork server did not live to say it."""


def start(module: str) -> Child:
    """Run ``main()`` of a module in a process of its own, which ends with this one.

    Where there is no fork (Windows), that is a new interpreter, in about a second.
    """
    return _ForkedChild(module) if hasattr(os, "fork") else Child("-P", "-m", module)


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
    """A fork's end, as `subprocess.Popen` gives it."""

    def __init__(self, status: socket.socket) -> None:
        self._status = status
        self._reading = threading.Lock()
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
        self._status.close()
        return int(_EXIT_CODE.unpack(code)[0]) if len(code) == _EXIT_CODE.size else LOST

    def kill(self) -> None:
        with contextlib.suppress(OSError):
            self._status.send(b"k")


class _ForkServer:
    """Seen from the process that started it."""

    def __init__(self) -> None:
        control, theirs = socket.socketpair()
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "helpers.forking"],
                stdin=theirs.fileno(),
                start_new_session=True,
            )
        self._control, self._process, self._owner = control, process, os.getpid()
        weakref.finalize(self, _end, control, process, self._owner)

    def is_usable(self) -> bool:
        """False in a fork of the process that started it, or once it has died."""
        return self._owner == os.getpid() and self._process.poll() is None

    def fork(self, module: str, stdin: int, stdout: int) -> _Fork:
        ours, theirs = socket.socketpair()
        request = json.dumps({"module": module, "environment": dict(os.environ)})
        # If it has just died, the missing exit code says so.
        with theirs, contextlib.suppress(OSError):
            socket.send_fds(self._control, [b"f"], [theirs.fileno(), stdin, stdout])
        with contextlib.suppress(OSError):
            ours.sendall(request.encode() + b"\n")
        return _Fork(ours)


def _end(control: socket.socket, process: subprocess.Popen[bytes], owner: int) -> None:
    if os.getpid() == owner:
        control.close()
        process.wait()


_server: _ForkServer | None = None
_starting = threading.Lock()


def _usable_server() -> _ForkServer:
    global _server
    with _starting:
        if _server is None or not _server.is_usable():
            _server = _ForkServer()
        return _server


class _Host:
    """The fork server itself."""

    def __init__(self) -> None:
        self._caller = os.getppid()
        self._control = socket.socket(fileno=os.dup(0))
        self._statuses: dict[int, socket.socket] = {}
        self._wake, waker = os.pipe()
        os.set_blocking(self._wake, False)
        os.set_blocking(waker, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._control, selectors.EVENT_READ)
        self._selector.register(self._wake, selectors.EVENT_READ)
        self._own = [self._wake, waker]

    def run(self) -> None:
        """Until the caller is gone. A fork of the caller keeps the socket open."""
        try:
            while os.getppid() == self._caller:
                for key, _ in self._selector.select(_LOOK_EVERY):
                    if key.fileobj is self._control:
                        self._take()
                    elif key.fileobj == self._wake:
                        os.read(self._wake, 4096)
                    else:
                        self._kill(key.data)
                self._reap()
        except EOFError:
            pass
        for pid in list(self._statuses):
            self._kill(pid)

    def _take(self) -> None:
        message, descriptors, *_ = socket.recv_fds(self._control, 1, 3)
        if not message:
            raise EOFError
        status, stdin, stdout = socket.socket(fileno=descriptors[0]), *descriptors[1:]
        with status.makefile("rb") as stream:
            line = stream.readline()
        if line:
            self._fork(json.loads(line), status, stdin, stdout)
        os.close(stdin)
        os.close(stdout)

    def _fork(self, request: dict[str, Any], status: socket.socket, *pipes: int) -> None:
        _preload(request["module"])
        pid = os.fork()
        if pid == 0:
            self._leave()
            status.close()
            _become(request, *pipes)
        self._statuses[pid] = status
        self._selector.register(status, selectors.EVENT_READ, pid)

    def _leave(self) -> None:
        """What a fork may not keep: it would hold others alive."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._selector.close()
        self._control.close()
        for status in self._statuses.values():
            status.close()
        for descriptor in self._own:
            os.close(descriptor)

    def _kill(self, pid: int) -> None:
        with contextlib.suppress(KeyError):
            self._selector.unregister(self._statuses[pid])
        _kill_group(pid)
        # It may not have begun to lead a group.
        os.kill(pid, signal.SIGKILL)

    def _reap(self) -> None:
        for pid in list(self._statuses):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                _kill_group(pid)  # what it has started may not outlive it
                self._tell(pid, os.waitstatus_to_exitcode(status))

    def _tell(self, pid: int, code: int) -> None:
        with self._statuses.pop(pid) as socket_:
            with contextlib.suppress(KeyError):
                self._selector.unregister(socket_)
            with contextlib.suppress(OSError):  # the caller is gone
                socket_.sendall(_EXIT_CODE.pack(code))


def _preload(module: str) -> None:
    """Have what the forks share: imported once, and then never written to."""
    if module in sys.modules:
        return
    # If it cannot be imported, the fork says why.
    with contextlib.suppress(Exception):
        preload = getattr(importlib.import_module(module), "preload", None)
        if preload is not None:
            preload()
    gc.collect()
    gc.freeze()  # no collection in a fork need look at what is loaded now
    trim()


def _become(request: dict[str, Any], stdin: int, stdout: int) -> None:
    os.setsid()  # the fork and what it starts can be killed together
    die_with_parent()
    for descriptor, standard in ((stdin, 0), (stdout, 1)):
        os.dup2(descriptor, standard)
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(request["environment"])
    code = 1
    try:
        importlib.import_module(request["module"]).main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else bool(end.code)
    except BaseException:  # noqa: BLE001 - as an interpreter does
        sys.excepthook(*sys.exc_info())
    finally:
        # At once: while an interpreter ends, abandoned tasks complain on the notebook's stderr.
        os._exit(code)


def _kill_group(pid: int) -> None:
    # PermissionError: macOS, when only zombies are left.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


if __name__ == "__main__":
    _Host().run()
