"""Starts kernels: for a notebook without a browser, and how JupyterLab is to start them."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from jupyter_core.paths import jupyter_runtime_dir
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError

from helpers.lessons.environment import clean_environment
from helpers.lessons.progress import HOME_VARIABLE

CELL_LIMIT = 120
"""Seconds a cell may take; the lab's own limits are shorter."""
# Bytes in the path of a Unix socket: macOS takes 103, Linux 107.
_LONGEST_PATH = 103
_quiet = logging.getLogger("helpers.lessons.kernel")
_quiet.addHandler(logging.NullHandler())
_quiet.propagate = False


class KernelError(RuntimeError):
    """The kernel did not start, or ended too early; the message is a sentence."""


def run_cells(notebook: Any, folder: Path, cell_done: Callable[[Any, int], None]) -> None:
    """Run all cells in a fresh kernel, whose working directory is ``folder``.

    Raises `KernelError`, and nbclient's ``CellExecutionError`` for a cell that raises.
    """
    with _private_folder() as private, (private / "stderr").open("wb") as stderr:
        client = NotebookClient(
            notebook,
            km=AsyncKernelManager(
                # This interpreter's kernel, whatever is installed under that name elsewhere.
                kernel_name="python3",
                kernel_spec_manager=KernelSpecManager(kernel_dirs=[]),
                **_connection(private),
            ),
            timeout=CELL_LIMIT,
            resources={"metadata": {"path": str(folder)}},
            record_timing=False,
            log=_quiet,
            on_cell_executed=lambda cell, cell_index, execute_reply: cell_done(cell, cell_index),
        )
        try:
            # Not by `execute`: after a start that fails, it would print a traceback at exit.
            client.start_new_kernel(env=_environment(private), stderr=stderr)
            client.start_new_kernel_client()
            client.execute(cleanup_kc=True)
        except CellExecutionError:
            raise
        except CellTimeoutError as error:
            raise KernelError(f"A cell did not end within {CELL_LIMIT} s.") from error
        except (RuntimeError, OSError, AssertionError) as error:
            raise KernelError(_sentence(error, private / "stderr")) from error


@contextmanager
def _private_folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="lap-", dir=_short_folder()))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _short_folder() -> str:
    """The folder for temporary files, unless a socket's path there would be too long."""
    folder = tempfile.gettempdir()
    if not _is_short(f"{folder}/lap-12345678/k") and os.access("/tmp", os.W_OK):  # noqa: S108
        return "/tmp"  # noqa: S108
    return folder


def _is_short(prefix: str) -> bool:
    """Whether sockets can have this path, and a number at its end."""
    return len(os.fsencode(f"{prefix}-123")) <= _LONGEST_PATH


def _connection(private: Path) -> dict[str, str]:
    """Sockets in a folder: a TCP port could be taken before the kernel listens on it."""
    options = {"connection_file": str(private / "kernel.json")}
    if os.name == "posix" and _is_short(prefix := str(private / "k")):
        options |= {"transport": "ipc", "ip": prefix}
    return options


def jupyterlab_options() -> list[str]:
    """Options with which JupyterLab's kernels do not warn that they talk unencrypted over TCP."""
    prefix = f"{jupyter_runtime_dir()}/kernel-{uuid4()}-ipc"
    if os.name == "posix" and _is_short(prefix):
        return ["--KernelManager.transport=ipc"]
    return ["--KernelManager.transport_encryption=auto"]


def _environment(private: Path) -> dict[str, str]:
    """What a learner has noted, or configured for IPython, is neither read nor written."""
    home, ipython = str(private / "home"), str(private / "ipython")
    return clean_environment() | {HOME_VARIABLE: home, "IPYTHONDIR": ipython}


def _sentence(error: Exception, stderr: Path) -> str:
    """Why the kernel failed: the last line that it wrote, else the exception."""
    lines: list[str] = []
    with suppress(OSError):
        lines = stderr.read_text("utf-8", "replace").split("\n")
    said = [line.strip() for line in lines if line.strip()]
    reason = said[-1] if said else str(error).strip() or type(error).__name__
    return f"The notebook's kernel failed: {reason}"
