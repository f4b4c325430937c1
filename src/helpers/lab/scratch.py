"""A temporary folder that goes when its process does, also after SIGKILL."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import weakref
from pathlib import Path
from types import TracebackType
from typing import IO, Self, cast

_SUPERVISOR = Path(__file__).with_name("supervisor.py")
_STOP_SECONDS = 5.0


class Scratch:
    """A temporary folder, and a server in it if a ``command`` is given.

    Both go with ``close``, with the end of a ``with`` statement, when this object is garbage
    collected, and when the process that made it ends, however that happens. The command runs with
    the folder as its working directory.
    """

    def __init__(self, *command: str) -> None:
        # A session of its own: an interrupt of the notebook is not meant for it.
        self._keeper = subprocess.Popen(
            [sys.executable, "-I", _SUPERVISOR, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )
        self._finalizer = weakref.finalize(self, _end_unless_forked, self._keeper, os.getpid())
        self.folder = Path(self._answer())

    def start_server(self) -> None:
        """Start the command; one that runs is killed first."""
        self._order("start")

    def kill_server(self) -> None:
        """SIGKILL the command. What it wrote to the folder stays."""
        self._order("kill")

    def close(self) -> None:
        self._finalizer()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        self.close()

    def _order(self, order: str) -> None:
        with contextlib.suppress(OSError):  # it is gone; the missing answer says so
            stdin = cast(IO[str], self._keeper.stdin)
            stdin.write(f"{order}\n")
            stdin.flush()
        self._answer()

    def _answer(self) -> str:
        line = cast(IO[str], self._keeper.stdout).readline().rstrip("\n")
        if not line:
            raise RuntimeError("The keeper of the temporary folder has ended: make a new one.")
        return line


def _end_unless_forked(keeper: subprocess.Popen[str], owner: int) -> None:
    """The end of its standard input ends it. A fork of the owner has no say in it."""
    if os.getpid() != owner:
        return
    with contextlib.suppress(OSError):
        cast(IO[str], keeper.stdin).close()
    try:
        keeper.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        keeper.kill()
        keeper.wait()
    cast(IO[str], keeper.stdout).close()
