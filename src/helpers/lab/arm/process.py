"""An arm's process as the lab sees it."""

from __future__ import annotations

import asyncio
import os
import pickle
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, BinaryIO, cast

from helpers.lab.arm.events import Batch, Setup

# Seconds, at most, to read what an arm sent before it ended: only a process that has left the arm's
# group can keep the pipe open for longer.
_REST = 1.0
# Seconds that a returned arm may take to end: joining threads, removing temporary files.
_LEAVE = 0.25


@dataclass(frozen=True, slots=True)
class _Handle:
    """A process that runs `child.main`."""

    orders: BinaryIO
    events: BinaryIO
    kill: Callable[[], None]
    wait: Callable[[], int | None]
    """Its exit code, when it has ended; None if it is unknown."""


class ArmProcess:
    """A process that runs one arm. Its batches are in ``inbox``; None when it is gone."""

    def __init__(self, setup: Setup) -> None:
        self._loop = asyncio.get_running_loop()
        self.inbox: asyncio.Queue[Batch | None] = asyncio.Queue()
        self.exit_code: int | None = None
        self._setup = setup
        self._handle = _fork() if hasattr(os, "fork") else _spawn()
        self._reader = threading.Thread(target=self._read, name="arm-reader", daemon=True)
        self._reader.start()
        self._waiter = threading.Thread(target=self._wait, name="arm-waiter", daemon=True)
        self._waiter.start()

    def _read(self) -> None:
        # RuntimeError: the lab's loop is closed.
        with suppress(EOFError, OSError, pickle.UnpicklingError, RuntimeError):
            with self._handle.orders as orders:
                pickle.dump(self._setup, orders)
            with self._handle.events as events:
                while True:
                    self._put(pickle.load(events))  # noqa: S301 - written by the arm's process

    def _wait(self) -> None:
        self.exit_code = self._handle.wait()
        self._reader.join(_REST)
        with suppress(RuntimeError):
            self._put(None)

    def _put(self, batch: Batch | None) -> None:
        self._loop.call_soon_threadsafe(self.inbox.put_nowait, batch)

    async def leave(self) -> None:
        """Give a process whose arm has returned a moment to end by itself, and to clean up."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_LEAVE):
                while await self.inbox.get() is not None:
                    pass

    def end(self) -> None:
        """Kill the process and what it has started; wait until it is gone."""
        self._handle.kill()
        self._waiter.join()


class _ForkServer:
    """Forks one arm at a time."""

    def __init__(self) -> None:
        self._control, theirs = socket.socketpair()
        self._owner = os.getpid()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "helpers.lab.arm.fork_server"],
                stdin=theirs.fileno(),
                start_new_session=True,
            )

    def is_usable(self) -> bool:
        """False in a fork of the lab's process, or once it has died."""
        return self._owner == os.getpid() and self._process.poll() is None

    def fork(self) -> _Handle:
        orders, to_arm = os.pipe()
        from_arm, events = os.pipe()
        with suppress(OSError):  # it has just died; the missing exit code says so
            socket.send_fds(self._control, [b"f"], [orders, events])
        os.close(orders)
        os.close(events)
        return _Handle(os.fdopen(to_arm, "wb"), os.fdopen(from_arm, "rb"), self._kill, self._wait)

    def _kill(self) -> None:
        with suppress(OSError):
            self._control.send(b"k")

    def _wait(self) -> int | None:
        from helpers.lab.arm.fork_server import EXIT_CODE

        with suppress(OSError):
            answer = self._control.recv(EXIT_CODE.size, socket.MSG_WAITALL)
            if len(answer) == EXIT_CODE.size:
                return int(EXIT_CODE.unpack(answer)[0])
        return None


_fork_server: _ForkServer | None = None


def _fork() -> _Handle:
    global _fork_server
    if _fork_server is None or not _fork_server.is_usable():
        _fork_server = _ForkServer()
    return _fork_server.fork()


def _spawn() -> _Handle:
    """Where there is no fork (Windows): a new interpreter, in about a second."""
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "helpers.lab.arm.child"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
    )
    orders, events = cast(IO[bytes], process.stdin), cast(IO[bytes], process.stdout)
    return _Handle(cast(BinaryIO, orders), cast(BinaryIO, events), process.kill, process.wait)
