"""Scans files and folders: candidates from ast-grep, confirmed, and not suppressed."""

from __future__ import annotations

import os
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from helpers.audit.scan.confirm.clients import Clients
from helpers.audit.scan.confirm.registry import CONFIRM
from helpers.audit.scan.confirm.source import Source
from helpers.audit.scan.engine import Match, Matches, find
from helpers.audit.scan.finding import Finding, ScanReport
from helpers.audit.scan.notebooks import Notebook, read_notebook
from helpers.audit.scan.rules import CONFIG, NOTEBOOK, SUPPRESSION, Rule, rules
from helpers.audit.scan.suppression import Suppression, read_suppression

_LANGUAGES = ("python", "rust")
_SKIPPED = {
    "invalidUtf8": "it is not UTF-8",
    "fileTooLarge": "it is larger than ast-grep reads",
}


def scan(paths: Sequence[str | os.PathLike[str]]) -> ScanReport:
    """Scan Python and Rust files and notebooks, in folders too, except what git ignores.

    Raises `OSError` if a path does not exist or cannot be read, `EngineError` if ast-grep fails.
    """
    names = [os.fspath(path) for path in paths]
    for name in names:
        _look_at(name)
    found = find(names, CONFIG)
    report = _Report()
    report.add_skipped(found)
    for path, matches in _by_file(found).items():
        if found.languages.get(path) in _LANGUAGES:
            report.add_file(path, path, matches)
    files = sum(language in _LANGUAGES for language in found.languages.values())
    books = sorted({match.file for match in found.found if match.rule == NOTEBOOK})
    files += report.add_notebooks(books)
    return ScanReport(
        findings=tuple(sorted(report.findings)),
        files=files,
        notes=tuple(report.notes),
        suppressed=report.suppressed,
    )


def _look_at(name: str) -> None:
    if os.path.isdir(name):
        os.listdir(name)
    else:
        with open(name, "rb"):
            pass


def _by_file(matches: Matches) -> dict[str, list[Match]]:
    files: dict[str, list[Match]] = defaultdict(list)
    for match in matches.found:
        files[match.file].append(match)
    return files


@dataclass(frozen=True, slots=True)
class _Place:
    line: int
    column: int
    end_line: int
    message: str


class _Report:
    """What has been found so far."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []
        self.notes: list[str] = []
        self.suppressed = 0

    def add_skipped(self, found: Matches) -> None:
        for path, reason in sorted(found.skipped.items()):
            if reason != "emptyFile" and not path.endswith(".json"):
                self._note(path, _SKIPPED.get(reason, reason))

    def add_notebooks(self, paths: Sequence[str]) -> int:
        """The number of files, without those that could not be read."""
        books: dict[str, tuple[str, Notebook]] = {}
        with tempfile.TemporaryDirectory(prefix="scan") as folder:
            for number, path in enumerate(paths):
                try:
                    book = read_notebook(Path(path))
                except (OSError, ValueError) as error:
                    self._note(path, str(getattr(error, "strerror", None) or error))
                    continue
                file = Path(folder) / f"{number}.py"
                file.write_text(book.code, "utf-8", newline="\n")
                books[str(file)] = path, book
            if books:
                found = find(list(books), CONFIG)
                for file_name, matches in _by_file(found).items():
                    path, book = books[file_name]
                    self.add_file(file_name, path, matches, book)
        return len(books)

    def add_file(
        self, file: str, path: str, matches: list[Match], book: Notebook | None = None
    ) -> None:
        try:
            code = Path(file).read_bytes()
        except OSError as error:
            self._note(path, error.strerror or str(error))
            return
        lines = code.decode("utf-8", "replace").removeprefix("\ufeff").split("\n")
        comments = [
            comment
            for match in matches
            if match.rule.startswith(SUPPRESSION)
            and (comment := read_suppression(match, lines, rules()))
        ]
        candidates = [match for match in matches if not match.rule.startswith("LAP00")]
        try:
            found = list(_confirmed(code, candidates))
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            self._note(path, "Python cannot parse it")
            return
        found += [
            (rules()[comment.rule], _place_of(comment)) for comment in comments if comment.problem
        ]
        for rule, place in dict.fromkeys(found):
            if any(comment.covers(rule.id, place.line) for comment in comments):
                self.suppressed += 1
            else:
                self.findings.append(_finding(rule, place, path, book))

    def _note(self, path: str, reason: str) -> None:
        self.notes.append(f"{path} was not scanned: {reason.rstrip('.')}.")


def _confirmed(code: bytes, candidates: list[Match]) -> Iterator[tuple[Rule, _Place]]:
    clients: Clients | None = None
    present = {id for id in {each.rule for each in candidates} if rules()[id].needs.search(code)}
    for match in candidates:
        rule = rules()[match.rule]
        if rule.id not in present:
            continue
        if rule.id not in CONFIRM:
            yield rule, _Place(match.line, match.column, match.end_line, rule.message)
            continue
        clients = clients or Clients(Source(code))
        for confirm in CONFIRM[rule.id]:
            for hit in confirm(clients, match.start, match.end):
                node = hit.node
                if clients.source.in_a_test(node):
                    continue
                yield (
                    rule,
                    _Place(
                        node.lineno,  # type: ignore[attr-defined]
                        clients.source.column(node),
                        node.end_lineno,  # type: ignore[attr-defined]
                        hit.message or rule.message,
                    ),
                )


def _place_of(comment: Suppression) -> _Place:
    return _Place(comment.line, 1, comment.line, comment.problem or "")


def _finding(rule: Rule, place: _Place, path: str, book: Notebook | None) -> Finding:
    cell, line, end_line = None, place.line, place.end_line
    if book:
        cell, line = book.lines[place.line - 1]
        end_line = line + place.end_line - place.line
    return Finding(
        path=path,
        cell=cell,
        line=line,
        column=place.column,
        end_line=end_line,
        rule=rule.id,
        lesson=rule.lesson,
        message=place.message,
        why=rule.why,
    )
