"""Lesson 06's check: it finds each way to lose or keep too much, and passes both repairs."""

import asyncio
import json
from typing import Any

import aiosqlite
import pytest

from helpers.lessons.exercise import grade
from helpers.lessons.exercises.exercise_06 import KEEP, TTL

Messages = list[dict[str, str]]

TABLE = "CREATE TABLE IF NOT EXISTS messages (id INTEGER PRIMARY KEY, session, message, at)"
IDLE = "SELECT session FROM messages GROUP BY session HAVING max(at) < ?"
FORGET_IDLE = f"DELETE FROM messages WHERE session IN ({IDLE})"  # noqa: S608
FORGET_OLD = "DELETE FROM messages WHERE at < ?"
ADD = "INSERT INTO messages (session, message, at) VALUES (?, ?, ?)"
LAST = "SELECT id FROM messages WHERE session = :session ORDER BY id DESC LIMIT :keep"
TRIM = f"DELETE FROM messages WHERE session = :session AND id NOT IN ({LAST})"  # noqa: S608
LAST_OF_ALL = "SELECT id FROM messages ORDER BY id DESC LIMIT :keep"
TRIM_ALL = f"DELETE FROM messages WHERE id NOT IN ({LAST_OF_ALL})"  # noqa: S608
WINDOW = "SELECT message FROM messages WHERE session = ? ORDER BY id"


async def rows(
    path: str,
    session: str,
    messages: Messages,
    now: float,
    *,
    forget: str = FORGET_IDLE,
    trim: str = TRIM,
    begin: str = "BEGIN IMMEDIATE",
    window: str = WINDOW,
) -> Messages:
    async with aiosqlite.connect(path, isolation_level=None) as db:
        await db.execute(TABLE)
        await db.execute(begin)
        if forget:
            await db.execute(forget, (now - TTL,))
        for message in messages:
            await db.execute(ADD, (session, json.dumps(message), now))
        if trim:
            await db.execute(trim, {"session": session, "keep": KEEP})
        found = await db.execute_fetchall(window, (session,))
        await db.execute("COMMIT")
    return [json.loads(message) for (message,) in found]


async def one_blob_per_session(path: str, session: str, messages: Messages, now: float) -> Messages:
    """The starter, repaired with as few changes as possible."""
    async with aiosqlite.connect(path, isolation_level=None) as db:
        await db.execute("CREATE TABLE IF NOT EXISTS blobs (session PRIMARY KEY, history, at)")
        await db.execute("BEGIN IMMEDIATE")
        await db.execute("DELETE FROM blobs WHERE at < ?", (now - TTL,))
        read = await db.execute("SELECT history FROM blobs WHERE session = ?", (session,))
        row = await read.fetchone()
        history: Messages = ((json.loads(row[0]) if row else []) + messages)[-KEEP:]
        if messages:
            new = session, json.dumps(history), now
            await db.execute("INSERT OR REPLACE INTO blobs VALUES (?, ?, ?)", new)
        await db.execute("COMMIT")
    return history


async def reads_before_it_writes(
    path: str, session: str, messages: Messages, now: float
) -> Messages:
    """Everything but the concurrency is right."""
    async with aiosqlite.connect(path) as db:
        await db.execute("CREATE TABLE IF NOT EXISTS blobs (session PRIMARY KEY, history, at)")
        found = await db.execute_fetchall(
            "SELECT history, at FROM blobs WHERE session = ?", (session,)
        )
        alive = [history for history, at in found if at >= now - TTL]
        history: Messages = ((json.loads(alive[0]) if alive else []) + messages)[-KEEP:]
        await db.execute("DELETE FROM blobs WHERE at < ?", (now - TTL,))
        new = session, json.dumps(history), now
        await db.execute("INSERT OR REPLACE INTO blobs VALUES (?, ?, ?)", new)
        await db.commit()
    return history


async def a_row_at_a_time(path: str, session: str, messages: Messages, now: float) -> Messages:
    """Without a transaction, the pairs of two writers mix."""
    for message in messages:
        await rows(path, session, [message], now)
    return await rows(path, session, [], now)


async def trims_all_sessions(path: str, session: str, messages: Messages, now: float) -> Messages:
    return await rows(path, session, messages, now, trim=TRIM_ALL)


async def trims_nothing(path: str, session: str, messages: Messages, now: float) -> Messages:
    return (await rows(path, session, messages, now, trim=""))[-KEEP:]


async def forgets_what_is_old(path: str, session: str, messages: Messages, now: float) -> Messages:
    return await rows(path, session, messages, now, forget=FORGET_OLD)


async def forgets_nothing(path: str, session: str, messages: Messages, now: float) -> Messages:
    return await rows(path, session, messages, now, forget="")


async def newest_first(path: str, session: str, messages: Messages, now: float) -> Messages:
    return await rows(path, session, messages, now, window=f"{WINDOW} DESC")


async def reads_first(path: str, session: str, messages: Messages, now: float) -> Messages:
    """A transaction that reads first cannot wait for its turn to write: it is refused at once."""
    async with aiosqlite.connect(path, isolation_level=None) as db:
        await db.execute(TABLE)
        await db.execute("BEGIN")
        await db.execute_fetchall(WINDOW, (session,))
        for message in messages:
            await db.execute(ADD, (session, json.dumps(message), now))
        await db.execute("COMMIT")
    return []


async def keeps_nothing(path: str, session: str, messages: Messages, now: float) -> Messages:
    return messages


def unmet(solution: Any) -> list[str]:
    return [c.what for c in asyncio.run(grade("06", solution)) if not c.met]


@pytest.mark.parametrize("solution", [rows, one_blob_per_session])
def test_a_repair_passes(solution: Any) -> None:
    assert unmet(solution) == []


@pytest.mark.parametrize(
    ("solution", "criteria"),
    [
        (reads_before_it_writes, ["10 turns written at the same time are all kept"]),
        (a_row_at_a_time, ["each answer follows its question"]),
        (trims_nothing, ["the file holds no more than the last 20 messages of a conversation"]),
        (forgets_what_is_old, ["a conversation that goes on is kept"]),
        (
            forgets_nothing,
            ["an idle conversation is not returned", "the file holds no idle conversation"],
        ),
    ],
)
def test_one_mistake_is_named_alone(solution: Any, criteria: list[str]) -> None:
    assert unmet(solution) == criteria


@pytest.mark.parametrize(
    ("solution", "criterion"),
    [
        (trims_all_sessions, "a long conversation does not displace another one"),
        (newest_first, "the last 20 messages are returned, oldest first"),
        (keeps_nothing, "10 turns written at the same time are all kept"),
        (reads_first, "your code runs to its end"),
        ("not a function", "`remember` is a function"),
    ],
)
def test_what_is_missing_is_named(solution: Any, criterion: str) -> None:
    assert criterion in unmet(solution)
