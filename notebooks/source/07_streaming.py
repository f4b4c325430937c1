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
# # 07 · Show the first token first
#
# **Symptom.** The model begins to answer at once, and your users look at an empty page. Some of them close it, and you pay for answers that nobody reads.
#
# **What you'll do**
#
# - measure how much of an answer the server has sent when the reader sees its first word
# - leave in mid-answer, and count the tokens that are written for nobody
# - break answers off, and count which code takes half of one for a whole
# - meet three things that undo your work: a blocked loop, a buffering proxy, HTTP/2
# - write a relay endpoint that streams, cancels, and says when an answer is not whole
#
# **What you'll need.** Lessons 01 and 02. 35 minutes.
#
# ## The incident
#
# A gateway in front of a model kept about 16 KB of each answer, some 65 events, before it passed anything on. Readers waited 16.5 to 17.5 s
# for a first word that the model had written after half a second. Nothing was slow: every byte arrived, in order, without an error (dstackai/dstack#4269).
#
# Somewhere between the model and the reader, something waited for more before it passed on what it had. In this lesson that something is your own code first.
#
# ## Two wrong ways
#
# `show` is what brings text to a reader: a write to a web socket, a line on a terminal. The answer comes as *server-sent events*: lines that begin with `data:`, one event for each token.
# `wrong` asks for a stream, reads it as it comes, and then does what it would have done without one. `blocking` shows each piece, with the function that was at hand.

# %%
import json
import math
import tracemalloc
from functools import partial

import anthropic
import anyio
import httpx
import openai

from helpers import MockLLM, Panes, Predict, Profile, compare, lines, readers, run, table


def body(question):
    return {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": question}]}


llm = MockLLM("medium", speed=4, answer_tokens=96).start()
print("A mock provider is running. All its times are divided by 4.")


# %%
def delta(line):
    """The text in one line of the stream."""
    if not line.startswith("data: {"):
        return ""
    choices = json.loads(line.removeprefix("data: ")).get("choices")
    return choices[0]["delta"].get("content") or "" if choices else ""


async def wrong(client, url, question, show):
    text = ""
    async with client.stream(
        "POST", f"{url}/chat/completions", json=body(question) | {"stream": True}
    ) as reply:
        async for line in reply.aiter_lines():
            text += delta(line)
    await show(text)


async def blocking(client, url, question, show):
    with httpx.stream(
        "POST", f"{url}/chat/completions", json=body(question) | {"stream": True}, timeout=30
    ) as reply:
        for line in reply.iter_lines():
            if text := delta(line):
                await show(text)


# %% [markdown]
# ## Predict, then run
#
# `readers.watch` lets four readers ask at the same moment, a task for each, and notes what each of them sees, and when. An answer has 96 tokens.
#
# In the picture, a bar is pale until the server sends the first token of an answer, and solid while it sends the others.
# Server and readers share one clock, so you can ask what had been sent when the last reader saw a first word.

# %%
guess = Predict(
    "07",
    "How much of the answers has the server sent when all four readers have seen a word?",
    arm="wrong",
    unit="%",
)
guess

# %%
wrong_run = await run(readers.watch, llm, wrong)
print("pieces that each reader saw:      ", [len(seen) for seen in wrong_run.result])
print("sent before the last first word: ", f"{readers.sent_before(wrong_run):.0f} %")

# %% [markdown]
# **What just happened?** The first token was there early. Your code had it, and kept it until it had the last one too.
# The reader's time to first token, **TTFT**, became the time of the whole answer. The longer the answer, the longer the empty page.
#
# And `blocking`? It has an `await` for each piece, so the loop gets a turn now and then. But each step of its `for` waits for the network inside the operating system:
# lesson 01, once per token. You will see below who pays for it.
#
# ## The right way


# %%
from httpx_sse import aconnect_sse


class BrokenOffError(Exception):
    """The answer ended before the model had finished it."""


async def right(client, url, question, show):
    finish = None
    request = ("POST", f"{url}/chat/completions")
    async with aconnect_sse(client, *request, json=body(question) | {"stream": True}) as source:
        source.response.raise_for_status()
        async for event in source.aiter_sse():
            if event.data == "[DONE]":
                continue  # it proves nothing
            chunk = event.json()
            if "error" in chunk:
                raise BrokenOffError(chunk["error"]["message"])
            for choice in chunk["choices"]:
                if text := choice["delta"].get("content"):
                    await show(text)
                finish = choice["finish_reason"] or finish
    if finish is None:
        raise BrokenOffError("the stream ended without a finish reason")


# %% [markdown]
# - **`client.stream`, awaited** (`aconnect_sse` calls it). Each piece is shown when it comes, and while none comes the loop is free.
# - **A parser for server-sent events**, httpx-sse. The format has comments, events of several lines, three kinds of line ends and characters cut in two by the network.
# - **One task reads and shows.** It takes the next piece when the reader has the last one, so a slow reader slows the reading; and whoever cancels the task closes the stream.
# - **Complete only if a finish reason came.** Neither the end of the stream nor `[DONE]` says so: some gateways send `[DONE]` after an error.
#
# First see both as your readers do, at the speed of a real model. Then the four readers again, three times with each arm, in turns.
#
# ## Side by side

# %%
real = MockLLM("medium", answer_tokens=96)
with real, Panes("wrong", "right") as panes, anyio.move_on_after(20):
    async with httpx.AsyncClient(timeout=30) as client, anyio.create_task_group() as tasks:
        for name, answer in {"wrong": wrong, "right": right}.items():
            tasks.start_soon(answer, client, real.url, "What is a tide?", panes.reader(name))

# %% tags=["figure"]
comparison = await compare(
    llm, **readers.arms(readers.watch, wrong=wrong, blocking=blocking, right=right)
)
seen = {arm: readers.visible(comparison[arm]) for arm in comparison.arms}
late = [f"{max(readers.first_words(comparison[arm])):.2f} s ({arm})" for arm in seen]
caption = f"All four readers have seen a first word after {', '.join(late)}."
marks = {"your prediction": guess.made.value} if guess.made else None
labels = {"x": "seconds", "y": "% of the four answers", "title": "What the readers can see"}
lines(seen, **labels, marks=marks, caption=caption)

# %% tags=["table"]
rows = {
    "asked together, of 4": readers.asked_together,
    "first piece sent → first word seen, ms": lambda run: 1000 * readers.lag(run),
    "% sent at the last first word": readers.sent_before,
    "% of the time without a word": readers.empty_share,
}
table(comparison, rows)

# %% [markdown]
# The curve of `right` follows what the server sends. Go up from where `wrong` begins: so much was there already, and nobody saw it. If you made a prediction, the dotted line is it.
#
# `blocking` passes on each token, and its readers wait longest of all, even the first: while one task waits for the network, nothing else on the loop moves.
# The second question leaves only when the first answer begins, and so on; each first word is there, and nobody brings it, until the last question has its answer, too.
#
# ## When the reader leaves
#
# A reader sees five pieces and goes. A web framework tells you by cancelling the task that answers. Does the server hear of it?
#
# `detached` is a third wrong way, often written so that the answer can be stored in any case. `own_client` is for later.


# %%
import asyncio

running = set()


async def detached(client, url, question, show):
    async def read():
        try:
            async with client.stream(
                "POST", f"{url}/chat/completions", json=body(question) | {"stream": True}
            ) as r:
                async for line in r.aiter_lines():
                    queue.put_nowait(delta(line))
        finally:
            queue.put_nowait(None)

    queue = asyncio.Queue()
    running.add(asyncio.create_task(read()))
    while (text := await queue.get()) is not None:
        await show(text)


async def own_client(client, url, question, show):
    async with httpx.AsyncClient(timeout=30, http1=False, http2=True) as own:
        await right(own, url, question, show)


# %% tags=["nbval-check-output"]
leavers = readers.arms(readers.leave, detached=detached, right=right, own_client=own_client)
leavers["right over HTTP/2"] = partial(readers.leave, answer=right, http1=False, http2=True)
left = await compare(llm, repeats=1, **leavers)
written = {arm: left[arm].completion_tokens for arm in leavers}
for arm, tokens in written.items():
    print(f"{arm:17} tokens written: {tokens if tokens >= 48 else 'fewer than 48'}")

# %%
with MockLLM("medium", speed=4, answer_tokens=96, finish_abandoned=True) as stubborn:
    goes_on = await run(readers.leave, stubborn, right)
print("server heard that the reader left:", goes_on.requests[0].client_left is not None)
print("tokens written after that:        ", goes_on.tokens_after_client_left)

# %% [markdown]
# Cancelling a task raises an exception at its `await`. In `right` that await is inside `async with`: the stream is closed on the way out, the connection with it, and the server stops.
# In `detached` only the task that *shows* is cancelled; the one that reads does not know. Where a server has one slot, an abandoned answer keeps the next user waiting (cubist38/mlx-openai-server#269).
#
# **The HTTP/2 trap.** The last line is the same `right`, with the same cancellation. On HTTP/1.1 an answer has a connection to itself, and closing it tells the server.
# On HTTP/2 the connection is shared, and to leave one stream a client must send a frame, `RST_STREAM`. httpx sends none (encode/httpcore#943), so the server never hears.
# Two ways out: HTTP/1.1, httpx's default, for streams that may be left; or `own_client`, whose connection is closed with the stream, at the price of lesson 02.
#
# **The stubborn provider.** The second cell asks one that hears of it and writes on, and bills. A gateway that does not pass the news on has the same effect; in one it is an option, off unless you ask for it (BerriAI/litellm#30223).
# Then only `max_tokens` helps. Know which kind yours is: the bill tells.
#
# ## When the answer breaks off
#
# Three ways in which an answer ends after five tokens: the connection is cut; the stream ends cleanly, but without a finish reason; an error event comes in place of the rest, after status 200.
# What does the code say that showed it?

# %% tags=["nbval-check-output"]
halves = await compare(
    llm, repeats=1, **readers.arms(readers.break_off, wrong=wrong, detached=detached, right=right)
)
for arm, (said,) in halves.arms.items():
    print(f"{arm:8}", *(f"{kind}: {fate:20}" for kind, fate in said.result.items()))

# %% [markdown]
# None of these answers was whole. One project found over a dozen such half-messages in one user's history, stored as good (anomalyco/opencode#26170).
# In `detached` not even the cut connection is noticed: the exception ends a task that nobody looks at.
#
# ## Verdict

# %% tags=["nbval-check-output", "verdict"]
from helpers import at_least, at_most, equals, verdict

empty = comparison.ratio(readers.empty_share, "right", "wrong")
w, b, r = comparison["wrong"], comparison["blocking"], comparison["right"]
taken = {arm: list(said.result.values()).count("complete") for arm, (said,) in halves.arms.items()}
verdict(
    "07",
    equals("% sent before the last first word, wrong", readers.sent_before(w), 100),
    at_most("% sent before the last first word, right", readers.sent_before(r), 50),
    equals("asked together, blocking", readers.asked_together(b), 1),
    equals("requests in flight at once, right", r.peak_in_flight, 4),
    equals("tokens written where five were read, detached", written["detached"], 96),
    equals("tokens written where five were read, HTTP/2", written["right over HTTP/2"], 96),
    at_most("tokens written where five were read, right", written["right"], 48),
    at_least("tokens for nobody, stubborn provider", goes_on.tokens_after_client_left, 48),
    equals("broken answers taken as complete, wrong", taken["wrong"], 2),
    equals("broken answers taken as complete, detached", taken["detached"], 3),
    equals("broken answers taken as complete, right", taken["right"], 0),
    at_most("TTFT ÷ total, right ÷ wrong", empty, 0.7),
)

# %% [markdown]
# ## What if the reader is slow?
#
# Where one task reads and another shows, there is a queue between them. A phone goes into a tunnel for a second, after its first word, while the model writes 4,000 tokens. The two arms differ in one number.


# %%
async def tunnel(url, size):
    async def read():
        async with give:
            await right(client, url, "Tell me all.", give.send)

    give, take = anyio.create_memory_object_stream(size)
    tracemalloc.start()
    async with httpx.AsyncClient(timeout=30) as client, anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        await take.receive()
        await anyio.sleep(1)
        kib = tracemalloc.get_traced_memory()[0] / 1024
        pieces = take.statistics().current_buffer_used
        tasks.cancel_scope.cancel()
    return {"pieces waiting": pieces, "memory in use, KiB": kib}


with MockLLM(Profile(decode_rate=8_000), answer_tokens=4_000) as fast:
    sizes = {"unbounded": partial(tunnel, size=math.inf), "bounded": partial(tunnel, size=16)}
    slow = await compare(fast, repeats=1, **sizes)
names = ("pieces waiting", "memory in use, KiB")
table(slow, {name: lambda run, name=name: run.result[name] for name in names}, standard=False)

# %% [markdown]
# Without a bound the queue takes whatever the model writes; with one, `send` waits, reading stops, and TCP tells the server to wait as well. That is *back-pressure*.
# One reader costs little here. An HTTP library whose stream had none grew by 1,766 MB in 12 s, and by 0.1 MB once it was bounded (lexiforest/curl_cffi#798).
#
# ## What if something buffers on the way?
#
# `buffering_proxy` is the gateway of the incident: it passes on an answer when it has 16 KB of it, or all.


# %%
from helpers import buffering_proxy


async def proxied(url, hold):
    async with buffering_proxy(url, hold) as through:
        return await readers.watch(through, right)


proxies = {"holds nothing": partial(proxied, hold=0), "holds 16 KB": partial(proxied, hold=16_384)}
first_word = {"first word (TTFT), ms": lambda run: 1000 * max(readers.first_words(run))}
between = {"between two pieces (inter-chunk latency), ms": lambda run: 1000 * readers.gap(run)}
table(await compare(llm, repeats=1, **proxies), first_word | between, standard=False)

# %% [markdown]
# Read the second row before the first: by that number the proxy that holds everything back is the *faster* one. Pieces that were held together arrive together, with no gap between them.
# An inter-token latency that improves behind a proxy is the sign of a buffer: in one case it went from 5.49 to 1.58 ms while TTFT went from 22 to 287 ms (confidential-dot-ai/c8s#140).
#
# Usual places: nginx (`proxy_buffering`; the header `X-Accel-Buffering: no` turns it off for one answer), compression of `text/event-stream`, a load balancer, and code that collects.
#
# ## When is the wrong way fine?
#
# When a program reads the answer and can use it only whole: JSON to parse, a tool call to make, a text to translate further. And when answers are short: with the slider, see how little there is to win at ten tokens.

# %%
from helpers import WhatIf

last_word = {"last word, ms": lambda run: 1000 * readers.visible(run)[-1][0]}


async def vary(tokens):
    llm.configure(answer_tokens=tokens)
    try:
        arms = readers.arms(readers.watch, wrong=wrong, right=right)
        runs = await compare(llm, repeats=1, **arms)
        return table(runs, first_word | last_word, standard=False)
    finally:
        llm.configure(answer_tokens=96)


WhatIf(vary, tokens=(5, 300, 96))

# %% [markdown]
# ## Your turn
#
# Between the model and the browser stands your service. `relay` is its endpoint: it sends `request` to the model, and what it yields goes to the reader as it is, as server-sent events.
#
# - each piece of text: `data: {"text": "…"}`
# - at the end of a whole answer: `data: {"finish": "stop"}`, with the model's finish reason
# - in any other case, at the end: `event: error` with `data: {"message": "…"}`, and no finish
#
# When the reader leaves, the task that runs `relay` is cancelled. This one has three mistakes. The check serves it over HTTP, reads, leaves, and breaks the model's answers.

# %% tags=["exercise"]
import asyncio
import json

from httpx_sse import aconnect_sse


def event(data, name="message"):
    return f"event: {name}\ndata: {json.dumps(data)}\n\n"


async def relay(client, url, request):
    async def read():
        async with aconnect_sse(client, "POST", f"{url}/chat/completions", json=request) as source:
            async for received in source.aiter_sse():
                if received.data != "[DONE]":
                    for choice in received.json().get("choices", []):
                        texts.append(choice["delta"].get("content") or "")

    texts = []
    await asyncio.gather(asyncio.shield(read()), return_exceptions=True)
    for text in texts:
        yield event({"text": text})
    yield event({"finish": "stop"})


# %% tags=["nbval-check-output"]
from helpers import check, hints

await check("07", relay)
hints("07")

# %% [markdown]
# ## Catch it
#
# Ruff reads the three wrong ways, with its rules for async code, tasks, exceptions and likely bugs:

# %% tags=["nbval-check-output"]
from helpers import lint

for arm in (wrong, blocking, detached):
    print(f"{arm.__name__}:", *lint(arm, "ASYNC,RUF,BLE,B,S,TRY") or ["nothing found"])

# %% [markdown]
# Not even `blocking`: ASYNC210 knows `httpx.post`, not `httpx.stream`. And no rule looks at when a piece is shown, or whether an answer was whole. A test does, with a provider that misbehaves on order. The fixture `mock_llm` comes with this course:
#
# ```python
# @pytest.mark.parametrize("kind", ["cut", "no_finish", "error_event"])
# def test_half_an_answer_is_no_answer(mock_llm, kind):
#     mock_llm.configure(faults=[Fault(kind=kind)])
#     with pytest.raises((BrokenOffError, httpx.RemoteProtocolError)):  # httpx's for a cut
#         anyio.run(my_answer, mock_llm.url, "Anyone there?")
#
# @pytest.mark.mock_llm("medium", speed=5, answer_tokens=96)
# def test_the_model_stops_when_the_reader_leaves(mock_llm):
#     anyio.run(read_five_pieces_and_leave, mock_llm.url)
#     time.sleep(1)  # the answer takes half of it: who was not told has written it all
#     (request,) = mock_llm.ledger().requests
#     assert request.client_left is not None
#     assert request.completion_tokens < 48
# ```
#
# In production, log the finish reason of every answer (OpenTelemetry calls it `gen_ai.response.finish_reasons`), and measure the time to the first piece where the *reader* is.
# A client sees chunks, not tokens: the number of tokens is in `usage`.
#
# ## In your SDK
#
# The same three broken answers with the official packages, and a reader who leaves by `break`.


# %% tags=["nbval-check-output"]
async def openai_sdk(client, url, question, show):
    sdk = openai.AsyncOpenAI(base_url=url, api_key="any", default_headers=dict(client.headers))
    async with await sdk.chat.completions.create(**body(question), stream=True) as stream:
        async for chunk in stream:
            await show(chunk)


async def anthropic_sdk(client, url, question, show):
    headers = dict(client.headers)  # the fault is in them
    sdk = anthropic.AsyncAnthropic(base_url=url[:-3], api_key="any", default_headers=headers)
    request = body(question) | {"model": "claude-sonnet-4", "max_tokens": 500}
    async with sdk.messages.stream(**request) as stream:
        async for text in stream.text_stream:
            await show(text)


sdks = await compare(
    llm,
    repeats=1,
    **readers.arms(readers.break_off, openai_sdk=openai_sdk, anthropic_sdk=anthropic_sdk),
)
for arm, (said,) in sdks.arms.items():
    print(arm, said.result)


# %% tags=["nbval-check-output"]
async def leaves_by_break(url, closes):
    async with openai.AsyncOpenAI(base_url=url, api_key="any") as sdk:
        stream = await sdk.chat.completions.create(**body("Who are you?"), stream=True)
        pieces = 0
        async for _ in stream:
            pieces += 1
            if pieces == 5:
                break
        if closes:
            await stream.close()
        await anyio.sleep(1.2)  # the service lives on
        await stream.close()


endings = {"break": partial(leaves_by_break, closes=False)}
endings["break, then close"] = partial(leaves_by_break, closes=True)
for arm, (done,) in (await compare(llm, repeats=1, **endings)).arms.items():
    print(f"{arm}: all 96 tokens written: {done.completion_tokens == 96}")

# %% [markdown]
# Both SDKs take a stream that ends without a finish reason for success. So look: `choice.finish_reason` in a chunk of openai's, `stop_reason` of anthropic's final message.
#
# A `break` alone leaves the stream open, and the server writes on. `async with await client.chat.completions.create(..., stream=True) as stream:` closes it, however you leave; anthropic's `messages.stream` is a context manager already.
#
# ## Coming from Rust
#
# | Rust | Python | in both |
# |---|---|---|
# | `response.bytes_stream()` | `client.stream(…)` and `aiter_…` | pieces as they come; `response.text()` and `client.post` collect |
# | the crates `eventsource-stream`, `reqwest-eventsource` | httpx-sse | a parser; splitting at `data:` by hand breaks on the rare cases |
# | dropping the stream cancels it | `async with`, or `aclose()` | in Rust the drop is certain; in Python a `break` drops nothing |
# | dropping it on HTTP/2 sends `RST_STREAM` (hyper, h2) | httpx sends nothing | know your client |
# | `tokio::sync::mpsc::channel(16)` | `anyio.create_memory_object_stream(16)` | bounded; `unbounded_channel` and `asyncio.Queue()` are not |
# | a dropped `JoinHandle` detaches the task | a task of `create_task` goes on | a task group, or a `JoinSet`, ends its tasks |
#
# ## Recap
#
# 1. Which number tells a stream that is shown from one that is collected?
# 2. A reader has left. What must happen for the model to stop, and on which protocol does it not?
# 3. What proves that an answer is whole?
#
# <details><summary>Answers</summary>
#
# 1. The time from the server's first piece to the reader's first word. The gap between pieces does not: through a buffer it gets better.
# 2. The cancellation must reach the task that reads, and that task must close the stream. Over HTTP/2 httpx tells the server nothing.
# 3. A finish reason (anthropic: a stop reason). Not the end of the stream, and not `[DONE]`.
#
# </details>
#
# **Further reading.** Cancel on disconnect, landed, taken back, and landed again as an option: BerriAI/litellm#14295, #14304, #30223. One thread hop per token, and the bursts that it makes: BerriAI/litellm#25785.
# A stream that just stopped, stored as a completed, empty answer: open-webui/open-webui#29628. Status 200 with 0 bytes: preloop/preloop#121.
