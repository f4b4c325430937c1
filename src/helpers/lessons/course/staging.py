"""Where new files are complete before they take their place in the learner's copy."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from helpers.lessons.course.folder import MANIFEST
from helpers.lessons.course.manifest import Manifest

# The process ID follows.
_PREFIX = ".llm-antipatterns-"
NOT_A_FILE = b"\0"


@contextmanager
def staging(folder: Path) -> Iterator[Path]:
    """A folder in the folder, so that a file can be renamed or linked from it. Raises `OSError`."""
    staged = folder / f"{_PREFIX}{os.getpid()}"
    staged.mkdir()
    try:
        yield staged
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def sweep(folder: Path) -> None:
    """Remove what interrupted processes have left behind."""
    for left in folder.glob(f"{_PREFIX}*"):
        process = left.name.removeprefix(_PREFIX)
        is_ours = process == str(os.getpid())
        if process.isdecimal() and (is_ours or not psutil.pid_exists(int(process))):
            shutil.rmtree(left, ignore_errors=True)


def content_of(file: Path) -> bytes | None:
    """The file's content; None if there is no file. Raises `OSError`."""
    if file.is_file():
        return file.read_bytes()
    # A folder, say, or a link to nowhere: not ours, and not to be replaced.
    return NOT_A_FILE if os.path.lexists(file) else None


def put(new: Path, file: Path) -> None:
    """Move a file to a place that is free. Raises `FileExistsError` if it is not, and `OSError`."""
    try:
        file.hardlink_to(new)
    except FileExistsError:
        raise
    except OSError:  # the file system may have no links
        new.replace(file)


def write_manifest(folder: Path, manifest: Manifest, staged: Path) -> None:
    """Replace the folder's manifest at once. Raises `OSError`."""
    new = staged / MANIFEST
    new.write_bytes(manifest.to_json())
    new.replace(folder / MANIFEST)
