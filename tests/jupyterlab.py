"""Waits for a JupyterLab that a test has started."""

from __future__ import annotations

import re
import socket
import subprocess
import time
from pathlib import Path
from urllib.parse import urlsplit

_LIMIT = 60.0


def first_page(log: Path, server: subprocess.Popen[bytes]) -> str:
    """The address, with the token, of the lesson that it opens, once it answers there."""
    deadline = time.monotonic() + _LIMIT
    while time.monotonic() < deadline and server.poll() is None:
        found = re.search(r"http://127\S+/lab/tree/\S+\.ipynb\?token=\w+\n", log.read_text("utf-8"))
        # Jupyter prints the address before it listens.
        if found and _listens(found.group()):
            return found.group().strip()
        time.sleep(0.1)
    raise AssertionError(f"JupyterLab did not start:\n{log.read_text('utf-8')}")


def _listens(url: str) -> bool:
    address = urlsplit(url)
    try:
        socket.create_connection((address.hostname, address.port or 80), timeout=5).close()
    except OSError:
        return False
    return True
