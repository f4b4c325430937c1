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
# **Symptom.** The bill grows faster than the number of users, and the longer a conversation lasts, the longer its silence before each answer.
#
# **What you'll do**
#
# - count tokens as the provider does, and see where "characters ÷ 4" lies
# - watch a clock at the front of a prompt throw away the provider's cache, turn after turn
# - repair it: a short question, a stable beginning, a window on the history
# - turn both versions into a yearly bill, with prices that you can edit
# - write a prompt builder that keeps to a budget in any language
#
# **What you'll need.** Lists of chat messages seen once before. Lesson 01 helps. 35 minutes.
#
# ## The incident
#
# A coding agent wrote the current time, with its seconds, into its system prompt. The rest of the prompt stayed the same, some 55,000 tokens of it.
# Because of the clock the provider read all of it again in every turn: 2.5 to 6 seconds of extra silence each time. The repair was to show the date only
# (adolfousier/opencrabs#657). Other projects made the same mistake in the same year
# (earendil-works/pi#1873, earendil-works/pi#2013, dbeaver/dbeaver#41321).
#
# Nothing failed. Nobody was told. You will now build the same prompt and count what it costs.

# %%
import httpx

from helpers import MockLLM, Predict, WhatIf, bars, compare, figure, lines, run, table
from helpers.mock_llm.tokens import count_prompt_tokens, encode


def say(role, text):
    return {"role": role, "content": text}


def body(messages):
    return {"model": "gpt-4o-mini", "messages": messages}


llm = MockLLM("large", speed=16, answer_tokens=24).start()
print("A mock provider is running. All its times are divided by 16.")

# %% [markdown]
# The mock reads and writes about as fast as a model of 400 billion parameters, sixteen times sped up. It counts with `o200k_base`, the vocabulary of GPT-4o and its successors,
# and so does `encode`. Elsewhere you get the same from `tiktoken.get_encoding("o200k_base")`, which downloads it once.
#
# ## Weigh a polite letter
#
# One question, asked twice: in a letter with about sixty words of greeting, thanks and preamble, and in a line.
# You count first, with tiktoken. Then the server says in `usage` what it counted.

# %%
LETTER = """Dear assistant,

I hope this message finds you well. First of all, thank you very much for your time and for all \
the kind help you have given us so far. I would be most grateful if you could take a moment to \
consider the following question, and answer it as carefully as you possibly can:

{question}

Thank you very much in advance."""
CONCISE = "Answer concisely: {question}"

# %%
question, counted, weighed = "What does a parcel of 2 kg to zone 4 cost?", {}, {}
for name, text in {"polite letter": LETTER, "concise": CONCISE}.items():
    messages = [say("user", text.format(question=question))]
    counted[name] = count_prompt_tokens(messages)
    reply = httpx.post(f"{llm.url}/chat/completions", json=body(messages), timeout=30)
    weighed[name] = reply.raise_for_status().json()["usage"]["prompt_tokens"]
print("counted with tiktoken:", counted, "in usage:", weighed)
caption = "The same question: {polite letter} prompt tokens in a letter, {concise} in a line."
bars(weighed, unit="prompt tokens", caption=caption.format(**weighed))

# %% [markdown]
# Seven tokens of each are the chat's own: three that mark off the message, one for its role, three that open the answer. `count_prompt_tokens` adds them by the
# rule that OpenAI published, so your count and the server's agree to the token. A provider may change that rule: compare with `usage` before you trust your count.
#
# ## Do not count characters
#
# "A token is about four characters" is a rule of thumb for English. Here it meets 240 characters of each of these.

# %%
import hashlib
import inspect
import json

SAMPLES = {
    "English prose": LETTER,
    "Python": inspect.getsource(count_prompt_tokens),
    "minified JSON": json.dumps(
        [{"zone": n, "kg": [n, 5 * n]} for n in range(30)], separators=(",", ":")
    ),
    "hexadecimal": hashlib.sha512(b"parcel").hexdigest() * 2,
    "Chinese": "请只说一次，并且说得简短。提示中的每个字在每一轮对话里都会被重新读取，而读取是要收费的。"
    * 6,
    "emoji": "👨‍👩‍👧‍👦🙏🏽📦🚚✅🎉😀" * 30,
}
counts = {
    name: {"characters ÷ 4": len(text[:240]) // 4, "tokens": len(encode(text[:240]))}
    for name, text in SAMPLES.items()
}
off = {name: count["tokens"] / count["characters ÷ 4"] for name, count in counts.items()}
said = ", ".join(f"{name} {times:.1f}" for name, times in off.items())
bars(counts, unit="tokens", caption=f"Tokens for one that characters ÷ 4 expects: {said}.")

# %% [markdown]
# For the letter the rule counts too many: harmless, and wasteful. For Python it happens to be right. From JSON on it counts too few, and that is the dangerous direction.
# One session was estimated at 59,000 tokens, really had 174,000, ran into its limit of 200,000 and was reset by force (Martian-Engineering/lossless-claw#47).
# Count; do not estimate.
#
# ## The wrong way
#
# The words around a question cost once. What goes into *every* turn costs again and again. `converse` is any chat application: build the messages, ask, remember.
# In the end it counts what it sent, to be held against the server's `usage`.
# `wrong_prompt` builds them as many do: the time first, so that the model knows it; the rules; all that was ever said; the letter.


# %%
from datetime import datetime

QUESTIONS = [f"What does a parcel of {kilos} kg to zone {kilos + 2} cost?" for kilos in range(1, 9)]
TARIFF = "You are the help desk of a parcel service. This is the tariff:\n" + "\n".join(
    f"Zone {zone}, up to {kilos} kg: {3 + zone + kilos / 2:.2f} euro, {zone + 1} days."
    for zone in range(1, 21)
    for kilos in range(1, 41)
)


async def converse(url, questions, build):
    encode("")  # loads the vocabulary: a third of a second, better now than in mid-conversation
    history, sent, usages = [], [], []
    async with httpx.AsyncClient(timeout=30) as client:
        for question in questions:
            messages = build(history, question)
            reply = await client.post(f"{url}/chat/completions", json=body(messages))
            said = reply.raise_for_status().json()
            history += [messages[-1], said["choices"][0]["message"]]
            sent.append(messages)
            usages.append(said["usage"])
    counted = [count_prompt_tokens(messages) for messages in sent]
    return [usage | {"counted": count} for usage, count in zip(usages, counted, strict=True)]


# %%
def clock():
    return f"It is {datetime.now():%Y-%m-%d %H:%M:%S.%f}."


def wrong_prompt(history, question):
    front, letter = f"{clock()}\n{TARIFF}", LETTER.format(question=question)
    return [say("system", front), *history, say("user", letter)]


async def wrong(url, questions):
    return await converse(url, questions, wrong_prompt)


# %% [markdown]
# ## Predict, then run
#
# Providers keep what they have read. A prompt whose beginning they have seen before, word for word, comes out of their cache: from 1,024 tokens on, in steps of 128,
# at a tenth of the price or less, and at once. This conversation has eight turns. Each sends the same tariff of 16,000 tokens.

# %%
guess = Predict(
    "03",
    "Of some 132,000 prompt tokens in all, how many will the server find in its cache?",
    arm="wrong",
    unit="tokens",
)
guess

# %%
wrong_run = await run(wrong, llm, QUESTIONS)
for turn, usage in enumerate(wrong_run.result, 1):
    cached = usage["prompt_tokens_details"]["cached_tokens"]
    print(f"turn {turn}: {usage['prompt_tokens']} prompt tokens, {cached} from the cache")

# %% [markdown]
# Each bar is one turn **as the server saw it**: pale while it read the prompt, solid while it wrote the answer. The numbers are from its `usage`.
#
# **What just happened?** A prompt cache knows beginnings, nothing else: what a model computes for a token depends on every token before it.
# The clock is the one thing that changes, and it stands at the very front. So each turn was a new prompt from its first line on.
# The server read the tariff eight times, at full price, while the user waited.
#
# The prompt grows, too. Each turn sends all letters and answers before it once more, so that the history of *n* turns costs in the order of *n*².
#
# ## The right way


# %%
def window(history, limit=300, step=8):
    while count_prompt_tokens(history) > limit:
        history = history[step:]
    return history


def right_prompt(history, question):
    line = f"{CONCISE.format(question=question)} {clock()}"
    return [say("system", TARIFF), *window(history), say("user", line)]


async def right(url, questions):
    return await converse(url, questions, right_prompt)


# %% [markdown]
# Three changes:
#
# - **What never changes stands first, what changes stands last.** The model still learns the time, from the newest message. One project's repair was this very move
#   (dbeaver/dbeaver#41321).
# - **One line instead of a letter.** The letter would stay in the history and be paid for in every later turn.
# - **A window on the history, counted in tokens.** It drops eight messages at once, and then leaves its beginning alone for a while. You will see below why.
#
# What falls out of the window is forgotten. What must not be, a customer number for one, goes between the tariff and the window.
#
# ## Side by side

# %% tags=["figure"]
numbers = [
    ("prompt tokens", lambda run: run.prompt_tokens),
    ("from the cache", lambda run: run.cached_tokens),
    ("median TTFT", lambda run: f"{1000 * run.ttft:.0f} ms"),
]
titles = {"wrong": "wrong: clock first", "right": "right: tariff first"}
comparison = await compare(llm, QUESTIONS, wrong=wrong, right=right)
figure(comparison, prediction=guess.made, titles=titles, numbers=numbers)

# %% tags=["table"]
rows = {
    "prompt tokens": lambda run: run.prompt_tokens,
    "from the cache": lambda run: run.cached_tokens,
    "at full price": lambda run: run.prompt_tokens - run.cached_tokens,
    "answer tokens": lambda run: run.completion_tokens,
    "median TTFT, seconds": lambda run: run.ttft,
    "first request to last answer, seconds": lambda run: run.makespan,
}
table(comparison, rows=rows, standard=False)

# %% [markdown]
# Look at the prompt tokens first: hardly fewer. The letters and old turns, which people trim first, are two tokens in a hundred here.
# That `wrong` reads eight times as much at full price comes from one line in the wrong place. Where there is no tariff, the history is the bill; you will see that below.
#
# The first turn of `right` waits as long as any of `wrong`: somebody has to read the tariff once.
#
# **Is the short prompt as good?** This mock cannot tell you. Its answers are words without sense, and equally many for both prompts. Whether your model answers the short question
# as well, and in how many words, only your own questions can show: keep twenty with known answers and run them against both prompts.
# Moving the clock and trimming the history are changes too, and deserve the same test. What is measured here is what you pay before the first word of an answer.
#
# ## Verdict

# %% tags=["nbval-check-output", "verdict"]
from helpers import at_least, equals, verdict

w, r = comparison["wrong"], comparison["right"]
full_price = {run.arm: run.prompt_tokens - run.cached_tokens for run in (w, r)}
agree = [usage["counted"] == usage["prompt_tokens"] for usage in w.result + r.result]
ttft = comparison.ratio(lambda run: run.ttft, "wrong", "right")
verdict(
    "03",
    equals("tokens by tiktoken and in usage, letter and line", weighed, counted),
    at_least("tokens, letter ÷ line", weighed["polite letter"] / weighed["concise"], 3),
    at_least("tokens ÷ what characters ÷ 4 expects, Chinese", off["Chinese"], 2),
    equals("answers, right", r.answered, 8),
    equals("turns whose count by tiktoken is the server's", sum(agree), 16),
    equals("tokens from the cache, wrong", w.cached_tokens, 0),
    at_least("share of tokens from the cache, right", r.cached_tokens / r.prompt_tokens, 0.8),
    at_least("full-price tokens, wrong ÷ right", full_price["wrong"] / full_price["right"], 5),
    at_least("median TTFT, wrong ÷ right", ttft, 1.5),
)

# %% [markdown]
# ## What if the prompt is longer?
#
# The same clock, first or last, with one to five copies of the tariff. Both arms send the longest prompt once beforehand, so that there is something to find.


# %%
from functools import partial


def clock_first(history, copies):
    return [say("system", f"{clock()}\n{TARIFF * copies}")]


def clock_last(history, copies):
    return [say("system", f"{TARIFF * copies}\n{clock()}")]


arms = {build.__name__: partial(converse, build=build) for build in (clock_first, clock_last)}
longer = await compare(llm, (5, 1, 2, 3, 5), repeats=1, **arms)
waits = {
    arm.replace("_", " "): [
        (q.prompt_tokens, q.first_byte - q.arrival) for q in longer[arm].requests[1:]
    ]
    for arm in arms
}
(most, first), (_, last) = (line[-1] for line in waits.values())
caption = (
    f"At {most:,} tokens TTFT is {first:.2f} s with the clock first, {last:.2f} s with it last."
)
lines(waits, x="prompt tokens", y="TTFT (s, divided by 16)", caption=caption)

# %% [markdown]
# Below 1,024 tokens nothing is cached, and for a prompt of a few thousand you will hardly feel it: OpenAI speaks of 7 % less TTFT at 1,024 tokens and 67 % from 150,000 on.
#
# ## What if the conversation is longer?
#
# Sixty-four turns without the tariff, so that only the history is left. Four ways to send it; a cached token counts a tenth of a fresh one, and at some providers only a twentieth.


# %%
def fresh(usage):
    return usage["prompt_tokens"] - 0.9 * usage["prompt_tokens_details"]["cached_tokens"]


def at_the_front(history, question):
    return [say("system", f"{clock()} Be brief."), *history, say("user", question)]


def at_the_end(keep, history, question):
    return [say("system", "Be brief."), *keep(history), say("user", f"{question} {clock()}")]


builds = {
    "all, clock first": at_the_front,
    "all, clock last": partial(at_the_end, list),
    "window that slides": partial(at_the_end, partial(window, limit=2000, step=2)),
    "window in steps": partial(at_the_end, partial(window, limit=2000)),
}
ways = {way: partial(converse, build=build) for way, build in builds.items()}
with MockLLM("instant", answer_tokens=120) as quick:
    talks = await compare(quick, QUESTIONS * 8, repeats=1, **ways)
costs = {way: [fresh(usage) for usage in talks[way].result] for way in ways}
caption = "; ".join(f"{way}: {sum(cost):,.0f}" for way, cost in costs.items())
costs = {way: list(enumerate(cost, 1)) for way, cost in costs.items()}
lines(costs, x="turn", y="full-price tokens", caption=f"All 64 turns together: {caption}.")

# %% [markdown]
# The clock at the front is the steep line: the whole history at full price, in every turn. With the clock at the end most of it comes from the cache.
# Now look at the two windows. The sliding one drops the oldest question in each turn. Its prompt begins differently each time, so that it finds nothing in the cache,
# and the "saving" costs more than sending everything. The one that cuts in steps pays full price at each cut and is cheap in between.
#
# Caching makes a long history cheap, not small: it still ends at the context window. One application stopped at 210,266 tokens against a limit of 200,000 (onlook-dev/onlook#1354).
#
# ## What does it cost in a year?
#
# Prices in US dollars per million tokens. They come from third-party trackers, not from the providers' own pages, and are as old as the last column says. Edit them.


# %%
PRICES = {  # input, read from the cache, written to the cache, output, as of
    "GPT-6 Luna": (0.10, 0.01, 0.125, 0.50, "2026-09-22"),
    "Claude Haiku 5.5": (0.10, 0.01, 0.125, 0.50, "2026-10-07"),
    "GPT-6.1 Terra": (1.00, 0.05, 1.25, 5.00, "2026-10-26"),
    "GPT-6.1 Sol": (2.00, 0.10, 2.50, 10.00, "2026-09-29"),
    "Claude Sonnet 5.5": (2.00, 0.10, 2.50, 10.00, "2026-10-07"),
    "Claude Opus 5.5": (4.00, 0.20, 5.00, 20.00, "2026-09-22"),
    "GPT-6 Astra": (10.00, 1.00, 12.50, 50.00, "not recorded"),
}
CLIFFS = {"Claude Haiku 5.5": (100_000, 5)}  # above so many prompt tokens, so many times as dear


def cost(model, usage, writes):
    """Dollars for one call. With `writes`, what was not in the cache is written to it."""
    plain, read, write, output, _ = PRICES[model]
    prompt, cached = usage["prompt_tokens"], usage["prompt_tokens_details"]["cached_tokens"]
    dollars = (prompt - cached) * (write if writes else plain) + cached * read
    cliff, factor = CLIFFS.get(model, (prompt, 1))
    return (dollars + usage["completion_tokens"] * output) / 1e6 * (factor if prompt > cliff else 1)


# %%
from IPython.display import display


def bill(comparison, conversations):
    year, wrong, right = 365 * conversations, comparison["wrong"].result, comparison["right"].result
    bills = {
        model: {
            "wrong": year * sum(cost(model, usage, writes=False) for usage in wrong),
            "right": year * sum(cost(model, usage, writes=True) for usage in right),
        }
        for model in PRICES
    }
    luna = "{wrong:,.0f} dollars against {right:,.0f}".format(**bills["GPT-6 Luna"])
    caption = f"{conversations:,} conversations a day for a year: {luna} with GPT-6 Luna."
    return bars(bills, unit="US dollars", caption=caption)


async def vary(turns, conversations):
    again = await compare(llm, QUESTIONS[:turns], repeats=1, wrong=wrong, right=right)
    return bill(again, conversations)


display(bill(comparison, conversations=1_000))
WhatIf(vary, turns=(1, 8, 8), conversations=(10, 10_000, 1_000))

# %% [markdown]
# Reality has more than one number per token:
#
# - Writing to the cache costs 1.25 times the input price at Anthropic (for five minutes; twice for an hour), and from GPT-5.6 on also at OpenAI, where *you* then mark what is kept. The bill charges
#   `right` so for every token that was not cached, and `wrong` the plain price. The write prices of Astra, Haiku and Opus are that rule; no tracker had them.
# - Some prices jump. Above 100,000 prompt tokens Haiku 5.5 costs five times as much, on *every* token of the request. GPT-6 is dearer above 272,000, by how much we do not know.
# - Each conversation of `right` pays for its own first reading of the tariff. Where another came just before, it is cached already, and the true bill lower.
#
# The sliders run both arms again. **When is the wrong way fine?** Set `turns` to 1: `right` is *dearer*, because it pays for a cache that nobody reads.
# A prompt that is sent once needs no stable front. And at ten conversations a day with a small model, the whole difference is smaller than an hour of your work.
#
# ## Your turn
#
# `build` makes a prompt of at most `budget` tokens, as the server counts them: the system prompt, then the newest messages, whole and in order, as many as fit.
# A newest message that does not fit even alone keeps as much of its beginning as does. Where not one character of it fits, `build` raises `ValueError`.
#
# This one guesses. The check counts, in English, German, Chinese, Hindi, Korean and emoji. A *character* is what a reader sees as one, and may be several code points;
# after `import regex`, `regex.findall(r"\X", text)` lists them.


# %% tags=["exercise"]
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

await check("03", build)
hints("03")

# %% [markdown]
# ## Catch it
#
# No linter sees a clock in a prompt. Two small tests do, and they need no server: one holds the prompt to a budget, the other its beginning to stay the same.
# In a test file each would import one `prompt`; here both run on both.


# %% tags=["nbval-check-output"]
def test_budget(prompt):
    history = [say("user", "Where is my parcel? " * 20)] * 200
    used = count_prompt_tokens(prompt(history, QUESTIONS[0]))
    assert used <= 17_000, f"{used} tokens, the budget is 17000"


def test_stable_front(prompt):
    one, other = prompt([], QUESTIONS[0]), prompt([], QUESTIONS[1])
    assert one[0] == other[0], "the system prompt changes from call to call"


for prompt in (wrong_prompt, right_prompt):
    for test in (test_budget, test_stable_front):
        try:
            test(prompt)
            print(f"{prompt.__name__}, {test.__name__}: passed")
        except AssertionError as failed:
            print(f"{prompt.__name__}, {test.__name__}: failed, {failed}")

# %% [markdown]
# In production, log `usage` with each call. Two numbers tell it all: prompt tokens per call, and the share of them that was cached.
#
# ```python
# log.info("llm call", extra={"prompt": usage.prompt_tokens, "cached": usage.prompt_tokens_details.cached_tokens})
# ```
#
# A share of 0 on a prompt that hardly changes is a bug. One team found theirs in just these fields: cache reads 0, cache writes some 2,200 in every turn
# (goruck/home-generative-agent#617). OpenTelemetry calls them `gen_ai.usage.input_tokens` and `gen_ai.usage.cache_read.input_tokens`.
#
# ## In your SDK
#
# Both SDKs hand you `usage`, and mean different things by it. OpenAI's `prompt_tokens` *includes* what was cached. Anthropic's `input_tokens` *excludes* it: what was written to the cache
# and what was read from it are two further numbers. At Anthropic nothing is cached unless you mark it.
#
# Each call is made twice; the second is shown. The dollars are for the prompts of a million such calls at 2.00 a million fresh tokens and 0.10 a million cached ones,
# the price of GPT-6.1 Sol and of Claude Sonnet 5.5.

# %% tags=["nbval-check-output"]
import anthropic
import openai

_, line = right_prompt([], QUESTIONS[0])
async with openai.AsyncOpenAI(base_url=llm.url, api_key="any") as client:
    request = {"messages": [say("system", TARIFF), line], "max_tokens": 12}
    for _ in range(2):
        answer = await client.chat.completions.create(model="gpt-4o-mini", **request)
root = llm.url.removesuffix("/v1")
async with anthropic.AsyncAnthropic(base_url=root, api_key="any") as client:
    marked = [{"type": "text", "text": TARIFF, "cache_control": {"type": "ephemeral"}}]
    request = {"system": marked, "messages": [line], "max_tokens": 12}
    for _ in range(2):
        message = await client.messages.create(model="claude-sonnet-4-5", **request)

a, b = answer.usage, message.usage
cached, read = a.prompt_tokens_details.cached_tokens, b.cache_read_input_tokens
print(f"openai: {a.prompt_tokens} prompt tokens, {cached} of them cached")
print(f"  right: {2 * (a.prompt_tokens - cached) + 0.1 * cached:,.0f} dollars")
print(f"  cached tokens billed twice: {2 * a.prompt_tokens + 0.1 * cached:,.0f}")
print(f"anthropic: {b.input_tokens} input tokens, and {read} read from the cache")
print(f"  right: {2 * b.input_tokens + 0.1 * read:,.0f} dollars")
print(f"  cached tokens forgotten: {2 * b.input_tokens:,.0f}")
print("why they ended:", answer.choices[0].finish_reason, "and", message.stop_reason)

# %% [markdown]
# Both mistakes are real. One tool showed $51.08 for what cost about $8 (microsoft/conductor#427), another $0.0052 for $0.10 (gi-dellav/zerostack#172).
#
# `max_tokens` is the brake on the other half of the bill, and no more than a brake: the model does not know of it, the answer is cut off in the middle. `Answer concisely` asks,
# `max_tokens` enforces. Set it to the most that you would pay for, and treat `length` (Anthropic: `max_tokens`) as an unfinished answer.
#
# ## Coming from Rust
#
# | Rust | Python | in both |
# |---|---|---|
# | `tiktoken_rs::o200k_base()` | `tiktoken.get_encoding("o200k_base")` | the same tokens |
# | `text.len()` | `len(text)` | bytes there, code points here; tokens in neither |
# | `&text[..n]` panics inside a code point | `text[:n]` cannot | an emoji of seven code points breaks in both |
# | `String::from_utf8_lossy` | `data.decode(errors="replace")` | half a character becomes U+FFFD |
# | `graphemes(true)` of unicode-segmentation | `regex.findall(r"\X", text)` | what a reader sees as one character |
#
# ## Recap
#
# 1. Why did a clock of nineteen tokens cost sixteen thousand?
# 2. Why can a window on the history make a conversation dearer?
# 3. Your dashboard multiplies `prompt_tokens` by the input price and adds the cached tokens at theirs. What is wrong?
#
# <details><summary>Answers</summary>
#
# 1. It stood at the front, and a cache of prompts ends at the first token that differs.
# 2. If it moves in every turn, the beginning changes in every turn, and nothing of the history is found in the cache.
# 3. With OpenAI the cached tokens are in `prompt_tokens` already: they are billed twice. With Anthropic the same sum would be right, but for cache writes.
#
# </details>
#
# **Further reading.** "hi" that costs 20,000 tokens: cline/cline#9398. Tool schemas that fill half a context window: anthropics/claude-code#13717.
# An estimate that kept three times as much as it was told to: openclaw/openclaw#70052. A cache that was hit one time in three: gptme/gptme#2724.
