"""Whether the machine has room for a lesson: disk, memory, open files."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from helpers.lessons import environment
from helpers.lessons.doctor.answers import Note, worked_around
from helpers.lessons.progress import progress_folder
from helpers.mock_llm.http.server import FEWEST_FILES

_MIB = 2**20
# What a lesson and its processes take at their peak is below 600 MiB.
_MEMORY = 600 * _MIB
# Address space: with less, threads and JupyterLab fail.
_ADDRESSES = 1024 * _MIB
_DISK = 200 * _MIB
CGROUPS = Path("/sys/fs/cgroup")
PROC = Path("/proc")


def temporary_folder() -> str:
    """Raises RuntimeError if there is none; returns a note about variables that are unusable."""
    found = environment.temporary_folder()
    try:
        tempfile.gettempdir()
    except OSError as error:  # it names the folders that it tried
        variables = " ".join(f"{obstacle.what}." for obstacle in found)
        raise RuntimeError(f"{variables} {error.strerror}".strip()) from error
    return worked_around(found) if found else "can be written to"


def open_files() -> str:
    """Raises RuntimeError if this process may open too few files."""
    limits = environment.allow_open_files()
    if limits is None:
        return "no limit"
    before, after = limits
    if after < FEWEST_FILES:
        raise RuntimeError(
            f"at most {after} may be open, and lessons need {FEWEST_FILES}. Type: "
            f"ulimit -n {FEWEST_FILES}; if that is not permitted, raise nofile in "
            "/etc/security/limits.conf"
        )
    if before < FEWEST_FILES:
        return Note(f"ulimit -n says {before}; the course raises it to {after}")
    return f"{after} may be open"


def disk() -> str:
    """Raises RuntimeError if there is little room where lessons write."""
    free = {folder: shutil.disk_usage(folder).free for folder in _written_folders()}
    for folder, room in free.items():
        if room < _DISK:
            raise RuntimeError(
                f"{room // _MIB} MiB are free in {folder}, and {_DISK // _MIB} MiB are needed. "
                f"Delete files there; to find the large ones: du -xh '{folder}' | sort -h | tail"
            )
    return f"{min(free.values()) // _MIB:,} MiB are free"


def _written_folders() -> list[str]:
    progress = environment.existing_part(progress_folder())
    return [os.getcwd(), tempfile.gettempdir(), str(progress)]


def memory() -> str:
    """Raises RuntimeError if there is too little memory for a lesson and its processes."""
    if sys.platform != "linux":
        return "not checked on this system"
    if (limit := _address_space()) is not None and limit < _ADDRESSES:
        raise RuntimeError(
            f"ulimit -v says {limit // 1024}, which is {limit // _MIB} MiB of address space. "
            "Type: ulimit -v unlimited"
        )
    room, where = min(_rooms())
    if room < _MEMORY:
        raise RuntimeError(
            f"{room // _MIB} MiB are available ({where}), and a lesson takes up to "
            f"{_MEMORY // _MIB} MiB. Close other programs and notebooks' kernels, or give the "
            "container more memory"
        )
    return f"{room // _MIB:,} MiB are available"


def _address_space() -> int | None:
    import resource

    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    return None if limit == resource.RLIM_INFINITY else limit


def _rooms() -> Iterator[tuple[int, str]]:
    """Available bytes according to each source, and the name of the source."""
    for line in (PROC / "meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            yield int(line.split()[1]) * 1024, "MemAvailable"
    for limit, usage in _cgroup_files():
        try:
            yield int(limit.read_text()) - _in_use(usage), str(limit)
        except (OSError, ValueError):  # there is none, or it is "max"
            continue


def _in_use(usage: Path) -> int:
    """Memory in use, without the cached file pages that the system drops when it needs memory."""
    taken = int(usage.read_text())
    for line in (usage.parent / "memory.stat").read_text().splitlines():
        name, _, value = line.partition(" ")
        if name in ("inactive_file", "total_inactive_file"):
            return taken - int(value)
    return taken


def _cgroup_files() -> Iterator[tuple[Path, Path]]:
    """The files with the limit and the usage of this process's group and of its parents."""
    for line in (PROC / "self" / "cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            for group in (inside := CGROUPS / path.lstrip("/"), *inside.parents):
                if group.is_relative_to(CGROUPS):
                    yield group / "memory.max", group / "memory.current"
        elif "memory" in controllers.split(","):
            for group in (CGROUPS / "memory" / path.lstrip("/"), CGROUPS / "memory"):
                yield group / "memory.limit_in_bytes", group / "memory.usage_in_bytes"
