"""A temporary folder, removed when its process ends, even after SIGKILL."""

from __future__ import annotations

from helpers.processes import TemporaryFolder


class Scratch(TemporaryFolder):
    """A temporary folder, and a server in it if a ``command`` is given.

    Both go with ``stop``, with the end of a ``with`` statement, when this object is garbage
    collected, and when the process that made it ends, however that happens. The command runs with
    the folder as its working directory.
    """

    def start_server(self) -> None:
        """Start the command; one that runs is killed first."""
        self._ask("start")

    def kill_server(self) -> None:
        """SIGKILL the command. What it wrote to the folder stays."""
        self._ask("kill")
