"""An arm's process as the lab sees it."""

from __future__ import annotations

import asyncio
import pickle
import threading
from contextlib import suppress

from helpers import forking
from helpers.lab.arm.events import Batch, Setup

# Seconds, at most, to read what an arm sent before it ended: only a process that has left the arm's
# group can keep the pipe open for longer.
_REST = 1.0
# Seconds that a returned arm may take to end: joining threads, removing temporary files.
_LEAVE = 0.25


class ArmProcess:
    """A process that runs one arm. Its batches are in ``inbox``; None when it is gone."""

    def __init__(self, setup: Setup) -> None:
        self._loop = asyncio.get_running_loop()
        self.inbox: asyncio.Queue[Batch | None] = asyncio.Queue()
        self.exit_code: int | None = None
        self._setup = setup
        self._child = forking.start("helpers.lab.arm.child")
        self._reader = threading.Thread(target=self._read, name="arm-reader", daemon=True)
        self._reader.start()
        self._waiter = threading.Thread(target=self._wait, name="arm-waiter", daemon=True)
        self._waiter.start()

    def _read(self) -> None:
        # RuntimeError: the lab's loop is closed.
        with suppress(EOFError, OSError, pickle.UnpicklingError, RuntimeError):
            with self._child.stdin as orders:
                pickle.dump(self._setup, orders)
            with self._child.stdout as events:
                while True:
                    self._put(pickle.load(events))  # noqa: S301 - written by the arm's process

    def _wait(self) -> None:
        code = self._child.process.wait()
        self.exit_code = None if code == forking.LOST else code
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
        self._child.process.kill()
        self._waiter.join()
