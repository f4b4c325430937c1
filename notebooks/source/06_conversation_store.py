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
# **Symptom.** After every deploy the assistant has forgotten everybody. Since you run two workers, it forgets every other question.
#
# **What you'll do**
#
# - kill a worker in the middle of a conversation, then put a second one beside it, and count what the model is still told
# - move the conversation into a store, with SQLite first and a Redis-protocol server second
# - read the history in the right order, and see what a common example sends instead
# - give the store a policy, so that it does not grow for ever
#
# **What you'll need.** `async`/`await`, and a little SQL. 35 minutes.
#
# ## The incident
#
# A service kept its voice sessions in a dict on a module-level object and ran two workers. A request created the session on one worker;
# the socket that needed it reached either. About half of all connections were refused (Abilityai/trinity#704).
# A tool with an append-only cache of conversations, without limit or expiry, was logged at 37 to 93 GB on a machine with 32
# (jacob-bd/gemini-notebook-mcp-cli#213).
#
# A model remembers nothing. Whatever it should know of the conversation, you send it with each question. So where do you keep it?

# %%
from functools import partial
from uuid import uuid4

import anthropic
import openai

from helpers import MockLLM, Predict, Scratch, Workers, compare, run

TURNS = [f"Question {number} about my order." for number in range(1, 9)]

llm = MockLLM("medium", speed=10, answer_tokens=16).start()
print("A mock provider is running. All its times are divided by 10.")

# %% [markdown]
# ## The wrong way
#
# One turn of a chat service. `ask` sends messages to the model and returns its answer; `session` names the conversation.
# On a laptop this works. In production the service is restarted, has more than one worker, and runs for weeks.
#
# `Workers` starts it as it runs there: each worker is a process with a memory of its own, and a round robin sends each turn to the next one.
# Two experiments with the same eight questions follow.

# %%
conversations = {}


async def wrong(ask, session, text):
    history = conversations.setdefault(session, [])
    history.append({"role": "user", "content": text})
    answer = await ask(history)
    history.append({"role": "assistant", "content": answer})
    return answer


# %%
async def killed(url, handle):
    session = uuid4().hex
    async with Workers(handle, url) as service:
        for text in TURNS[:7]:
            await service.send(session, text)
        await service.kill(0)  # SIGKILL: a crash, an out-of-memory kill, an impatient deploy
        await service.start(0)
        await service.send(session, TURNS[7])


async def shared(url, handle):
    session = uuid4().hex
    async with Workers(handle, url, 2) as service:
        for text in TURNS:
            await service.send(session, text)


# %% [markdown]
# ## Predict, then run
#
# With question 8 the model should be sent the seven turns before it. Now two workers share the work.

# %%
guess = Predict(
    "06",
    "Two workers: how many of the seven earlier turns is the model sent with question 8?",
    arm="two workers",
    unit="turns",
)
guess

# %%
killed_run = await run(killed, llm, wrong)
shared_run = await run(shared, llm, wrong)


# %% tags=["nbval-check-output"]
def recalled(run):
    return [(request.messages - 1) // 2 for request in run.requests]


print("earlier turns that the model was sent with question 1, 2, … 8")
print("worker killed after question 7:", recalled(killed_run))
print("two workers:                   ", recalled(shared_run))

# %% [markdown]
# Every request was answered with status 200, in good time: no error, no log line. But look at what the model was sent.
# (A prompt has two messages for each earlier turn, and the new question. The gap before the last bar of `killed` is the restart.)
#
# **What just happened?** The dict lives in one process. With the process it is gone: question 8 arrives as if it were the first.
# Two processes have two dicts: each knows the turns that it answered itself. The user talks to two assistants that take turns.
#
# Sticky sessions, where the load balancer sends a user always to the same worker, hide the second failure and not the first.
# And there is a third: nothing ever leaves the dict. You will count that below.
#
# ## The right way
#
# The conversation moves out of the process, behind three verbs: **append**, **window**, **expire**. SQLite is a good first store:
# it is a file, it needs no server, and any number of processes on this machine can use it.


# %%
import json
import time

import aiosqlite

scratch = Scratch()  # a temporary folder that goes with this notebook's kernel
DATABASE = str(scratch.folder / "chat.sqlite")
async with aiosqlite.connect(DATABASE) as db:
    await db.executescript("""PRAGMA journal_mode = WAL;
        CREATE TABLE messages (id INTEGER PRIMARY KEY, session TEXT, message TEXT, at REAL);
        CREATE INDEX by_session ON messages (session, id);""")


# %%
class SQLiteStore:
    def __init__(self, path, keep=20, ttl=3600):
        self.path, self.keep, self.ttl = path, keep, ttl

    async def append(self, session, *messages):
        rows = [(session, json.dumps(message), time.time()) for message in messages]
        insert = "INSERT INTO messages (session, message, at) VALUES (?, ?, ?)"
        async with aiosqlite.connect(self.path, timeout=5) as db:
            await db.executemany(insert, rows)
            await db.commit()

    async def window(self, session):
        oldest_first = """SELECT message FROM
            (SELECT * FROM messages WHERE session = ? ORDER BY id DESC LIMIT ?) ORDER BY id"""
        async with aiosqlite.connect(self.path, timeout=5) as db:
            rows = await db.execute_fetchall(oldest_first, (session, self.keep))
        return [json.loads(message) for (message,) in rows]

    async def expire(self):
        forget_idle = """DELETE FROM messages WHERE session IN
            (SELECT session FROM messages GROUP BY session HAVING max(at) < ?)"""
        async with aiosqlite.connect(self.path, timeout=5) as db:
            await db.execute(forget_idle, (time.time() - self.ttl,))
            await db.commit()


# %%
store = SQLiteStore(DATABASE)


async def converse(store, ask, session, text):
    question = {"role": "user", "content": text}
    answer = await ask([*await store.window(session), question])
    await store.append(session, question, {"role": "assistant", "content": answer})
    return answer


async def right(ask, session, text):
    return await converse(store, ask, session, text)


# %% [markdown]
# What each choice is for:
#
# - **Append, never write back.** A turn is two rows in one transaction: it is kept whole or not at all. Nobody reads the history in order to write it.
#   A question that got no answer is not kept: the client asks again.
# - **WAL**, the write-ahead log, lets others read while one writes. `timeout=5` is SQLite's `busy_timeout`: a second writer waits up to 5 s for its turn.
#   Without it, `database is locked` comes at once.
# - **A window** of the last `keep` messages. The number is even, so the window begins with a question. A prompt that grows with every turn costs more with every turn (lesson 03).
# - **Expire** forgets a conversation `ttl` seconds after its *last* message. A task in your service calls it every minute.
# - **A connection per call** is cheap here: it opens a file. To a server it would be the mistake of lesson 02.
#
# ## Read the window in order
#
# Many examples take the last N messages the easy way: newest first. With Redis that is `LPUSH`, then `LRANGE key 0 N`.


# %% tags=["nbval-check-output"]
class NewestFirst(SQLiteStore):
    async def window(self, session):
        return (await super().window(session))[::-1]


async def show(messages):
    print(*(f"    {message['role']}: {message['content']}" for message in messages), sep="\n")
    return "…"


for kind in (NewestFirst, SQLiteStore):
    session = uuid4().hex
    for text, answer in [("I eat no nuts.", "Noted."), ("A dinner?", "Risotto.")]:
        turn = {"role": "user", "content": text}, {"role": "assistant", "content": answer}
        await store.append(session, *turn)
    print(f"{kind.__name__}: the model is sent")
    await converse(kind(DATABASE), show, session, "A dessert?")

# %% [markdown]
# Newest first is a bug. The model reads every answer before its question, and the first thing that was said comes right before the last.
# No error tells you; the answers are only worse. `LRANGE key 0 N` has a second bug in it: both ends count, so it returns N + 1 messages.
#
# ## Share the store between machines
#
# A file serves one machine. When workers run on several, the store is a server. The same three verbs in the Redis protocol:


# %%
import redis.asyncio


class ValkeyStore:
    def __init__(self, url, keep=20, ttl=3600):
        self.url, self.keep, self.ttl = url, keep, ttl
        self.client = redis.asyncio.from_url(url, decode_responses=True)

    def __reduce__(self):  # in a worker's process it opens a connection of its own
        return ValkeyStore, (self.url, self.keep, self.ttl)

    async def append(self, session, *messages):
        key = f"chat:{session}"
        async with self.client.pipeline(transaction=True) as transaction:
            transaction.rpush(key, *map(json.dumps, messages))
            transaction.ltrim(key, -self.keep, -1)
            transaction.pexpire(key, int(self.ttl * 1000))
            await transaction.execute()

    async def window(self, session):
        messages = await self.client.lrange(f"chat:{session}", -self.keep, -1)
        return [json.loads(message) for message in messages]

    async def expire(self):
        """Nothing to do: the server forgets a key when its time is over."""


# %%
import os

from helpers import Valkey, ValkeyMissing


async def survivors(server):
    messages = [{"role": "user", "content": text} for text in TURNS]
    await ValkeyStore(server.url).append("ada", *messages)
    server.kill()
    server.start()
    return len(await ValkeyStore(server.url).window("ada"))


try:
    valkey = Valkey().start()
    print("messages before the server was killed:", len(TURNS))
    print("left, in memory only:", await survivors(valkey))
    with Valkey(append_only=True) as logged:
        print("left, append-only file:", await survivors(logged))
except ValkeyMissing as missing:
    valkey = None
    print(missing, "Without one, this lesson goes on with SQLite alone.")
REDIS_URL = os.environ.get("REDIS_URL") or (valkey and valkey.url)

# %% [markdown]
# `RPUSH` adds at the end, so `LRANGE key -N -1` is the window, oldest first. The transaction (`MULTI … EXEC`) makes append, trim and expiry one step.
# Valkey is the open continuation of Redis. Set `REDIS_URL` to use a server of your own in the rest of this lesson.
#
# **A server can be killed too.** In memory only, everything is gone. With an append-only file every write is logged; `appendfsync always` has it on the disk
# before you get your answer, `everysec` may lose a second when the *machine* goes down. SQLite, with its default `synchronous=FULL`, has every commit on the disk.
#
# ## Append, never write back
#
# A store alone is not enough. `blob` below is shared and survives, and has two mistakes that are often seen: it reads the whole history and writes the whole history back,
# and nothing ever leaves it.
#
# ## Side by side
#
# The two experiments from above, and two more, with each way to keep a conversation:
#
# - `at_once`: one user asks from two tabs at the same moment, and the model answers when it has both questions. How many of the two turns are kept?
# - `deserted`: fifty visitors ask one question each, and their time to live is over. How many are still known?


# %%
from helpers import at_once, deserted

BRIEF = 0.2  # seconds that an idle conversation is kept; in production an hour or a day


async def blob(ask, session, text):
    async with aiosqlite.connect(DATABASE, timeout=5) as db:
        await db.execute("CREATE TABLE IF NOT EXISTS blobs (session PRIMARY KEY, history)")
        read = await db.execute("SELECT history FROM blobs WHERE session = ?", (session,))
        row = await read.fetchone()
        history = json.loads(row[0]) if row else []
        history.append({"role": "user", "content": text})
        answer = await ask(history)
        history.append({"role": "assistant", "content": answer})
        await db.execute("REPLACE INTO blobs VALUES (?, ?)", (session, json.dumps(history)))
        await db.commit()
    return answer


async def day(url, handle, brief=None):
    await killed(url, handle)
    await shared(url, handle)
    short = partial(converse, brief) if brief else handle
    left = await deserted(short, 2 * BRIEF, brief and brief.expire)
    return {"kept": await at_once(handle), "left": left}


# %% tags=["figure"]
from helpers import bars

arms = {
    "wrong": partial(day, handle=wrong),
    "blob": partial(day, handle=blob),
    "right": partial(day, handle=right, brief=SQLiteStore(DATABASE, ttl=BRIEF)),
}
if REDIS_URL:
    on_valkey = partial(converse, ValkeyStore(REDIS_URL))
    arms["valkey"] = partial(day, handle=on_valkey, brief=ValkeyStore(REDIS_URL, ttl=BRIEF))
comparison = await compare(llm, repeats=1, limit=60, **arms)

experiments = {"worker killed": 7, "two workers": 15}  # the request with question 8
sent = {
    name: {arm: recalled(comparison[arm])[request] for arm in arms}
    for name, request in experiments.items()
}
caption = "Of 7 earlier turns the model was sent: " + "; ".join(
    f"{name}, {', '.join(f'{arm} {n}' for arm, n in turns.items())}" for name, turns in sent.items()
)
title = "Earlier turns that the model was sent with question 8"
bars(sent, unit="turns, of 7", title=title, caption=caption, prediction=guess.made)

# %% tags=["table"]
from helpers import table

rows = {
    "turns sent after a kill, of 7": lambda run: recalled(run)[7],
    "turns sent, two workers, of 7": lambda run: recalled(run)[15],
    "turns kept of two at once": lambda run: run.result["kept"],
    "conversations after the TTL, of 50": lambda run: run.result["left"],
}
table(comparison, rows, standard=False)

# %% [markdown]
# The dict would do for a single process that lives for ever and has few visitors. `blob` recalls everything, until two turns come at once: both read the same history, and the second to write erases the first.
# And a store without a policy only moves the leak: fifty visitors, fifty rows.
#
# ## Verdict
#
# Counters only: nothing here depends on the clock.

# %% tags=["nbval-check-output", "verdict"]
from helpers import equals, verdict

w, b, r = comparison["wrong"], comparison["blob"], comparison["right"]
stores = [comparison[arm] for arm in arms if arm not in ("wrong", "blob")]
fewest = min(recalled(run)[request] for run in stores for request in (7, 15))
verdict(
    "06",
    equals("earlier turns sent after a kill, wrong", recalled(w)[7], 0),
    equals("earlier turns sent after a kill, right", recalled(r)[7], 7),
    equals("earlier turns sent, two workers, wrong", recalled(w)[15], 3),
    equals("earlier turns sent, two workers, right", recalled(r)[15], 7),
    equals("earlier turns sent, fewest of all stores", fewest, 7),
    equals("turns kept of two at once, blob", b.result["kept"], 1),
    equals(
        "turns kept of two at once, fewest of all stores", min(s.result["kept"] for s in stores), 2
    ),
    equals("conversations after the TTL, wrong", w.result["left"], 50),
    equals(
        "conversations after the TTL, most of all stores", max(s.result["left"] for s in stores), 0
    ),
)

# %% [markdown]
# ## What if the window is small?
#
# The window also bounds the prompt, and so the price of a turn. Eight turns, with the whole history and with a window of two. Move the slider for another one.

# %%
from IPython.display import display

from helpers import WhatIf, lines


async def vary(turns):
    window = partial(converse, SQLiteStore(DATABASE, keep=2 * turns))
    handles = {"whole history": blob, f"window of {turns}": window}
    arms = {name: partial(shared, handle=handle) for name, handle in handles.items()}
    talks = await compare(llm, repeats=1, **arms)
    tokens = {name: [request.prompt_tokens for request in talks[name].requests] for name in arms}
    last = " and ".join(f"{each[-1]} with the {name}" for name, each in tokens.items())
    points = {name: list(enumerate(each, 1)) for name, each in tokens.items()}
    return lines(points, x="turn", y="prompt tokens", caption=f"Prompt tokens of turn 8: {last}.")


display(await vary(2))
WhatIf(vary, turns=(1, 7, 2))

# %% [markdown]
# What leaves the window is forgotten for good, so put what must stay (a summary, the customer's name) into the system prompt. And mind the provider's prompt cache:
# a window that slides by one turn changes the front of the prompt each time. Dropping half of the window at once, more rarely, keeps the front stable (lesson 03).
#
# **When is the wrong way fine?** When the conversation may end with the process, and the process is one: a script, a notebook, a chat in a terminal, a test.
# And as a cache in front of a store.
#
# ## Your turn
#
# `remember` adds messages to a conversation and returns the last `KEEP`, oldest first. It runs, and a test with one user passes. Repair three things:
#
# - Messages written at the same moment are all kept, each pair together.
# - The file holds no more than the last `KEEP` messages of a conversation.
# - A conversation is forgotten `TTL` seconds after its last message: it is not returned, and the file does not hold it either.
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
# ## Catch it
#
# No linter sees that a dict is in the wrong place. A test that restarts a worker does. Here it is, run on both:


# %% tags=["nbval-check-output"]
async def remembers(handle):
    session = uuid4().hex
    async with Workers(handle, llm.url) as service:
        await service.send(session, "I eat no nuts.")
        await service.kill(0)
        await service.start(0)
        await service.send(session, "A dinner?")
    return llm.ledger().requests[-1].messages == 3


print(f"remembers after a restart: wrong {await remembers(wrong)}, right {await remembers(right)}")

# %% [markdown]
# In a test of your own, `assert await remembers(handle)`. Cheaper, for a whole test suite: let the workers be replaced all the time (`gunicorn --workers 2 --max-requests 1`), and everything that lives in a process only fails at once.
#
# In production, log the session id and the number of messages in each prompt. When that number falls to one after a deploy, you have found it. And make the service refuse to start when its store
# is not there: one gateway had a Redis back end that was never connected, and fell back to memory without a word (IBM/mcp-context-forge#5740).
#
# ## In your SDK
#
# The chat interfaces of both SDKs keep nothing: the same client, a second question, and the model has never heard of the first.
# OpenAI's Responses interface can keep the conversation for you. An answer is stored unless you say `store=False`, and `previous_response_id` continues from it.

# %% tags=["nbval-check-output"]
gpt = openai.AsyncOpenAI(base_url=llm.url, api_key="any", timeout=10)
claude = anthropic.AsyncAnthropic(base_url=llm.url.removesuffix("/v1"), api_key="any", timeout=10)
llm.reset()
async with gpt, claude:
    for text in ("I eat no nuts.", "A dinner?"):
        messages = [{"role": "user", "content": text}]
        await gpt.chat.completions.create(model="gpt-4o-mini", messages=messages)
        await claude.messages.create(model="claude-haiku-4-5", max_tokens=16, messages=messages)
print("messages that the model was sent:", *(r.messages for r in llm.ledger().requests))

# %% tags=["nbval-check-output"]
llm.reset()
async with openai.AsyncOpenAI(base_url=llm.url, api_key="any", timeout=10) as gpt:
    last = None
    for text in ("I eat no nuts.", "A dinner?"):
        turn = {"input": text, "previous_response_id": last}
        last = (await gpt.responses.create(model="gpt-4o-mini", **turn)).id
for request in llm.ledger().requests:
    print(f"messages: {request.messages}, tokens to pay for: {request.prompt_tokens}")

# %% [markdown]
# You send one message and pay for three. This is a store with somebody else's policy: the SDK documents at least 30 days, and you set neither the window nor the TTL.
# The conversation is bound to one provider, and your users' words stay there.
#
# ## Coming from Rust
#
# | Rust | Python | in both |
# |---|---|---|
# | `static HISTORY: LazyLock<Mutex<HashMap<…>>>`, axum's `State<Arc<RwLock<HashMap<…>>>>` | a dict at module level | lives and dies with the process. The compiler makes the map safe between threads, not between processes |
# | one process with many threads | several worker processes | a Rust service often meets the second failure only with its second machine |
# | `sqlx::SqlitePool`, `pool.begin()` | `aiosqlite`, `commit()` | one writer at a time; set the busy timeout |
# | `redis::pipe().atomic()` | `client.pipeline(transaction=True)` | `MULTI … EXEC` |
# | `moka` (a cache with TTL and size) | `cachetools.TTLCache` | a policy, still in one process |
#
# ## Recap
#
# 1. Which of the three failures do sticky sessions cure?
# 2. Why does `blob` lose a turn, although every write is a transaction?
# 3. What does a shared store not solve by itself?
#
# <details><summary>Answers</summary>
#
# 1. Only that two workers disagree. A restart still forgets everybody, and the dict still grows.
# 2. The reading is outside the transaction. Both read the same history, and the last to write wins.
# 3. Growth. It needs a policy: a window for what the model is sent, a limit and a TTL for what is kept.
#
# </details>
#
# **Further reading.** Sessions gone after a container restart: google/adk-python#1569. Idle conversations evicted, and read back from disk on the next use: OpenHands/software-agent-sdk#4202.
# A module-level dict of messages that is never cleared: Chainlit/chainlit#2951. Documentation that says of its in-memory saver that it neither persists nor ends: langchain-ai/docs#4648.
