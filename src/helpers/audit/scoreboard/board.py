"""Measures a chatbot, and shows each row as soon as it is known."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from helpers.audit.api import audit_service, choose
from helpers.audit.errors import AuditError
from helpers.audit.outcome import AuditReport, Outcome
from helpers.audit.scenarios import STEADY
from helpers.audit.scoreboard.application import APP, READING
from helpers.audit.scoreboard.cost import cost_of_a_day
from helpers.audit.scoreboard.display import page, summary, text
from helpers.audit.scoreboard.rows import Row, rows_of
from helpers.audit.scoreboard.rush import rush_hour
from helpers.lessons import chatbot, progress, workshop
from helpers.lessons.chatbot.steps import MISTAKES
from helpers.lessons.environment import clean_this_process
from helpers.report.outputs import default_sinks

# The chatbot's own deadline must be shorter.
_DEADLINE = 8.0


@dataclass(frozen=True, slots=True)
class Board:
    """What a scoreboard showed."""

    rows: tuple[Row, ...]
    per_minute: float | None = None
    """Answers; None if it was not measured."""
    cost: float | None = None
    """Dollars a day; None if it was not measured."""

    @property
    def repaired(self) -> tuple[str, ...]:
        """The numbers of the mistakes that are repaired."""
        return tuple(row.lesson for row in self.rows if row.state == "repaired")

    @property
    def is_repaired(self) -> bool:
        """Whether all eight mistakes were measured, and all are repaired."""
        return self.repaired == MISTAKES

    def _ipython_display_(self) -> None:
        """It has been shown while it was measured."""


def scoreboard(file: str | Path = "chatbot.py", only: str | Sequence[str] = ()) -> Board:
    """Audit the chatbot in ``file``, and show a row for each of the eight mistakes.

    A row turns green when all checks of its lesson have passed. Below the rows are the answers
    per minute with twenty users, and the cost of a day. It takes about a minute; ``only`` names
    lessons, such as ``"04,05"``, and takes seconds for each.

    Raises `ValueError` for a lesson that does not exist, `FileNotFoundError` without the file.
    """
    file = Path(file)
    if not file.is_file():
        raise FileNotFoundError(f"There is no file {file}. The first cell of lesson 09 makes it.")
    try:
        chosen = [check.lesson for check in choose(only)]
    except AuditError as error:
        raise ValueError(str(error).replace("--only", "only")) from None
    clean_this_process()
    showing = _Showing(chosen, chatbot.rows_repaired(file))
    try:
        board = _measure(file, only, showing)
    except AuditError as error:
        print(f"{file.name} cannot be measured. {error}")
        return Board(())
    showing.end(board)
    chatbot.note_rows(file, {row.lesson: row.state == "repaired" for row in board.rows})
    if not only and chatbot.is_learners(file):
        workshop.send_check(chatbot.LESSON, solved=board.is_repaired)
    if board.is_repaired and chatbot.is_learners(file):
        progress.note_now(chatbot.LESSON, "exercise")
    return board


@dataclass
class _Showing:
    """The rows on the page."""

    chosen: list[str]
    repaired_before: tuple[str, ...]
    outcomes: list[Outcome] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._show, self._show_last = default_sinks()
        self._thread = threading.current_thread()
        self._draw()

    def add(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        # A cell's output belongs to its thread; what another one brings is drawn with the next.
        if threading.current_thread() is self._thread:
            self._draw()

    def rows(self) -> tuple[Row, ...]:
        return rows_of(self.chosen, self.outcomes, self.repaired_before)

    def end(self, board: Board) -> None:
        lines = text(board.rows, board.per_minute, board.cost)
        self._show_last(page(board.rows, board.per_minute, board.cost), lines)

    def _draw(self) -> None:
        rows = self.rows()
        self._show(page(rows), summary(rows))


def _measure(file: Path, only: str | Sequence[str], showing: _Showing) -> Board:
    """Raises AuditError."""
    report = audit_service(
        chatbot.command(file.resolve()),
        APP,
        chatbot.CHAT,
        **READING,
        deadline=_DEADLINE,
        only=only,
        judged=showing.add,
    )
    return Board(showing.rows(), None if only else rush_hour(file).per_minute, _cost(report))


def _cost(report: AuditReport) -> float | None:
    if not any(check.scenario == STEADY.name for check in report.checks):
        return None  # the conversation was not held
    (conversation,) = (each for each in report.scenarios if each.name == STEADY.name)
    return cost_of_a_day(conversation.ledger)
