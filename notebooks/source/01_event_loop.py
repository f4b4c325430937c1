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
# **Symptom.** The service answers one user at a time, and while it does, even its health check hangs.
#
# **What you'll do**
#
# - watch one `httpx.post` inside `async def` freeze a whole process, and read off the line that does it
# - repair it, and count at the server what changed
# - know what to do when only a synchronous SDK exists, and where that stops working
# - find such calls in your own code: what a linter sees, what it misses, and a measurement that finds the rest
#
# **What you'll need.** `async`/`await` and a task group seen once before. 30 minutes.
#
# ## The incident
#
# An inference server ran its model's `generate` call directly in an async route. One generation took 41.93 s.
# During it both health routes timed out, four probes in a row, with ten seconds to answer each.
# After the call was moved to a thread, 82 of 82 probes were answered, the slowest in 24 ms
# (unslothai/unsloth#9201).
#
# One line did not give the event loop back. You will now build the same fault with twelve questions to a language model.

# %%
import anyio
import httpx
import openai

from helpers import MockLLM, Predict, compare, figure, run, table

QUESTIONS = [f"Explain the event loop to reader {number}." for number in range(1, 13)]


def body(question):
    return {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": question}]}


llm = MockLLM("medium", speed=5, answer_tokens=16).start()
print("A mock provider is running. All its times are divided by 5.")

# %% [markdown]
# The provider is a process of its own on your machine. It needs no key and no network, and it ends with this notebook's kernel.
# It takes about as long as a model of 70 billion parameters, five times faster so that you need not wait.
#
# ## The wrong way
#
# Twelve questions, one task each. This is how it often looks after a synchronous function became `async def`.


# %%
async def wrong(url, questions):
    async def ask(question):
        reply = httpx.post(f"{url}/chat/completions", json=body(question), timeout=30)
        answers.append(reply.json()["choices"][0]["message"]["content"])

    answers = []
    async with anyio.create_task_group() as calls:
        for question in questions:
            calls.start_soon(ask, question)
    return answers


# %% [markdown]
# Nothing here is an error. It runs, it returns twelve answers, and a test of it passes.
#
# ## Predict, then run
#
# One question takes about a quarter of a second. All twelve are started at the same moment. Commit to a number, then run the cell after it.
#
# `run` starts `wrong` in a fresh process with an event loop of its own.
# Beside it, on the same loop, a heartbeat beats fifty times a second. Nothing else is on that loop.

# %%
guess = Predict("01", "After how many seconds will the last answer be there?", arm="wrong")
guess

# %%
wrong_run = await run(wrong, llm, QUESTIONS)

# %% [markdown]
# Each bar is one request **as the server saw it**: pale while it waited for its first token, solid while the answer was written.
# The strip under the bars is the event loop: a tick for each beat, a block where the loop was blocked or busy.
#
# Now ask the run what happened.

# %% tags=["nbval-check-output"]
print("requests in flight at once:    ", wrong_run.peak_in_flight)
print("heartbeats during the calls:   ", wrong_run.beats_during_calls)
for culprit in wrong_run.culprits[:1]:
    doing = "waiting" if culprit.waiting else "computing"
    print(f"blocked {culprit.times} times, {doing}, in:", culprit.where.code)

# %% [markdown]
# **What just happened?** An event loop runs one task at a time and changes to another only at an `await` that has to wait.
# `httpx.post` waits too, but inside the operating system, without telling the loop.
# So the first task kept the loop until its answer was there, then the second, and so on.
# Twelve tasks, one request in flight.
#
# The heartbeat had nothing to do with your calls, and it stopped all the same. In a service that heartbeat is
# the health check, every other user's stream, and every timeout.
#
# ## The right way


# %%
async def right(url, questions):
    async def ask(question):
        reply = await client.post(f"{url}/chat/completions", json=body(question))
        answers.append(reply.json()["choices"][0]["message"]["content"])

    answers = []
    async with httpx.AsyncClient(timeout=30) as client, anyio.create_task_group() as calls:
        for question in questions:
            calls.start_soon(ask, question)
    return answers


# %% [markdown]
# Two changes:
#
# - **`await client.post`** sends the request and gives the loop back until the answer is there. Eleven other tasks can use it.
# - **One `httpx.AsyncClient`** for all calls. The module-level functions `httpx.get` and `httpx.post` are synchronous; only a client has awaitable ones.
#   Why *one* is lesson 02.
#
# Sometimes there is nothing to await, because the SDK you were given has no async version. Then the call belongs in a worker thread:


# %%
async def threads(url, questions):
    def ask(question):  # synchronous, as the SDK wants it
        reply = client.post(f"{url}/chat/completions", json=body(question))
        answers.append(reply.json()["choices"][0]["message"]["content"])

    answers = []
    with httpx.Client(timeout=30) as client:
        async with anyio.create_task_group() as calls:
            for question in questions:
                calls.start_soon(anyio.to_thread.run_sync, ask, question)
    return answers


# %% [markdown]
# ## Side by side
#
# The three arms run in turns, three times each, so that a hiccup of your machine meets all of them.

# %% tags=["figure"]
comparison = await compare(llm, QUESTIONS, wrong=wrong, right=right, threads=threads)
titles = {
    "wrong": "wrong: httpx.post",
    "right": "right: AsyncClient",
    "threads": "threads: to_thread",
}
figure(comparison, prediction=guess.made, titles=titles)

# %% tags=["table"]
table(comparison)

# %% [markdown]
# The figure shows each arm's typical run; the table has the spread of all three. `right` and `threads` have one stall each at the start:
# that is the client reading its certificates, even for plain HTTP. It computes; nobody can await it. Lesson 02 is about it.
#
# ## Verdict
#
# Counters first, the clock only as a ratio of two arms of this run.

# %% tags=["nbval-check-output", "verdict"]
from helpers import at_least, equals, verdict

w, r, t = comparison["wrong"], comparison["right"], comparison["threads"]
verdict(
    "01",
    equals("requests in flight at once, wrong", w.peak_in_flight, 1),
    equals("requests in flight at once, right", r.peak_in_flight, 12),
    equals("requests in flight at once, threads", t.peak_in_flight, 12),
    equals("heartbeats during the calls, wrong", w.beats_during_calls, 0),
    at_least("heartbeats during the calls, right", r.beats_during_calls, 5),
    equals("answers, right", len(r.result), 12),
    at_least(
        "makespan, wrong ÷ right", comparison.ratio(lambda run: run.makespan, "wrong", "right"), 4
    ),
)

# %% [markdown]
# ## What if there is a deadline?
#
# A blocked loop cannot keep time for anybody. Both arms below allow 50 ms for an answer that takes about 250 ms.


# %% tags=["nbval-check-output"]
async def deadline_wrong(url):
    with anyio.move_on_after(0.05) as deadline:
        httpx.post(f"{url}/chat/completions", json=body(QUESTIONS[0]), timeout=30)
    return deadline.cancelled_caught


async def deadline_right(url):
    async with httpx.AsyncClient(timeout=30) as client:
        with anyio.move_on_after(0.05) as deadline:
            await client.post(f"{url}/chat/completions", json=body(QUESTIONS[0]))
    return deadline.cancelled_caught


late = await compare(llm, repeats=1, wrong=deadline_wrong, right=deadline_right)
for arm in ("wrong", "right"):
    left = late[arm].requests[0].client_left is not None
    print(f"{arm}: deadline kept: {late[arm].result}, server saw the client leave: {left}")

# %% [markdown]
# On the blocked loop the deadline passed unnoticed: the timer needs the loop too. The answer came late and was taken as if nothing were wrong.
# In one real service a limit of 5 s fired after more than 118 s for this reason (agentscope-ai/QwenPaw#7363).
#
# ## What if there are 41 calls?
#
# Worker threads are a bounded pool. anyio lends out 40 at a time; everything else in the process that uses `to_thread` shares them.


# %%
llm.configure(speed=1)  # a second for an answer: time for all forty to gather
crowd = await run(threads, llm, [f"Question {number}" for number in range(41)])
llm.configure(speed=5)

# %% tags=["nbval-check-output"]
last = max(request.arrival for request in crowd.requests)
first_answer = min(request.last_byte for request in crowd.requests)
print("requests in flight at once:         ", crowd.peak_in_flight)
print("call 41 waited for another's answer:", last > first_answer)

# %% [markdown]
# Call 41 took twice as long as the others, and no error says so. For many calls prefer the async client; for a sync SDK that must carry more,
# pass `limiter=anyio.CapacityLimiter(100)` and keep in mind that each call costs a thread.
#
# ## What if the loop is kept by computing?
#
# Not every block is I/O. Counting the tokens of a long prompt is plain CPU work: a proxy for language models stalled for 454 ms at a million tokens
# (BerriAI/litellm#36174). There is nothing to `await`. Does a thread help? Python runs one thread at a time, *unless* the work lets go of the interpreter lock.

# %%
from helpers.mock_llm.tokens import encoding

tokenizer = encoding()
PROMPT = "Explain the event loop to every reader of this course, one after the other. " * 20_000


async def on_the_loop():
    tokenizer.encode(PROMPT)


async def in_a_thread():
    await anyio.to_thread.run_sync(tokenizer.encode, PROMPT)


async def python_in_a_thread():
    await anyio.to_thread.run_sync(lambda: sum(letter == " " for letter in PROMPT * 3))


arms = {each.__name__: each for each in (on_the_loop, in_a_thread, python_in_a_thread)}
table(await compare(None, **arms))

# %% [markdown]
# tiktoken does its work in Rust and releases the lock, so in a thread it leaves the loop free.
# Compare the heartbeats of `python_in_a_thread`: it holds the lock and gives it up only every 5 ms, so the loop waits for the lock each time it wants to run.
# It limps. Pure-Python work that takes long belongs in a process: `anyio.to_process.run_sync`.
#
# ## When is the wrong way fine?
#
# Move the slider and let the arms run. With one call at a time there is nothing to freeze: a script, a notebook cell or a worker that handles
# one job may use `httpx.post` without regret. From the second concurrent user on it is wrong.


# %%
from helpers import WhatIf


async def vary(calls):
    return table(await compare(llm, QUESTIONS[:calls], repeats=1, wrong=wrong, right=right))


WhatIf(vary, calls=(1, 12, 1))

# %% [markdown]
# ## Your turn
#
# This handler asks a moderator first, waits as long as the moderator wants, then asks the model. Someone has already made it `async`.
# Two of its lines still block the loop. Repair it; keep the moderator and the pause.
#
# The check runs eight questions at once and looks at the server and the loop.

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
    reply = await client.post(f"{url}/chat/completions", json=request("gpt-4o-mini", question))
    reply.raise_for_status()
    return reply.json()["choices"][0]["message"]["content"]


# %% tags=["nbval-check-output"]
from helpers import check, hints

await check("01", handle)
hints("01")

# %% [markdown]
# ## Catch it
#
# Ruff has rules for blocking calls in async functions (`ASYNC`). Here it reads `wrong`, the handler above, and a function that uses a synchronous SDK.


# %% tags=["nbval-check-output"]
async def sdk_sync(url, questions):
    async def ask(question):
        client.chat.completions.create(**body(question))

    client = openai.OpenAI(base_url=url, api_key="any")
    async with anyio.create_task_group() as calls:
        for question in questions:
            calls.start_soon(ask, question)


from helpers import lint

for function in (wrong, handle, sdk_sync):
    print(f"{function.__name__}:", *lint(function) or ["nothing found"], sep="\n    ")

# %% [markdown]
# The direct calls are found. The moderator is not: it is one function away. The SDK is not: ruff does not know that `create` waits.
#
# To find the rest, look at the loop while it runs. The lines named in this lesson come from such a meter; use it in your own tests:
#
# ```python
# from helpers import StallMeter
#
# def test_the_loop_stays_free():
#     stalls = []
#     with StallMeter(stalls.append) as meter:
#         anyio.run(my_handler, backend_options={"loop_factory": meter.new_event_loop})
#     assert not [stall for stall in stalls if stall.seconds > 0.05]
# ```
#
# In production, `PYTHONASYNCIODEBUG=1` on one instance logs each slow callback. The detector Blockbuster raises at the call itself; LangGraph's
# development server ships with it (langchain-ai/langgraph#4218).
#
# ## In your SDK
#
# The openai package has two clients with the same methods. `OpenAI` blocks, `AsyncOpenAI` awaits; both are as easy to call from `async def`.


# %% tags=["nbval-check-output"]
async def sdk_async(url, questions):
    async def ask(question):
        await client.chat.completions.create(**body(question))

    client = openai.AsyncOpenAI(base_url=url, api_key="any")
    async with client, anyio.create_task_group() as calls:
        for question in questions:
            calls.start_soon(ask, question)


sdk = await compare(llm, QUESTIONS, repeats=1, sdk_sync=sdk_sync, sdk_async=sdk_async)
for arm in ("sdk_sync", "sdk_async"):
    print(f"{arm}: {sdk[arm].peak_in_flight} in flight at once")
missed = sdk["sdk_sync"].culprits[0].where
print(f"the line that the linter missed: {missed.code}")

# %% [markdown]
# ## Coming from Rust
#
# | Rust | Python | in both |
# |---|---|---|
# | `reqwest::blocking::Client` in an `async fn` | `httpx.post` in `async def` | holds the thread that runs the other tasks. reqwest panics when it notices; httpx does not |
# | `reqwest::Client` and `.await` | `httpx.AsyncClient` and `await` | one client, shared |
# | `tokio::task::spawn_blocking` | `anyio.to_thread.run_sync` | tokio has up to 512 blocking threads by default, anyio 40 |
# | `tokio::time::sleep` | `anyio.sleep` | `std::thread::sleep` and `time.sleep` block |
# | `tokio::time::timeout` | `anyio.fail_after` | neither fires while the task does not yield |
#
# tokio spreads tasks over several threads, so one blocked task slows the others; in Python there is one thread, and one blocked task stops them.
#
# ## Recap
#
# 1. Why did twelve tasks have one request in flight?
# 2. Why did the 50 ms deadline not help?
# 3. When is `to_thread` right, and what is the price?
#
# <details><summary>Answers</summary>
#
# 1. `httpx.post` waits without an `await`: the loop cannot change tasks.
# 2. A deadline is a timer on the loop, and the loop was blocked.
# 3. When only a synchronous call exists. It costs a thread per call, and 40 is all there are unless you say otherwise.
#
# </details>
#
# **Further reading.** The same mistake per streamed chunk: BerriAI/litellm#20268. In a webhook, for every user at once: open-webui/open-webui#16632.
# Proof by counting loop ticks: frankbria/auto-author#175.
