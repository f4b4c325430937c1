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
# # 05 · Wait as long as the server asks
#
# **Symptom.** At busy times, answers are lost to status 429. The logs show five retries each, all within a second.
#
# **Objectives.** After this lesson you can
#
# - read how long a server asks you to wait
# - tell a transient error from a permanent one
# - retry without making an outage worse
#
# **Prerequisites.** [Lesson 01](01_event_loop.ipynb), HTTP status codes and headers. **Time.** 25 minutes for the core, 55 with everything in *Going deeper*.
#
# ## The incident
#
# A gateway's retry code ignores what the provider says: when it asks for a wait of 60 seconds, all three retries come within those 60 seconds, and cannot succeed
# ([Helicone/helicone#5672](https://github.com/Helicone/helicone/issues/5672)). A retry is a request. When the server has just said "too many requests", the next one has to be worth sending.

# %%
from contextlib import suppress

import anyio
import httpx

from helpers import Limits, MockLLM, Predict, compare, figure, run, table

QUESTIONS = [f"Explain rate limits to reader {number}." for number in range(1, 41)]
LIMITS = Limits(requests_per_minute=50, burst_requests=20)
llm = MockLLM("small", speed=10, answer_tokens=16, limits=LIMITS).start()
print("A mock provider is running. All its times are divided by 10: a minute lasts 6 s.")

# %% [markdown]
# Its rate limit is 20 requests at once, then one every 0.12 s. A request above the limit gets status 429, with a header that says when to come back.
#
# ## The wrong way
#
# Forty programs ask at the same moment. Each retries up to five times, at once.


# %%
async def everyone(url, questions, ask):
    async def one(question):
        # forty programs, each with a client of its own; the certificates are read once for all
        async with httpx.AsyncClient(timeout=30, verify=certificates) as client:
            with suppress(httpx.HTTPStatusError):  # this user sees an error
                answers.append(await ask(client, url, question))

    answers, certificates = [], httpx.create_ssl_context()
    async with anyio.create_task_group() as tasks:
        for question in questions:
            tasks.start_soon(one, question)
    return answers


# %%
def body(question):
    return {"model": "gpt-5-mini", "messages": [{"role": "user", "content": question}]}


async def hammer(client, url, question):
    for _attempt in range(6):
        reply = await client.post(f"{url}/chat/completions", json=body(question))
        if reply.is_success:
            return reply.json()["choices"][0]["message"]["content"]
    reply.raise_for_status()


async def wrong(url, questions):
    return await everyone(url, questions, hammer)


# %% [markdown]
# ## Predict, then run
#
# Forty clients may send 240 requests in all. Commit to a number, then run the next cell.

# %%
guess = Predict("05", "How many requests will be refused?", arm="wrong", unit="refusals")
guess

# %%
wrong_run = await run(wrong, llm, QUESTIONS)
guess.reveal(wrong_run.count(429))
print(f"{wrong_run.answered} of the 40 questions were answered.")

# %% [markdown]
# **What just happened?** The rate limit is a **token bucket**: each request takes one permit (called a token, but not one of the model's). The bucket holds 20 permits and gains 50 a minute, here one every 0.12 s.
# All five retries came before it had gained more than a few permits. This is a **retry storm**: the server gets several requests for each question, and most of them are in vain.
# Every refusal said in a header when to come back, and nobody read it.
#
# ## The right way
#
# First, read what the server says. `Retry-After` is a number of seconds or a date (RFC 9110). The SDKs of OpenAI and Anthropic also read `retry-after-ms`. Proxies send all sorts of things, so expect nonsense.


# %%
import time
from email.utils import parsedate_to_datetime


def retry_after(headers):
    """Seconds that the server asks for; 0 if it does not say."""
    with suppress(KeyError, ValueError):
        return max(0, float(headers["retry-after-ms"]) / 1000)
    with suppress(KeyError, ValueError):
        return max(0, float(headers["retry-after"]))
    with suppress(KeyError, ValueError):
        date = parsedate_to_datetime(headers["retry-after"])
        return max(0, date.timestamp() - time.time())
    return 0


# %% [markdown]
# Then decide. A **transient error** may go away, so try again later. A **permanent error** stays: a bad request, a spent quota, a prompt that is larger than the whole limit. For the last, `count_prompt_tokens` counts with OpenAI's tokenizer, as in [lesson 03](03_prompt_tokens.ipynb). Counting is computing: prompts are short here; count a long one in a thread.


# %%
import json

from helpers.mock_llm.tokens import count_prompt_tokens

TRANSIENT = {408, 429, 500, 502, 503, 504, 529}


def permanent(reply):
    if reply.status_code not in TRANSIENT:
        return True
    if '"insufficient_quota"' in reply.text:
        return True
    limit = reply.headers.get("x-ratelimit-limit-tokens", "")
    prompt = json.loads(reply.request.content)["messages"]
    return limit.isdigit() and 0 < int(limit) < count_prompt_tokens(prompt)


# %%
import random
from functools import partial


async def polite(client, url, question, asked=retry_after):
    for attempt in range(10):
        reply = await client.post(f"{url}/chat/completions", json=body(question))
        if reply.is_success:
            return reply.json()["choices"][0]["message"]["content"]
        wait = asked(reply.headers) + random.uniform(0, min(4, 0.25 * 2**attempt))
        if permanent(reply) or wait > 30 or attempt == 9:
            break
        await anyio.sleep(wait)
    reply.raise_for_status()


async def right(url, questions):
    return await everyone(url, questions, polite)


blind = partial(polite, asked=lambda headers: 0)


async def backoff(url, questions):
    return await everyone(url, questions, blind)


# %% [markdown]
# `backoff` is `right` without the header.
#
# - **Never too early**: the wait is at least what the server said.
# - **Exponential back-off with full jitter**: the rest of the wait is random, from 0 to a bound that doubles. Without a header it is the whole wait. With one it is added, because twenty clients heard about the same next permit.
# - **Permanent errors are raised at once**, and so is a wait that is longer than anybody wants (30 s).
# - **A connection that breaks** brings no reply, but raises `httpx.TransportError`. In your own code, catch it in the same loop: it is transient, too. The server may have done the work already, so retry only what is **idempotent**, that is, has the same effect when it is sent twice. A model call without tools usually is.
# - **One layer retries.** *In your SDK*, below, shows what two layers do.
#
# ## Side by side
#
# A row is a client, and each × a refusal. The bucket is full again at the start of each arm. Mind the time axes: they differ.

# %% tags=["figure", "table"]
from IPython.display import display

arms = {"wrong": wrong, "backoff": backoff, "right": right}
comparison = await compare(llm, QUESTIONS, repeats=1, **arms)
titles = {
    "wrong": "wrong: at once",
    "backoff": "jitter, no header",
    "right": "right: as asked + jitter",
}
numbers = [
    ("answers", lambda run: run.answered),
    ("refused: 429", lambda run: run.count(429)),
    ("requests per answer", lambda run: f"{len(run.requests) / max(1, run.answered):.1f}"),
]
drawn = {"titles": titles, "numbers": numbers, "by_client": True, "own_time": True}
display(figure(comparison, prediction=guess.made, **drawn))
table(comparison, dict(numbers), standard=False)

# %% [markdown]
# `wrong` is done first because it gave up. `Retry-After` has whole seconds, so the server asked for 1 s each time. The first retries of `backoff` came sooner, when the bucket had gained only a few permits; `right` came back when eight were there, and was refused about half as often.
#
# `right` still needs more than one request per answer, because twenty clients compete for eight permits; *Can you avoid the refusal?*, below, needs one. Which of the two is done first is partly chance: the last waits are long, and random.
#
# ## Verdict
#
# Two more experiments, with one client: `came_early` refuses one request for each form of the header, and `hopeless` asks three questions with permanent errors.

# %% tags=["nbval-check-output", "verdict"]
from helpers import at_least, at_most, came_early, equals, hopeless, verdict

w, b, r = (comparison[arm] for arm in arms)
verdict(
    "05",
    at_most("answers of 40, wrong", w.answered, 35),
    at_least("refused with 429, wrong", w.count(429), 40),
    equals("answers of 40, right", len(r.result or []), 40),
    at_most("refused with 429, right ÷ backoff", r.count(429) / b.count(429), 0.75),
    equals("retries that came too early, hammer", len(await came_early(hammer)), 3),
    equals("retries that came too early, without the header", len(await came_early(blind)), 3),
    equals("retries that came too early, polite", len(await came_early(polite)), 0),
    equals("requests for three hopeless questions, hammer", (await hopeless(hammer)).requests, 18),
    equals("requests for three hopeless questions, polite", (await hopeless(polite)).requests, 3),
)

# %% [markdown]
# ## Your turn
#
# `call` sends a request and returns the reply. This one retries everything at once. Make it wait and give up as it should:
#
# - It waits as long as the server says, in each of the three forms. Where the server does not say, it waits a random time up to `BASE`, then up to twice that, and so on.
# - A request that cannot succeed is sent only once: a bad request, a spent quota, a prompt larger than `x-ratelimit-limit-tokens`, a `Retry-After` longer than `LONGEST`.
# - It makes `ATTEMPTS` requests at most. When it gives up it raises `httpx.HTTPStatusError`.
# - It need not handle a broken connection.

# %% tags=["exercise"]
ATTEMPTS = 4
BASE = 0.5  # seconds
LONGEST = 10  # seconds: the longest Retry-After that a call accepts


async def call(client, url, body):
    for _attempt in range(6):
        reply = await client.post(f"{url}/chat/completions", json=body)
        if reply.is_success:
            return reply
    reply.raise_for_status()


# %% tags=["nbval-check-output"]
from helpers import check, hints

await check("05", call)
hints("05")

# %% [markdown]
# ## Going deeper
#
# Each section below runs on its own after the cells above. Choose what you need, or continue with [lesson 06](06_conversation_store.ipynb).

# %% [markdown] jp-MarkdownHeadingCollapsed=true
# ### When is the wrong way fine?

# %% [markdown]
# While the bucket is large enough, nobody is refused. And after a connection that broke, one retry at once may be right; after a 429 it never is. Move the slider: with how many questions does `wrong` lose the first answer?

# %%
from helpers import WhatIf

rows = dict(numbers) | {"seconds": lambda run: run.makespan}


# %%
async def vary(questions):
    arms = {"wrong": wrong, "right": right}
    again = await compare(llm, QUESTIONS[:questions], repeats=1, **arms)
    return table(again, rows, standard=False)


# %%
WhatIf(vary, questions=(1, 40, 24))

# %% [markdown]
# <details><summary>Answer</summary>With 21, or a few more: the bucket holds 20, and gains little while the clients retry.</details>

# %% [markdown] jp-MarkdownHeadingCollapsed=true
# ### Is exponential back-off enough?

# %% [markdown]
# `backoff` reads no header, but has jitter. `in_step` has neither: it only doubles its wait, in six attempts for each of the 40 questions. How many requests will be refused?

# %%
guess_herd = Predict(
    "05", "How many refusals when all back off in step?", arm="herd", unit="refusals"
)
guess_herd


# %%
async def in_step(client, url, question):
    for wait in (0, 0.1, 0.2, 0.4, 0.8, 1.6):
        await anyio.sleep(wait)
        reply = await client.post(f"{url}/chat/completions", json=body(question))
        if reply.is_success:
            return reply.json()["choices"][0]["message"]["content"]
    reply.raise_for_status()


# %%
async def herd(url, questions):
    return await everyone(url, questions, in_step)


# %%
herd_run = await run(herd, llm, QUESTIONS)
guess_herd.reveal(herd_run.count(429))
figure(herd_run, numbers=numbers, by_client=True)

# %% [markdown]
# All clients were refused at the same moment, wait equally long, and come back together: a **thundering herd**. Each later column finds only what the bucket gained since the last one.
# Replace `anyio.sleep(wait)` with `anyio.sleep(random.uniform(0, 2 * wait))`: how many requests are refused now?
#
# <details><summary>Answer</summary>Hardly fewer. Jitter spreads the requests, but it adds no permits.</details>
#
# In a simulation, 10,000 clients lose their provider for 30 s; then it answers 500 requests a second. The longest wait is 32 s.


# %%
from collections import Counter
from itertools import count

import simpy

from helpers import lines


# %%
def outage(jitter, clients=10_000, back=30, capacity=500):
    """Requests in each second."""
    env, rng, requests, answers = simpy.Environment(), random.Random(5), Counter(), Counter()

    def client():
        for attempt in count():
            second = int(env.now)
            requests[second] += 1
            if env.now >= back and answers[second] < capacity:
                answers[second] += 1
                return
            wait = min(32, 2**attempt)
            yield env.timeout(rng.uniform(0, wait) if jitter else wait)

    for _ in range(clients):
        env.process(client())
    env.run()
    return requests


# %%
herds = {"in step": outage(jitter=False), "full jitter": outage(jitter=True)}
# %%
series = {name: [(t, came[t]) for t in range(25, 200)] for name, came in herds.items()}
caption = "10,000 clients after an outage. Last request: " + ", ".join(
    f"{name} {max(came) - 30} s after the provider was back" for name, came in herds.items()
)
# %%
lines(
    series,
    x="second (back at 30)",
    y="requests per second",
    caption=caption,
    marks={"capacity": 500},
)

# %% [markdown] jp-MarkdownHeadingCollapsed=true
# ### Can you avoid the refusal?

# %% [markdown]
# You know the limit, so let requests queue on your side. aiolimiter is such a queue: a token bucket in your own process.


# %%
from aiolimiter import AsyncLimiter


# %%
async def paced(url, questions):
    limiter = AsyncLimiter(10, 1.2)  # 10 at once, then one every 0.12 s

    async def ask(client, url, question):
        async with limiter:
            return await polite(client, url, question)

    return await everyone(url, questions, ask)


# %%
paced_run = await run(paced, llm, QUESTIONS)

# %% tags=["nbval-check-output"]
print("answers:", len(paced_run.result), "· refused with 429:", paced_run.count(429))

# %% [markdown]
# The rate is the provider's, and the bucket is half as large, because requests do not arrive as evenly as they are sent. Change it to `AsyncLimiter(20, 2.4)`, the same rate with the whole bucket: is anybody refused now?
#
# <details><summary>Answer</summary>Yes, a few: requests that were sent evenly do not arrive evenly, and the provider has nothing to spare.</details>
#
# - Providers also limit **tokens per minute**, and that is the limit you meet first with long prompts: `await limiter.acquire(tokens)`.
# - A limiter knows one process. When several share a key, go by the headers of each answer: `x-ratelimit-remaining-requests` and `-tokens` at OpenAI, `anthropic-ratelimit-requests-remaining` at Anthropic.

# %% [markdown] jp-MarkdownHeadingCollapsed=true
# ### Catch it

# %% [markdown]
# No linter knows what the server said:

# %% tags=["nbval-check-output"]
from helpers import lint

print("ruff on hammer:", *lint(hammer, "ASYNC,B,PERF,S") or ["nothing found"])

# %% [markdown]
# A **contract test** does. It counts at the server, so it finds stacked layers too:
#
# ```python
# @pytest.mark.mock_llm(faults=[Fault(kind="insufficient_quota")])
# def test_a_spent_quota_is_asked_once(mock_llm):
#     with pytest.raises(MyQuotaError):
#         my_client(base_url=mock_llm.url).ask("Hello?")
#     assert len(mock_llm.ledger().requests) == 1
# ```
#
# In production, log each wait with the attempt and what the server asked for, and watch requests per answer (**retry amplification**). With pacing it is close to 1.

# %% [markdown] jp-MarkdownHeadingCollapsed=true
# ### In your SDK

# %% [markdown]
# The SDKs of OpenAI and Anthropic make two retries by default. Here an application retries around them: it tries four times, while the server refuses everything.

# %%
import openai

from helpers import Fault


# %%
async def attempts(url, **options):
    async with openai.AsyncOpenAI(base_url=url, api_key="any", **options) as client:
        for _attempt in range(4):
            with suppress(openai.RateLimitError):
                return await client.chat.completions.create(**body("Hello?"))


# %%
async def one_layer(url):
    await attempts(url, max_retries=0)


# %%
REFUSE = Fault(kind="rate_limit_exceeded", retry_after=0.01)
llm.configure(faults=[REFUSE], limits=Limits(retry_after="ms"))
try:
    two_layers, single = await run(attempts, llm), await run(one_layer, llm)
finally:
    llm.configure(faults=[], limits=LIMITS)

# %% tags=["nbval-check-output"]
print("requests for one question: two layers", len(two_layers.requests))
print("requests for one question: one layer", len(single.requests))

# %% [markdown]
# Layers multiply. In one agent, four attempts became twelve requests, too ([HKUDS/nanobot#2760](https://github.com/HKUDS/nanobot/issues/2760)). Retry in **one** layer, and pass `max_retries=0` to the others.
#
# Both SDKs read the headers as `retry_after` does, without jitter, and obey `x-should-retry`. They retry a spent quota like any other 429. If the wait is over two minutes, openai gives up; anthropic waits.
# Change the fault to `insufficient_quota`: how many requests does `attempts` make?
#
# <details><summary>Answer</summary>Twelve, and none of them can succeed.</details>

# %% [markdown] jp-MarkdownHeadingCollapsed=true
# ### In a service

# %% [markdown]
# A service that waits for its provider fills up with waiting users. **Load shedding** refuses early, and honestly: with 503 and a Retry-After of its own.

# %%
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

from fastapi import FastAPI, HTTPException, Request
from fastapi.testclient import TestClient


# %%
def make_app(url, waiting_at_most):
    @asynccontextmanager
    async def lifespan(app):
        async with httpx.AsyncClient(timeout=30) as client:
            yield {"client": client, "turns": anyio.CapacityLimiter(waiting_at_most)}

    app = FastAPI(lifespan=lifespan)

    @app.get("/ask")
    async def ask(question: str, request: Request):
        turns = request.state.turns
        if turns.available_tokens < 1:
            raise HTTPException(503, "busy", headers={"Retry-After": "2"})
        async with turns:
            return await polite(request.state.client, url, question)

    return app


# %%
def visit(url):
    def ask(question):
        return service.get("/ask", params={"question": question}).status_code

    with TestClient(make_app(url, 10)) as service, ThreadPoolExecutor(40) as users:
        return Counter(users.map(ask, QUESTIONS))


# %%
visited = await run(visit, llm, limit=30)
print(f"turned away: {visited.result[503]} of 40 · last answer after {visited.makespan:.1f} s")

# %% [markdown]
# At most 10 are inside at any time. Change 10 to 40, so that nobody is turned away. What does it cost those who wait?
#
# <details><summary>Answer</summary>The last answer takes about 3 s: after the first 20, there is one permit every 0.12 s.</details>

# %% [markdown] jp-MarkdownHeadingCollapsed=true
# ### Coming from asyncio, coming from Rust

# %% [markdown]
# | asyncio | anyio, as in this lesson |
# |---|---|
# | `await asyncio.sleep(wait)` | `await anyio.sleep(wait)` |
# | `await asyncio.gather(*calls)` | a task group, and a list for the answers |
#
# | Rust | Python | in both |
# |---|---|---|
# | a loop around `send` | a loop around `client.post` | a status is not retried unless you ask for it (`reqwest::retry` can) |
# | `backon` with `.adjust` | stamina, tenacity with a wait function | your error has to carry the headers |
# | `governor`, `tower::limit::RateLimit` | `aiolimiter.AsyncLimiter` | a queue in this process only |
# | `httpdate::parse_http_date` | `email.utils.parsedate_to_datetime` | the date may be past |
#
# A fixed wait of 5 s when the header is absent is a herd as well: in `outage` above, write `wait = 5`, and run it and the two cells after it again. *In step* then means 10,000 requests in one second, every 5 s.

# %% [markdown] jp-MarkdownHeadingCollapsed=true
# ### Recap and further reading

# %% [markdown]
# 1. Twenty clients wait exactly as `Retry-After` says. Why are most of them refused again?
# 2. Which 429 responses must not be retried, and how do you tell?
# 3. Your code makes four attempts, the SDK three. How many requests are that, and which layer do you keep?
#
# <details><summary>Answers</summary>
#
# 1. All heard about the same next permit. Add jitter, or better, queue before sending.
# 2. A spent quota, by its code; a request larger than the limit, by comparing it with `x-ratelimit-limit-tokens`; and any whose wait is longer than you have.
# 3. Twelve. Keep the one that reads the header, and give it a deadline as in lesson 04.
#
# </details>
#
# **Further reading.** Workers that all woke together: [DaKheera47/job-ops#555](https://github.com/DaKheera47/job-ops/issues/555).
# A passing limit worded as a spent quota: [LibreChat-AI/agents#358](https://github.com/LibreChat-AI/agents/issues/358).
#
# Next: [06 · Put the conversation in a store](06_conversation_store.ipynb).
