# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 06 · Put the conversation in a store
#
# **Symptom.** After every deploy the assistant has forgotten everybody. Since you moved to two workers, some of its answers make no sense.
#
# **Objectives.** After this lesson you can
#
# - say where a conversation lives, and what it does not survive
# - keep it in a store with three operations: append, window, expire
# - test that a restart loses nothing
#
# **Prerequisites.** `async`/`await`, and a little SQL. **Time.** 25 minutes for the core, 55 with everything in *Going deeper*.
#
# ## The incident
#
# A service kept its voice sessions in a dict and ran two workers. A request created the session in one worker, and the WebSocket that needed it could reach either one. About half of all connections were refused
# ([Abilityai/trinity#704](https://github.com/Abilityai/trinity/issues/704)).
#
# A model remembers nothing. With each question, you send everything that it should know. So where do you keep it?

# %%
from uuid import uuid4

from helpers import MockLLM, Predict, Scratch, Workers, compare, run, table

TURNS = [f"Question {number} about my order." for number in range(1, 9)]
llm = MockLLM("medium", speed=10, answer_tokens=16).start()
print("A mock provider is running. All its times are divided by 10.")

# %% [markdown]
# ## The wrong way
#
# `wrong` is one turn of a chat service. `ask` sends messages to the model and returns its answer; `session` names the conversation.


# %%
conversations = {}  # each session's messages


async def wrong(ask, session, text):
    history = conversations.setdefault(session, [])
    history.append({"role": "user", "content": text})
    answer = await ask(history)
    history.append({"role": "assistant", "content": answer})
    return answer


# %% [markdown]
# ## Predict, then run
#
# In production, the service is restarted and has more than one worker. `Workers` starts it like that, and sends the turns to its two workers in turn. Each worker gets its own copy of `wrong` and of `conversations`.
#
# Eight questions, two workers. With question 8 the model should be sent the seven turns before it. Commit to a number, then run the next cell.

# %%
guess = Predict(
    "06",
    "Two workers: how many of the seven earlier turns are sent with question 8?",
    arm="turns kept, two workers",
    unit="turns",
)
guess


# %%
async def killed(url, handle):
    session = uuid4().hex
    async with Workers(handle, url) as service:
        for text in TURNS[:7]:
            await service.send(session, text)
        await service.kill(0)  # SIGKILL: a crash, or out of memory
        await service.start(0)
        await service.send(session, TURNS[7])


async def shared(url, handle):
    session = uuid4().hex
    async with Workers(handle, url, 2) as service:
        for text in TURNS:
            await service.send(session, text)


shared_run = await run(shared, llm, wrong)
killed_run = await run(killed, llm, wrong)
guess.reveal((shared_run.requests[-1].messages - 1) // 2)


# %% tags=["nbval-check-output"]
def recalled(run):
    """Earlier turns in each prompt, which has two messages for each of them, and the question."""
    return [(request.messages - 1) // 2 for request in run.requests]


print("earlier turns sent with question 1, 2, … 8")
print("two workers:                   ", recalled(shared_run))
print("worker killed after question 7:", recalled(killed_run))

# %% [markdown]
# **What just happened?** Every request was answered with status 200: no error, no log line. But the dict lives in one process. Two workers are two processes with two dicts, and get the turns in rotation: the user talks to two assistants. And with the process, the dict is gone: question 8 arrives as if it were the first.
#
# Sticky sessions, with which a load balancer sends a user to the same worker each time, hide the first failure and not the second. There is a third failure: nothing ever leaves the dict, so memory grows.
#
# ## The right way
#
# Move the conversation out of the process, into a store with three operations. SQLite is a good first one: a file, no server, and any number of processes on this machine can use it.


# %%
import json
import time

import aiosqlite

ADD = "INSERT INTO messages (session, message, at) VALUES (?, ?, ?)"
TRIM = """DELETE FROM messages WHERE session = ? AND id NOT IN
    (SELECT id FROM messages WHERE session = ? ORDER BY id DESC LIMIT ?)"""
WINDOW = "SELECT message FROM messages WHERE session = ? ORDER BY id"  # oldest first
EXPIRE = """DELETE FROM messages WHERE session IN
    (SELECT session FROM messages GROUP BY session HAVING max(at) < ?)"""
TABLE = """PRAGMA journal_mode = WAL;
    CREATE TABLE IF NOT EXISTS messages
        (id INTEGER PRIMARY KEY, session TEXT, message TEXT, at REAL);
    CREATE INDEX IF NOT EXISTS by_session ON messages (session, id);"""


# %%
class SQLiteStore:
    def __init__(self, path, keep=20, ttl=3600):
        self.path, self.keep, self.ttl = path, keep, ttl

    async def append(self, session, *messages):
        rows = [(session, json.dumps(message), time.time()) for message in messages]
        async with aiosqlite.connect(self.path) as db:
            await db.executemany(ADD, rows)
            await db.execute(TRIM, (session, session, self.keep))
            await db.commit()

    async def window(self, session):
        async with aiosqlite.connect(self.path) as db:
            rows = await db.execute_fetchall(WINDOW, (session,))
        return [json.loads(message) for (message,) in rows]

    async def expire(self):
        async with aiosqlite.connect(self.path) as db:
            await db.execute(EXPIRE, (time.time() - self.ttl,))
            await db.commit()


# %%
async def prepare(path):
    async with aiosqlite.connect(path) as db:
        await db.executescript(TABLE)


scratch = Scratch()  # a temporary folder, removed when this notebook's kernel ends
DATABASE = str(scratch.folder / "chat.sqlite")
await prepare(DATABASE)
store = SQLiteStore(DATABASE)


async def converse(store, ask, session, text):
    question = {"role": "user", "content": text}
    answer = await ask([*await store.window(session), question])
    await store.append(session, question, {"role": "assistant", "content": answer})
    return answer


async def right(ask, session, text):
    return await converse(store, ask, session, text)


# %% [markdown]
# - **Append, never write back.** A turn is two rows in one transaction: it is kept whole or not at all.
# - **A connection for each operation.** Tasks that share a connection share its transaction, too, and the `commit` of one would commit half of the other's.
# - **A sliding window**: the last `keep` messages, oldest first. It is an even number, so the window begins with a question. (In production, cut in steps: [lesson 03](03_prompt_tokens.ipynb).)
# - **A time to live (TTL).** `expire` forgets a conversation `ttl` seconds after its *last* message. A background task of the service calls it, every minute for example; until then, an idle conversation is still returned.
# - **WAL**, the write-ahead log, lets others read while one writes. A second writer waits for up to 5 s, the default of Python's `sqlite3`.
#
# ## Side by side
#
# The two experiments again, and a third: seven visitors ask one question each, and their time to live passes. `deserted` counts those who are still known.

# %%
from functools import partial

from IPython.display import display

from helpers import bars, deserted

arms = {"wrong": wrong, "right": right}
kills = await compare(llm, repeats=1, **{n: partial(killed, handle=arms[n]) for n in arms})
pairs = await compare(llm, repeats=1, **{n: partial(shared, handle=arms[n]) for n in arms})

brief = SQLiteStore(DATABASE, ttl=0.2)  # seconds; in production an hour or a day
idle = {
    "wrong": 7 - await deserted(wrong, 0.4),
    "right": 7 - await deserted(partial(converse, brief), 0.4, brief.expire),
}


# %% tags=["figure", "table"]
def last(run):
    return recalled(run)[-1]  # sent with question 8


results = {
    "turns kept, worker killed": {name: last(kills[name]) for name in arms},
    "turns kept, two workers": {name: last(pairs[name]) for name in arms},
    "visitors forgotten after the TTL": idle,
}
title = "What should be kept, and what forgotten: 7 is right"
caption = f"{title}. " + "; ".join(
    f"{name}: wrong {number['wrong']}, right {number['right']}" for name, number in results.items()
)
display(bars(results, unit="of 7", title=title, caption=caption, prediction=guess.made))
rows = {name: lambda run, each=each: each[run.arm] for name, each in results.items()}
table(kills, rows, standard=False)

# %% [markdown]
# ## Verdict

# %% tags=["nbval-check-output", "verdict"]
from helpers import equals, verdict

verdict(
    "06",
    equals("earlier turns sent after a kill, wrong", last(kills["wrong"]), 0),
    equals("earlier turns sent after a kill, right", last(kills["right"]), 7),
    equals("earlier turns sent, two workers, wrong", last(pairs["wrong"]), 3),
    equals("earlier turns sent, two workers, right", last(pairs["right"]), 7),
    equals("visitors forgotten after the TTL, wrong", idle["wrong"], 0),
    equals("visitors forgotten after the TTL, right", idle["right"], 7),
)

# %% [markdown]
# ## Your turn
#
# `remember` adds messages to a conversation and returns the last `KEEP`, oldest first. It runs, and a test with one user passes. Repair three things:
#
# - Calls at the same moment lose nothing, and the messages of one call stay together.
# - The file holds no more than the last `KEEP` messages of a conversation.
# - A conversation is forgotten `TTL` seconds after its last message: it is not returned, and after the next call, for any session, the file does not hold it either.
#
# You may change the tables. `now` is the time in seconds: it is passed in, so that a test need not wait.

# %% tags=["exercise"]
import json

import aiosqlite

KEEP = 20  # messages
TTL = 3600  # seconds


async def remember(path, session, messages, now):
    async with aiosqlite.connect(path) as db:
        await db.execute("CREATE TABLE IF NOT EXISTS blobs (session PRIMARY KEY, history, at)")
        read = await db.execute("SELECT history FROM blobs WHERE session = ?", (session,))
        row = await read.fetchone()
        history = json.loads(row[0]) if row else []
        history += messages
        new = session, json.dumps(history), now
        await db.execute("INSERT OR REPLACE INTO blobs VALUES (?, ?, ?)", new)
        await db.commit()
    return history[-KEEP:]


# %% tags=["nbval-check-output"]
from helpers import check, hints

await check("06", remember)
hints("06")

# %% [markdown]
# ## Going deeper
#
# Each section below runs on its own after the cells above. Choose what you need, or continue with [lesson 07](07_streaming.ipynb).

# %% [markdown] jp-MarkdownHeadingCollapsed=true
# ### When is the wrong way fine?

# %% [markdown]
# When the conversation may end with the process, and there is one process: a script, a notebook, a test. Then a list will do, but it grows with each turn. Move the slider to see what a window takes off the prompt, without a prompt cache:

# %%
from helpers import WhatIf, lines


# %%
async def vary(turns):
    window = partial(converse, SQLiteStore(DATABASE, keep=2 * turns))
    arms = {"whole history": right, f"window of {turns}": window}
    talks = await compare(
        llm, repeats=1, **{name: partial(shared, handle=arm) for name, arm in arms.items()}
    )
    tokens = {name: [each.prompt_tokens for each in talks[name].requests] for name in arms}
    points = {name: list(enumerate(each, 1)) for name, each in tokens.items()}
    caption = "Prompt tokens of turn 8: " + ", ".join(f"{n} {t[-1]}" for n, t in tokens.items())
    return lines(points, x="turn", y="prompt tokens", caption=caption)


# %%
await vary(2)

# %%
WhatIf(vary, turns=(1, 7, 2))

# %% [markdown]
# What leaves the window is forgotten, so put what must stay into the system prompt. Each step of the window also changes the front of the prompt, which costs the provider's cache ([lesson 03](03_prompt_tokens.ipynb)).

# %% [markdown] jp-MarkdownHeadingCollapsed=true
# ### What if two turns come at once?

# %% [markdown]
# `blob` is a store too, but it reads the whole history and writes all of it back. One user asks from two tabs, and the model has both questions before it answers either. How many of the two turns will be kept?

# %%
guess_blob = Predict("06", "How many of the two turns will be kept?", arm="blob", unit="turns")
guess_blob


# %%
async def blob(ask, session, text):
    async with aiosqlite.connect(DATABASE) as db:
        await db.execute("CREATE TABLE IF NOT EXISTS blobs (session PRIMARY KEY, history)")
        rows = await db.execute_fetchall("SELECT history FROM blobs WHERE session = ?", (session,))
        history = json.loads(rows[0][0]) if rows else []
        history.append({"role": "user", "content": text})
        history.append({"role": "assistant", "content": await ask(history)})
        await db.execute("REPLACE INTO blobs VALUES (?, ?)", (session, json.dumps(history)))
        await db.commit()


# %%
from helpers import at_once

# %% tags=["nbval-check-output"]
kept = {handle.__name__: await at_once(handle) for handle in (blob, right)}
print("turns kept of two at once:", kept)

# %%
guess_blob.reveal(kept["blob"])

# %% [markdown]
# Both tabs read the same history, and the second to write erases the first: a **lost update**. Every write was a transaction, but the read was outside it. With `right` both turns are kept, although neither answer knew of the other question: if that matters, take one turn at a time per session.
#
# If you must read and then write, begin with `BEGIN IMMEDIATE`, which locks before the read. A transaction that has read and then wants to write fails at once if somebody else wrote in between.


# %%
async def read_then_write(begin):
    async with (
        aiosqlite.connect(DATABASE, isolation_level=None) as first,
        aiosqlite.connect(DATABASE, isolation_level=None) as second,
    ):
        await first.execute(begin)
        await first.execute_fetchall("SELECT count(*) FROM messages")
        try:
            await second.execute("PRAGMA busy_timeout = 50")
            await second.execute("INSERT INTO messages (session) VALUES ('second')")
            await first.execute("INSERT INTO messages (session) VALUES ('first')")
        except aiosqlite.OperationalError as error:
            return str(error)


# %% tags=["nbval-check-output"]
print("BEGIN, read, somebody else writes, write:", await read_then_write("BEGIN"))

# %% [markdown]
# Call it with `"BEGIN IMMEDIATE"`. The message is the same: which of the two connections gets it now?
#
# <details><summary>Answer</summary>The second: the first has the lock before it reads.</details>

# %% [markdown] jp-MarkdownHeadingCollapsed=true
# ### Catch it

# %% [markdown]
# No linter sees that a dict is in the wrong place. A test that restarts a worker does:


# %%
async def remembers(handle):
    session = uuid4().hex
    async with Workers(handle, llm.url) as service:
        await service.send(session, "I eat no nuts.")
        await service.kill(0)
        await service.start(0)
        await service.send(session, "Any dinner ideas?")
    return llm.ledger().requests[-1].messages == 3


# %% tags=["nbval-check-output"]
print(f"remembers after a restart: wrong {await remembers(wrong)}, right {await remembers(right)}")

# %% [markdown]
# In your own test suite, write `assert await remembers(handle)`. Test the order, too: with Redis, many examples use `LPUSH` and `LRANGE key 0 N`, which returns the newest message first, and N + 1 of them.
#
# In production, log the number of messages in each prompt: when it falls to one after a deploy, you have found it. And let the service refuse to start without its store. One gateway had a Redis back end that was never connected, and silently used memory
# ([IBM/mcp-context-forge#5740](https://github.com/IBM/mcp-context-forge/issues/5740)). Change `ORDER BY id` in `WINDOW` to `ORDER BY id DESC`: does `remembers` notice?
#
# <details><summary>Answer</summary>No. It counts messages; a test of the order has to look at their texts.</details>

# %% [markdown] jp-MarkdownHeadingCollapsed=true
# ### In your SDK

# %% [markdown]
# With the chat interfaces of both SDKs you send the history yourself each time. OpenAI's Responses interface can keep it: an answer is stored unless you say `store=False`, and `previous_response_id` continues from it.

# %%
import openai


# %%
async def responses(url, continued):
    last = None
    async with openai.AsyncOpenAI(base_url=url, api_key="any", timeout=10) as client:
        for text in ("I eat no nuts.", "Any dinner ideas?"):
            previous = {"previous_response_id": last} if continued else {}
            last = (await client.responses.create(model="gpt-5-mini", input=text, **previous)).id


# %%
talks = {continued: await run(responses, llm, continued) for continued in (False, True)}

# %% tags=["nbval-check-output"]
for continued, done in talks.items():
    print(f"continued {continued}: messages {[each.messages for each in done.requests]}")
    print("    tokens to pay for:", [each.prompt_tokens for each in done.requests])

# %% [markdown]
# (The pink block is the SDK loading at its first call.) You send one message and pay for three. This is a store with somebody else's policy: you set neither the window nor the TTL, and your users' words stay there. Add a third question: how do the tokens grow?
#
# <details><summary>Answer</summary>By about one turn per question (12, 40, about 68), so the total grows with the square.</details>

# %% [markdown] jp-MarkdownHeadingCollapsed=true
# ### In a service

# %% [markdown]
# The lifespan makes the table and the store; a background task expires what is old. The session id comes from the server, signed: if clients could choose it, anybody could read anybody's conversation. The text is in the body, as paths and queries land in access logs.

# %%
import hmac
import os
from contextlib import asynccontextmanager, suppress
from typing import Annotated

import anyio
import httpx
from fastapi import Body, Depends, FastAPI, Request, Response
from fastapi.testclient import TestClient

SECRET = os.urandom(32)  # in production from the environment, the same for all workers


# %%
def signed(name):
    return f"{name}.{hmac.digest(SECRET, name.encode(), 'sha256').hex()}"


def session_of(request: Request, response: Response):
    """The session in the visitor's signed cookie, or a new one."""
    cookie = request.cookies.get("session", "")
    name = cookie.partition(".")[0]
    if not hmac.compare_digest(cookie.encode(), signed(name).encode()):
        name = uuid4().hex
        response.set_cookie("session", signed(name), httponly=True)
    return name


# %%
async def every_minute(job):
    while True:
        with suppress(aiosqlite.Error):  # such as a locked database: it tries again
            await job()
        await anyio.sleep(60)


# %%
Session = Annotated[str, Depends(session_of)]
Text = Annotated[str, Body(embed=True)]


# %%
def make_app(url):
    @asynccontextmanager
    async def lifespan(app):
        await prepare(DATABASE)
        store = SQLiteStore(DATABASE)
        async with (
            httpx.AsyncClient(base_url=url, timeout=30) as client,
            anyio.create_task_group() as background,
        ):
            background.start_soon(every_minute, store.expire)
            yield {"client": client, "store": store}
            background.cancel_scope.cancel()

    app = FastAPI(lifespan=lifespan)

    @app.post("/chat")
    async def chat(request: Request, text: Text, session: Session):
        async def ask(messages):
            body = {"model": "gpt-5-mini", "messages": messages}
            reply = await request.state.client.post("/chat/completions", json=body)
            return reply.raise_for_status().json()["choices"][0]["message"]["content"]

        return await converse(request.state.store, ask, session, text)

    return app


# %%
def visit(url):
    cookies = None
    for text in ("I eat no nuts.", "Any dinner ideas?"):
        with TestClient(make_app(url), cookies=cookies) as service:  # a restart for each question
            service.post("/chat", json={"text": text}).raise_for_status()
            cookies = service.cookies


# %%
visited = await run(visit, llm)

# %% tags=["nbval-check-output"]
print("messages sent to the model:", [each.messages for each in visited.requests])

# %% [markdown]
# Several machines need a server as their store. In the Redis protocol (Valkey is the open continuation of Redis) `EXPIRE`, inside `append`, is the third operation:


# %%
import redis.asyncio


# %%
class ValkeyStore:
    def __init__(self, url, keep=20, ttl=3600):
        self.keep, self.ttl = keep, ttl
        self.client = redis.asyncio.from_url(url, decode_responses=True)

    async def append(self, session, *messages):
        async with self.client.pipeline(transaction=True) as transaction:
            transaction.rpush(session, *map(json.dumps, messages))
            transaction.ltrim(session, -self.keep, -1)
            transaction.expire(session, self.ttl)
            await transaction.execute()

    async def window(self, session):
        return [json.loads(each) for each in await self.client.lrange(session, -self.keep, -1)]


# %%
from helpers import Valkey, ValkeyMissing, at_once

# %%
try:
    with Valkey() as server:
        valkey = ValkeyStore(server.url)
        print("turns kept of two at once:", await at_once(partial(converse, valkey)))
        await valkey.client.aclose()
except ValkeyMissing as missing:
    print(missing)

# %% [markdown]
# A server can be killed too: without an append-only file, what came after its last snapshot is gone.
# Use `keep=1` and run the cell again. Why does it say 0?
#
# <details><summary>Answer</summary>The window holds one message, which is half a turn.</details>

# %% [markdown] jp-MarkdownHeadingCollapsed=true
# ### Coming from asyncio, coming from Rust

# %% [markdown]
# | asyncio | what it does here |
# |---|---|
# | `asyncio.Lock()` around read and write | protects one process; two workers still lose updates |
# | `await asyncio.to_thread(sqlite3_code)` | the same as aiosqlite, which has a thread per connection |
#
# | Rust | Python | in both |
# |---|---|---|
# | `static HISTORY: LazyLock<Mutex<HashMap<…>>>` | a dict at module level | lives and dies with the process |
# | one process with many threads | several worker processes | a Rust service often meets the failure with its second machine |
# | `sqlx::SqlitePool`, `pool.begin()` | `aiosqlite`, `commit()` | one writer at a time; the others wait |
# | `redis::pipe().atomic()` | `client.pipeline(transaction=True)` | `MULTI … EXEC` |
# | `moka` (a cache with TTL and size) | `cachetools.TTLCache` | a policy, still in one process |

# %% [markdown] jp-MarkdownHeadingCollapsed=true
# ### Recap and further reading

# %% [markdown]
# 1. Which of the three failures do sticky sessions cure?
# 2. Why does `blob` lose a turn, although every write is a transaction?
# 3. What does a shared store not solve by itself?
#
# <details><summary>Answers</summary>
#
# 1. Only that two workers disagree. A restart still forgets everybody, and the dict still grows.
# 2. The read is outside the transaction. Both read the same history, and the last to write wins.
# 3. Growth. It needs a policy: a window and a TTL.
#
# </details>
#
# **Further reading.** A cache of conversations without limit, at 37 to 93 GB: [jacob-bd/gemini-notebook-mcp-cli#213](https://github.com/jacob-bd/gemini-notebook-mcp-cli/issues/213).
# Sessions gone after a container restart: [google/adk-python#1569](https://github.com/google/adk-python/issues/1569).
#
# Next: [07 · Show the first token first](07_streaming.ipynb).
