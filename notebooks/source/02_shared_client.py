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
# **Symptom.** The service gets slower with every user, its processor is busy although it only waits for a model, and after some days it runs out of sockets or memory.
#
# **What you'll do**
#
# - count at the server what a new client per call costs: TCP connections and TLS handshakes
# - find the part that the server cannot see: a stall of the event loop each time a client is made
# - choose the limits of a connection pool on purpose, and see HTTP/2 do with one connection
# - meet the other horn: one client shared by two event loops
# - repair a service that leaks clients in two places, and write the test that would have caught it
#
# **What you'll need.** Lesson 01. 30 minutes.
#
# ## The incident
#
# A model server built an OpenAI client for each request it passed on. One client took 11.2 ms to make, so one processor core
# could serve about 90 requests a second, whatever the model did. With the certificates read once and shared, a client took 113 µs
# (ogx-ai/ogx#4221).
#
# A voice service with the same mistake lost 100 to 300 ms per client and 300 to 470 MB an hour. The fix was taken back after four days and landed
# again six weeks later (bolna-ai/bolna#537, #542, #655).

# %%
import anyio
import httpx

from helpers import MockLLM, Predict, compare, figure, run, table
from helpers.report import seconds

USERS = [[f"User {user}, question {turn}?" for turn in range(4)] for user in range(8)]


def body(question):
    return {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": question}]}


llm = MockLLM("small", speed=5, answer_tokens=16, tls=True).start()
print("A mock provider is running, with TLS. All its times are divided by 5.")

# %% [markdown]
# Real providers speak TLS, so this one does too. Its certificate is signed by an authority that was made a moment ago, as a company has its own.
# `trust` below does what `httpx.AsyncClient()` does by itself, reading the certificates that ship with Python's packages, and adds that authority.
#
# ## The wrong way
#
# Eight users ask four questions each, one after another. Each call makes a client, uses it, and closes it properly.


# %%
def trust(ca_file):
    certificates = httpx.create_ssl_context()
    certificates.load_verify_locations(ca_file)
    return certificates


async def wrong(url, ca_file, users):
    async def converse(questions):
        for question in questions:
            async with httpx.AsyncClient(verify=trust(ca_file), timeout=30) as client:
                reply = await client.post(f"{url}/chat/completions", json=body(question))
            answers.append(reply.json()["choices"][0]["message"]["content"])

    answers = []
    async with anyio.create_task_group() as conversations:
        for questions in users:
            conversations.start_soon(converse, questions)
    return answers


# %% [markdown]
# It reads well: nothing is left open, nothing is global. Every example with `async with httpx.AsyncClient()` looks like this.
#
# ## Predict, then run
#
# Thirty-two calls, at most eight at a time. Commit to a number, then run the cell after it.

# %%
guess = Predict(
    "02", "How many TCP connections will the server count?", arm="wrong", unit="connections"
)
guess

# %%
wrong_run = await run(wrong, llm, llm.ca_file, USERS)

# %% [markdown]
# Each bar is one request as the server saw it; the strip under them is the event loop. Look at the gaps between the bars, and at the strip.

# %% tags=["nbval-check-output"]
print("TCP connections:              ", wrong_run.opened)
print("TLS handshakes:               ", wrong_run.handshakes)
print("most requests on a connection:", max(each.requests for each in wrong_run.connections))
print("the line that kept the loop:  ", wrong_run.culprits[0].where.code)
print("what it did there:            ", "waiting" if wrong_run.culprits[0].waiting else "computing")

# %% [markdown]
# **What just happened?** A client is not a function call. It owns a *pool* of open connections and an *SSL context*, the parsed list of all authorities that it trusts.
#
# - A connection dies with its client. So each call opened a new one: a TCP handshake, then a TLS handshake, two or three round trips before the question could leave.
#   On your machine a round trip takes microseconds; across the internet one project measured 541 ms of set-up per request (RunanywhereAI/wally#80).
# - Each context was parsed anew. That is plain computing, it cannot be awaited, and it stops *all eight* users: the mistake of lesson 01 in another dress.
#
# ## The right way
#
# The client is made once. The third arm, `http2`, differs in one word.


# %%
async def serve(client, url, users):
    async def converse(questions):
        for question in questions:
            reply = await client.post(f"{url}/chat/completions", json=body(question))
            answers.append(reply.json()["choices"][0]["message"]["content"])

    answers = []
    async with anyio.create_task_group() as conversations:
        for questions in users:
            conversations.start_soon(converse, questions)
    return answers


# %%
async def right(url, ca_file, users):
    limits = httpx.Limits(max_connections=8, max_keepalive_connections=8)
    async with httpx.AsyncClient(verify=trust(ca_file), limits=limits, timeout=30) as client:
        return await serve(client, url, users)


async def http2(url, ca_file, users):
    async with httpx.AsyncClient(verify=trust(ca_file), http2=True, timeout=30) as client:
        return await serve(client, url, users)


# %% [markdown]
# - **One client**, made where the service starts and closed where it stops. In a web service that place is the *lifespan*.
# - **Limits chosen on purpose.** `max_connections` is how many calls may be under way, `max_keepalive_connections` how many idle connections are kept for the next call.
#   Keep as many as you use at once; what happens otherwise is shown below.
# - **HTTP/2** carries many requests at the same time on one connection. httpx speaks it when asked to.
#
# ## Side by side
#
# The three arms run in turns, three times each.

# %% tags=["figure"]
comparison = await compare(llm, llm.ca_file, USERS, wrong=wrong, right=right, http2=http2)
says = {"wrong": "a client per call", "right": "one client", "http2": "one connection"}
titles = {arm: f"{arm}: {words}" for arm, words in says.items()}
numbers = [
    ("TCP connections", lambda run: run.opened),
    ("TLS handshakes", lambda run: run.handshakes),
    ("last answer", lambda run: seconds(run.makespan)),
]
figure(comparison, prediction=guess.made, titles=titles, numbers=numbers)

# %% tags=["table"]
rows = {**dict(numbers[:2]), "requests per connection": lambda run: len(run.requests) / run.opened}
table(comparison, rows=rows)

# %% [markdown]
# ## Verdict

# %% tags=["nbval-check-output", "verdict"]
from helpers import at_least, equals, verdict

w, r, h = comparison["wrong"], comparison["right"], comparison["http2"]
slower = comparison.ratio(lambda run: run.makespan, "wrong", "right")
verdict(
    "02",
    equals("TCP connections, wrong", w.opened, 32),
    equals("TCP connections, right", r.opened, 8),
    equals("TCP connections, http2", h.opened, 1),
    equals("TLS handshakes, wrong", w.handshakes, 32),
    equals("TLS handshakes, right", r.handshakes, 8),
    equals("answers, right", len(r.result), 32),
    at_least("makespan, wrong ÷ right", slower, 1.25),
)

# %% [markdown]
# ## Take one call apart
#
# httpx tells a `trace` function of each step it takes. Here is a single call with a new client, step by step.


# %%
from time import perf_counter

from helpers import bars


async def one_call(url, ca_file):
    async def note(event, info):
        times[event] = perf_counter()

    times = {"context.started": perf_counter()}
    certificates = trust(ca_file)
    times["context.complete"] = perf_counter()
    async with httpx.AsyncClient(verify=certificates, timeout=30) as client:
        await client.post(f"{url}/chat/completions", json=body("?"), extensions={"trace": note})
    steps = ("context", "connection.connect_tcp", "connection.start_tls")
    return [round(1000 * (times[f"{s}.complete"] - times[f"{s}.started"]), 1) for s in steps]


context, tcp, tls = (await run(one_call, llm, llm.ca_file)).result
bars(
    {"read the certificates": context, "open the TCP connection": tcp, "shake hands for TLS": tls},
    unit="ms",
    caption=f"What a new client does before the question leaves: it reads the certificates for "
    f"{context} ms, opens the TCP connection for {tcp} ms and shakes hands for TLS for {tls} ms.",
)

# %% [markdown]
# The server sees the last two steps. The first is yours alone, and it is the same for plain HTTP, which needs no certificate at all:
# httpx reads them when the client is made, before it knows what you will ask (encode/httpx#2298).
# How long it takes depends on the machine and its list of authorities; reports range from 11 to 100 ms.
#
# If you must have many clients, for different settings say, read the certificates once and hand the same context to each: `httpx.AsyncClient(verify=certificates)`.
#
# ## What if the pool is too small to keep what it opens?
#
# By default httpx opens up to 100 connections and keeps 20 of them when they are idle. Thirty users at a time do not fit.


# %% tags=["nbval-check-output"]
from functools import partial


async def crowd(url, ca_file, keep):
    limits = httpx.Limits(max_connections=100, max_keepalive_connections=keep)
    async with httpx.AsyncClient(verify=trust(ca_file), limits=limits, timeout=30) as client:
        return await serve(client, url, [["one", "two", "three"]] * 30)


llm.configure(speed=1)  # long answers, so that all thirty are under way together
arms = {"keeps_30": partial(crowd, keep=30), "keeps_20": partial(crowd, keep=20)}
pools = await compare(llm, llm.ca_file, repeats=1, **arms)
llm.configure(speed=5)
print("30 users, 90 calls")
print("keeps 30:", pools["keeps_30"].opened, "connections")
print("keeps 20, the default, opens more:", pools["keeps_20"].opened > 30)

# %% [markdown]
# With thirty open and twenty to keep, a connection is closed as soon as it is idle, and the same user's next call opens a new one. No error says so.
#
# The other limit, `max_connections`, is a queue: a call that finds no free connection waits for one, and after the pool's timeout fails with `PoolTimeout`.
# openai/openai-python#874 met both horns in one thread: a client per request leaked, one client with small limits timed out. One client with larger limits was the answer.
#
# ## What if the client is never closed?
#
# `wrong` closes its clients. Code that does not, because it keeps them in a list, a cache or an object per user, keeps their connections too.
# One user, four questions:


# %% tags=["nbval-check-output"]
async def leaky(url, ca_file, users):
    clients = []  # a cache that nobody empties
    for question in users[0]:
        clients.append(httpx.AsyncClient(verify=trust(ca_file), timeout=30))
        await clients[-1].post(f"{url}/chat/completions", json=body(question))


def open_at_once(run):
    """Most TCP connections that the server held open at one time."""
    lives = [(each.opened, each.closed or run.seconds) for each in run.connections]
    return max(sum(start <= now < end for start, end in lives) for now, _ in lives)


leak = await compare(llm, llm.ca_file, USERS[:1], repeats=1, wrong=wrong, leaky=leaky)
for arm in ("wrong", "leaky"):
    print(f"{arm}: {open_at_once(leak[arm])} open at once, one call at a time")

# %% [markdown]
# Four calls that never overlapped, four connections open, and so on for ever. One project used up about 28,000 ports this way, then every call failed with "cannot assign requested address"
# (langchain-ai/langchain#38610). Closing alone does not save a client per call: in openai/openai-python#1181 memory grew although each was closed.
#
# ## The other horn: one client, two event loops
#
# So make it global and share it with everything? A client belongs to the event loop on which its connections were opened. Here a second thread with a loop of its own borrows it.

# %% tags=["nbval-check-output"]
import asyncio


async def borrowed(url, ca_file):
    async def ask():
        await client.post(f"{url}/chat/completions", json=body("?"))

    async with httpx.AsyncClient(verify=trust(ca_file), timeout=5) as client:
        await ask()
        try:
            await anyio.to_thread.run_sync(asyncio.run, ask())
        except RuntimeError as error:
            return str(error)


complaint = await borrowed(llm.url, llm.ca_file)
print("…", complaint[complaint.index("is bound") :])

# %% [markdown]
# The kept-alive connection waits on an event of the first loop. Had there been no idle connection, the call would have worked, so this fails now and then, under load, in production
# (encode/httpx#2473; langchain-ai/langchain#31260 needed many attempts). What to do, in this order:
#
# 1. Have one loop. From a thread, send the call to it: `anyio.from_thread.run(ask)`.
# 2. Where there must be several loops, one client *per loop*, made and closed on it (browser-use/browser-use#5764).
# 3. Do not go back to a client per call: that trades one bug for the other (run-llama/llama_index#12946 did).
#
# ## What if it is plain HTTP, or fewer calls?
#
# Change the number of users and questions, and switch TLS off: the connections get cheap, the certificates are still read.
#
# **When is the wrong way fine?** In a script that makes one call, and in a command that ends after it. There is nothing to share.

# %%
from helpers import WhatIf


async def vary(users, questions, tls):
    with_tls = llm if tls else plain
    conversations = [asked[:questions] for asked in USERS[:users]]
    arms = {"wrong": wrong, "right": right}
    return table(await compare(with_tls, llm.ca_file, conversations, repeats=1, **arms), rows=rows)


plain = MockLLM("small", speed=5, answer_tokens=16).start()
WhatIf(vary, users=(1, 8, 1), questions=(1, 4, 1), tls=(0, 1, 0))

# %% [markdown]
# ## Your turn
#
# This assistant is made once per service. It leaks clients all the same, in two places. Repair it: eight users must get along with eight connections, and `close` must close every one of them.
# Both the moderator and the model must still be asked.

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
        reply = await self.client.post(self.url, json={"model": "gpt-4o", "messages": messages})
        return reply.json()["choices"][0]["message"]["content"]

    async def close(self):
        await self.client.aclose()


# %% tags=["nbval-check-output"]
from helpers import check, hints

await check("02", Assistant)
hints("02")

# %% [markdown]
# ## Catch it
#
# A linter does not know how often a line runs. Here is every rule that Ruff has, on `wrong`, filtered for anything about clients:

# %% tags=["nbval-check-output"]
from helpers import lint

found = [finding for finding in lint(wrong, "ALL") if "client" in finding.lower()]
print(found or "nothing found")

# %% [markdown]
# A test that counts finds it. The package brings a fixture that gives a test a server:
#
# ```python
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
# ## In your SDK
#
# `AsyncOpenAI` and `AsyncAnthropic` hold such a client. Made per request they cost the same, also for a plain-HTTP address. Two ways to call the same server with the openai package:


# %% tags=["nbval-check-output"]
import openai


async def sdk_per_call(url, questions):
    for question in questions:
        async with openai.AsyncOpenAI(base_url=url, api_key="any") as client:
            await client.chat.completions.create(**body(question))


async def sdk_one_pool(url, questions):
    async with openai.DefaultAsyncHttpxClient() as pool:
        for question in questions:
            client = openai.AsyncOpenAI(base_url=url, api_key=question, http_client=pool)
            await client.chat.completions.create(**body(question))


arms = {each.__name__: each for each in (sdk_per_call, sdk_one_pool)}
for arm, (done,) in (await compare(plain, USERS[0], repeats=1, **arms)).arms.items():
    print(f"{arm:12} connections: {done.opened} for {len(done.requests)} calls")
page = httpx.get(plain.url.replace("/v1", "/metrics")).text
print(*[line for line in page.splitlines() if "connections_total{" in line], sep="\n")

# %% [markdown]
# The last lines are how production finds the mistake: a counter of opened connections, next to one of requests. The mock server keeps it for its metrics, and so does a proxy or a service mesh.
#
# A client for the service's life would have been enough. `sdk_one_pool` is for many keys or settings: a light object per key around one `http_client`. `client.with_options(...)` does the same, it shares the pool of the client it came from.
#
# ## Coming from Rust
#
# | Rust | Python | in both |
# |---|---|---|
# | `reqwest::Client` is an `Arc` around its pool: `clone()` it | pass the one `httpx.AsyncClient` around | making a new one opens a new pool |
# | `reqwest::get(url)` makes a client per call | `httpx.get(url)` makes a client per call | fine once, wrong in a loop |
# | `pool_max_idle_per_host`, unlimited by default | `max_keepalive_connections`, 20 by default | what is not kept is opened again |
# | dropping the last clone closes the pool | `await client.aclose()`, or `async with` | Python does not close it for you in time |
# | a client used from two runtimes breaks | a client used from two loops breaks | connections belong to the reactor that opened them |
#
# ## Recap
#
# 1. What does a client own that makes it worth keeping?
# 2. Why does a new client hurt users who are not making a call?
# 3. Which limit of the pool should follow your concurrency, and why?
#
# <details><summary>Answers</summary>
#
# 1. A pool of open connections, and the parsed certificates.
# 2. Reading the certificates is computing on the event loop; everybody waits for it.
# 3. `max_keepalive_connections`: connections above it are closed after each use and opened again for the next.
#
# </details>
#
# **Further reading.** The cost of the certificates, and a cached context: encode/httpx#3473. 100 leaked clients in one agent run: browser-use/browser-use#5565.
# Five clients where one would do: langchain-ai/langchain#32489.
