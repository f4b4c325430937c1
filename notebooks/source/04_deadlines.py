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
# **Symptom.** Now and then the service stops answering. No error, no log line, no load. A restart helps.
#
# **What you'll do**
#
# - let a few calls hang, and count the healthy ones that starve behind them
# - see why a timeout alone is no deadline: a provider that sends a byte now and then defeats it
# - set the limits that hold: for the connection, the silence, the whole call; for a stream, the silence between two events
# - find out what too short a deadline costs
# - fit three nested calls into one budget
#
# **What you'll need.** Lesson 01, and a task group. 35 minutes.
#
# ## The incident
#
# A chat bot built its SDK client without a limit of its own. In its log a request leaves at 22:53:52; the next word is a timeout at 23:03:54.
# In the ten minutes between, the bot was mute (HKUDS/nanobot#3455). It was lucky: 600 s is what that SDK allows when you say nothing.
#
# Another SDK passed `timeout=None` to its HTTP client. About one call in twenty stalled, and a stalled job kept a build machine busy
# until its limit of six hours ended it (langchain-ai/deepagents#2423).
#
# You will now hang a provider on purpose.

# %%
import anyio
import httpx

from helpers import Fault, MockLLM, Predict, compare, figure, run, table

SCALE = 25  # every time in this lesson is divided by it
QUESTIONS = [f"What does clause {number} of the contract say?" for number in range(1, 33)]


def body(question):
    return {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": question}]}


llm = MockLLM("medium", speed=SCALE).start()
print(f"All times are divided by {SCALE}: a limit of 30 s is {30 / SCALE:g} s here.")

# %% [markdown]
# This provider answers three requests out of four. Of the rest, one half **hangs**: the request is accepted and never answered.
# The other half **drips**: the answer begins, and comes one byte every two and a half seconds. Both happen when a provider is overloaded, or a proxy on the way is.
#
# ## The wrong way
#
# Thirty-two questions, a task each, over a pool of four connections. (The default is 100; like the times, it is scaled down.)
# "Some answers take long", somebody said, and switched the timeout off.


# %%
async def at_once(ask, questions):
    async def answer(number, question):
        answers[number] = await ask(question)

    answers = [None] * len(questions)
    async with anyio.create_task_group() as calls:
        for number, question in enumerate(questions):
            calls.start_soon(answer, number, question)
    return answers


# %%
POOL = httpx.Limits(max_connections=4)


async def wrong(url, questions):
    async def ask(question):
        reply = await client.post(f"{url}/chat/completions", json=body(question))
        return reply.json()["choices"][0]["message"]["content"]

    async with httpx.AsyncClient(timeout=None, limits=POOL) as client:
        return await at_once(ask, questions)


# %% [markdown]
# ## Predict, then run
#
# The provider is ready to answer 24 of the 32.

# %%
guess = Predict("04", "How many answers will arrive?", arm="wrong", unit="answers")
guess

# %%
TROUBLE = [Fault(kind="hang", every=8), Fault(kind="drip", every=4, interval=2.5 / SCALE)]
llm.configure(answer_tokens=16, faults=TROUBLE)
wrong_run = await run(wrong, llm, QUESTIONS, limit=2)

# %% [markdown]
# Each bar is one request **as the server saw it**: pale while it waited for its first token, solid while the answer was written. The lab ended the arm; on its own it would have waited for ever.


# %% tags=["nbval-check-output"]
def never_sent(run):
    return len(QUESTIONS) - len(run.requests)


print("ended by:         ", "itself" if wrong_run.outcome == "returned" else "the lab")
print("answers:          ", wrong_run.answered)
print("requests open:    ", wrong_run.still_open)
print("calls never sent: ", never_sent(wrong_run))
print("heartbeats missed:", "many" if wrong_run.blocked_share > 0.5 else "hardly any")

# %% [markdown]
# **What just happened?** Four calls that never end take a connection each, and the pool has four. From then on every other call waits for a connection,
# inside the client, where no server and no log sees it. Sixteen calls were never sent, and the provider would have answered twelve of them.
#
# The event loop is free all the while: the heartbeat beats, a health check says 200. Nothing is broken. Everybody waits.
#
# A larger pool only changes the date. At one hanging call in twenty, a pool of 100 is full after 2,000 calls.
#
# ## The second wrong way
#
# So somebody sets a timeout: 20 seconds. Waiting for the pool had better stay allowed, since the batch is long.


# %%
async def read_only(url, questions):
    async def ask(question):
        try:
            reply = await client.post(f"{url}/chat/completions", json=body(question))
            return reply.json()["choices"][0]["message"]["content"]
        except httpx.TimeoutException as late:
            return late

    silence = httpx.Timeout(20 / SCALE, pool=None)
    async with httpx.AsyncClient(timeout=silence, limits=POOL) as client:
        return await at_once(ask, questions)


# %% [markdown]
# ## The right way
#
# First one call, with a deadline and one error. Then the batch, with limits for the client and a turn for each call.


# %%
class NoAnswerError(Exception):
    """The provider did not answer in time."""


async def call(client, url, question):
    try:
        with anyio.fail_after(30 / SCALE):
            reply = await client.post(f"{url}/chat/completions", json=body(question))
    except (TimeoutError, httpx.TimeoutException) as late:
        raise NoAnswerError(type(late).__name__) from late
    return reply.json()["choices"][0]["message"]["content"]


# %%
async def right(url, questions):
    async def ask(question):
        async with turn:
            try:
                return await call(client, url, question)
            except NoAnswerError as missing:
                return missing

    turn = anyio.CapacityLimiter(4)  # as many as the pool has connections
    limits = httpx.Timeout(connect=10 / SCALE, read=20 / SCALE, write=10 / SCALE, pool=10 / SCALE)
    async with httpx.AsyncClient(timeout=limits, limits=POOL) as client:
        return await at_once(ask, questions)


# %% [markdown]
# What each part is for:
#
# - **Four limits of httpx.** `connect`: a host that is down is known soon. `pool`: how long a call may wait for a connection. `read`: the longest *silence*; each byte that arrives starts it anew. `write`: the same for sending.
#   `timeout=20` is all four with 20 s each. None of them bounds the whole call.
# - **`anyio.fail_after`** is the deadline: so long, whatever happens inside. It cancels the call, httpx closes the connection, and so the server is told, too.
#   (Over HTTP/2 it is not: httpx leaves the stream without a word.)
# - **A turn first, then the clock.** Thirty-two tasks start together. Were the deadline outside of `turn`, calls that only queue would run out of time before they are sent, as in
#   infiniflow/ragflow#17192. Someone who waits in person needs a second deadline around both.
# - **`NoAnswerError`**: whoever calls `call` handles one error, not five, and knows that the answer is missing.
#
# ## Side by side

# %% tags=["figure"]
from operator import attrgetter

arms = {"wrong": wrong, "read_only": read_only, "right": right}
llm.configure(answer_tokens=16, faults=TROUBLE)
comparison = await compare(llm, QUESTIONS, repeats=1, limit=4, **arms)
limited = {"wrong": "no limit", "read_only": "silence limited", "right": "a deadline"}
titles = {arm: f"{arm}: {how}" for arm, how in limited.items()}
answers, still_open = attrgetter("answered"), attrgetter("still_open")
numbers = [("answers", answers), ("still open", still_open), ("never sent", never_sent)]
figure(comparison, prediction=guess.made, titles=titles, numbers=numbers)


# %% tags=["table"]
def given_up(run):
    left = [request for request in run.requests if request.client_left is not None]
    return sorted(request.client_left - request.arrival for request in left)


rows = dict(numbers)
rows["calls given up"] = lambda run: len(given_up(run))
rows[f"longest wait before, s (÷ {SCALE})"] = lambda run: max(given_up(run), default=None)
rows["how it ended"] = lambda run: run.outcome
table(comparison, rows, standard=False)

# %% [markdown]
# With a limit on the silence alone the calls that hang are given up, and their connections serve others. Those that drip are never silent for long.
# Each keeps a connection, and with the fourth the pool is full again. It only takes longer. Any byte will do: the limit starts anew.
#
# In `right` every caller knows, and every answer that the provider has to give is there.
#
# ## Verdict

# %% tags=["nbval-check-output", "verdict"]
from helpers import equals, verdict

w, s, r = (comparison[arm] for arm in ("wrong", "read_only", "right"))
errors = sum(isinstance(answer, Exception) for answer in r.result or [])
verdict(
    "04",
    equals("requests still open, wrong", w.still_open, 4),
    equals("calls never sent, wrong", never_sent(w), 16),
    equals("answers, wrong", w.answered, 12),
    equals("requests still open, read_only", s.still_open, 4),
    equals("calls never sent, read_only", never_sent(s), 4),
    equals("requests still open, right", r.still_open, 0),
    equals("calls never sent, right", never_sent(r), 0),
    equals("answers, right", r.answered, 24),
    equals("callers with a typed error, right", errors, 8),
    equals("requests of which the server was told, right", len(given_up(r)), 8),
)

# %% [markdown]
# ## What if the answer is streamed?
#
# A stream may be right to take minutes, so that a total deadline has to be long. But it should not be silent for long: four sessions of one agent were frozen for 25 to 109 minutes
# by streams that were open and said nothing (earendil-works/pi#8331). Another had a total limit only, of two hours, and added one for the silence (Nerovix/kouhai-bot#46).
#
# The limit on silence is a deadline that moves on with every event. It counts events, not bytes, so that dripping does not help.


# %%
import math
from contextlib import suppress
from functools import partial

from httpx_sse import aconnect_sse

MODELS = ("mock-hangs", "mock-stalls", "mock-drips", "gpt-4o-mini")


async def streams(url, read=math.inf, idle=math.inf, total=math.inf):
    async def stream(model):
        asked = body("Write a report.") | {"model": model, "stream": True}
        with anyio.fail_after(total / SCALE), anyio.fail_after(idle / SCALE) as silence:
            async with aconnect_sse(client, "POST", f"{url}/chat/completions", json=asked) as reply:
                async for _event in reply.aiter_sse():
                    silence.deadline = anyio.current_time() + idle / SCALE

    async def tried(model):
        with suppress(TimeoutError, httpx.TimeoutException):
            await stream(model)

    limits = httpx.Timeout(None, read=read / SCALE)
    async with httpx.AsyncClient(timeout=limits) as client, anyio.create_task_group() as calls:
        for model in MODELS:
            calls.start_soon(tried, model)


# %% tags=["nbval-check-output"]
def fate(model, run):
    (request,) = (request for request in run.requests if request.model == model)
    if request.last_byte is not None:
        return "answered"
    return "still open" if request.client_left is None else "given up"


troubles = zip(("hang", "hang_mid_stream", "drip"), MODELS, strict=False)
faults = [Fault(kind=kind, model=model, interval=2.5 / SCALE) for kind, model in troubles]
llm.configure(answer_tokens=1_800, faults=faults)  # a report, 31 s long
arms = {
    "read": partial(streams, read=15),
    "total": partial(streams, total=20),
    "idle and total": partial(streams, idle=15, total=120),
}
streamed = await compare(llm, repeats=1, limit=2.5, **arms)
table(streamed, {model: partial(fate, model) for model in MODELS}, standard=False)

# %% [markdown]
# `gpt-4o-mini` is healthy: it writes a long report. A read timeout of 15 s leaves the drip open. A total of 20 s ends everything, the healthy report too.
# A limit of 15 s between two events ends what is silent, and nothing else; the total of 120 s is there for a stream that never comes to its end.
#
# One thing more: before the *first* event a model may think or read for long. If yours does, allow more until then.
#
# ## What if the deadline is too short?
#
# A deadline throws away answers that would have come. One client gave up at 240 s and asked again, while the model was reading a prompt of 88,318 tokens: healthy work of 503 s.
# The retries put a second and a third reading on the same machine, and eight minutes became 28 in the worst case (block/buzz#6115).
#
# Below, answers have very different lengths (240 tokens in the middle, and a long **tail**), and a **share** of the calls hangs. For each deadline: how long was waited for nothing?

# %%
import numpy

from helpers import WhatIf, lines


async def impatient(url, lengths, deadline):
    async def ask(tokens):
        with anyio.move_on_after(deadline / SCALE):
            await client.post(f"{url}/chat/completions", json=body("Why?") | {"max_tokens": tokens})

    async with httpx.AsyncClient(timeout=None) as client, anyio.create_task_group() as calls:
        for tokens in lengths:
            calls.start_soon(ask, tokens)


def in_vain(run, *, hung):
    lost = [r for r in run.requests if r.client_left is not None and (r.fault == "hang") == hung]
    return len(lost), sum(r.client_left - r.arrival for r in lost) * SCALE / len(run.requests)


# %%
from IPython.display import display


async def vary(share, tail):
    draw = numpy.random.default_rng(4).lognormal(math.log(240), tail, 40)
    lengths = [min(4_000, round(tokens)) for tokens in draw]
    llm.configure(answer_tokens=4_000, faults=[Fault(kind="hang", share=share)])
    deadlines = {f"{d} s": partial(impatient, lengths=lengths, deadline=d) for d in (5, 10, 20, 40)}
    runs = await compare(llm, repeats=1, limit=3, **deadlines)
    waits = {"for healthy answers, thrown away": [], "for calls that hang": []}
    for arm in deadlines:
        for name, hung in zip(waits, (False, True), strict=True):
            waits[name].append((int(arm[:-2]), in_vain(runs[arm], hung=hung)[1]))
    lost = ", ".join(f"{in_vain(runs[arm], hung=False)[0]} at {arm}" for arm in deadlines)
    caption = f"Healthy answers thrown away, of {len(lengths)} calls: {lost}."
    return lines(waits, x="deadline (s)", y="waited in vain per call (s)", caption=caption)


display(await vary(share=0.1, tail=0.8))
WhatIf(vary, share=(0.0, 0.5, 0.1), tail=(0.2, 1.2, 0.8))

# %% [markdown]
# The times here are multiplied back to real ones. Too short a deadline wastes healthy work, too long a one waits for the dead, and the longer the tail, the longer the deadline has to be.
# Take it from your own latencies: above the slowest answers that you still want (p99, say), and below the patience of whoever waits.
#
# **When is the wrong way fine?** When a person sits before it who can stop it, as at a script in a terminal. And the more rarely calls hang, the less a deadline that is too *long* costs. Without any, the pool is full some day.
#
# ## Your turn
#
# `handle` asks a moderator, then a large model, and if that gives no answer, a small one. All of it has one budget of seconds, because that is how long the user waits.
# Someone gave each call a limit. Repair it:
#
# - The caller has an answer, or `NoAnswerError`, when the budget is over. Whatever hangs or drips.
# - The small model has the last `RESERVE` seconds of the budget for itself, if it is needed. The large one has what is left before.
# - A slow moderator, or a slow large model, is waited for as long as there is time.
#
# The check gives you two seconds, and in one case a little more.

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
        return await ask(client, url, "gpt-4o", question, budget)
    except NoAnswerError:
        return await ask(client, url, "gpt-4o-mini", question, budget)


# %% tags=["nbval-check-output"]
from helpers import check, hints

await check("04", handle)
hints("04")

# %% [markdown]
# ## Catch it
#
# Ruff's rule S113 looks for calls without a timeout. Here it reads the arms, and the mistake of `wrong` made with an SDK. And each meets a provider that only drips.
# The limit of 3 s is the test's own: without it, the test would hang instead of failing.

# %% tags=["nbval-check-output"]
import openai

from helpers import lint


async def sdk_forever(url, questions):
    client = openai.AsyncOpenAI(base_url=url, api_key="any", timeout=None)
    await client.chat.completions.create(**body(questions[0]))


async def end_of(arm):
    with anyio.move_on_after(3):
        await arm(llm.url, QUESTIONS[:1])
        return "returns"
    return "is ended by the test"


arms = (wrong, read_only, sdk_forever, right)
llm.configure(answer_tokens=16, faults=[Fault(kind="drip", interval=2.5 / SCALE)])
for arm, end in zip(arms, await at_once(end_of, arms), strict=True):
    print(f"{arm.__name__} {end}. Ruff:", *lint(arm, "S113") or ["nothing found"], sep="\n    ")

# %% [markdown]
# `timeout=None` is found where httpx is called by name. That a timeout is no deadline, no linter knows, and ruff does not look into an SDK. The provider finds all three.
#
# With this course installed, your own tests have such a provider as a fixture:
#
# ```python
# @pytest.mark.mock_llm(faults=[Fault(kind="drip")])
# def test_a_dripping_provider_is_given_up(mock_llm):
#     async def ask():
#         with anyio.fail_after(5), pytest.raises(NoAnswerError):
#             await my_handler(mock_llm.url, "Anyone there?")
#
#     anyio.run(ask)
# ```
#
# In production, log a line when a call *begins*, and keep two numbers: calls in flight, and the age of the oldest. A call that hangs never gets to the line that you log at its end.
#
# ## In your SDK
#
# Both SDKs have a default, and retry on a timeout. This is what a caller may have to wait when you say nothing:

# %%
import anthropic

for sdk in (openai, anthropic):
    limit, attempts = sdk.DEFAULT_TIMEOUT, sdk.DEFAULT_MAX_RETRIES + 1
    print(f"{sdk.__name__}: {limit}")
    print(f"    {attempts} attempts × {limit.read} s = {attempts * limit.read / 60:.0f} minutes")
for given in ({}, {"timeout": None}):
    client = openai.AsyncOpenAI(base_url=llm.url, api_key="any", **given)
    print(f"AsyncOpenAI({given or ''}) has timeout {client.timeout}")


# %% tags=["nbval-check-output"]
async def sdk(url, deadline=math.inf):
    try:
        async with openai.AsyncOpenAI(base_url=url, api_key="any", timeout=10 / SCALE) as client:
            with anyio.fail_after(deadline / SCALE):
                await client.chat.completions.create(**body("Anyone there?"))
    except (TimeoutError, openai.APITimeoutError) as late:
        return type(late).__name__


for fault, limit in ((Fault(kind="hang"), 10), (Fault(kind="drip", interval=2.5 / SCALE), 2)):
    llm.configure(answer_tokens=16, faults=[fault])
    arms = {"timeout alone": sdk, "with a deadline": partial(sdk, deadline=15)}
    tried = await compare(llm, repeats=1, limit=limit, **arms)
    print(f"{fault.kind}: requests with a timeout alone:", len(tried["timeout alone"].requests))
    for arm in arms:
        print(f"    {arm}:", tried[arm].result or "still waiting when the lab gave up")

# %% [markdown]
# One call, three requests, and three times the timeout; the SDK's pauses between them come on top. Its timeout is one for each read, so that a drip goes on for ever.
# And `timeout=None` is not "the default": it switches every limit off. A configuration value of null, passed on, was enough to hang a run for good (cognizant-ai-lab/neuro-san#1220).
#
# So: set `timeout` and `max_retries` on the client, and put `anyio.fail_after` around the call. It covers the retries as well.
#
# ## Coming from Rust
#
# | Rust | Python | in both |
# |---|---|---|
# | `reqwest::Client` without a timeout | `httpx.AsyncClient(timeout=None)` | waits for ever. It is the default of reqwest's async client; httpx's is 5 s of silence |
# | `ClientBuilder::timeout` | `anyio.fail_after` around the call | a deadline for the whole call, body included |
# | `ClientBuilder::read_timeout`, `connect_timeout` | `httpx.Timeout(read=…, connect=…)` | silence, and connecting |
# | `tokio::time::timeout(limit, future)` | `anyio.fail_after(limit)`, `asyncio.timeout(limit)` | cancels what is inside: a future that is dropped, a task that gets an exception at its `await` |
# | `tokio::sync::Semaphore` | `anyio.CapacityLimiter` | a turn first, then the clock |
#
# Mind the name: reqwest's `timeout` bounds the whole call, httpx's `timeout=30` allows 30 s of silence.
#
# ## Recap
#
# 1. Why did healthy calls fail when others hung?
# 2. Which limit ends a drip, and which does not?
# 3. Your handler has 10 s and makes three calls. What limit does the second one get?
#
# <details><summary>Answers</summary>
#
# 1. A call that hangs keeps its connection. When it is the last one of the pool, nobody else is served.
# 2. A deadline for the whole call, and one between two events of a stream. A read timeout starts anew with every byte.
# 3. What the first has left of the 10 s, less what the third will need.
#
# </details>
#
# **Further reading.** No exception, so no retry: a stream that stalled for hours (agent0ai/agent-zero#1882). Timeout × retries, 10 to 14 minutes to an error (SolaceLabs/solace-agent-mesh#1460).
# A default of 100 minutes that came from another library (OpenHands/software-agent-sdk#1638). A limit for the headers only, while the body hung for 30 minutes (mateaix/mateclaw#585).
