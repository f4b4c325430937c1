"""Keeps the learner's copy out of a git repository that it happens to be in."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path


def ignore_hint(folder: Path) -> str | None:
    """A sentence on how to ignore the folder; None if git does not list its files.

    That is so outside of repositories, in a folder that is ignored or is a repository of its own,
    and where there is no git.
    """
    prefix = _git(folder, "rev-parse", "--show-prefix")
    if not prefix or _git(folder, "check-ignore", ".") != "":
        return None
    exclude = _git(folder, "rev-parse", "--path-format=absolute", "--git-path", "info/exclude")
    if not exclude:
        return None
    line = shlex.quote(f"/{prefix}")
    return (
        "It is in a git repository. To keep it out of `git status`: "
        f"echo {line} >> {shlex.quote(exclude)}"
    )


def _git(folder: Path, *args: str) -> str | None:
    """What git prints; None if there is no git, or no repository."""
    try:
        done = subprocess.run(
            ["git", *args], cwd=folder, capture_output=True, text=True, check=False
        )
    except OSError:
        return None
    # 1: nothing was found.
    return done.stdout.rstrip("\n") if done.returncode in (0, 1) else None
