"""Lesson 06: a row per message; add, trim and forget in one transaction."""

import json

import aiosqlite

KEEP = 20  # messages
TTL = 3600  # seconds

TABLE = "CREATE TABLE IF NOT EXISTS messages (id INTEGER PRIMARY KEY, session, message, at)"
FORGET_IDLE = """
    DELETE FROM messages WHERE session IN
        (SELECT session FROM messages GROUP BY session HAVING max(at) < ?)
"""
ADD = "INSERT INTO messages (session, message, at) VALUES (?, ?, ?)"
TRIM = """
    DELETE FROM messages WHERE session = ? AND id NOT IN
        (SELECT id FROM messages WHERE session = ? ORDER BY id DESC LIMIT ?)
"""
WINDOW = "SELECT message FROM messages WHERE session = ? ORDER BY id"


async def remember(path, session, messages, now):
    async with aiosqlite.connect(path, isolation_level=None, timeout=5) as db:
        await db.execute(TABLE)
        await db.execute("BEGIN IMMEDIATE")  # from here on nobody else writes
        await db.execute(FORGET_IDLE, (now - TTL,))
        await db.executemany(ADD, [(session, json.dumps(message), now) for message in messages])
        await db.execute(TRIM, (session, session, KEEP))
        rows = await db.execute_fetchall(WINDOW, (session,))
        await db.execute("COMMIT")
    return [json.loads(message) for (message,) in rows]
