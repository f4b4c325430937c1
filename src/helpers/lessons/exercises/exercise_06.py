"""Lesson 06: a store that reads, then writes back; it keeps everything and never expires it."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import aiosqlite
import anyio

from helpers.lab import Scratch, run_arm
from helpers.lessons.exercise import Criterion, Exercise, Solution, ended

# Messages of a conversation.
KEEP = 20
# Seconds after a conversation's last message.
TTL = 3600
# Ten writers at once, four times: a store that reads before it writes loses some every time.
_ROUNDS, _WRITERS = 4, 10
_VISITORS = 60
# Characters in a long answer: sixty fill 17 pages of the file, ten fill five.
_SIZE = 1_000
_MOST_PAGES = 10
# Seconds: the time at which the check begins.
_START = 1_000_000.0

Messages: TypeAlias = list[dict[str, str]]


@dataclass(frozen=True, slots=True)
class Kept:
    """What the stores contain that a solution filled."""

    concurrent: tuple[Messages, ...]
    """For each round, the conversation that ten writers wrote to at the same time."""
    long_talk: Any
    """What the last turn of a conversation of sixty turns returned."""
    quiet: Any
    """A conversation of one turn, read after the long one in the same file."""
    alive: Any
    """A conversation that is older than the TTL but was never idle for that long."""
    idle: Any
    """A conversation, read after it had been idle for longer than the TTL."""
    trimmed_pages: int
    """Pages in use in the file with the long conversation."""
    expired_pages: int
    """Pages in use in a file whose sixty conversations have been idle for too long."""


def _turn(text: str, size: int = 0) -> Messages:
    answer = f"Answer to {text}".ljust(size, ".")
    return [{"role": "user", "content": text}, {"role": "assistant", "content": answer}]


async def _fill(folder: str, remember: Solution) -> Kept:
    """Call ``remember`` as a chat service does: from many tasks, for many visitors and turns."""

    async def new(name: str) -> str:
        path = str(Path(folder) / f"{name}.sqlite")
        async with aiosqlite.connect(path) as db:
            await db.execute("PRAGMA journal_mode = WAL")
        await remember(path, "first", _turn("Who is there?"), _START)
        return path

    rounds = [await _write_concurrently(await new(f"round {n}"), remember) for n in range(_ROUNDS)]
    path = await new("long")
    await remember(path, "quiet", _turn("May I?"), _START)
    long_talk = None
    for number in range(_VISITORS):
        long_talk = await remember(path, "long", _turn(f"Question {number}", _SIZE), _START)
    quiet = await remember(path, "quiet", [], _START + 1)
    trimmed = _pages(path)
    path = await new("idle")
    for number in range(_VISITORS):
        await remember(path, f"visitor {number}", _turn("Hello?", _SIZE), _START)
    for part in range(4):
        await remember(path, "alive", _turn(f"Part {part}"), _START + part * 0.6 * TTL)
    alive = await remember(path, "alive", [], _START + 2 * TTL)
    idle = await remember(path, "visitor 0", [], _START + 2 * TTL)
    return Kept(tuple(rounds), long_talk, quiet, alive, idle, trimmed, _pages(path))


async def _write_concurrently(path: str, remember: Solution) -> Messages:
    async with anyio.create_task_group() as writers:
        for number in range(_WRITERS):
            writers.start_soon(remember, path, "shared", _turn(f"Tab {number}"), _START)
    messages: Messages = await remember(path, "shared", [], _START)
    return messages


def _pages(path: str) -> int:
    """Pages in use in the file. Raises `sqlite3.Error` if it is corrupt."""
    db = sqlite3.connect(path)
    try:
        (pages,), (free,) = (
            db.execute(f"PRAGMA {name}").fetchone() for name in ("page_count", "freelist_count")
        )
    finally:
        db.close()
    return int(pages - free)


async def _grade(remember: Solution) -> list[Criterion]:
    with Scratch() as scratch:
        run = await run_arm(_fill, None, str(scratch.folder), remember, name="remember", limit=60)
    if run.outcome != "returned":
        return [ended(run)]
    kept: Kept = run.result
    return [ended(run), *_concurrency(kept), *_trimming(kept), *_forgetting(kept)]


def _concurrency(kept: Kept) -> list[Criterion]:
    expected = {f"Tab {number}" for number in range(_WRITERS)}
    counts = [len(expected & set(_texts(messages))) for messages in kept.concurrent]
    apart = [messages for messages in kept.concurrent if not _in_pairs(messages)]
    return [
        Criterion(
            f"{_WRITERS} turns written at the same time are all kept",
            min(counts) == _WRITERS,
            "some of them were lost",
        ),
        Criterion(
            "each answer follows its question",
            not apart,
            "something else followed a question",
        ),
    ]


def _trimming(kept: Kept) -> list[Criterion]:
    last = [
        m for n in range(_VISITORS - KEEP // 2, _VISITORS) for m in _turn(f"Question {n}", _SIZE)
    ]
    return [
        Criterion(
            f"the last {KEEP} messages are returned, oldest first",
            kept.long_talk == last,
            _difference(kept.long_talk, last),
        ),
        Criterion(
            "a long conversation does not displace another one",
            kept.quiet == _turn("May I?"),
            f"{_count(kept.quiet)} of 2 messages of the other conversation were returned",
        ),
        Criterion(
            f"the file holds no more than the last {KEEP} messages of a conversation",
            kept.trimmed_pages <= _MOST_PAGES,
            f"after {2 * _VISITORS} messages it has more than {_MOST_PAGES} pages in use",
        ),
    ]


def _forgetting(kept: Kept) -> list[Criterion]:
    whole = [message for part in range(4) for message in _turn(f"Part {part}")]
    return [
        Criterion(
            "a conversation that goes on is kept",
            kept.alive == whole,
            f"{_count(kept.alive)} of {len(whole)} messages were returned",
        ),
        Criterion(
            "an idle conversation is not returned",
            kept.idle == [],
            f"{_count(kept.idle)} messages were returned after twice the TTL",
        ),
        Criterion(
            "the file holds no idle conversation",
            kept.expired_pages <= _MOST_PAGES,
            f"with {_VISITORS} idle ones it still has more than {_MOST_PAGES} pages in use",
        ),
    ]


def _texts(messages: Any) -> list[str]:
    if not isinstance(messages, list):
        return []
    return [str(message.get("content")) for message in messages if isinstance(message, dict)]


def _in_pairs(messages: Any) -> bool:
    texts = _texts(messages)
    return texts[1::2] == [f"Answer to {text}" for text in texts[::2]]


def _count(messages: Any) -> int:
    return len(_texts(messages))


def _difference(found: Any, expected: Messages) -> str:
    if not isinstance(found, list):
        return f"it returned a {type(found).__name__}"
    if found == expected[::-1]:
        return "they were returned newest first"
    return f"{len(found)} messages were returned, beginning with {_texts(found)[:1]}"


EXERCISE = Exercise(
    function="remember",
    grade=_grade,
    hints=(
        "Which other task can write between the line that reads the history and the line that "
        "writes it back? And which line ever makes the file smaller?",
        "Give each message its own row, with its session and its time: then adding a message is "
        "one `INSERT` that needs no reading. `id INTEGER PRIMARY KEY` keeps the order. Trimming "
        "and expiry are one `DELETE` each, one for messages of this session and one for sessions "
        "whose `max(at)` is too old.",
        "Connect with `isolation_level=None`, execute `BEGIN IMMEDIATE`, and do everything in that "
        "one transaction: delete idle sessions, `executemany` the new rows, delete this session's "
        "rows whose `id` is not among its last `KEEP`, select the rest `ORDER BY id`, `COMMIT`.",
    ),
)
