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
# # 03 · Say it once, say it short
#
# **Symptom.** The bill grows faster than the number of users, and the longer a conversation lasts, the longer users wait for an answer to begin.
#
# **Objectives.** After this lesson you can
#
# - count the tokens of a prompt before you send it
# - order a prompt so that the provider's cache can be used
# - keep a prompt within a budget
#
# **Prerequisites.** Lists of chat messages. Lesson 01 helps. **Time.** 25 minutes for the core, 70 with everything in *Going deeper*.
#
# ## The incident
#
# A coding agent sent some 55,000 tokens in every turn. Nearly all of them were the same as in the turn before, and still an answer took 4 to 5 s to begin
# ([adolfousier/opencrabs#657](https://github.com/adolfousier/opencrabs/issues/657)). The repair changed one line of the prompt. Which one?

# %%
import httpx

from helpers import MockLLM, Predict, bars, compare, figure, lines, run, table
from helpers.mock_llm.tokens import count_prompt_tokens, encode

llm = MockLLM("large", speed=16, answer_tokens=24).start()
print("A mock provider is running. All its times are divided by 16.")


def say(role, text):
    return {"role": role, "content": text}


def body(messages):
    return {"model": "gpt-5-mini", "messages": messages}


# %% [markdown]
# `encode` is `tiktoken.get_encoding("o200k_base").encode`; `count_prompt_tokens` adds what the chat format needs, about four tokens per message, as the mock provider does.
#
# ## The wrong way
#
# **A polite letter.** The same question, in a letter and in a line. What do 10,000 letters a day cost in a year? The price is an example: enter the one of your model.

# %%
LETTER = """Dear assistant, I hope this message finds you well. First of all, thank you very much \
for all the kind help you have given us so far. I would be most grateful if you could take a moment \
to consider the following question, and answer it as carefully as you possibly can: {question} \
Thank you very much in advance, and have a wonderful day!"""
CONCISE = "Answer concisely: {question}"
PRICE = 1.00  # dollars for a million input tokens

question = "What does a parcel of 2 kg to zone 4 cost?"
texts = {"letter": LETTER.format(question=question), "line": CONCISE.format(question=question)}
tokens = {name: count_prompt_tokens([say("user", text)]) for name, text in texts.items()}
a_year = {name: 365 * 10_000 * count / 1e6 * PRICE for name, count in tokens.items()}
caption = f"Prompt tokens: {tokens['letter']} in a letter, {tokens['line']} in a line. "
caption += f"A year costs {a_year['letter']:,.0f} dollars or {a_year['line']:,.0f}."
bars(tokens, unit="prompt tokens", caption=caption)

# %% [markdown]
# **The same tariff in every turn.** A question is sent again in each later turn, as part of the history. So is everything before it: this help desk sends its tariff of 16,000 tokens in every turn.

# %%
from datetime import datetime

QUESTIONS = [f"What does a parcel of {kilos} kg to zone {kilos + 2} cost?" for kilos in range(1, 9)]
TARIFF = "You are the help desk of a parcel service. This is the tariff:\n" + "\n".join(
    f"Zone {zone}, up to {kilos} kg: {3 + zone + kilos / 2:.2f} euro, {zone + 1} days."
    for zone in range(1, 21)
    for kilos in range(1, 41)
)


async def converse(url, questions, build):
    history, usages = [], []
    async with httpx.AsyncClient(timeout=30) as client:
        for question in questions:
            messages = build(history, question)
            reply = await client.post(f"{url}/chat/completions", json=body(messages))
            answer = reply.raise_for_status().json()
            history += [messages[-1], answer["choices"][0]["message"]]
            usages.append(answer["usage"])
    return usages


# %%
def clock():
    return f"It is {datetime.now():%Y-%m-%d %H:%M:%S.%f}."


def wrong_prompt(history, question):
    letter = LETTER.format(question=question)
    return [say("system", f"{clock()}\n{TARIFF}"), *history, say("user", letter)]


async def wrong(url, questions):
    return await converse(url, questions, wrong_prompt)


# %% [markdown]
# ## Predict, then run
#
# Providers keep what they have read in a **prompt cache**. What they find there is cheaper, and it need not be read again, so the answer comes sooner.
#
# The conversation has eight turns, with about 132,000 prompt tokens together. The tariff is the same in all of them. Commit to a number.

# %%
guess = Predict(
    "03",
    "How many of the 132,000 prompt tokens will come from the cache?",
    arm="wrong",
    unit="tokens",
)
guess

# %%
wrong_run = await run(wrong, llm, QUESTIONS)
guess.reveal(wrong_run.cached_tokens)

# %% [markdown]
# **What just happened?** What a model computes for a token depends on every token before it, so a cache can only know *beginnings*: the same tokens from the first one on, here 1,024 of them or more, in steps of 128. (OpenAI's models before GPT-5.6 cache by these rules.)
# The clock is the one thing that changes, and it is at the front. So each turn was a new prompt from its first line. The server read the tariff eight times, at full price, while the user waited.
#
# The agent of the incident had the current time, with its seconds, in its system prompt. Now it shows the date only.
#
# ## The right way


# %%
def right_prompt(history, question):
    line = f"{CONCISE.format(question=question)} {clock()}"
    return [say("system", TARIFF), *history, say("user", line)]


async def right(url, questions):
    return await converse(url, questions, right_prompt)


# %% [markdown]
# - **What never changes comes first; what changes comes last.** The model still learns the time, from the newest message.
# - **From GPT-5.6 on, order is not enough.** You also have to mark where the fixed part ends ([openai/codex#35300](https://github.com/openai/codex/issues/35300)); see *In your SDK*.
# - **One line instead of a letter.** Shorter is cheaper, but here the order makes nearly all of the difference. Without the tariff, the short question would save most.
#
# ## Side by side

# %% tags=["figure"]
numbers = [
    ("prompt tokens", lambda run: run.prompt_tokens),
    ("from the cache", lambda run: run.cached_tokens),
    ("ms per answer", lambda run: round(1000 * run.ttft)),
]
titles = {"wrong": "wrong: clock first", "right": "right: tariff first"}
comparison = await compare(llm, QUESTIONS, wrong=wrong, right=right)
figure(comparison, prediction=guess.made, titles=titles, numbers=numbers)

# %% tags=["table"]
table(comparison, rows=dict(numbers), standard=False)

# %% [markdown]
# The milliseconds are the median of eight turns. The first turn of `right` takes as long as any of `wrong`: the server has to read the tariff once. The prompts of `right` are less than 2 % shorter, so the order saves nearly everything.
#
# **Is the short prompt as good?** The mock cannot tell you; its answers are words without sense. Keep twenty of your own questions with known answers, and ask them with both prompts.
#
# ## Verdict

# %% tags=["nbval-check-output", "verdict"]
from helpers import at_least, at_most, equals, verdict

w, r = comparison["wrong"], comparison["right"]
shorter = 100 * (1 - r.prompt_tokens / w.prompt_tokens)
full_price = {run.arm: run.prompt_tokens - run.cached_tokens for run in (w, r)}
counted = count_prompt_tokens(right_prompt([], QUESTIONS[0]))
usage = r.result[0]["prompt_tokens"] if r.result else None
waits = comparison.ratio(lambda run: run.ttft, "wrong", "right")
verdict(
    "03",
    at_least("tokens, letter ÷ line", tokens["letter"] / tokens["line"], 3),
    equals("tokens counted as the server counts", usage == counted, True),
    at_most("percent of the tokens saved by short questions", shorter, 2),
    equals("tokens from the cache, wrong", w.cached_tokens, 0),
    at_least("share of tokens from the cache, right", r.cached_tokens / r.prompt_tokens, 0.8),
    at_least("full-price tokens, wrong ÷ right", full_price["wrong"] / full_price["right"], 5),
    at_least("time per answer, wrong ÷ right", waits, 1.5),
)

# %% [markdown]
# ## Your turn
#
# `build` makes a prompt of at most `budget` tokens, as the server counts them. This one guesses. Repair it:
#
# - First comes the system prompt, then the newest messages, whole and in order: as many as fit.
# - If not even the newest message fits, keep the longest beginning of it that does. Cut it between two `characters`.
# - If not one character fits, or the system prompt alone is too long, raise `ValueError`.
#
# The check counts in English, German, Chinese, Hindi, Korean and emoji.

# %% tags=["exercise"]
import regex


def characters(text):
    """What a reader sees as characters: an emoji may be several code points."""
    return regex.findall(r"\X", text)


def build(system, history, budget):
    room = budget - len(system) // 4
    kept = []
    for message in reversed(history):
        kept.insert(0, {**message, "content": message["content"][: room * 4]})
        room -= len(message["content"]) // 4
        if room <= 0:
            break
    return [{"role": "system", "content": system}, *kept]


# %% tags=["nbval-check-output"]
from helpers import check, hints

await check("03", build)  # takes about 10 s
hints("03")

# %% [markdown]
# ## Going deeper
#
# Each section below runs on its own after the cells above. Choose what you need, or continue with [lesson 04](04_deadlines.ipynb).

# %% [markdown] jp-MarkdownHeadingCollapsed=true
# ### When is the wrong way fine?

# %% [markdown]
# For a prompt that is sent once, no cache helps. And for one conversation a day, the saving is smaller than an hour of your work. Enter the prices of your model, and move the sliders:

# %%
from helpers import WhatIf

INPUT, CACHED, OUTPUT = 1.00, 0.10, 5.00  # dollars per million tokens: an example


def dollars(run):
    fresh = run.prompt_tokens - run.cached_tokens
    return (fresh * INPUT + run.cached_tokens * CACHED + run.completion_tokens * OUTPUT) / 1e6


# %%
async def vary(turns, conversations):
    again = await compare(llm, QUESTIONS[:turns], repeats=1, wrong=wrong, right=right)
    year = {arm: 365 * conversations * dollars(again[arm]) for arm in ("wrong", "right")}
    caption = f"A year: {year['wrong']:,.0f} dollars for wrong, {year['right']:,.0f} for right."
    return bars(year, unit="dollars a year", caption=caption)


# %%
WhatIf(vary, turns=(1, 8, 8), conversations=(1, 10_000, 1_000))

# %% [markdown] jp-MarkdownHeadingCollapsed=true
# ### Is a token four characters?

# %% [markdown]
# "A token is about four characters" is a rule of thumb for English. Here are 240 code points of each. By the rule they have 60 tokens. How many do the Chinese ones have?

# %%
guess_chinese = Predict(
    "03", "How many tokens do the 240 Chinese characters have?", arm="Chinese", unit="tokens"
)
guess_chinese

# %%
import hashlib
import inspect
import json

SAMPLES = {
    "English prose": LETTER,
    "Python": inspect.getsource(count_prompt_tokens),
    "minified JSON": json.dumps(
        [{"zone": n, "kg": 5 * n} for n in range(30)], separators=(",", ":")
    ),
    "hexadecimal": hashlib.sha512(b"parcel").hexdigest() * 2,
    "Chinese": "请只说一次，并且说得简短。提示中的每个字在每一轮对话里都会被重新读取，而读取是要收费的。"
    * 6,
    "emoji": "👨‍👩‍👧‍👦🙏🏽📦🚚✅🎉😀" * 30,
}

# %%
counts = {name: len(encode(text[:240])) for name, text in SAMPLES.items()}
caption = "Tokens of 240 characters: " + ", ".join(f"{name} {n}" for name, n in counts.items())
guess_chinese.reveal(counts["Chinese"])
bars(counts, unit="tokens", caption=caption, prediction=guess_chinese.made)

# %% [markdown]
# Where the rule counts too few, it is dangerous: one session was estimated at 59,000 tokens, had 174,000, and was reset when it reached its limit
# ([Martian-Engineering/lossless-claw#47](https://github.com/Martian-Engineering/lossless-claw/issues/47)). Count; do not estimate. Add a sample in your own language.

# %% [markdown] jp-MarkdownHeadingCollapsed=true
# ### What if the conversation is longer?

# %% [markdown]
# Every prompt must fit into the model's **context window**, so at some point old turns have to go. Sixty-four turns without the tariff, in three ways:


# %%
import math
from functools import partial


def window(history, limit, step):
    while count_prompt_tokens(history) > limit:
        history = history[step:]
    return history


def prompt(history, question, limit, step):
    kept = window(history, limit, step)
    return [say("system", "Be brief."), *kept, say("user", f"{question} {clock()}")]


# %%
ways = {
    "everything": partial(prompt, limit=math.inf, step=2),
    "a window that slides": partial(prompt, limit=2_000, step=2),
    "a window in steps": partial(prompt, limit=2_000, step=8),
}
arms = {way: partial(converse, build=build) for way, build in ways.items()}

# %%
llm.configure(speed=1_000, answer_tokens=120)
try:
    talks = await compare(llm, QUESTIONS * 8, repeats=1, limit=60, **arms)
finally:
    llm.configure(speed=16, answer_tokens=24)


# %%
def at_full_price(usage):
    """Prompt tokens, with a cached one counted as a tenth."""
    return usage["prompt_tokens"] - 0.9 * usage["prompt_tokens_details"]["cached_tokens"]


# %%
costs = {way: [at_full_price(usage) for usage in talks[way].result] for way in ways}
total = "; ".join(f"{way}: {sum(cost):,.0f}" for way, cost in costs.items())
points = {way: list(enumerate(cost, 1)) for way, cost in costs.items()}
lines(points, x="turn", y="cost, in full-price tokens", caption=f"All 64 turns: {total}.")

# %% [markdown]
# A **sliding window** drops the oldest messages in each turn. Its prompt begins differently each time, so the cache finds nothing. A window that drops eight messages at once keeps its beginning for a while.
#
# In 64 turns, sliding costs more than twice as much as keeping everything, and steps save about 15 %. The longer the conversation, the more steps save, because `everything` keeps growing. Until turn 8 no earlier prompt had 1,024 tokens, so nothing was cached. The peaks of the window in steps are its cuts; the small teeth of `everything` are the cache's steps of 128.
#
# **Your turn, part b.** This window slides. Write one that is cut in steps: the newest message is always there (`window` above can return nothing at all), at least a third of the budget is used, and the same history always gives the same prompt. The check sends two conversations. From the first cut on, at least half of the prompt tokens must come from the cache.


# %% tags=["exercise-b"]
def build_in_steps(system, history, budget):
    prompt = [{"role": "system", "content": system}, *history]
    while count_prompt_tokens(prompt) > budget:
        del prompt[1]
    return prompt


# %% tags=["nbval-check-output"]
await check("03b", build_in_steps)  # takes about 10 s
hints("03b")

# %% [markdown] jp-MarkdownHeadingCollapsed=true
# ### Catch it

# %% [markdown]
# No linter sees a clock in a prompt. Two small tests do, and they need no server:


# %%
import time


def test_budget(prompt):
    history = [say("user", "Where is my parcel?")] * 40
    assert count_prompt_tokens(prompt(history, QUESTIONS[0])) <= 16_500


def test_stable_front(prompt):
    one = prompt([], QUESTIONS[0])
    time.sleep(1)  # so that a clock without fractions of a second is noticed too
    other = prompt([], QUESTIONS[1])
    assert one[0] == other[0], "the system prompt changes from call to call"


# %% tags=["nbval-check-output"]
for build_prompt in (wrong_prompt, right_prompt):
    try:
        test_budget(build_prompt)
        test_stable_front(build_prompt)
        print(build_prompt.__name__, "passed")
    except AssertionError as failed:
        print(build_prompt.__name__, "failed:", failed)

# %% [markdown]
# In production, log two numbers of each call's `usage`: prompt tokens, and the share of them that was cached. A share of 0 on a prompt that hardly changes is a bug. Lower the budget to 16,000: which test fails first now?
#
# <details><summary>Answer</summary>test_budget, for both prompts.</details>

# %% [markdown] jp-MarkdownHeadingCollapsed=true
# ### In your SDK

# %% [markdown]
# OpenAI's `prompt_tokens` *includes* the cached tokens; Anthropic's `input_tokens` *excludes* them. Each call is made twice, and the second is shown:


# %%
async def ask_openai(url):
    import openai

    async with openai.AsyncOpenAI(base_url=url, api_key="any") as client:
        for _ in range(2):
            answer = await client.chat.completions.create(
                model="gpt-5-mini", messages=right_prompt([], "Hello?"), max_completion_tokens=12
            )
    return answer.usage.prompt_tokens, answer.usage.prompt_tokens_details.cached_tokens


# %%
async def ask_anthropic(url):
    import anthropic

    marked = [{"type": "text", "text": TARIFF, "cache_control": {"type": "ephemeral"}}]
    call = {"model": "claude-sonnet-5-5", "system": marked, "messages": [say("user", "Hello?")]}
    async with anthropic.AsyncAnthropic(base_url=url.removesuffix("/v1"), api_key="any") as client:
        counted = await client.messages.count_tokens(**call)
        for _ in range(2):
            message = await client.messages.create(**call, max_tokens=12)
    return counted.input_tokens, message.usage.input_tokens, message.usage.cache_read_input_tokens


# %%
prompt_tokens, cached = (await run(ask_openai, llm)).result
counted, fresh_tokens, read = (await run(ask_anthropic, llm)).result

# %% tags=["nbval-check-output"]
print(f"openai: {prompt_tokens} prompt tokens, {cached} of them cached")
print(f"anthropic: counted {counted}; {fresh_tokens} input tokens, and {read} read from the cache")

# %% [markdown]
# Mixing the two up is expensive to debug: one tool showed 51.08 dollars for what cost about 8 ([microsoft/conductor#427](https://github.com/microsoft/conductor/issues/427)). Remove `cache_control` and run it again: Anthropic caches only what you mark.
#
# - **Count with the provider's own counter** where there is one: tiktoken has OpenAI's vocabularies only; `messages.count_tokens` asks Anthropic.
# - **From GPT-5.6 on**, OpenAI finds only prefixes that end at a *breakpoint*. It sets one itself. Writing to the cache costs 1.25 times the input price, at Anthropic too (with a lifetime of five minutes). So a prompt that is never found is *more* expensive than without a cache.
#   Mark the end of the part that never changes: `{"type": "text", "text": TARIFF, "prompt_cache_breakpoint": {"mode": "explicit"}}`.
# - **`max_completion_tokens`** limits the answer. (`max_tokens` is deprecated at OpenAI, and reasoning models refuse it.) The model does not know the limit: the answer is cut off, and its `finish_reason` says `length`.

# %% [markdown] jp-MarkdownHeadingCollapsed=true
# ### In a service

# %% [markdown]
# The route refuses a prompt over the budget before it is sent, and logs how many of its tokens came from the cache. Counting is computing, so it runs in a thread.

# %%
import asyncio
from contextlib import asynccontextmanager

from fastapi import FastAPI, HTTPException, Request
from fastapi.testclient import TestClient


# %%
def make_app(url, budget):
    @asynccontextmanager
    async def lifespan(app):
        async with httpx.AsyncClient(base_url=url, timeout=30) as client:
            yield {"client": client}

    app = FastAPI(lifespan=lifespan)

    @app.post("/ask")
    async def ask(question: str, request: Request):
        messages = right_prompt([], question)
        tokens = await asyncio.to_thread(count_prompt_tokens, messages)
        if tokens > budget:
            raise HTTPException(413, f"{tokens} tokens; the limit is {budget}")
        reply = await request.state.client.post("/chat/completions", json=body(messages))
        answer = reply.raise_for_status().json()
        print("cached:", answer["usage"]["prompt_tokens_details"]["cached_tokens"], "of", tokens)
        return answer["choices"][0]["message"]["content"]

    return app


# %%
def visit(url):
    with TestClient(make_app(url, budget=16_500)) as service:
        questions = ["Hello?", "Hello again?", "Please! " * 1_000]
        return [service.post("/ask", params={"question": q}).status_code for q in questions]


# %%
visited = await run(visit, llm)

# %% tags=["nbval-check-output"]
print("statuses:", visited.result)

# %% [markdown]
# Set the budget to 20,000. How many tokens of the third prompt are not cached?
#
# <details><summary>Answer</summary>2,051 of 18,051.</details>

# %% [markdown] jp-MarkdownHeadingCollapsed=true
# ### Coming from asyncio, coming from Rust

# %% [markdown]
# In asyncio, `asyncio.gather` on a prompt that is new to the cache pays for it in each call: at Anthropic, it is found there only after [the first response has begun](https://platform.claude.com/docs/en/build-with-claude/prompt-caching). Await one call, then gather the others.
#
# | Rust | Python | in both |
# |---|---|---|
# | `tiktoken_rs::o200k_base()` | `tiktoken.get_encoding("o200k_base")` | the same tokens |
# | `text.len()` | `len(text)` | bytes there, code points here; tokens in neither |
# | `&text[..n]` panics inside a code point | `text[:n]` cannot | an emoji of seven code points breaks in both |
# | `graphemes(true)` of unicode-segmentation | `regex.findall(r"\X", text)` | what a reader sees as one character |

# %% [markdown] jp-MarkdownHeadingCollapsed=true
# ### Recap and further reading

# %% [markdown]
# 1. Why did a clock of nineteen tokens cost sixteen thousand?
# 2. Why can a window on the history make a conversation more expensive?
# 3. Your dashboard multiplies OpenAI's `prompt_tokens` by the input price and adds the cached tokens at theirs. What is wrong?
#
# <details><summary>Answers</summary>
#
# 1. It was at the front, and a prompt cache ends at the first token that differs.
# 2. If it moves in every turn, the beginning changes in every turn, and nothing is found in the cache.
# 3. The cached tokens are in `prompt_tokens` already, so they are billed twice.
#
# </details>
#
# **Further reading.** The same clock elsewhere: [dbeaver/dbeaver#41321](https://github.com/dbeaver/dbeaver/issues/41321). "hi" that costs 20,000 tokens: [cline/cline#9398](https://github.com/cline/cline/issues/9398).
#
# Next: [04 · Set a deadline](04_deadlines.ipynb).
