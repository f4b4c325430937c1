"""Delivers the course to a learner's copy, without replacing what the learner has touched.

If a delivery is interrupted, each file is either in its old or in its new state, and the next
delivery finishes what this one began: new files are complete before the first of them takes its
place, and the manifest says in advance what is about to arrive.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import chain, count
from pathlib import Path, PurePosixPath
from typing import Literal, TypeAlias

from helpers.lessons.course.manifest import (
    Manifest,
    digest,
    is_notebook,
    read_manifest,
    unopened,
)
from helpers.lessons.course.packaged import Course
from helpers.lessons.course.staging import (
    NOT_A_FILE,
    content_of,
    put,
    staging,
    sweep,
    write_manifest,
)

Fate: TypeAlias = Literal["added", "restored", "updated", "current", "kept", "older", "next to it"]
_LINES: dict[Fate, str] = {
    "added": "added",
    "restored": "was deleted or renamed; added again",
    "updated": "updated",
    "current": "up to date",
    "kept": "yours stays",
    "older": "stays; `llm-antipatterns update` brings the newer version",
    "next to it": "yours stays; the new version is {}",
}
_UNREADABLE = (
    "{}. Yours is not a readable notebook: `llm-antipatterns reset {}` brings a fresh copy and "
    "keeps this one"
)


@dataclass(frozen=True, slots=True)
class Delivered:
    """What happened to one file of the course; as text, the line that says so."""

    name: str
    fate: Fate
    place: str | None = None
    """Where its new content was put; None if nothing was written."""
    readable: bool = True
    """False for a notebook that stays although no editor can open it."""

    def __str__(self) -> str:
        line = _LINES[self.fate].format(self.place)
        if not self.readable:
            line = _UNREADABLE.format(line, self.name.partition("_")[0])
        return f"{self.name}: {line}"


def init(folder: Path, course: Course) -> list[Delivered]:
    """Make a learner's copy, or add what it lacks; what is there stays.

    Raises `NewerCourseError` and `OSError`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    return _Delivery(folder, course, replaces=False).carry_out()


def update(folder: Path, course: Course) -> list[Delivered]:
    """Bring a learner's copy up to date. What the learner has touched stays, with the new version
    next to it; what the learner has deleted comes back.

    A second update changes nothing. Raises `NewerCourseError` and `OSError`.
    """
    return _Delivery(folder, course, replaces=True).carry_out()


class _Delivery:
    def __init__(self, folder: Path, course: Course, *, replaces: bool) -> None:
        self._folder, self._course, self._replaces = folder, course, replaces
        self._manifest = read_manifest(folder, course.version)

    def carry_out(self) -> list[Delivered]:
        sweep(self._folder)
        planned = [self._decide(name) for name in self._course.files]
        writes = {each.name: each.place for each in planned if each.place}
        if not writes and self._noted(planned) == self._manifest:
            return planned
        with staging(self._folder) as staged:
            new = {name: staged / str(number) for number, name in enumerate(writes)}
            for name, file in new.items():
                file.write_bytes(self._course.files[name])
            if writes:
                write_manifest(self._folder, self._announced(writes), staged)
            moved = {name: self._move(name, file) for name, file in new.items()}
            done = [moved.get(each.name, each) for each in planned]
            write_manifest(self._folder, self._noted(done), staged)
        return done

    def _decide(self, name: str) -> Delivered:
        """What to do with one file of the course, as things are now."""
        new, there = self._course.files[name], content_of(self._folder / name)
        delivered = self._manifest.files.get(name)
        if there is None:
            return Delivered(name, "restored" if delivered else "added", name)
        if new in (there, unopened(there)):
            return Delivered(name, "current")
        touched = not self._manifest.knows(name, there)
        if touched and digest(new) == delivered:
            return Delivered(name, "kept", readable=_can_be_opened(name, there))
        if not self._replaces:
            fate: Fate = "older" if delivered else "kept"
            return Delivered(name, fate, readable=_can_be_opened(name, there))
        if not touched:
            return Delivered(name, "updated", name)
        return Delivered(name, "next to it", self._free(name), _can_be_opened(name, there))

    def _free(self, name: str) -> str:
        """A path that is free, or has an older new version that nobody has touched."""
        path = PurePosixPath(name)
        for middle in chain(["new"], (f"new-{number}" for number in count(2))):
            place = str(path.with_name(f"{path.stem}.{middle}{path.suffix}"))
            there = content_of(self._folder / place)
            if there is not None and self._course.files[name] in (there, unopened(there)):
                break  # an interrupted update put it there
            if there is None or self._manifest.knows(place, there):
                break
        return place

    def _move(self, name: str, new: Path) -> Delivered:
        """Move a file to its place, which is decided again: the learner may be at work."""
        while True:
            decided = self._decide(name)
            if decided.place is None:
                return decided
            file = self._folder / decided.place
            file.parent.mkdir(exist_ok=True)
            if file.exists():
                new.replace(file)
                return decided
            with suppress(FileExistsError):
                put(new, file)
                return decided

    def _announced(self, writes: Mapping[str, str]) -> Manifest:
        arriving = {place: digest(self._course.files[name]) for name, place in writes.items()}
        return replace(self._manifest, arriving={**self._manifest.arriving, **arriving})

    def _noted(self, done: list[Delivered]) -> Manifest:
        """The manifest after all of this is done."""
        files, arriving = dict(self._manifest.files), dict(self._manifest.arriving)
        for each in done:
            if each.place or each.fate == "current":
                for name in {each.name, each.place or each.name}:
                    files[name] = digest(self._course.files[each.name])
                    arriving.pop(name, None)
        return Manifest(self._course.version, files, {} if self._replaces else arriving)


def _can_be_opened(name: str, content: bytes) -> bool:
    return not name.endswith(".ipynb") or content == NOT_A_FILE or is_notebook(content)
