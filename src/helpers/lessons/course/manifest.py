"""What was delivered to a learner's copy: it tells an update what nobody has touched."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from packaging.version import Version

from helpers.lessons.catalogue import METADATA
from helpers.lessons.course.folder import MANIFEST

# What reading unexpected JSON raises.
_DAMAGED = (ValueError, TypeError, KeyError, AttributeError, RecursionError)


class NewerCourseError(ValueError):
    """A folder comes from a newer version than this one; the message is one sentence."""


@dataclass(frozen=True, slots=True)
class Manifest:
    version: str = "0"
    """The version of the course that was delivered last."""
    files: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 of each file as it was delivered, by its path in the folder."""
    arriving: Mapping[str, str] = field(default_factory=dict)
    """The same for files that an update was about to write; empty unless it was interrupted."""

    def knows(self, name: str, content: bytes) -> bool:
        """Whether a file is as it was delivered, or was only opened in Jupyter."""
        known = {self.files.get(name), self.arriving.get(name)}
        return digest(content) in known or digest(unopened(content)) in known

    def to_json(self) -> bytes:
        entries: dict[str, Any] = {"version": self.version, "files": dict(self.files)}
        if self.arriving:
            entries["arriving"] = dict(self.arriving)
        return f"{json.dumps(entries, indent=1, sort_keys=True, ensure_ascii=False)}\n".encode()


def read_manifest(folder: Path, version: str) -> Manifest:
    """The folder's manifest, for this version of the course.

    It is empty if there is none, or if it is damaged. That is safe: then nothing that is there
    counts as untouched. Raises `NewerCourseError` and `OSError`.
    """
    try:
        manifest = _parsed((folder / MANIFEST).read_bytes())
        is_newer = Version(manifest.version) > Version(version)
    except (FileNotFoundError, *_DAMAGED):
        return Manifest()
    if is_newer:
        raise NewerCourseError(
            f"The course in {folder} comes from version {manifest.version}, which is newer than "
            f"this one ({version}): upgrade llm-antipatterns."
        )
    return manifest


def _parsed(text: bytes) -> Manifest:
    entries = json.loads(text)
    files, arriving = entries["files"], entries.get("arriving", {})
    return Manifest(entries["version"], dict(files.items()), dict(arriving.items()))


def digest(content: bytes) -> str:
    return sha256(content).hexdigest()


# Added by JupyterLab when it saves a notebook.
_ADDED_TO_CELLS = ("trusted", "execution")


def unopened(content: bytes) -> bytes:
    """A notebook without what an editor adds when it opens and saves it; other files as they are.

    Outputs stay, and so do the execution counts: running a lesson is the learner's work.
    """
    try:
        notebook = json.loads(content)
        notebook |= {"metadata": METADATA, "nbformat_minor": 5}
        for cell in notebook["cells"]:
            for key in _ADDED_TO_CELLS:
                cell["metadata"].pop(key, None)
    except _DAMAGED:
        return content
    return notebook_bytes(notebook)


def is_notebook(content: bytes) -> bool:
    """Whether an editor can open it; not if a crash or a full disk has cut it off."""
    try:
        return isinstance(json.loads(content)["cells"], list)
    except _DAMAGED:
        return False


def notebook_bytes(notebook: Mapping[str, Any]) -> bytes:
    """A notebook's JSON as Jupyter writes it."""
    text = json.dumps(notebook, indent=1, sort_keys=True, ensure_ascii=False)
    return f"{text}\n".encode("utf-8", "surrogatepass")
