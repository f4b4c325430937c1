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
# # 01 · Keep the event loop free
#
# **Symptom.** Under load, the service is as slow as if it had no `async` at all, and even its health check hangs.
#
# **Objectives.** After this lesson you can
#
# - explain what a synchronous call does in an `async def`
# - repair it, and prove the repair with numbers
# - find such calls in your own code
#
# **Prerequisites.** You have used `async` and `await` before. **Time.** 20 minutes for the core, 50 with everything in *Going deeper*.
#
# ## The incident
#
# An inference server called its model's `generate` function directly in an async route. One generation took 41.93 seconds.
# In that time, its two health-check routes failed four times in a row, although the prober waited up to ten seconds each time.
# After the call was moved to a thread, the server answered 82 of 82 health checks, the slowest in 24 ms
# ([unslothai/unsloth#9201](https://github.com/unslothai/unsloth/issues/9201)).
#
# You will now make the same mistake with twelve questions to a language model.

# %%
import anyio
import httpx

from helpers import MockLLM, Predict, compare, figure, run, table

QUESTIONS = [f"Explain the event loop to reader {number}." for number in range(1, 13)]
llm = MockLLM("medium", speed=5, answer_tokens=16).start()
print("A mock provider is running. All its times are divided by 5.")


# %%
def body(question):
    return {"model": "gpt-5-mini", "messages": [{"role": "user", "content": question}]}


def text(reply):
    return reply.raise_for_status().json()["choices"][0]["message"]["content"]


# %% [markdown]
# The mock provider is a separate process on your machine. It needs no key and no internet, and it stops when you close this notebook's kernel.
#
# ## The wrong way
#
# This is the first **arm** (version) of our comparison: twelve questions, one task for each.


# %%
async def wrong(url, questions):
    answers = {}

    async def ask(question):
        reply = httpx.post(f"{url}/chat/completions", json=body(question), timeout=30)
        answers[question] = text(reply)

    async with anyio.create_task_group() as tasks:
        for question in questions:
            tasks.start_soon(ask, question)
    return [answers[question] for question in questions]


# %% [markdown]
# It runs and returns twelve answers. A test that looks only at the answers passes.
#
# ## Predict, then run
#
# The model takes about 0.2 s for an answer, even for twelve at once. All twelve tasks start at the same time. Commit to a number, then run the next cell.

# %%
guess = Predict("01", "After how many seconds will the last answer arrive?", arm="wrong")
guess

# %%
wrong_run = await run(wrong, llm, QUESTIONS)
guess.reveal(wrong_run.makespan)

# %% [markdown]
# `run` called `wrong` in a fresh process, so a variable that it changes there does not change here. In the picture, each bar is a request as the server saw it, and the strip below is your event loop, with a tick for each heartbeat ([Start here](00_start_here.ipynb) explains it). Where are the ticks?
#
# The time from the first request to the last answer is the **makespan**. Here it is the sum of twelve answers and of the gaps between them. In each gap, `httpx.post` makes a new client, which loads its certificates; lesson 02 is about that.

# %% tags=["nbval-check-output"]
print("requests in flight at once: ", wrong_run.peak_in_flight)
print("heartbeats during the calls:", wrong_run.beats_during_calls)
print("line that blocked the loop: ", wrong_run.culprits[0].where.code)
print("what it did there:          ", "waiting" if wrong_run.culprits[0].waiting else "computing")

# %% [markdown]
# **What just happened?** Code like `wrong` appears when a synchronous function gets the word `async` and keeps its body. An **event loop** runs many tasks in one thread, one at a time. It can switch to another task only when the running task reaches an `await` that has to wait.
#
# `httpx.post` waits as well, but it waits inside the operating system, and the loop does not know. This is a **blocking** call: until it returns, no other task can run.
# So the first question kept the loop until its answer was complete, then the second, and so on. There were twelve tasks, but never more than one request in flight.
#
# The heartbeat had nothing to do with your questions, and it stopped too. In a service, that heartbeat is the health check, the streams of all other users, and every timeout.
#
# ## The right way


# %%
async def right(url, questions):
    answers = {}

    async def ask(question):
        reply = await client.post(f"{url}/chat/completions", json=body(question))
        answers[question] = text(reply)

    async with httpx.AsyncClient(timeout=30) as client, anyio.create_task_group() as tasks:
        for question in questions:
            tasks.start_soon(ask, question)
    return [answers[question] for question in questions]


# %% [markdown]
# Two things changed:
#
# - **`await client.post(…)`** sends the request and gives control back to the loop until the answer arrives. In the meantime, the other eleven tasks run.
# - **`httpx.AsyncClient`** replaces the module-level function. `httpx.get` and `httpx.post` are always synchronous; only an `AsyncClient` has methods that you can await.
#   All tasks share one client; [lesson 02](02_shared_client.ipynb) shows why.
#
# ## Side by side
#
# The two arms take turns, three times each, so that a hiccup of your machine affects both.

# %% tags=["figure"]
comparison = await compare(llm, QUESTIONS, wrong=wrong, right=right)
titles = {"wrong": "wrong: httpx.post", "right": "right: AsyncClient"}
figure(comparison, prediction=guess.made, titles=titles)

# %% tags=["table"]
table(comparison)

# %% [markdown]
# The figure shows a typical run of each arm; the table shows the spread of all runs. The twelve blocked steps of `wrong` follow each other without a pause, so the table counts them as one long *stall*, a stretch in which the loop did not respond.
#
# ## Verdict
#
# The claims so far, checked with the numbers that you have just measured. Times are compared only as the ratio of the two arms, because your machine may be slower.

# %% tags=["nbval-check-output", "verdict"]
from helpers import at_least, equals, verdict

w, r = comparison["wrong"], comparison["right"]
faster = comparison.ratio(lambda run: run.makespan, "wrong", "right")
verdict(
    "01",
    equals("requests in flight at once, wrong", w.peak_in_flight, 1),
    equals("requests in flight at once, right", r.peak_in_flight, 12),
    equals("heartbeats during the calls, wrong", w.beats_during_calls, 0),
    at_least("heartbeats during the calls, right", r.beats_during_calls, 5),
    equals("answers, right", len(r.result or []), 12),
    at_least("makespan, wrong ÷ right", faster, 4),
)

# %% [markdown]
# ## Your turn
#
# This handler asks a moderator, waits as long as the moderator wants, and then asks the model. Somebody has already made it `async`, but two of its lines still block the event loop.
# Repair it. Keep the moderator and the pause.
#
# The check asks eight questions at once and watches the server and the event loop.

# %% tags=["exercise"]
import time

import httpx

PAUSE = 0.1  # seconds that the moderator asks for before the next request


def request(model, question):
    return {"model": model, "messages": [{"role": "user", "content": question}]}


def moderate(url, question):
    opinion = httpx.post(f"{url}/chat/completions", json=request("mock-moderator", question))
    opinion.raise_for_status()


async def handle(client, url, question):
    moderate(url, question)
    time.sleep(PAUSE)
    reply = await client.post(f"{url}/chat/completions", json=request("gpt-5-mini", question))
    reply.raise_for_status()
    return reply.json()["choices"][0]["message"]["content"]


# %% tags=["nbval-check-output"]
from helpers import check, hints

await check("01", handle)
hints("01")

# %% [markdown]
# ## Going deeper
#
# Each section below runs on its own after the cells above. Choose what you need, or continue with [lesson 02](02_shared_client.ipynb).

# %% [markdown] jp-MarkdownHeadingCollapsed=true
# ### When is the wrong way fine?

# %% [markdown]
# When nothing else runs on the loop, as in a script. Move the slider: from how many calls on does `right` win?

# %%
from helpers import WhatIf


async def vary(calls):
    return table(await compare(llm, QUESTIONS[:calls], repeats=1, wrong=wrong, right=right))


WhatIf(vary, calls=(1, 12, 2))

# %% [markdown]
# Even a single call loses its deadline. Both functions below allow 50 ms for an answer that takes about 200 ms:


# %%
async def deadline_wrong(url):
    with anyio.move_on_after(0.05) as deadline:
        httpx.post(f"{url}/chat/completions", json=body("Hello?"), timeout=30)
    return deadline.cancelled_caught


async def deadline_right(url):
    async with httpx.AsyncClient(timeout=30) as client:
        with anyio.move_on_after(0.05) as deadline:
            await client.post(f"{url}/chat/completions", json=body("Hello?"))
    return deadline.cancelled_caught


# %% tags=["nbval-check-output"]
late = await compare(llm, repeats=1, wrong=deadline_wrong, right=deadline_right)
print("wrong: the deadline ended the call:", late["wrong"].result)
print("right: the deadline ended the call:", late["right"].result)

# %% [markdown]
# A deadline is a timer on the event loop, and a blocked loop runs no timers. In one service, a limit of 5 s took effect after more than 118 s
# ([agentscope-ai/QwenPaw#7363](https://github.com/agentscope-ai/QwenPaw/issues/7363)).

# %% [markdown] jp-MarkdownHeadingCollapsed=true
# ### What if there is only a synchronous client?

# %% [markdown]
# Run the call in a worker thread: `asyncio.to_thread` or `anyio.to_thread.run_sync`. The thread waits, and the loop stays free. But the threads come from a pool, and the pool has a size.


# %%
async def in_threads(url, to_thread):
    def ask(number):
        return client.post(f"{url}/chat/completions", json=body(f"Question {number}?"))

    with httpx.Client(timeout=30) as client:
        async with anyio.create_task_group() as tasks:
            for number in range(48):
                tasks.start_soon(to_thread, ask, number)


# %%
question = "How many of 48 calls does asyncio.to_thread have in flight at once?"
guess_threads = Predict("01", question, arm="to_thread", unit="calls")
guess_threads

# %%
import asyncio

asyncio_run = await run(in_threads, llm, asyncio.to_thread)
guess_threads.reveal(asyncio_run.peak_in_flight)

# %% [markdown]
# asyncio's pool has [cores + 4 threads, at most 32](https://docs.python.org/3/library/concurrent.futures.html#concurrent.futures.ThreadPoolExecutor): a small virtual machine with two cores gets six threads.
# anyio's pool has 40. For more, create *one* `CapacityLimiter` and pass it to every call; a new limiter for each call limits nothing.

# %%
from functools import partial


async def anyio_threads(url):
    await in_threads(url, anyio.to_thread.run_sync)


async def shared_limiter(url):
    limiter = anyio.CapacityLimiter(48)
    await in_threads(url, partial(anyio.to_thread.run_sync, limiter=limiter))


# %% tags=["nbval-check-output"]
llm.configure(speed=1)  # slower answers, so that all threads are waiting at the same time
try:
    pools = await compare(
        llm, repeats=1, anyio_threads=anyio_threads, shared_limiter=shared_limiter
    )
finally:
    llm.configure(speed=5)
for arm in pools.arms:
    print(f"{arm}: {pools[arm].peak_in_flight} calls in flight at once")

# %% [markdown]
# The default pool of 40 is shared by everything in the process, so one slow dependency can use it up. Give that dependency a limiter of its own.

# %% [markdown] jp-MarkdownHeadingCollapsed=true
# ### What if the code computes?

# %% [markdown]
# A proxy stalled for 454 ms while it counted a million tokens ([BerriAI/litellm#36174](https://github.com/BerriAI/litellm/issues/36174)). There is nothing to await. Does a thread help?
#
# `turns_per_second` counts how often another task gets its turn while the work is done elsewhere. `idle` has no work:

# %%
import asyncio
import textwrap
import time

from helpers.mock_llm.tokens import encoding

TEXT = "Explain the event loop to every reader of this course, one after the other. " * 20_000
tokenizer = encoding()


async def turns_per_second(work):
    job, turns, start = asyncio.create_task(work), 0, time.perf_counter()
    while not job.done():
        await asyncio.sleep(0.001)
        turns += 1
    return turns / (time.perf_counter() - start)


# %%
async def idle():
    return await turns_per_second(asyncio.sleep(0.5))


async def tokens_in_thread():
    return await turns_per_second(anyio.to_thread.run_sync(tokenizer.encode, TEXT))


async def python_in_thread():
    return await turns_per_second(anyio.to_thread.run_sync(textwrap.wrap, TEXT))


async def python_in_process():
    return await turns_per_second(anyio.to_process.run_sync(textwrap.wrap, TEXT))


# %%
arms = [idle, tokens_in_thread, python_in_thread, python_in_process]
computing = await compare(None, repeats=1, **{arm.__name__: arm for arm in arms})
table(computing, rows={"turns per second": lambda run: run.result}, standard=False)

# %% tags=["nbval-check-output"]
ratio = computing.ratio(lambda run: run.result, "python_in_process", "python_in_thread")
print("a process leaves at least twice as many turns as a thread:", ratio >= 2)

# %% [markdown]
# In CPython's standard build, only the thread that holds the global interpreter lock (**GIL**) runs Python code. tiktoken works in Rust and releases the lock for most of its work. `textwrap.wrap` is Python: each time the loop wakes up, it has to wait for the lock.
# So the loop still turns, but slowly.
#
# Send long Python work to another process. It takes processor time from the loop, but no lock. The function must be in an imported module.

# %% [markdown] jp-MarkdownHeadingCollapsed=true
# ### Catch it

# %% [markdown]
# Ruff's `ASYNC` rules look for blocking calls in async functions:


# %%
def moderate_first(url, question):
    httpx.post(f"{url}/chat/completions", json=body(question), timeout=30)


async def hidden(url, questions):
    for question in questions:
        moderate_first(url, question)


# %% tags=["nbval-check-output"]
from helpers import lint

for function in (wrong, hidden):
    print(f"{function.__name__}:", *lint(function) or ["nothing found"], sep="\n    ")

# %% [markdown]
# The linter misses a call that is one function away. A **stall meter** measures the loop while it runs, and sees every stall, however deep the call. This check fits into your own tests:

# %%
from helpers import StallMeter

LIMIT = 0.5  # seconds; here an answer takes 1 s, and making a client less than 0.1 s


def loop_stays_free(url, function):
    stalls = []
    with StallMeter(stalls.append) as meter:
        options = {"loop_factory": meter.new_event_loop}
        anyio.run(function, url, QUESTIONS[:1], backend_options=options)
    return all(stall.seconds <= LIMIT for stall in stalls)


# %% tags=["nbval-check-output"]
from functools import partial

checks = {each.__name__: partial(loop_stays_free, function=each) for each in (wrong, hidden, right)}
llm.configure(speed=1)  # slower answers, so that nothing else takes as long
try:
    checked = await compare(llm, repeats=1, **checks)
finally:
    llm.configure(speed=5)
for name in checks:
    print(f"{name}: the loop stays free: {checked[name].result}")

# %% [markdown]
# Add `await anyio.sleep(0)` to the end of the `for` loop in `hidden`, and let the check pass `QUESTIONS[:3]`. Is the loop free now?
#
# <details><summary>Answer</summary>No: others run between two calls, not during one.</details>
#
# In development, `PYTHONASYNCIODEBUG=1` logs every step of the loop that takes [longer than 100 ms](https://docs.python.org/3/library/asyncio-dev.html#debug-mode).
# Blockbuster raises an error at the blocking call ([langchain-ai/langgraph#4218](https://github.com/langchain-ai/langgraph/issues/4218)).

# %% [markdown] jp-MarkdownHeadingCollapsed=true
# ### In your SDK

# %% [markdown]
# The openai package has two clients with the same methods. `OpenAI` blocks; `AsyncOpenAI` must be awaited.


# %%
import openai


async def sdk_sync(url, questions):
    client = openai.OpenAI(base_url=url, api_key="any")

    async def ask(question):
        client.chat.completions.create(**body(question))

    async with anyio.create_task_group() as tasks:
        for question in questions:
            tasks.start_soon(ask, question)


# %%
async def sdk_async(url, questions):
    async def ask(question):
        await client.chat.completions.create(**body(question))

    async with (
        openai.AsyncOpenAI(base_url=url, api_key="any") as client,
        anyio.create_task_group() as tasks,
    ):
        for question in questions:
            tasks.start_soon(ask, question)


# %% tags=["nbval-check-output"]
from helpers import lint

sdk = await compare(llm, QUESTIONS[:4], repeats=1, sdk_sync=sdk_sync, sdk_async=sdk_async)
for arm in sdk.arms:
    print(f"{arm}: {sdk[arm].peak_in_flight} in flight at once")
print("the linter in sdk_sync:", *lint(sdk_sync) or ["nothing found"])

# %% [markdown]
# The linter cannot know that `create` waits. Replace `openai.OpenAI` with `openai.AsyncOpenAI` in `sdk_sync`, without `await`. How many requests reach the server?
#
# <details><summary>Answer</summary>None: without `await`, the calls never begin.</details>

# %% [markdown] jp-MarkdownHeadingCollapsed=true
# ### In a service

# %% [markdown]
# Three routes of a FastAPI application. The *lifespan* creates the client when the service starts; `Depends` hands it to a route.

# %%
from contextlib import asynccontextmanager
from functools import partial
from typing import Annotated

from fastapi import Depends, FastAPI, Request

from helpers import serving


# %%
async def shared_client(request: Request):
    return request.state.client


def make_app(url):
    @asynccontextmanager
    async def lifespan(app):
        async with httpx.AsyncClient(base_url=url, timeout=30) as client:
            yield {"client": client}

    app = FastAPI(lifespan=lifespan)

    @app.get("/blocking")
    async def blocking(question: str):
        return text(httpx.post(f"{url}/chat/completions", json=body(question), timeout=30))

    @app.get("/thread")
    def thread(question: str):
        return text(httpx.post(f"{url}/chat/completions", json=body(question), timeout=30))

    @app.get("/ask")
    async def ask(question: str, client: Annotated[httpx.AsyncClient, Depends(shared_client)]):
        return text(await client.post("/chat/completions", json=body(question)))

    return app


# %%
async def four_users(url, route):
    async with (
        serving(make_app(url)) as address,
        httpx.AsyncClient(base_url=address, timeout=30) as users,
        anyio.create_task_group() as tasks,
    ):
        for question in QUESTIONS[:4]:
            tasks.start_soon(partial(users.get, route, params={"question": question}))


# %% tags=["nbval-check-output"]
routes = {name: partial(four_users, route=f"/{name}") for name in ("blocking", "thread", "ask")}
llm.configure(speed=2)  # slower answers, so that all four wait at the same time
try:
    service = await compare(llm, repeats=1, **routes)
finally:
    llm.configure(speed=5)
for name in routes:
    print(f"/{name}: {service[name].peak_in_flight} in flight at once")

# %% [markdown]
# FastAPI runs a plain `def` route [in a thread](https://fastapi.tiangolo.com/async/), 40 at a time. A blocking call in an `async def` route stops every user.
# Add `time.sleep(0.5)` to `/ask` (and `import time`). What do the four users get?
#
# <details><summary>Answer</summary>Four pauses, one after the other.</details>

# %% [markdown] jp-MarkdownHeadingCollapsed=true
# ### Coming from asyncio, coming from Rust

# %% [markdown]
# | asyncio | anyio, as in this lesson |
# |---|---|
# | `asyncio.TaskGroup()`, `tasks.create_task(ask(q))` | `anyio.create_task_group()`, `tasks.start_soon(ask, q)` |
# | `await asyncio.gather(ask(1), ask(2))` | a task group, and a dict for the answers |
# | `await asyncio.to_thread(f, x)` | `await anyio.to_thread.run_sync(f, x)` |
# | `asyncio.Semaphore(8)` | `anyio.CapacityLimiter(8)` |
# | `async with asyncio.timeout(30)` | `with anyio.fail_after(30)` |
# | `asyncio.Queue(8)` | `anyio.create_memory_object_stream(8)` |
#
# Here is `right` in plain asyncio. Write it with `asyncio.TaskGroup`.

# %%
import asyncio


async def gathered(url, questions):
    async def ask(question):
        return text(await client.post(f"{url}/chat/completions", json=body(question)))

    async with httpx.AsyncClient(timeout=30) as client:
        return await asyncio.gather(*[ask(question) for question in questions])


# %%
plain = await run(gathered, llm, QUESTIONS)

# %% tags=["nbval-check-output"]
print(plain.peak_in_flight, "in flight at once,", len(plain.result), "answers")

# %% [markdown]
# | Rust | Python | note |
# |---|---|---|
# | `reqwest::blocking` in an `async fn` | `httpx.post` in `async def` | reqwest panics, httpx blocks |
# | `reqwest::Client`, `.await` | `httpx.AsyncClient`, `await` | one client, shared |
# | `tokio::task::spawn_blocking` | `anyio.to_thread.run_sync` | a pool: up to 512 threads in tokio, 40 in anyio |
# | `tokio::time::sleep` | `anyio.sleep` | `std::thread::sleep` and `time.sleep` block |
# | `tokio::time::timeout` | `anyio.fail_after` | takes effect only where the task yields |
#
# In tokio's multi-thread runtime, a blocked task slows the others down; in asyncio, it stops them.

# %% [markdown] jp-MarkdownHeadingCollapsed=true
# ### Recap and further reading

# %% [markdown]
# 1. Why did twelve tasks have only one request in flight?
# 2. (Going deeper) Why did the deadline of 50 ms have no effect?
# 3. (Going deeper) When is a thread the right answer, and what does it cost?
#
# <details><summary>Answers</summary>
#
# 1. `httpx.post` waits without `await`, so the loop cannot switch to another task.
# 2. A deadline is a timer on the loop, and the loop was blocked.
# 3. When only a synchronous client exists, or when the work releases the GIL, as tiktoken does. Each call needs a thread, and the pool is small.
#
# </details>
#
# **Further reading.** The same mistake for every streamed chunk: [BerriAI/litellm#20268](https://github.com/BerriAI/litellm/issues/20268). A webhook that stopped all users:
# [open-webui/open-webui#16632](https://github.com/open-webui/open-webui/issues/16632).
#
# Next: [02 · Share one client](02_shared_client.ipynb).
