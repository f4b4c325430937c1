"""Writing a report to a file, whole or not at all."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path


def write(path: Path, text: str) -> None:
    """Replace the file with the text, in UTF-8. Readers see either the old file or the new one.

    A device or a pipe, such as ``/dev/stdout``, is written to. Raises OSError: one sentence.
    """
    try:
        data = text.encode("utf-8", errors="replace")
        if path.exists() and not path.is_file() and not path.is_dir():
            path.write_bytes(data)
        else:
            _replace(Path(os.path.realpath(path)), data)
    except OSError as error:
        raise _failed(path, error) from None


def must_be_writable(path: Path) -> None:
    """For the start of an audit, which takes a minute: raises OSError as `write` would."""
    try:
        if path.is_dir():
            raise IsADirectoryError(None, "Is a directory")
        if path.exists() and not path.is_file():
            return
        new = _new(Path(os.path.realpath(path)))
        new.touch()
        new.unlink()
    except OSError as error:
        raise _failed(path, error) from None


def _replace(path: Path, data: bytes) -> None:
    new = _new(path)
    try:
        new.write_bytes(data)
        if path.is_file():
            shutil.copymode(path, new)
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)


def _new(path: Path) -> Path:
    # In the same folder: only within it is a rename certain to work.
    return path.with_name(f".audit-{os.getpid()}-{time.time_ns()}.new")


def _failed(path: Path, error: OSError) -> OSError:
    return OSError(f"The report cannot be written to {str(path)[:200]!r}: {error.strerror}.")
