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
# # 04 · Set a deadline
#
# **Symptom.** Now and then the service stops answering. There is no error, no log line and no load. A restart helps.
#
# **Objectives.** After this lesson you can
#
# - explain why a few calls that hang stop all the others
# - give each call a deadline, and its caller a clear error
# - share one budget of time among several calls
#
# **Prerequisites.** Lessons 01 and 02. **Time.** 25 minutes for the core, 50 with everything in *Going deeper*.
#
# ## The incident
#
# A chat bot built its SDK client without a timeout of its own. In its log a request leaves at 22:53:52, and the next line is a timeout at 23:03:54. For ten minutes the bot was silent
# ([HKUDS/nanobot#3455](https://github.com/HKUDS/nanobot/issues/3455)). It was lucky: 600 s is that SDK's default for one attempt. With `timeout=None`, a call can wait forever.

# %%
import anyio
import httpx

from helpers import Fault, MockLLM, Predict, compare, figure, run, table

SCALE = 25  # every time in this lesson is divided by it
QUESTIONS = [f"What does clause {number} of the contract say?" for number in range(1, 33)]
llm = MockLLM("medium", speed=SCALE, answer_tokens=16).start()
print(f"All times are divided by {SCALE}: a limit of 30 s is {30 / SCALE:g} s here.")

# %% [markdown]
# ## The wrong way
#
# "Some answers take long," somebody said, and switched the timeout off. There are 32 questions, and the client has a pool of four connections. (The default is 100; like the times, it is scaled down.)


# %%
POOL = httpx.Limits(max_connections=4)


def body(question):
    return {"model": "gpt-5-mini", "messages": [{"role": "user", "content": question}]}


def text(reply):
    return reply.raise_for_status().json()["choices"][0]["message"]["content"]


# %%
async def wrong(url, questions):
    answers = {}

    async def ask(question):
        reply = await client.post(f"{url}/chat/completions", json=body(question))
        answers[question] = text(reply)

    async with (
        httpx.AsyncClient(timeout=None, limits=POOL) as client,
        anyio.create_task_group() as tasks,
    ):
        for question in questions:
            tasks.start_soon(ask, question)
    return answers


# %% [markdown]
# ## Predict, then run
#
# The provider answers three of four requests. Half of the others **hang**: the request is accepted and never answered.
# The other half **drip**: the answer begins, then comes one byte every 2.5 s (0.1 s here). Both happen when a provider, or a proxy on the way, is overloaded.
#
# So 24 of the 32 questions could be answered. Commit to a number, then run the next cell. The lab gives up after 2 s on your clock, which is 50 s of the provider's.

# %%
guess = Predict("04", "How many answers will arrive?", arm="wrong", unit="answers")
guess

# %%
# Requests 8, 16, … hang; 4, 12, 20, … drip. The first match wins.
TROUBLE = [Fault(kind="hang", every=8), Fault(kind="drip", every=4, interval=2.5 / SCALE)]
llm.configure(faults=TROUBLE)
wrong_run = await run(wrong, llm, QUESTIONS, limit=2)
guess.reveal(wrong_run.answered)


# %% tags=["nbval-check-output"]
def never_sent(run):
    return len(QUESTIONS) - len(run.requests)


print("answers:         ", wrong_run.answered)
print("requests open:   ", wrong_run.still_open)
print("calls never sent:", never_sent(wrong_run))
print("event loop:      ", "blocked" if wrong_run.blocked_share > 0.5 else "free")

# %% [markdown]
# **What just happened?** Each call that never ends keeps a connection, and the pool has four. From then on every other call waits for a connection inside the client,
# where no server and no log sees it. Sixteen calls were never sent, and the provider would have answered twelve of them.
#
# The event loop is free all the time: a health check still says 200. A larger pool only postpones the day: if one call in twenty hangs, a pool of 100 is full after 2,000 calls.
#
# ## The right way
#
# Give each call a **deadline**, a point in time at which it ends, whatever happens, and give its caller one clear error for every kind of timeout.


# %%
class NoAnswerError(Exception):
    """The provider did not answer in time."""


async def call(client, url, question, limit):
    start = anyio.current_time()
    try:
        with anyio.fail_after(limit):
            reply = await client.post(f"{url}/chat/completions", json=body(question))
    except (TimeoutError, httpx.TimeoutException) as late:
        took = anyio.current_time() - start
        cause = f"{type(late).__name__} after {took:.1f} s (deadline {limit:.1f} s)"
        raise NoAnswerError(f"gpt-5-mini gave no answer: {cause}") from late
    return text(reply)


# %%
async def right(url, questions):
    answers, failed = {}, {}
    turn = anyio.CapacityLimiter(4)  # as many as the pool has connections

    async def ask(question):
        async with turn:
            try:
                answers[question] = await call(client, url, question, limit=30 / SCALE)
            except NoAnswerError as error:
                failed[question] = str(error)

    timeout = httpx.Timeout(20 / SCALE, connect=10 / SCALE)
    async with (
        httpx.AsyncClient(timeout=timeout, limits=POOL) as client,
        anyio.create_task_group() as tasks,
    ):
        for question in questions:
            tasks.start_soon(ask, question)
    return answers, failed


# %% [markdown]
# - **`anyio.fail_after`** sets the deadline. It cancels the call, and httpx closes the connection, so that its place in the pool is free.
# - **`httpx.Timeout`** ends earlier what is certainly lost: `connect` ends the wait for a host that is down, `pool` the wait for a free connection, `read` a silence. Every byte starts the read timeout again, so it is no deadline. But an answer that is not streamed is silent until it is there: choose `read` for the slowest answer that you want.
# - **The limiter comes first, then the deadline.** All 32 tasks start together. If the deadline included the wait for a turn, calls would time out before they are sent. (The wait for a turn has no limit here; a service needs one for that too.)
# - **`NoAnswerError`** names the model, what ended the call, and how long the call took, without the wait for a turn. The caller handles one error; failures that are no timeouts follow in lesson 08.
#
# ## Side by side
#
# The same again. The lab gives up after 4 s this time.

# %% tags=["figure"]
from operator import attrgetter

comparison = await compare(llm, QUESTIONS, repeats=1, limit=4, wrong=wrong, right=right)
titles = {"wrong": "wrong: no limit", "right": "right: a deadline"}
numbers = [
    ("answers", attrgetter("answered")),
    ("still open", attrgetter("still_open")),
    ("never sent", never_sent),
]
figure(comparison, prediction=guess.made, titles=titles, numbers=numbers)

# %% tags=["table"]
w, r = comparison["wrong"], comparison["right"]
answers, failed = r.result or ({}, {})
print("A caller of right got:", next(iter(failed.values()), "no error"))
table(comparison, dict(numbers) | {"how it ended": attrgetter("outcome")}, standard=False)

# %% [markdown]
# ## Verdict

# %% tags=["nbval-check-output", "verdict"]
from helpers import equals, verdict

verdict(
    "04",
    equals("requests still open, wrong", w.still_open, 4),
    equals("calls never sent, wrong", never_sent(w), 16),
    equals("answers, wrong", w.answered, 12),
    equals("requests still open, right", r.still_open, 0),
    equals("calls never sent, right", never_sent(r), 0),
    equals("answers, right", len(answers), 24),
    equals("callers with a clear error, right", len(failed), 8),
)

# %% [markdown]
# ## Your turn
#
# `handle` asks a moderator, then a large model and, if that gives no answer, a small one. All of it has one budget of seconds, because that is how long the user waits.
# Passing on what is left of it is called **deadline propagation**. Here, somebody gave each call the whole budget. Repair it:
#
# - The caller has an answer or `NoAnswerError` when the budget is over, whatever hangs or drips.
# - The moderator may use the whole budget.
# - The large model may use what is left, except the last `RESERVE` seconds. They are for the small model, if it is needed.

# %% tags=["exercise"]
import httpx

RESERVE = 0.8  # seconds of the budget that are kept for the small model


class NoAnswerError(Exception):
    """Nobody answered in time."""


async def ask(client, url, model, question, limit):
    body = {"model": model, "messages": [{"role": "user", "content": question}]}
    try:
        reply = await client.post(f"{url}/chat/completions", json=body, timeout=limit)
    except httpx.TimeoutException as error:
        raise NoAnswerError(model) from error
    reply.raise_for_status()
    return reply.json()["choices"][0]["message"]["content"]


async def handle(client, url, question, budget):
    await ask(client, url, "mock-moderator", question, budget)
    try:
        return await ask(client, url, "gpt-5", question, budget)
    except NoAnswerError:
        return await ask(client, url, "gpt-5-mini", question, budget)


# %% tags=["nbval-check-output"]
from helpers import check, hints

await check("04", handle)  # takes about 10 s
hints("04")

# %% [markdown]
# ## Going deeper
#
# Each section below runs on its own after the cells above. Choose what you need, or continue with [lesson 05](05_rate_limits.ipynb).

# %% [markdown] jp-MarkdownHeadingCollapsed=true
# ### When is the wrong way fine?

# %% [markdown]
# When someone is watching and can stop it, as in a terminal. And a deadline has a price: if it is too short, it throws away answers that would have come.
# Here the answers vary in length (a long **tail**: some are very long), and a **share** of the calls hangs. How much waiting does each deadline waste?


# %%
import math
from functools import partial

import numpy

from helpers import WhatIf, lines

DEADLINES = (5, 10, 20, 40)


# %%
async def impatient(url, lengths, deadline):
    async def ask(tokens):
        asked = body("Why?") | {"max_completion_tokens": tokens}
        with anyio.move_on_after(deadline / SCALE):
            await client.post(f"{url}/chat/completions", json=asked)

    async with httpx.AsyncClient(timeout=None) as client, anyio.create_task_group() as tasks:
        for tokens in lengths:
            tasks.start_soon(ask, tokens)


# %%
WAITS = {"answers thrown away": [None], "calls that hang": ["hang"], "both": [None, "hang"]}


def wasted(run, faults):
    """Real seconds, per call, that were waited for answers that did not come."""
    left = [each for each in run.requests if each.client_left and each.fault in faults]
    return sum(each.client_left - each.arrival for each in left) * SCALE / len(run.requests)


# %%
def chart(runs):
    points = {}
    for name, faults in WAITS.items():
        points[name] = [(d, wasted(runs[f"{d} s"], faults)) for d in DEADLINES]
    came = ", ".join(f"{runs[f'{d} s'].answered} at {d} s" for d in DEADLINES)
    wait = ", ".join(f"{seconds:.1f} s" for _, seconds in points["both"])
    caption = f"Answers to the 40 calls: {came}. Wasted per call: {wait}."
    return lines(points, x="deadline (s)", y="wasted per call (s)", caption=caption)


# %%
async def vary(share, tail):
    draws = numpy.random.default_rng(4).lognormal(math.log(600), tail, 40)
    lengths = [min(4_000, round(tokens)) for tokens in draws]
    arms = {f"{d} s": partial(impatient, lengths=lengths, deadline=d) for d in DEADLINES}
    llm.configure(answer_tokens=4_000, faults=[Fault(kind="hang", share=share)])
    try:
        return chart(await compare(llm, repeats=1, limit=3, **arms))
    finally:
        llm.configure(answer_tokens=16, faults=TROUBLE)


# %%
await vary(share=0.05, tail=0.8)

# %%
WhatIf(vary, share=(0.0, 0.5, 0.05), tail=(0.2, 1.2, 0.8))

# %% [markdown]
# Take the deadline from your own **tail latency**, the times of the slowest calls: above the 99th percentile and below the patience of your users.
#
# Up to which share of hanging calls does 40 s waste less than 20 s? Which deadline wastes least at 0.2, and is it the best?
#
# <details><summary>Answer</summary>A little over 0.1; it varies. At 0.2, 5 s wastes least, with the fewest answers.</details>

# %% [markdown] jp-MarkdownHeadingCollapsed=true
# ### Is a read timeout enough?

# %% [markdown]
# A read timeout of 20 s ends the calls that hang. How many of the 24 possible answers will arrive now?

# %%
guess_read = Predict("04", "How many answers with a read timeout?", arm="read", unit="answers")
guess_read


# %%
from contextlib import suppress


async def read(url, questions):
    async def ask(question):
        with suppress(httpx.ReadTimeout):
            await client.post(f"{url}/chat/completions", json=body(question))

    timeout = httpx.Timeout(20 / SCALE, pool=None)
    async with (
        httpx.AsyncClient(timeout=timeout, limits=POOL) as client,
        anyio.create_task_group() as tasks,
    ):
        for question in questions:
            tasks.start_soon(ask, question)


# %%
llm.configure(faults=TROUBLE)  # its counters start again
read_run = await run(read, llm, QUESTIONS, limit=4)
guess_read.reveal(read_run.answered)

# %% tags=["nbval-check-output"]
print("answers:         ", read_run.answered)
print("requests open:   ", read_run.still_open)
print("calls never sent:", never_sent(read_run))

# %% [markdown]
# The calls that drip are never silent for 20 s. Each keeps a connection, and after the fourth the pool is full, as in `wrong`, only later. Change `pool=None` to `pool=20 / SCALE`: which error do the waiting calls get?
#
# <details><summary>Answer</summary><code>httpx.PoolTimeout</code>, without having been sent.</details>

# %% [markdown] jp-MarkdownHeadingCollapsed=true
# ### What if the answer is streamed?

# %% [markdown]
# A stream may take minutes, so its deadline has to be long. But it should not fall silent for long. A limit between two *events* is a deadline that each event renews:


# %%
import math
from contextlib import suppress
from functools import partial

from httpx_sse import aconnect_sse


# %%
async def follow(client, url, asked, idle):
    with anyio.fail_after(idle / SCALE) as silence:
        async with aconnect_sse(client, "POST", f"{url}/chat/completions", json=asked) as reply:
            async for _event in reply.aiter_sse():
                silence.deadline = anyio.current_time() + idle / SCALE


# %%
MODELS = ("mock-stalls", "mock-drips", "gpt-5-mini")


async def streams(url, read=math.inf, idle=math.inf, total=math.inf):
    async def stream(model):
        asked = body("Write a report.") | {"model": model, "stream": True}
        with suppress(TimeoutError, httpx.ReadTimeout), anyio.fail_after(total / SCALE):
            await follow(client, url, asked, idle)

    timeout = httpx.Timeout(None, read=read / SCALE)
    async with httpx.AsyncClient(timeout=timeout) as client, anyio.create_task_group() as tasks:
        for model in MODELS:
            tasks.start_soon(stream, model)


# %%
def fate(model, run):
    request = next((each for each in run.requests if each.model == model), None)
    if request and request.last_byte:
        return "answered"
    return "still open" if request and not request.client_left else "client left"


# %% tags=["nbval-check-output"]
faults = [
    Fault(kind="hang_mid_stream", model="mock-stalls"),
    Fault(kind="drip", model="mock-drips", interval=2.5 / SCALE),
]
arms = {
    "read 15 s": partial(streams, read=15),
    "total 20 s": partial(streams, total=20),
    "idle 15 s + total 120 s": partial(streams, idle=15, total=120),
}
llm.configure(answer_tokens=1_800, faults=faults)  # a report that takes 31 s
try:
    streamed = await compare(llm, repeats=1, limit=2.5, **arms)
finally:
    llm.configure(answer_tokens=16, faults=TROUBLE)
table(streamed, {model: partial(fate, model) for model in MODELS}, standard=False)

# %% [markdown]
# The healthy model writes a long report. A read timeout leaves the drip open. A total of 20 s ends the healthy report, too. The limit between events ends whatever brings no event for 15 s: the stall and the drip.
# Streams that were open and silent froze four sessions of an agent for 25 to 109 minutes ([earendil-works/pi#8331](https://github.com/earendil-works/pi/issues/8331)).
# Change `idle` to 0.5: what happens to the healthy model?
#
# <details><summary>Answer</summary>The client leaves it, too: the limit includes the wait for the first event.</details>

# %% [markdown] jp-MarkdownHeadingCollapsed=true
# ### Catch it

# %% [markdown]
# Ruff's rule S113 looks for calls without a timeout:

# %% tags=["nbval-check-output"]
from helpers import lint

for arm in (wrong, right):
    print(f"{arm.__name__}:", *lint(arm, "S113") or ["nothing found"])

# %% [markdown]
# It finds `timeout=None` where httpx is called by name. No linter knows that a read timeout is no deadline. A test with a provider that drips does:
#
# ```python
# @pytest.mark.anyio
# @pytest.mark.mock_llm(faults=[Fault(kind="drip")])
# async def test_a_dripping_call_is_ended(mock_llm):
#     with anyio.fail_after(5), pytest.raises(NoAnswerError):
#         await my_handler(mock_llm.url, "Anyone there?")
# ```
#
# In production, log a line when a call *begins*, and watch the number of calls in flight and the age of the oldest: a call that hangs never reaches the line that you log at its end.

# %% [markdown] jp-MarkdownHeadingCollapsed=true
# ### In your SDK

# %% [markdown]
# Both SDKs have a default timeout, and they retry after it:

# %%
import anthropic
import openai

for sdk in (openai, anthropic):
    limit, attempts = sdk.DEFAULT_TIMEOUT, sdk.DEFAULT_MAX_RETRIES + 1
    print(f"{sdk.__name__}: {attempts} × {limit.read} s = {attempts * limit.read / 60:.0f} minutes")


# %%
async def hanging(url, deadline):
    try:
        async with openai.AsyncOpenAI(base_url=url, api_key="any", timeout=10 / SCALE) as client:
            with anyio.fail_after(deadline / SCALE):
                await client.chat.completions.create(**body("Anyone there?"))
    except (TimeoutError, openai.APITimeoutError) as late:
        return type(late).__name__


# %%
llm.configure(faults=[Fault(kind="hang")])
try:
    tried = {deadline: await run(hanging, llm, deadline, limit=12) for deadline in (150, 8)}
finally:
    llm.configure(faults=TROUBLE)

# %% tags=["nbval-check-output"]
for deadline, done in tried.items():
    print(f"deadline {deadline} s: {done.result}, requests: {len(done.requests)}")

# %% [markdown]
# One call, three requests: `timeout` applies to each attempt, and within it to each read. Set `timeout` and `max_retries` on the client, and put `anyio.fail_after` around the call: it covers the retries as well.
# `timeout=None` is not the default; it switches all limits off. A configuration value of null that was passed on was enough to hang a run
# ([cognizant-ai-lab/neuro-san#1220](https://github.com/cognizant-ai-lab/neuro-san/issues/1220)). Change `Fault(kind="hang")` to `Fault(kind="drip", interval=0.1)`: what ends the calls now, and after how many requests?
#
# <details><summary>Answer</summary>The deadlines, after one request each: a drip is never silent, so the SDK has nothing to retry.</details>

# %% [markdown] jp-MarkdownHeadingCollapsed=true
# ### In a service

# %% [markdown]
# A FastAPI application turns the error into status 504, in one place:

# %%
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from fastapi.testclient import TestClient


# %%
def make_app(url):
    @asynccontextmanager
    async def lifespan(app):
        async with httpx.AsyncClient(timeout=20 / SCALE, limits=POOL) as client:
            yield {"client": client, "turn": anyio.CapacityLimiter(4)}

    app = FastAPI(lifespan=lifespan)

    @app.exception_handler(NoAnswerError)
    async def no_answer(request: Request, error: NoAnswerError):
        return JSONResponse({"error": str(error)}, status_code=504)

    @app.get("/ask")
    async def ask(question: str, request: Request):
        async with request.state.turn:
            return await call(request.state.client, url, question, limit=10 / SCALE)

    return app


# %%
def visit(url):
    with TestClient(make_app(url)) as service:
        return [
            service.get("/ask", params={"question": each}).status_code for each in QUESTIONS[:8]
        ]


# %%
llm.configure(faults=TROUBLE)
visited = await run(visit, llm, limit=10)

# %% tags=["nbval-check-output"]
print(visited.result)

# %% [markdown]
# Raise the limit in `ask` to 40 s. Which of the two requests in trouble is ended earlier, the one that hangs or the one that drips?
#
# <details><summary>Answer</summary>The one that hangs: a read timeout notices silence, not a drip.</details>

# %% [markdown] jp-MarkdownHeadingCollapsed=true
# ### Coming from asyncio, coming from Rust

# %% [markdown]
# | asyncio | anyio, as in this lesson |
# |---|---|
# | `async with asyncio.timeout(30):` raises `TimeoutError` | `with anyio.fail_after(30):` |
# | `asyncio.timeout_at(when)`, `timeout.reschedule(when)` | `scope.deadline = when` |
# | `asyncio.Semaphore(4)` | `anyio.CapacityLimiter(4)` |
#
# | Rust | Python | in both |
# |---|---|---|
# | `reqwest::Client`, no timeout by default | `httpx.AsyncClient()`, 5 s of silence by default | without a limit, a call waits forever |
# | `ClientBuilder::timeout` | `anyio.fail_after` around the call | a deadline for the whole call, body included |
# | `read_timeout`, `connect_timeout` | `httpx.Timeout(read=…, connect=…)` | silence, and connecting |
# | `tokio::time::timeout(limit, future)` | `anyio.fail_after(limit)` | cancels what is inside |
# | `tokio::sync::Semaphore` | `anyio.Semaphore`, `anyio.CapacityLimiter` | first a turn, then the clock |

# %% [markdown] jp-MarkdownHeadingCollapsed=true
# ### Recap and further reading

# %% [markdown]
# 1. Why were healthy calls never sent when others hung?
# 2. Which limit ends a drip, and which does not?
# 3. Your handler has 10 s and makes three calls. What limit does the second one get?
#
# <details><summary>Answers</summary>
#
# 1. A call that hangs keeps its connection. When the pool has none left, nobody else is served.
# 2. A deadline for the whole call, or a limit between two events. A read timeout starts again with every byte.
# 3. What the first has left of the 10 s, minus what the third will need.
#
# </details>
#
# **Further reading.** About one call in twenty stalled, and CI jobs ran into their six-hour limit: [langchain-ai/deepagents#2423](https://github.com/langchain-ai/deepagents/issues/2423).
# A stream that stalled without an exception, so that nothing was retried: [agent0ai/agent-zero#1882](https://github.com/agent0ai/agent-zero/issues/1882).
#
# Next: [05 · Wait as long as the server asks](05_rate_limits.ipynb).
