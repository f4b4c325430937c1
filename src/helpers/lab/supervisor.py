"""The process behind `Scratch`: keeps a folder, and at most one server in it, until its standard
input ends. Run as a script, so that it starts at once and imports nothing of ours.

``python keeper.py [COMMAND…]`` prints the folder's path. It obeys the lines ``start`` and ``kill``,
and answers each with the line ``done``.
"""

from __future__ import annotations

import ctypes
import shutil
import signal
import subprocess
import sys
import tempfile

_PR_SET_PDEATHSIG = 1  # prctl(2)


def main(command: list[str]) -> None:
    folder = tempfile.mkdtemp(prefix="llm-antipatterns-")
    say(folder)
    server: subprocess.Popen[bytes] | None = None
    for order in sys.stdin:
        end(server)
        server = begin(command, folder) if order.strip() == "start" else None
        say("done")
    end(server)
    shutil.rmtree(folder, ignore_errors=True)


def say(line: str) -> None:
    print(line, flush=True)


def begin(command: list[str], folder: str) -> subprocess.Popen[bytes]:
    with open(f"{folder}/server.log", "ab") as log:
        return subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            preexec_fn=_die_with_the_keeper if sys.platform == "linux" else None,
        )


def _die_with_the_keeper() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def end(server: subprocess.Popen[bytes] | None) -> None:
    """As a crash would: without a chance to save anything."""
    if server is not None:
        server.kill()
        server.wait()


if __name__ == "__main__":
    main(sys.argv[1:])
