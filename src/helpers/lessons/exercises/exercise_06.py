"""Lesson 06: a store that reads, then writes back; it keeps everything and never expires it."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import sqlite3
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE
from typing import IO, Any, TypeAlias, cast

import anyio
import cloudpickle

from helpers.lab import Run, Scratch, run_arm
from helpers.lab.arm.pickling import pickled
from helpers.lessons.exercise import Criterion, Exercise, Solution, ended

# Messages of a conversation.
KEEP = 20
# Seconds after a conversation's last message.
TTL = 3600
# Turns at once, half of them by a second process, in each of some files.
_WRITERS = 10
_ROUNDS = 4
# Seconds for which somebody else has locked half of these files: writers that read first have then
# all read the same, and what waits for the lock on the event loop blocks that.
_LOCKED = 0.5
_VISITORS = 60
# Characters in a long answer: sixty fill 17 pages of the file, ten fill five.
_SIZE = 1_000
_PAGE = 4096
_MOST_PAGES = 10
# Seconds: the time at which the check begins.
_START = 1_000_000.0
_LONG = "O'Brien; --"
_PROGRAM = f"from {__name__} import second_process; second_process()"

Messages: TypeAlias = list[dict[str, str]]
# What another process reads, and what it writes.
_Pipes: TypeAlias = tuple[asyncio.StreamWriter, asyncio.StreamReader]


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
    """A conversation, read when it had been idle for a little longer than the TTL."""
    read: Any
    """The same of a conversation that was also read in the meantime."""


def _turn(text: str, size: int = 0) -> Messages:
    return [
        {"role": "user", "content": text},
        {"role": "assistant", "content": f"Answer to {text}{_noise(text, size)}"},
    ]


def _noise(text: str, size: int) -> str:
    """Characters that no compression makes much shorter."""
    blocks = (hashlib.sha256(f"{text} {n}".encode()).digest() for n in range(size // 40))
    return base64.b64encode(b"".join(blocks)).decode()[:size]


async def _fill(folder: str, remember: Solution, code: bytes) -> Kept:
    """Call ``remember`` as a chat service does: from many tasks, for many visitors and turns."""
    async with _second(code) as second:
        path = await _new(folder, "long", remember)
        await remember(path, "quiet", _turn("Café “May I?”"), _START)
        long_talk = None
        for number in range(_VISITORS):
            long_talk = await remember(path, _LONG, _turn(f"Question {number}", _SIZE), _START)
        quiet = await remember(path, "quiet", [], _START + 1)
        path = await _new(folder, "alive", remember)
        for part in range(4):
            await remember(path, "alive", _turn(f"Part {part}"), _START + part * 0.6 * TTL)
        alive = await remember(path, "alive", [], _START + (3 * 0.6 + 0.9) * TTL)
        idle, read = await _expire(await _new(folder, "idle", remember), remember)
        await _answer(second)
        rounds = [
            await _write_concurrently(
                await _new(folder, f"round {number}", remember), remember, second, number % 2 == 0
            )
            for number in range(_ROUNDS)
        ]
    return Kept(tuple(rounds), long_talk, quiet, alive, idle, read)


async def _new(folder: str, name: str, remember: Solution) -> str:
    path = _path(folder, name)
    path.parent.mkdir(parents=True)
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA journal_mode = WAL")
    await remember(str(path), "first", _turn("Who is there?"), _START)
    return str(path)


def _path(folder: str, name: str) -> Path:
    return Path(folder) / name / "store.sqlite"


async def _expire(path: str, remember: Solution) -> tuple[Any, Any]:
    for number in range(_VISITORS):
        await remember(path, f"visitor {number}", _turn("Hello?", _SIZE), _START)
    await remember(path, "visitor 0", [], _START + 0.6 * TTL)
    idle = await remember(path, "visitor 1", [], _START + 1.01 * TTL)
    read = await remember(path, "visitor 0", [], _START + 1.01 * TTL)
    await remember(path, "late", _turn("Anybody?"), _START + 2 * TTL)
    return idle, read


async def _write_concurrently(
    path: str, remember: Solution, second: _Pipes, locked: bool
) -> Messages:
    orders, _ = second
    with _lock(path) if locked else closing(sqlite3.connect(":memory:")):
        orders.write(f"{path}\n".encode())
        await _write(path, remember, range(_WRITERS // 2))
        await _answer(second)
    messages: Messages = await remember(path, "shared", [], _START)
    return messages


async def _answer(second: _Pipes) -> None:
    """Wait until the other process has started, or done what it was asked."""
    line = (await second[1].readline()).decode()
    if line != "\n":
        raise RuntimeError(f"in another process: {line.strip() or 'it ended'}")


async def _write(path: str, remember: Solution, numbers: range) -> None:
    async with anyio.create_task_group() as writers:
        for number in numbers:
            writers.start_soon(remember, path, "shared", _turn(f"Tab {number}"), _START)


@contextmanager
def _lock(path: str) -> Iterator[None]:
    """Somebody else writes for a while; what was written before can be read."""
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    db.execute("BEGIN IMMEDIATE")
    # In a thread: the solution may block the event loop.
    timer = threading.Timer(_LOCKED, db.rollback)
    timer.start()
    try:
        yield
    finally:
        timer.join()
        db.close()


@asynccontextmanager
async def _second(code: bytes) -> AsyncIterator[_Pipes]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-c", _PROGRAM, stdin=PIPE, stdout=PIPE
    )
    pipes = cast(_Pipes, (process.stdin, process.stdout))
    orders = {"path": sys.path, "code": base64.b64encode(code).decode()}
    pipes[0].write(json.dumps(orders).encode() + b"\n")
    try:
        yield pipes
    finally:
        process.kill()
        await process.wait()


def second_process() -> None:
    """Another worker of the service: for each path on its standard input it writes its turns.

    It says with a line when it has started, and when the turns are written: an empty one, or what
    went wrong.
    """
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what the solution prints is no answer
    orders = json.loads(sys.stdin.readline())
    sys.path += [folder for folder in orders["path"] if folder not in sys.path]
    remember, _ = cloudpickle.loads(base64.b64decode(orders["code"]))
    asyncio.run(_serve(remember, answers))


async def _serve(remember: Solution, answers: IO[str]) -> None:
    print(file=answers)
    while path := (await asyncio.to_thread(sys.stdin.readline)).strip():
        try:
            await _write(path, remember, range(_WRITERS // 2, _WRITERS))
        except BaseExceptionGroup as group:
            error = group.exceptions[0]
            print(f"{type(error).__name__}: {' '.join(str(error).split())}", file=answers)
        else:
            print(file=answers)


async def _reread(folder: str, remember: Solution) -> Any:
    return await remember(str(_path(folder, "long")), _LONG, [], _START + 1)


async def _grade(remember: Solution) -> list[Criterion]:
    with Scratch() as scratch:
        before, after = scratch.folder / "before", scratch.folder / "after"
        code = pickled(remember, (), "remember")
        run = await run_arm(_fill, None, str(before), remember, code, name="remember", limit=60)
        if run.outcome != "returned":
            return [ended(run)]
        trimmed, expired = (_pages(_path(str(before), name).parent) for name in ("long", "idle"))
        # Moved: what is found there was in the file, and nowhere else.
        before.rename(after)
        reread = await run_arm(_reread, None, str(after), remember, name="remember", limit=60)
    kept: Kept = run.result
    return [
        ended(run),
        *_concurrency(kept),
        _persistence(reread.result),
        *_trimming(kept, trimmed),
        *_forgetting(kept, expired),
        _free_loop(run),
    ]


def _pages(folder: Path) -> int:
    """Pages in use in the store's files. Raises `sqlite3.Error` if one is corrupt."""
    return sum(map(_pages_of, folder.iterdir()))


def _pages_of(file: Path) -> int:
    with file.open("rb") as start:
        is_database = start.read(6) == b"SQLite"
    if not is_database:
        # What is in a write-ahead log is counted with its database.
        is_part = file.name.endswith(("-wal", "-shm", "-journal"))
        return 0 if is_part else -(-file.stat().st_size // _PAGE)
    with closing(sqlite3.connect(file)) as db:
        (pages,), (free,) = (
            db.execute(f"PRAGMA {name}").fetchone() for name in ("page_count", "freelist_count")
        )
    return int(pages - free)


def _concurrency(kept: Kept) -> list[Criterion]:
    expected = {f"Tab {number}" for number in range(_WRITERS)}
    lost = [messages for messages in kept.concurrent if not expected <= set(_texts(messages))]
    apart = [messages for messages in kept.concurrent if not _in_pairs(messages)]
    return [
        Criterion(
            f"{_WRITERS} turns written at the same time by two processes are all kept",
            not lost,
            "some of them were lost",
        ),
        Criterion(
            "each answer follows its question",
            not apart,
            "something else followed a question",
        ),
    ]


def _last() -> Messages:
    numbers = range(_VISITORS - KEEP // 2, _VISITORS)
    return [message for n in numbers for message in _turn(f"Question {n}", _SIZE)]


def _persistence(reread: Any) -> Criterion:
    return Criterion(
        "a new process finds the conversation in the file, also after the file was moved",
        reread == _last(),
        _difference(reread, _last()),
    )


def _trimming(kept: Kept, pages: int) -> list[Criterion]:
    return [
        Criterion(
            f"the last {KEEP} messages are returned, oldest first",
            kept.long_talk == _last(),
            _difference(kept.long_talk, _last()),
        ),
        Criterion(
            "a long conversation does not displace another one",
            kept.quiet == (quiet := _turn("Café “May I?”")),
            _difference(kept.quiet, quiet),
        ),
        Criterion(
            f"the file holds no more than the last {KEEP} messages of a conversation",
            pages <= _MOST_PAGES,
            f"after {2 * _VISITORS} messages it holds {_kilobytes(pages)}",
        ),
    ]


def _forgetting(kept: Kept, pages: int) -> list[Criterion]:
    whole = [message for part in range(4) for message in _turn(f"Part {part}")]
    return [
        Criterion(
            "a conversation that goes on is kept",
            kept.alive == whole,
            _difference(kept.alive, whole),
        ),
        Criterion(
            "an idle conversation is not returned",
            kept.idle == [],
            f"{_difference(kept.idle, [])}, {0.01 * TTL:g} s after the TTL",
        ),
        Criterion(
            "an idle conversation is forgotten even if it was read",
            kept.read == [],
            f"{_difference(kept.read, [])}, {0.01 * TTL:g} s after the TTL",
        ),
        Criterion(
            "the file holds no idle conversation",
            pages <= _MOST_PAGES,
            f"after {_VISITORS} idle ones, and a call for another session, it holds "
            f"{_kilobytes(pages)}",
        ),
    ]


def _kilobytes(pages: int) -> str:
    most = _MOST_PAGES * _PAGE / 1000
    return f"{pages * _PAGE / 1000:.0f} kB, and {most:.0f} kB are enough"


def _free_loop(run: Run) -> Criterion:
    """Only the solution's own lines count: making a file for it may take long, too."""
    wheres = {b.where for b in run.blocks if b.where and b.seconds >= _LOCKED / 2}
    lines = ", ".join(sorted(f"`{where.code}` in line {where.line}" for where in wheres))
    found = f"while somebody else writes to the file, it is blocked by {lines}"
    return Criterion("nothing blocks the event loop", not wheres, found)


def _texts(messages: Any) -> list[str]:
    if not isinstance(messages, list):
        return []
    return [str(message.get("content")) for message in messages if isinstance(message, dict)]


def _in_pairs(messages: Any) -> bool:
    texts = _texts(messages)
    return texts[1::2] == [f"Answer to {text}" for text in texts[::2]]


def _difference(found: Any, expected: Messages) -> str:
    """What is wrong with the messages that were returned, and what would be right."""
    if not isinstance(found, list):
        return f"it returned a {type(found).__name__}, not a list"
    if len(found) > 1 and found == expected[::-1]:
        return "they were returned newest first"
    if len(found) == len(expected):
        for message, right in zip(found, expected, strict=True):
            if message != right:
                return f"it returned {str(message)[:60]} in place of {str(right)[:60]}"
    return f"{len(found)} messages were returned, not {len(expected)}"


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
    explanation=(
        "What is read before it is written back may have changed in between: a lost update. A row "
        "per message needs no reading, and BEGIN IMMEDIATE lets one process write at a time, so "
        "that a turn stays together. In the same transaction the window and the TTL keep the file "
        "small. Nothing is kept in the process: any worker can answer the next turn."
    ),
)
