"""Lesson 06's check: it finds each way to lose or keep too much, and passes every right store."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from helpers.lessons.catalogue import lesson
from helpers.lessons.exercise import Criterion
from tests.lessons.graded import changed, criteria, table

SQL = """
import asyncio
import contextlib
import functools
import json
import sqlite3
from dataclasses import dataclass

import aiosqlite
import anyio

KEEP = 20
TTL = 3600

TABLE = "CREATE TABLE IF NOT EXISTS messages (id INTEGER PRIMARY KEY, session, message, at)"
IDLE = "SELECT session FROM messages GROUP BY session HAVING max(at) < ?"
FORGET = f"DELETE FROM messages WHERE session IN ({IDLE})"
ADD = "INSERT INTO messages (session, message, at) VALUES (?, ?, ?)"
LAST = "SELECT id FROM messages WHERE session = :session ORDER BY id DESC LIMIT :keep"
TRIM = f"DELETE FROM messages WHERE session = :session AND id NOT IN ({LAST})"
WINDOW = "SELECT message FROM messages WHERE session = ? ORDER BY id"

"""
REMEMBER = """
async def remember(path, session, messages, now):
    async with aiosqlite.connect(path, isolation_level=None) as db:
        await db.execute(TABLE)
        await db.execute("BEGIN IMMEDIATE")
        await db.execute(FORGET, (now - TTL,))
        for message in messages:
            await db.execute(ADD, (session, json.dumps(message), now))
        await db.execute(TRIM, {"session": session, "keep": KEEP})
        rows = await db.execute_fetchall(WINDOW, (session,))
        await db.execute("COMMIT")
    return [json.loads(message) for (message,) in rows]
"""
ROWS = SQL + REMEMBER
# In a plain function: each style has its own way to call it.
PLAIN = (
    SQL
    + """
def store(path, session, messages, now):
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute(TABLE)
        db.execute("BEGIN IMMEDIATE")
        db.execute(FORGET, (now - TTL,))
        db.executemany(ADD, [(session, json.dumps(message), now) for message in messages])
        db.execute(TRIM, {"session": session, "keep": KEEP})
        rows = db.execute(WINDOW, (session,)).fetchall()
        db.execute("COMMIT")
    return [json.loads(message) for (message,) in rows]

"""
)
BLOB = (
    SQL  # noqa: S608
    + """
async def remember(path, session, messages, now):
    async with aiosqlite.connect(path, isolation_level=None) as db:
        await db.execute("CREATE TABLE IF NOT EXISTS blobs (session PRIMARY KEY, history, at)")
        await db.execute("BEGIN IMMEDIATE")
        await db.execute("DELETE FROM blobs WHERE at < ?", (now - TTL,))
        read = await db.execute("SELECT history FROM blobs WHERE session = ?", (session,))
        row = await read.fetchone()
        history = ((json.loads(row[0]) if row else []) + messages)[-KEEP:]
        if messages:
            new = session, json.dumps(history), now
            await db.execute("INSERT OR REPLACE INTO blobs VALUES (?, ?, ?)", new)
        await db.execute("COMMIT")
    return history
"""
)
FILE = """
import asyncio
import fcntl
import json
from pathlib import Path

KEEP = 20
TTL = 3600


def store(path, session, messages, now):
    with open(path + ".json", "a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        stored = json.loads(file.read() or "{}")
        stored = {name: kept for name, kept in stored.items() if kept["at"] >= now - TTL}
        kept = stored.get(session, {"messages": [], "at": now})
        if messages:
            kept = {"messages": (kept["messages"] + messages)[-KEEP:], "at": now}
            stored[session] = kept
        file.truncate(0)
        file.write(json.dumps(stored))
    return kept["messages"]


async def remember(path, session, messages, now):
    return await asyncio.to_thread(store, path, session, messages, now)
"""

RIGHT = {
    "a row per message": ROWS,
    "a blob per session, in one transaction": BLOB,
    "sqlite3 in a thread of asyncio": PLAIN
    + """
async def remember(path, session, messages, now):
    return await asyncio.to_thread(store, path, session, messages, now)
""",
    "sqlite3 in a thread of anyio": PLAIN
    + """
async def remember(*args):
    return await anyio.to_thread.run_sync(store, *args)
""",
    "an executor at module level": PLAIN
    + """
from concurrent.futures import ThreadPoolExecutor

POOL = []


async def remember(*args):
    if not POOL:
        POOL.append(ThreadPoolExecutor(4))
    return await asyncio.get_running_loop().run_in_executor(POOL[0], store, *args)
""",
    "a partial": PLAIN
    + """
async def in_thread(function, *args):
    return await asyncio.to_thread(function, *args)


remember = functools.partial(in_thread, store)
""",
    "a callable object with connections": SQL
    + """
class Store:
    def __init__(self):
        self.connections = {}

    async def __call__(self, path, session, messages, now):
        if path not in self.connections:
            self.connections[path] = asyncio.create_task(self.connect(path)), asyncio.Lock()
        connecting, lock = self.connections[path]
        db = await connecting
        async with lock:
            await db.execute("BEGIN IMMEDIATE")
            await db.execute(FORGET, (now - TTL,))
            new = [(session, json.dumps(message), now) for message in messages]
            await db.executemany(ADD, new)
            await db.execute(TRIM, {"session": session, "keep": KEEP})
            rows = await db.execute_fetchall(WINDOW, (session,))
            await db.execute("COMMIT")
        return [json.loads(message) for (message,) in rows]

    @staticmethod
    async def connect(path):
        connecting = aiosqlite.connect(path, isolation_level=None)
        connecting.daemon = True
        db = await connecting
        await db.execute(TABLE)
        return db


remember = Store()
""",
    "a dataclass, and a row per turn": SQL
    + """
@dataclass(frozen=True)
class Conversation:
    db: aiosqlite.Connection
    session: str

    async def add(self, messages, now):
        if messages:
            new = (self.session, json.dumps(messages), now)
            await self.db.execute(ADD, new)

    async def read(self):
        rows = await self.db.execute_fetchall(WINDOW, (self.session,))
        return [message for (turn,) in rows for message in json.loads(turn)][-KEEP:]

    async def trim(self):
        await self.db.execute(TRIM, {"session": self.session, "keep": KEEP // 2})


async def remember(path, session, messages, now):
    async with aiosqlite.connect(path, isolation_level="IMMEDIATE") as db:
        await db.execute(TABLE)
        await db.execute(FORGET, (now - TTL,))
        conversation = Conversation(db, session)
        await conversation.add(messages, now)
        await conversation.trim()
        await db.commit()
        return await conversation.read()
""",
    "read outside the transaction": changed(
        ROWS,
        (
            "        rows = await db.execute_fetchall(WINDOW, (session,))\n"
            '        await db.execute("COMMIT")\n',
            '        await db.execute("COMMIT")\n'
            "        rows = await db.execute_fetchall(WINDOW, (session,))\n",
        ),
    ),
    "compare and swap": SQL  # noqa: S608
    + """
async def remember(path, session, messages, now):
    async with aiosqlite.connect(path, isolation_level=None) as db:
        await db.execute("CREATE TABLE IF NOT EXISTS blobs (session PRIMARY KEY, history, at)")
        while True:
            read = "SELECT history, at FROM blobs WHERE session = ?"
            rows = list(await db.execute_fetchall(read, (session,)))
            old, at = rows[0] if rows else ("[]", now)
            history = (json.loads(old) if at >= now - TTL else []) + messages
            new = json.dumps(history[-KEEP:])
            others = "DELETE FROM blobs WHERE at < ? AND session <> ?"
            await db.execute(others, (now - TTL, session))
            if not messages:
                return history[-KEEP:]
            put = (
                "INSERT INTO blobs VALUES (?1, ?2, ?3) ON CONFLICT (session) DO UPDATE "
                "SET history = ?2, at = ?3 WHERE history = ?4"
            )
            done = await db.execute(put, (session, new, now, old))
            if done.rowcount == 1:
                return history[-KEEP:]
""",
    "a JSON file with a lock": FILE,
}

RUNS = "your code runs to its end"
KEPT = "10 turns written at the same time by two processes are all kept"
PAIRS = "each answer follows its question"
FOUND = "a new process finds the conversation in the file, also after the file was moved"
ORDER = "the last 20 messages are returned, oldest first"
OTHER = "a long conversation does not displace another one"
TRIMMED = "the file holds no more than the last 20 messages of a conversation"
ALIVE = "a conversation that goes on is kept"
IDLE = "an idle conversation is not returned"
READ = "an idle conversation is forgotten even if it was read"
EXPIRED = "the file holds no idle conversation"
FREE = "nothing blocks the event loop"

FORGET_LINE = "        await db.execute(FORGET, (now - TTL,))\n"
TRIM_LINE = '        await db.execute(TRIM, {"session": session, "keep": KEEP})\n'
RETURN = "    return [json.loads(message) for (message,) in rows]\n"
READS_BEFORE = """
async def remember(path, session, messages, now):
    async with aiosqlite.connect(path) as db:
        await db.execute("CREATE TABLE IF NOT EXISTS blobs (session PRIMARY KEY, history, at)")
        read = "SELECT history, at FROM blobs WHERE session = ?"
        found = list(await db.execute_fetchall(read, (session,)))
        alive = [history for history, at in found if at >= now - TTL]
        history = ((json.loads(alive[0]) if alive else []) + messages)[-KEEP:]
        await db.execute("DELETE FROM blobs WHERE at < ?", (now - TTL,))
        if messages:
            new = session, json.dumps(history), now
            await db.execute("INSERT OR REPLACE INTO blobs VALUES (?, ?, ?)", new)
        await db.commit()
    return history
"""
# The solution → the one criterion that is not met, and what it says.
WRONG = {
    "reads before it writes": (SQL + READS_BEFORE, KEPT, "some of them were lost"),
    "reads before it writes, behind a lock of this process": (
        SQL
        + READS_BEFORE.replace("def remember", "def unlocked")
        + "\n\nLOCK = asyncio.Lock()\n\n\n"
        + "async def remember(*args):\n"
        + "    async with LOCK:\n        return await unlocked(*args)\n",
        KEPT,
        "some of them were lost",
    ),
    "a transaction per message": (
        ROWS.replace("def remember", "def one")
        + "\n\nasync def remember(path, session, messages, now):\n"
        + "    for message in messages:\n"
        + "        await one(path, session, [message], now)\n"
        + "    return await one(path, session, [], now)\n",
        PAIRS,
        "something else followed a question",
    ),
    "a file elsewhere": (
        "import hashlib, tempfile\n"
        + ROWS.replace("def remember", "def elsewhere")
        + "\n\nasync def remember(path, *args):\n"
        + "    name = hashlib.sha256(path.encode()).hexdigest()\n"
        + '    return await elsewhere(f"{tempfile.gettempdir()}/{name}.sqlite", *args)\n',
        FOUND,
        "0 messages were returned, not 20",
    ),
    "trims all conversations together": (
        changed(ROWS, (TRIM_LINE, '        await db.execute(TRIM_ALL, {"keep": KEEP})\n'))
        + '\n\nTRIM_ALL = TRIM.replace("session = :session AND", "").replace('
        + '"WHERE session = :session", "")\n',
        OTHER,
        "0 messages were returned, not 2",
    ),
    "trims what it returns, not the file": (
        changed(ROWS, (TRIM_LINE, ""), (RETURN, RETURN.replace("rows]", "rows][-KEEP:]"))),
        TRIMMED,
        "after 120 messages it holds ",
    ),
    "forgets messages, not conversations": (
        changed(
            ROWS, ("execute(FORGET, (now", 'execute("DELETE FROM messages WHERE at < ?", (now')
        ),
        ALIVE,
        "2 messages were returned, not 8",
    ),
    "counts from the first message": (
        changed(ROWS, ("HAVING max(at)", "HAVING min(at)")),
        ALIVE,
        "messages were returned, not 8",
    ),
    "forgets after it has read": (
        changed(
            ROWS,
            (FORGET_LINE, ""),
            (
                '        await db.execute("COMMIT")',
                FORGET_LINE + '        await db.execute("COMMIT")',
            ),
        ),
        IDLE,
        "2 messages were returned, not 0",
    ),
    "reading keeps a conversation": (
        changed(
            ROWS,
            (
                TRIM_LINE,
                TRIM_LINE  # noqa: S608
                + '        touch = "UPDATE messages SET at = ? WHERE session = ?"\n'
                + "        await db.execute(touch, (now, session))\n",
            ),
        ),
        READ,
        "2 messages were returned, not 0",
    ),
    "hides what is idle": (
        changed(
            ROWS,
            (FORGET_LINE, ""),
            (RETURN, "    return [] if idle else [json.loads(m) for (m,) in rows]\n"),
        ).replace(
            '        await db.execute("COMMIT")',
            '        newest = "SELECT max(at) FROM messages WHERE session = ?"\n'
            "        ((at,),) = await db.execute_fetchall(newest, (session,))\n"
            "        idle = at is not None and at < now - TTL\n"
            '        await db.execute("COMMIT")',
        ),
        EXPIRED,
        "after 60 idle ones, and a call for another session, it holds ",
    ),
    "forgets this conversation only": (
        changed(
            ROWS,
            (
                FORGET_LINE,
                FORGET_LINE.replace("FORGET,", "FORGET + OWN,").replace("TTL,)", "TTL, session)"),
            ),
        )
        + '\n\nOWN = " AND session = ?"\n',
        EXPIRED,
        "kB, and 41 kB are enough",
    ),
    "blocks the event loop": (
        PLAIN + "\nasync def remember(*args):\n    return store(*args)\n",
        FREE,
        "it is blocked by `db.execute(",
    ),
    "does not wait for its turn to write": (
        changed(ROWS, ("isolation_level=None", "isolation_level=None, timeout=0")),
        RUNS,
        "database is locked",
    ),
    "reads first in its transaction": (
        changed(
            ROWS,
            (
                '"BEGIN IMMEDIATE")',
                '"BEGIN")\n        await db.execute_fetchall(WINDOW, (session,))',
            ),
        ),
        RUNS,
        "database is locked",
    ),
    "a name in the text of the statement": (
        changed(
            ROWS,
            (
                "execute_fetchall(WINDOW, (session,))",
                "execute_fetchall(WINDOW.replace('?', f\"'{session}'\"))",
            ),
        ),
        RUNS,
        "near",
    ),
    "not awaited": (
        ROWS.replace("def remember", "def later")
        + "\n\nasync def remember(*args):\n    return later(*args)\n",
        RUNS,
        "cannot be sent",
    ),
}
# Mistakes that show in more than one way.
WORSE = {
    "a dict in the process": (
        """
KEEP, TTL = 20, 3600
conversations = {}


async def remember(path, session, messages, now):
    for key, (_, at) in list(conversations.items()):
        if key[0] == path and at < now - TTL:
            del conversations[key]
    history, at = conversations.get((path, session), ([], now))
    history = (history + messages)[-KEEP:]
    conversations[path, session] = history, now if messages else at
    return history
""",
        [KEPT, FOUND],
    ),
    "forgets nothing": (changed(ROWS, (FORGET_LINE, "")), [IDLE, READ, EXPIRED]),
    "newest first": (
        changed(ROWS, ('session = ? ORDER BY id"', 'session = ? ORDER BY id DESC"')),
        [PAIRS, FOUND, ORDER, OTHER, ALIVE],
    ),
    "one too few": (
        changed(ROWS, (RETURN, RETURN.replace("rows]", "rows][-KEEP + 1 :]"))),
        [KEPT, PAIRS, FOUND, ORDER],
    ),
    "keeps nothing": (
        "async def remember(path, session, messages, now):\n    return messages\n",
        [KEPT, FOUND, ORDER, OTHER, ALIVE],
    ),
}


def unmet(text: str, folder: Path) -> list[Criterion]:
    return [criterion for criterion in criteria("06", text, folder) if not criterion.met]


def names(solutions: Mapping[str, object], in_every_run: list[str]) -> list[Any]:
    return table({name: name for name in solutions}, in_every_run)


def test_the_solution_passes(tmp_path: Path) -> None:
    assert unmet(lesson("06").solution.read_text("utf-8"), tmp_path) == []


@pytest.mark.parametrize("name", names(RIGHT, ["a blob per session, in one transaction"]))
def test_a_right_store_passes_whatever_its_style(name: str, tmp_path: Path) -> None:
    assert unmet(RIGHT[name], tmp_path) == []


QUICK = [
    "reads before it writes, behind a lock of this process",
    "a transaction per message",
    "a file elsewhere",
    "trims what it returns, not the file",
    "forgets messages, not conversations",
    "forgets after it has read",
    "reading keeps a conversation",
    "forgets this conversation only",
    "blocks the event loop",
    "does not wait for its turn to write",
]


@pytest.mark.parametrize("name", names(WRONG, QUICK))
def test_one_mistake_is_named_alone(name: str, tmp_path: Path) -> None:
    source, what, found = WRONG[name]
    (criterion,) = unmet(source, tmp_path)
    assert criterion.what == what
    assert found in criterion.found


@pytest.mark.parametrize("name", names(WORSE, ["a dict in the process", "one too few"]))
def test_a_mistake_that_shows_in_several_ways_is_named(name: str, tmp_path: Path) -> None:
    source, expected = WORSE[name]
    assert sorted(each.what for each in unmet(source, tmp_path)) == sorted(expected)
