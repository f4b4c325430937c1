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
# # 02 · Share one client
#
# **Symptom.** The service gets slower with every user, its CPU is busy although it only waits for a model, and after some days it runs out of sockets or memory.
#
# **Objectives.** After this lesson you can
#
# - explain what a client owns, and what it costs to create one for each call
# - share one client and choose its limits
# - count connections in a test
#
# **Prerequisites.** Lesson 01. **Time.** 20 minutes for the core, 50 with everything in *Going deeper*.
#
# ## The incident
#
# A model server created an OpenAI client for each request that it passed on. Creating one took 11.2 ms of computing, so a CPU core
# could serve about 90 requests a second, however fast the model was ([ogx-ai/ogx#4221](https://github.com/ogx-ai/ogx/issues/4221)).
# A voice service with the same mistake lost 100 to 300 ms per client and grew by 300 to 470 MB an hour, in part for this reason
# ([bolna-ai/bolna#655](https://github.com/bolna-ai/bolna/pull/655)).

# %%
import anyio
import httpx

from helpers import MockLLM, Predict, compare, figure, run, table

llm = MockLLM("small", speed=5, answer_tokens=16, tls=True).start()
print("A mock provider is running, with TLS. All its times are divided by 5.")

# %% [markdown]
# ## The wrong way
#
# Eight users ask four questions each. Every call creates a client, uses it and closes it.
# By default, `httpx.AsyncClient()` loads the trusted certificates. `trust` does the same, and adds the mock provider's certificate.


# %%
def trust(ca_file):
    context = httpx.create_ssl_context()
    context.load_verify_locations(ca_file)
    return context


def body(question):
    return {"model": "gpt-5-mini", "messages": [{"role": "user", "content": question}]}


def text(reply):
    return reply.raise_for_status().json()["choices"][0]["message"]["content"]


# %%
async def wrong(url, ca_file, users, questions):
    answers = [[] for _ in range(users)]

    async def converse(mine):
        for number in range(questions):
            asked = body(f"Question {number}?")
            async with httpx.AsyncClient(verify=trust(ca_file), timeout=30) as client:
                reply = await client.post(f"{url}/chat/completions", json=asked)
            mine.append(text(reply))

    async with anyio.create_task_group() as tasks:
        for mine in answers:
            tasks.start_soon(converse, mine)
    return answers


# %% [markdown]
# It reads well: nothing stays open and nothing is global. Many examples with `async with httpx.AsyncClient()` look like this.
#
# ## Predict, then run
#
# There are 32 calls, at most eight at a time, and the model answers each in about 0.1 s. Commit to a number, then run the next cell.

# %%
question = "From the first request to the last answer: how long is the loop blocked or busy?"
guess = Predict("02", question, arm="wrong", unit="%")
guess

# %%
wrong_run = await run(wrong, llm, llm.ca_file, 8, 4)
guess.reveal(round(100 * wrong_run.blocked_share))

# %% [markdown]
# Each bar is one request as the server saw it. The strip below shows the event loop. Look at the gaps between the bars, and at the strip.

# %% tags=["nbval-check-output"]
print("TCP connections:", wrong_run.opened)
print("TLS handshakes: ", wrong_run.handshakes)
print("line that blocked the loop most:", wrong_run.culprits[0].where.code)
print("what it did there:", "waiting" if wrong_run.culprits[0].waiting else "computing")

# %% [markdown]
# **What just happened?** A client owns two things that are worth keeping.
#
# - A **connection pool**: open connections that wait for the next request (**keep-alive**). The pool is closed with its client, so each call opened a new connection.
#   That takes a TCP **handshake** and a TLS handshake: two or three round trips before the question can leave.
#   On this machine a round trip takes microseconds; across the internet, one project measured 541 ms of setup per request
#   ([RunanywhereAI/wally#80](https://github.com/RunanywhereAI/wally/issues/80)).
# - An **SSL context**: the TLS settings, with the parsed certificates of all authorities that the client trusts. Parsing the certificates is computing, so it blocks the event loop, and *all eight* users wait.
#
# ## The right way
#
# Create the client once, and let all tasks share it.


# %%
async def right(url, ca_file, users, questions):
    answers = [[] for _ in range(users)]

    async def converse(mine):
        for number in range(questions):
            asked = body(f"Question {number}?")
            mine.append(text(await client.post(f"{url}/chat/completions", json=asked)))

    limits = httpx.Limits(max_connections=8, max_keepalive_connections=8, keepalive_expiry=60)
    async with (
        httpx.AsyncClient(verify=trust(ca_file), limits=limits, timeout=30) as client,
        anyio.create_task_group() as tasks,
    ):
        for mine in answers:
            tasks.start_soon(converse, mine)
    return answers


# %% [markdown]
# - **One client** is created before the first call and closed after the last one. *In a service*, below, shows where that is in a FastAPI application.
# - **`max_connections`** limits how many connections are open; with HTTP/1.1 that is also how many requests are under way. Further calls wait for a free connection.
# - **`max_keepalive_connections`** limits how many idle connections are kept, says the documentation. In fact httpcore, the library below httpx, counts busy ones too, so set it to `max_connections`.
# - **`keepalive_expiry`** is how long an idle connection is kept. The default is 5 s: a service that makes a call every six seconds would open a connection for each of them.
#
# ## Side by side
#
# The two arms take turns, three times each. The figure starts at the first request: `wrong` has parsed its first eight contexts by then.

# %% tags=["figure"]
from helpers.report import percent, seconds

comparison = await compare(llm, llm.ca_file, 8, 4, wrong=wrong, right=right)
titles = {"wrong": "wrong: a client per call", "right": "right: one client"}
numbers = [
    ("TCP connections", lambda run: run.opened),
    ("loop blocked or busy", lambda run: percent(run.blocked_share)),
    ("last answer", lambda run: seconds(run.makespan)),
]
figure(comparison, prediction=guess.made, titles=titles, numbers=numbers)

# %% tags=["table"]
rows = {"TCP connections": lambda run: run.opened, "TLS handshakes": lambda run: run.handshakes}
table(comparison, rows=rows)

# %% [markdown]
# The longest stall is longer than one context takes: several contexts, parsed one right after the other, count as one stall.
#
# ## Verdict

# %% tags=["nbval-check-output", "verdict"]
from helpers import at_least, equals, verdict

w, r = comparison["wrong"], comparison["right"]
verdict(
    "02",
    equals("TCP connections, wrong", w.opened, 32),
    equals("TCP connections, right", r.opened, 8),
    equals("TLS handshakes, wrong", w.handshakes, 32),
    equals("TLS handshakes, right", r.handshakes, 8),
    equals("answers, right", sum(map(len, r.result or [])), 32),
    at_least(
        "makespan, wrong ÷ right",
        comparison.ratio(lambda run: run.makespan, "wrong", "right"),
        1.25,
    ),
)

# %% [markdown]
# ## Your turn
#
# This assistant is created once per service, and it still leaks clients, in two places. Repair it: eight users must need at most eight connections,
# and `close` must close every one of them. Each question still goes to the moderator first and then to the model.

# %% tags=["exercise"]
import httpx


class Assistant:
    def __init__(self, url):
        self.url = f"{url}/chat/completions"
        self.renew()

    def renew(self):
        self.client = httpx.AsyncClient(timeout=10)

    async def ask(self, question):
        messages = [{"role": "user", "content": question}]
        moderator = httpx.AsyncClient(timeout=10)
        await moderator.post(self.url, json={"model": "mock-moderator", "messages": messages})
        self.renew()  # "so that no stale connection is used"
        reply = await self.client.post(self.url, json={"model": "gpt-5", "messages": messages})
        return reply.json()["choices"][0]["message"]["content"]

    async def close(self):
        await self.client.aclose()


# %% tags=["nbval-check-output"]
from helpers import check, hints

await check("02", Assistant)
hints("02")

# %% [markdown]
# ## Going deeper
#
# Each section below runs on its own after the cells above. Choose what you need, or continue with [lesson 03](03_prompt_tokens.ipynb).

# %% [markdown] jp-MarkdownHeadingCollapsed=true
# ### When is the wrong way fine?

# %% [markdown]
# In a script that makes one call and ends: there is nothing to share. Move the sliders: from how many calls on does `right` finish clearly earlier?

# %%
from helpers import WhatIf


async def vary(users, questions):
    arms = {"wrong": wrong, "right": right}
    return table(await compare(llm, llm.ca_file, users, questions, repeats=1, **arms), rows=rows)


WhatIf(vary, users=(1, 8, 2), questions=(1, 4, 2))

# %% [markdown] jp-MarkdownHeadingCollapsed=true
# ### What if the pool keeps less than it opens?

# %% [markdown]
# By default, httpx opens up to 100 connections and keeps 20. Here the pool keeps fewer, and eight users ask at the same time.


# %%
async def pool(url, ca_file, keep, expiry, pause):
    async def ask():
        await client.post(f"{url}/chat/completions", json=body("Hello?"))

    limits = httpx.Limits(max_keepalive_connections=keep, keepalive_expiry=expiry)
    async with httpx.AsyncClient(verify=trust(ca_file), limits=limits, timeout=30) as client:
        for _ in range(3):
            async with anyio.create_task_group() as tasks:
                for _ in range(8):
                    tasks.start_soon(ask)
            await anyio.sleep(pause)


# %%
for keep, expiry, pause in [(8, 5, 0), (2, 5, 0), (8, 0.1, 0.3)]:
    done = await run(pool, llm, llm.ca_file, keep, expiry, pause)
    print(f"keep {keep}, expiry {expiry} s, pause {pause} s: {done.opened} connections")

# %% [markdown]
# All three made 24 calls. The second closes connections that become idle while more than two are open; in the third, each round comes after `keepalive_expiry`.
# Change the last pause in the list (0.3) to 0: does the number of connections change?
#
# <details><summary>Answer</summary>Yes: 8, because no connection is idle for 0.1 s.</details>
#
# If `max_connections` is too small, a call waits for a free connection, and fails with `PoolTimeout` if the wait exceeds the pool timeout. One service leaked memory with a client per request and met `PoolTimeout` with a shared one
# ([openai/openai-python#874](https://github.com/openai/openai-python/issues/874)).

# %% [markdown] jp-MarkdownHeadingCollapsed=true
# ### What does HTTP/2 change?

# %% [markdown]
# In httpx it needs `pip install "httpx[http2]"`, and normally TLS, whose handshake negotiates it (ALPN). One client asks 32 questions at once.

# %%
guess_http2 = Predict(
    "02", "How many TCP connections does HTTP/2 open?", arm="http2", unit="connections"
)
guess_http2


# %%
async def burst(url, ca_file, http2):
    async def ask():
        await client.post(f"{url}/chat/completions", json=body("Hello?"))

    async with (
        httpx.AsyncClient(verify=trust(ca_file), http2=http2, timeout=30) as client,
        anyio.create_task_group() as tasks,
    ):
        for _ in range(32):
            tasks.start_soon(ask)


# %%
from functools import partial

arms = {"http1": partial(burst, http2=False), "http2": partial(burst, http2=True)}
bursts = await compare(llm, llm.ca_file, **arms)
table(bursts, rows=rows)

# %%
guess_http2.reveal(bursts["http2"].opened)

# %% tags=["nbval-check-output"]
print("connections: HTTP/1.1", bursts["http1"].opened, "· HTTP/2", bursts["http2"].opened)

# %% [markdown]
# HTTP/2 carries many requests at the same time over one connection. It saves 31 handshakes here.
# All requests share one TCP connection, so one lost packet delays all of them: **head-of-line blocking**.
#
# Change 32 to 200 and run both cells again. Why does HTTP/1.1 open 200 connections, although the limit is 100 at once?
#
# <details><summary>Answer</summary>
#
# httpcore closes an idle connection while the pool holds more than 20, and it counts those in use, too. So each of the first 100 connections is closed when its call ends, and the next call opens a new one.
#
# </details>

# %% [markdown] jp-MarkdownHeadingCollapsed=true
# ### Catch it

# %% [markdown]
# A linter does not know how often a line runs. Here are Ruff's rules for async code, bugs, performance and security on `wrong`:

# %% tags=["nbval-check-output"]
from helpers import lint

print(lint(wrong, "ASYNC,B,PERF,S") or "nothing found")

# %% [markdown]
# A test that counts connections finds it. The package has a pytest fixture with a server:
#
# ```python
# @pytest.mark.anyio
# async def test_calls_share_connections(mock_llm):
#     service = Service(mock_llm.url)
#     for _ in range(10):
#         await service.ask("Hello?")
#     await service.close()
#     connections = mock_llm.ledger().connections
#     assert len(connections) == 1
#     assert connections[0].closed is not None
# ```
#
# In production, compare connections opened with requests sent. The mock provider has both under `/metrics`; its connections, by what they carried:

# %%
page = httpx.get(llm.http_url.replace("/v1", "/metrics")).text
print(*[line for line in page.splitlines() if "connections_total{" in line], sep="\n")

# %% [markdown] jp-MarkdownHeadingCollapsed=true
# ### In your SDK

# %% [markdown]
# `AsyncOpenAI` and `AsyncAnthropic` each own a client of httpx2, httpx's successor with the same API, and so a pool. Creating one per request costs the same.

# %%
import openai


# `run` passes the TLS address first; the SDK uses the plain one.
async def sdk_per_call(_, url):
    for question in ("One?", "Two?", "Three?"):
        async with openai.AsyncOpenAI(base_url=url, api_key="any") as client:
            await client.chat.completions.create(**body(question))


async def sdk_shared(_, url):
    async with openai.AsyncOpenAI(base_url=url, api_key="any") as client:
        for question in ("One?", "Two?", "Three?"):
            customer = client.with_options(api_key=f"key for {question}")
            await customer.chat.completions.create(**body(question))


# %%
per_call = await run(sdk_per_call, llm, llm.http_url)
shared = await run(sdk_shared, llm, llm.http_url)

# %% tags=["nbval-check-output"]
print("connections for three calls: per call", per_call.opened, "· shared", shared.opened)

# %% [markdown]
# `with_options` returns a light object that shares the pool of the client it came from: use it for a key or a timeout per customer. Both SDKs keep an idle connection for 5 s;
# pass `http_client=openai.DefaultAsyncHttpxClient(limits=…)` to change that.

# %% [markdown] jp-MarkdownHeadingCollapsed=true
# ### In a service

# %% [markdown]
# In FastAPI, the **lifespan** creates the client when the service starts and closes it when the service stops. A dependency hands it to each route.

# %%
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, FastAPI, Request


def make_app(url, ca_file):
    @asynccontextmanager
    async def lifespan(app):
        async with httpx.AsyncClient(verify=trust(ca_file), timeout=30) as client:
            yield {"client": client}

    def shared_client(request: Request):
        return request.state.client

    app = FastAPI(lifespan=lifespan)

    @app.get("/ask")
    async def ask(question: str, client: Annotated[httpx.AsyncClient, Depends(shared_client)]):
        return text(await client.post(f"{url}/chat/completions", json=body(question)))

    return app


# %%
from fastapi.testclient import TestClient


def visit(url, ca_file):
    with TestClient(make_app(url, ca_file)) as service:
        return [service.get("/ask", params={"question": "Hello?"}).json() for _ in range(4)]


visited = await run(visit, llm, llm.ca_file)

# %% tags=["nbval-check-output"]
print(visited.opened, "connection for", len(visited.result), "answers")

# %% [markdown]
# Let `ask` make a client of its own, with `async with`, in place of the one that it gets. How many connections are there now?
#
# <details><summary>Answer</summary>Four.</details>

# %% [markdown] jp-MarkdownHeadingCollapsed=true
# ### Coming from asyncio, coming from Rust

# %% [markdown]
# | asyncio | anyio, as in this lesson |
# |---|---|
# | `async with asyncio.TaskGroup() as tasks: tasks.create_task(ask())` | `async with anyio.create_task_group() as tasks: tasks.start_soon(ask)` |
# | `asyncio.Semaphore(8)` | `anyio.CapacityLimiter(8)` |
# | from another thread: `asyncio.run_coroutine_threadsafe(ask(), loop)` | from anyio's worker threads: `anyio.from_thread.run(ask)` |
#
# | Rust | Python | note |
# |---|---|---|
# | `reqwest::Client` is an `Arc` around its pool: `clone()` it | pass the one `httpx.AsyncClient` around | a new client opens a new pool |
# | `reqwest::get(url)` | `httpx.get(url)` | a client per call: fine once, wrong in a loop |
# | `pool_max_idle_per_host`, per host, no limit by default | `max_keepalive_connections`, for the whole pool, 20 by default | what is not kept is opened again |
# | `pool_idle_timeout`, 90 s by default | `keepalive_expiry`, 5 s by default | an idle connection does not live forever |
# | dropping the last clone closes the pool | `await client.aclose()`, or `async with` | somebody has to close it |
#
# A pool belongs to one event loop. Here a thread with an event loop of its own borrows the client:


# %%
import asyncio


async def borrowed(url, ca_file):
    async def ask():
        await client.post(f"{url}/chat/completions", json=body("Hello?"))

    async with httpx.AsyncClient(verify=trust(ca_file), timeout=5) as client:
        await ask()
        try:
            await asyncio.to_thread(asyncio.run, ask())
        except RuntimeError as error:
            return str(error)
    return "no error"


# %%
message = (await run(borrowed, llm, llm.ca_file)).result

# %% tags=["nbval-check-output"]
print("…", message.rpartition("> ")[2])

# %% [markdown]
# The second loop was given the idle connection of the first. If there is no idle connection, the second loop opens its own and gets its answer; then closing the client fails
# ([encode/httpx#2473](https://github.com/encode/httpx/discussions/2473)). Use one loop, and send calls to it from other threads, or create one client per loop.
# Let `ask` make a client of its own, with `async with`, and use that: why does this work?
#
# <details><summary>Answer</summary>The new client's pool belongs to the loop that uses it.</details>

# %% [markdown] jp-MarkdownHeadingCollapsed=true
# ### Recap and further reading

# %% [markdown]
# 1. What does a client own that makes it worth keeping?
# 2. Why does a new client hurt users who are not making a call?
# 3. Your service makes a call every ten seconds. Which limit do you change?
#
# <details><summary>Answers</summary>
#
# 1. A pool of open connections, and the parsed certificates.
# 2. Parsing the certificates is computing on the event loop, so everybody waits for it.
# 3. `keepalive_expiry`: by default, an idle connection is closed after 5 s.
#
# </details>
#
# **Further reading.** The cost of the certificates, also for plain HTTP: [encode/httpx#2298](https://github.com/encode/httpx/issues/2298). 28,000 ports used up by clients that nobody closed:
# [langchain-ai/langchain#38610](https://github.com/langchain-ai/langchain/issues/38610).
#
# Next: [03 · Say it once, say it short](03_prompt_tokens.ipynb).
