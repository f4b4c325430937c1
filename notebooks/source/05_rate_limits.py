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
# # 05 · Wait when told to wait
#
# **Symptom.** At busy times answers are lost to status 429. The logs show five retries each, all within a second.
#
# **What you'll do**
#
# - watch forty clients meet a rate limit, and count what their retries bring
# - wait as the server says, in all three ways it may say so, and spread out where it says nothing
# - tell a refusal that passes from one that never will
# - pace your requests so that the refusal does not come
# - see in virtual time what 10,000 clients do after an outage
#
# **What you'll need.** `async`/`await`, HTTP status codes and headers. Lesson 01 helps. 35 minutes.
#
# ## The incident
#
# An agent's retries sat on top of its SDK's own: four attempts were meant, twelve requests went upstream. The repair was `max_retries=0` in the SDK
# (HKUDS/nanobot#2760). A gateway made all three of its retries *inside* the provider's cool-down of 60 seconds:
# they could not succeed, and only cost quota (Helicone/helicone#5672).
#
# A retry is a request. When the server has just said "too many", it had better be a good one.

# %%
import anthropic
import anyio
import httpx
import openai
import stamina

from helpers import Fault, Limits, MockLLM, Predict, compare, figure, run, table

QUESTIONS = [f"Explain rate limits to reader {number}." for number in range(1, 41)]
LIMITS = Limits(requests_per_minute=30, burst_requests=20, retry_after="ms")
REFUSE = Fault(kind="rate_limit_exceeded", retry_after=0.01)
stamina.instrumentation.set_on_retry_hooks([])  # no log lines of retries for now


def body(question):
    return {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": question}]}


def text(reply):
    return reply.json()["choices"][0]["message"]["content"]


llm = MockLLM("small", speed=10, answer_tokens=16, limits=LIMITS).start()
print("A mock provider is running. All its times are divided by 10: a minute lasts 6 s.")

# %% [markdown]
# Its limit is a **token bucket**. A request takes one token out (not one of the model's tokens: a permit); the bucket holds 20 and gains 30 a minute, here one every 0.2 s.
# Who finds it empty gets status 429, with a header that says when the next token will be there.
#
# ## The wrong way
#
# `everyone` stands for forty clients of your service that ask at the same moment. It collects the answers.
#
# `hammer` tries once, then retries five times at once. `in_step` is the usual repair: it waits, and twice as long after each refusal. Neither reads the header.


# %%
from contextlib import suppress


async def everyone(url, questions, ask):
    async def one(question):
        with suppress(httpx.HTTPStatusError):  # this user sees an error
            answers.append(await ask(client, url, question))

    stamina.instrumentation.set_on_retry_hooks([])  # nor in an arm's process
    answers, pool = [], httpx.Limits(max_keepalive_connections=len(questions))
    async with (
        httpx.AsyncClient(timeout=30, limits=pool) as client,
        anyio.create_task_group() as users,
    ):
        for question in questions:
            users.start_soon(one, question)
    return answers


# %%
async def hammer(client, url, question):
    for _attempt in range(6):
        reply = await client.post(f"{url}/chat/completions", json=body(question))
        if reply.is_success:
            return text(reply)
    reply.raise_for_status()


async def in_step(client, url, question):
    for wait in (0, 0.1, 0.2, 0.4, 0.8, 1.6):
        await anyio.sleep(wait)
        reply = await client.post(f"{url}/chat/completions", json=body(question))
        if reply.is_success:
            return text(reply)
    reply.raise_for_status()


async def wrong(url, questions):
    return await everyone(url, questions, hammer)


async def herd(url, questions):
    return await everyone(url, questions, in_step)


# %% [markdown]
# ## Predict, then run
#
# Forty questions, a bucket of twenty. Twenty are refused at first, and each may retry five times. Commit to a number, then run the cell after it.

# %%
guess = Predict("05", "How many of the 40 questions will be answered?", arm="wrong", unit="answers")
guess

# %%
wrong_run = await run(wrong, llm, QUESTIONS)
print("answers:", wrong_run.answered, "of", len(QUESTIONS))
print("requests:", len(wrong_run.requests), "of which refused with 429:", wrong_run.count(429))

# %% [markdown]
# Each bar is one request **as the server saw it**. The few long ones were answered; the rest are refusals.
#
# **What just happened?** All five retries came before the bucket had gained more than a token or two. Five more tries in the same moment are not five more chances.
# The client was *told* when to come back, in a header of each refusal, and did not read it.
#
# `in_step` is kinder. But all its clients were refused at the same moment, all wait equally long, and all come back together: a **thundering herd**. You will see it below.
#
# ## Stack two layers
#
# Here is the first incident again. The application tries four times. The SDK, inside, makes three attempts each time, and nobody sees it.
# The server refuses everything, so that every attempt is made. It counts.


# %% tags=["nbval-check-output"]
async def attempts(**options):
    with MockLLM(faults=[REFUSE], limits=LIMITS) as strict:
        async with openai.AsyncOpenAI(base_url=strict.url, api_key="any", **options) as client:
            for _attempt in range(4):
                with suppress(openai.RateLimitError):
                    await client.chat.completions.create(**body("Hello?"))
        return len(strict.ledger().requests)


stacked, single = await attempts(), await attempts(max_retries=0)
print("requests for one question: two layers", stacked, "· one layer", single)

# %% [markdown]
# Layers multiply. A gateway in between makes it three. Retry in **one** place, and turn the others off.
#
# ## The right way
#
# First read what the server says. `Retry-After` has two forms in the standard (RFC 9110): whole seconds, or a date. The SDKs of OpenAI and Anthropic also know `retry-after-ms`.
# Then decide: wait so long, or give up now.


# %%
import json
import random
import time
from email.utils import parsedate_to_datetime

from helpers.mock_llm.tokens import count_prompt_tokens


def told(headers):
    """Seconds that the server asks for; 0 if it does not say."""
    if "retry-after-ms" in headers:
        return int(headers["retry-after-ms"]) / 1000
    after = headers.get("retry-after", "0")
    try:
        return float(after)
    except ValueError:
        return max(0, parsedate_to_datetime(after).timestamp() - time.time())


# %%
PASSES = {408, 429, 500, 502, 503, 504, 529}
NEVER = {"insufficient_quota", "credit_balance_exhausted"}  # status 429 too, but waiting is no help
LONGEST = 30  # seconds: whoever is told to wait longer should hear of it now


def fits(reply):  # a request that alone is larger than the limit will never be answered
    limit = int(reply.headers.get("x-ratelimit-limit-tokens", 0))
    return limit <= 0 or count_prompt_tokens(json.loads(reply.request.content)["messages"]) <= limit


def pause(error, attempt):
    """Seconds before the next attempt, or False: do not try again."""
    reply = getattr(error, "response", None)
    if reply is None or reply.status_code not in PASSES:
        return False
    if reply.status_code == 429 and (reply.json()["error"]["code"] in NEVER or not fits(reply)):
        return False
    wait = told(reply.headers) + random.uniform(0, min(4, 0.25 * 2**attempt))
    return wait if wait <= LONGEST else False


# %%
async def polite(client, url, question):
    def again(error):
        return pause(error, attempt.num)

    async for attempt in stamina.retry_context(again, attempts=10, timeout=60):
        with attempt:
            reply = await client.post(f"{url}/chat/completions", json=body(question))
            return text(reply.raise_for_status())


async def right(url, questions):
    return await everyone(url, questions, polite)


# %% [markdown]
# `hammer` and `in_step` had a loop of their own, so that you could see one. From here on the library stamina has it. Its `on=` takes a **back-off hook**: a function that gets
# the error and answers with the wait, or with False. The choices in it:
#
# - **Never earlier than told.** The wait is what the server said, plus something.
# - **Full jitter**: that something is random, between 0 and a bound that doubles. It is all the wait there is when the header is absent. It is *added* where the header is there,
#   because each of twenty clients was told of the same next token.
# - **No retry where waiting is no help**: a 400, a spent quota, a request larger than the limit itself. The last has the same code as the passing kind, `rate_limit_exceeded`
#   (CodeBoarding/CodeBoarding#42 retried it with sleeps of 60 s), so compare the numbers, not the words.
# - **A budget of attempts and of time.** stamina looks at `timeout` before it waits, not at how long the wait will be: a `Retry-After` of an hour would be slept through. Hence `LONGEST`.
#
# ## Better: do not be refused
#
# You know the limit. So let the requests queue on your side, where a place in the queue costs nothing and nobody loses it. aiolimiter is such a queue.


# %%
from aiolimiter import AsyncLimiter


async def paced(url, questions):
    limiter = AsyncLimiter(10, 2)  # 10 at once, then 10 every 2 s

    async def ask(client, url, question):
        async with limiter:
            return await polite(client, url, question)

    return await everyone(url, questions, ask)


# %% [markdown]
# `polite` stays inside as a net. The rate is the provider's, the bucket half as large: requests do not arrive as evenly as they are sent.
#
# A local limiter knows one process. When several share a key, give each its part, or go by what the server says: every answer carries `x-ratelimit-remaining-requests`
# and `x-ratelimit-reset-requests`. When the first comes near 0, slow down. The resets are durations such as `6m0s` or `12ms`; both headers may be missing.
#
# ## Side by side
#
# Forty questions, four ways. The bucket is full again at the start of each.

# %% tags=["figure"]
comparison = await compare(
    llm, QUESTIONS, repeats=1, wrong=wrong, herd=herd, right=right, paced=paced
)
titles = {
    "wrong": "wrong: retry at once",
    "herd": "herd: back off in step",
    "right": "right: as told, with jitter",
    "paced": "paced: queue first",
}
numbers = [
    ("answers", lambda run: run.answered),
    ("refused: 429", lambda run: run.count(429)),
    ("requests per answer", lambda run: f"{len(run.requests) / run.answered:.1f}"),
]
figure(comparison, prediction=guess.made, titles=titles, numbers=numbers)

# %% tags=["table"]
rows = {
    "answers": lambda run: run.answered,
    "requests": lambda run: len(run.requests),
    "of these wasted (429)": lambda run: run.count(429),
    "requests per answer": lambda run: len(run.requests) / run.answered,
    "first request to last answer, seconds": lambda run: run.makespan,
}
table(comparison, rows, standard=False)

# %% [markdown]
# `wrong` is done first, because it gave up. The provider hands out 40 tokens in about 4 s and no faster: nobody can have 40 answers before that.
# `herd` comes in columns, one per step, and each finds a few tokens. `right` spreads out and gets everything, but not without refusals: `Retry-After` names the next token,
# not *your* token. Only the queue has none.
#
# ## Ask what cannot be answered
#
# Two more experiments, with one client and servers of their own. `came_early` refuses once in each form of the header: does the retry come earlier than told? `hopeless` asks three questions: a spent quota, a bad request,
# a prompt larger than the limit. Its bucket of 20 hardly gains anything, so that you can see what is left in it: failed requests count, too.


# %% tags=["nbval-check-output"]
from helpers import came_early, hopeless

early = {ask: await came_early(ask) for ask in (hammer, polite)}
burnt = {ask: await hopeless(ask) for ask in (hammer, polite)}
for ask in (hammer, polite):
    print(f"{ask.__name__}: too early in the forms: {', '.join(early[ask]) or 'none'}")
    made, left = burnt[ask]
    print(f"    three hopeless questions: {made} requests, {left} of 20 left in the bucket")

# %% [markdown]
# Whoever retries what is hopeless burns the quota of those whose questions could be answered. One team's agent took 248 s and ten tries to admit such a defeat
# (SWE-agent/mini-swe-agent#921).
#
# ## Verdict
#
# Counters only.

# %% tags=["nbval-check-output", "verdict"]
from helpers import at_least, at_most, equals, verdict

w, h, r, p = (comparison[arm] for arm in ("wrong", "herd", "right", "paced"))
verdict(
    "05",
    at_most("answers of 40, wrong", w.answered, 35),
    equals("answers of 40, right", len(r.result), 40),
    equals("answers of 40, paced", len(p.result), 40),
    at_least("refused with 429, wrong", w.count(429), 40),
    at_least("refused with 429, herd", h.count(429), 20),
    equals("refused with 429, paced", p.count(429), 0),
    equals("requests for one question, two layers of retries", stacked, 12),
    equals("requests for one question, one layer", single, 4),
    equals("retries earlier than told, hammer", len(early[hammer]), 3),
    equals("retries earlier than told, polite", len(early[polite]), 0),
    equals("requests for three hopeless questions, hammer", burnt[hammer].requests, 18),
    equals("requests for three hopeless questions, polite", burnt[polite].requests, 3),
)

# %% [markdown]
# ## What if there are 10,000 clients?
#
# One machine cannot run them, but it can calculate them. simpy is a simulator of events in virtual time: here 10,000 clients lose their provider at the same moment.
# It is back after 30 s, and from then on answers 500 requests a second and refuses the rest. Each client doubles its wait, up to 32 s. With jitter it waits a random part of that.
# In step, all clients still waiting come in the same second: 500 are answered, then the provider idles until the herd is back. Random waits fill those gaps.
#
# Below the plot is a panel for the real arms: how many questions at once?


# %%
from collections import Counter
from itertools import count

import simpy

from helpers import lines


def outage(jitter, clients=10_000, back=30, capacity=500):
    """Requests and answers in each second."""
    env, rng, arrivals, answers = simpy.Environment(), random.Random(5), Counter(), Counter()

    def client():
        for attempt in count():
            arrivals[second := int(env.now)] += 1
            if env.now >= back and answers[second] < capacity:
                answers[second] += 1
                return
            wait = min(32, 2**attempt)
            yield env.timeout(rng.uniform(0, wait) if jitter else wait)

    for _ in range(clients):
        env.process(client())
    env.run()
    return arrivals, answers


# %%
herds = {name: outage(jitter) for name, jitter in {"in step": False, "full jitter": True}.items()}
series = {name: [(t, came[t]) for t in range(25, 200)] for name, (came, _) in herds.items()}
last = {name: max(answers) - 30 for name, (_, answers) in herds.items()}
caption = "10,000 clients after an outage: " + "; ".join(
    f"{name}, {sum(came.values()):,} requests in all, up to {max(y for _, y in series[name]):,} "
    f"in one of these seconds, the last answer {last[name]} s after the provider was back"
    for name, (came, _) in herds.items()
)
lines(
    series,
    x="second (back at 30)",
    y="requests per second",
    caption=caption,
    marks={"capacity": 500},
)

# %%
from helpers import WhatIf


async def vary(questions):
    arms = {"wrong": wrong, "right": right, "paced": paced}
    again = await compare(llm, QUESTIONS[:questions], repeats=1, **arms)
    return table(again, rows, standard=False)


WhatIf(vary, questions=(1, 40, 20))

# %% [markdown]
# **When is the wrong way fine?** While the bucket is large enough for all questions, nobody is refused and every way brings every answer: set the slider to 20 or less.
# And after a broken connection, one retry at once may be right. After a 429 it never is.
#
# ## Your turn
#
# `call` sends a request and returns the reply. This one retries everything at once. Make it wait and give up as it should:
#
# - It waits as long as the server says, in each of the three forms. Where the server does not say, it waits a random time up to `BASE`, then up to twice that, and so on.
# - What cannot succeed is asked once: a bad request, a spent quota, a prompt larger than `x-ratelimit-limit-tokens`, a `Retry-After` longer than `LONGEST`.
# - It makes `ATTEMPTS` requests at most. When it gives up it raises `httpx.HTTPStatusError`.

# %% tags=["exercise"]
ATTEMPTS = 4
BASE = 0.5  # seconds
LONGEST = 10  # seconds that a call may wait


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
# ## Catch it
#
# Does the linter see it? And what does a **log line** with the attempt and the wait show? stamina calls a hook before each wait; by default it logs, and counts in Prometheus
# (`stamina_retries_total`) where that is installed.


# %%
from helpers import lint


def log(retry):
    asked = told(retry.caused_by.response.headers)
    print(f"attempt {retry.retry_num} failed: told {asked} s, waits {retry.wait_for:.2f} s")


print("ruff on hammer:", *lint(hammer, "ASYNC,B,PERF,S") or ["nothing found"])
stamina.instrumentation.set_on_retry_hooks([log])
with MockLLM(faults=[Fault(kind="503", first=2, retry_after=0.05)], limits=LIMITS) as busy:
    async with httpx.AsyncClient(timeout=10) as client:
        await polite(client, busy.url, "Hello?")

# %% [markdown]
# A retry loop is ordinary code, and no linter knows what the server said. A **contract test** does. The package brings pytest a fixture:
#
# ```python
# @pytest.mark.mock_llm(faults=[Fault(kind="insufficient_quota")])
# def test_a_spent_quota_is_asked_once(mock_llm):
#     with pytest.raises(MyQuotaError):
#         my_client(base_url=mock_llm.url).ask("Hello?")
#     assert len(mock_llm.ledger().requests) == 1
# ```
#
# It also finds stacked layers, because it counts at the server. In production, watch requests per answer. It should be near 1.
#
# ## In your SDK
#
# Both SDKs retry twice unless you say otherwise. Four refusals for each of them; the ledger counts the attempts. After 5 s the cell stops whoever still waits.

# %% tags=["nbval-check-output"]
FAULTS = [
    Fault(kind="rate_limit_exceeded", model="mock-wait-100-ms", retry_after=0.1),
    Fault(kind="rate_limit_exceeded", model="mock-wait-121-s", retry_after=121),
    Fault(kind="insufficient_quota", model="mock-spent-quota", retry_after=0.1),
    Fault(kind="400", model="mock-bad-request"),
]


async def ask_sdk(create, model):
    with anyio.move_on_after(5) as end, suppress(openai.APIError, anthropic.APIError):
        await create(model=model, max_tokens=9, messages=body("Hello?")["messages"])
    if end.cancelled_caught:
        print("still waits:", type(create.__self__).__module__.split(".")[0], model)


with MockLLM(faults=FAULTS, limits=LIMITS) as strict:
    gpt = openai.AsyncOpenAI(base_url=strict.url, api_key="any")
    claude = anthropic.AsyncAnthropic(base_url=strict.url.removesuffix("/v1"), api_key="any")
    async with gpt, claude, anyio.create_task_group() as calls:
        for create in (gpt.chat.completions.create, claude.messages.create):
            for fault in FAULTS:
                calls.start_soon(ask_sdk, create, fault.model)
    made = Counter(f"{request.path} {request.model}" for request in strict.ledger().requests)
print(*(f"{path}: {number}" for path, number in sorted(made.items())), sep="\n")

# %% [markdown]
# Both read the same headers as `told`. Both ask three times where the quota is spent: they do not tell it from the passing kind. A bad request is asked once. Told to wait 121 s, openai gives up at once and raises:
# its bound is 120 s. anthropic has none, and was still asleep when this cell stopped it. A deadline around the call is yours to set (lesson 04).
#
# Neither adds jitter to a wait that the server named. Sixty clients that are told of the same moment come back at the same moment. If you retry yourself, with stamina for one, say `max_retries=0` to the SDK.
#
# ## Coming from Rust
#
# | Rust | Python | in both |
# |---|---|---|
# | a loop around `reqwest`'s `send` | a loop around `client.post` | neither reqwest nor httpx retries a status by itself |
# | `backon`, `tower::retry` with a policy of yours | stamina's `retry_context` with a back-off hook | the policy sees the reply, and so the header |
# | `governor`, `tower::limit::RateLimit` | `aiolimiter.AsyncLimiter` | a queue in this process only |
# | `httpdate::parse_http_date` | `email.utils.parsedate_to_datetime` | the date form of `Retry-After`; a date may be past |
# | `tokio::time::sleep` | `anyio.sleep` | the wait must leave the other tasks free (lesson 01) |
#
# ## Recap
#
# 1. Twenty clients wait exactly as `Retry-After` says. Why are nineteen of them refused again?
# 2. Which status 429 must not be retried, and how do you tell?
# 3. Your code makes four attempts, the SDK three. How many requests are that, and which layer do you keep?
#
# <details><summary>Answers</summary>
#
# 1. All were told of the same next token. Spread them by jitter, or better, queue before sending.
# 2. A spent quota, by its code; a request larger than the limit, by comparing it with `x-ratelimit-limit-tokens`; and any whose wait is longer than you have.
# 3. Twelve. Keep the one that reads the header and knows your deadline.
#
# </details>
#
# **Further reading.** Workers that all woke together, for want of jitter: DaKheera47/job-ops#555. 3 × 3 × 5 attempts, and one layer dropped: mpfaffenberger/code_puppy#317.
# Quota exhaustion, no longer retried: openai/codex#6340. The reverse trap, a passing limit worded as a spent quota: LibreChat-AI/agents#358.
# A breaker for a provider that is down: BerriAI/litellm#40405, and lesson 08.
