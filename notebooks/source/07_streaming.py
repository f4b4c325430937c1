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
# **Symptom.** The model begins to answer at once, but your users look at an empty page. Some of them close it, and you pay for answers that nobody reads.
#
# **Objectives.** After this lesson you can
#
# - show each piece of an answer when it arrives
# - stop the model when the reader leaves
# - tell a whole answer from half of one
#
# **Prerequisites.** Lessons 01 and 02. **Time.** 25 minutes for the core, 55 with everything in *Going deeper*.
#
# ## The incident
#
# A gateway in front of a model collected about 16 KB of each answer, some 65 events, before it passed anything on. In a test, readers waited 16.5 to 17.5 s for a first word that the model had written early.
# Every byte arrived, in order and without an error ([dstackai/dstack#4269](https://github.com/dstackai/dstack/issues/4269)).

# %%
import json

import anyio
import httpx
from httpx_sse import aconnect_sse

from helpers import MockLLM, Panes, Predict, compare, lines, readers, run, table

llm = MockLLM("medium", speed=4, answer_tokens=96).start()
print("A mock provider is running. All its times are divided by 4.")

# %% [markdown]
# ## The wrong way
#
# The answer comes as **server-sent events**: lines that begin with `data:`, about one event per token. `show` brings text to a reader, as a write to a web socket does.
# `wrong` asks for a stream.


# %%
def body(question):
    messages = [{"role": "user", "content": question}]
    return {"model": "gpt-5-mini", "messages": messages, "stream": True}


async def wrong(client, url, question, show):
    text = ""
    async with aconnect_sse(
        client, "POST", f"{url}/chat/completions", json=body(question)
    ) as source:
        async for event in source.aiter_sse():
            if event.data != "[DONE]":
                for choice in event.json().get("choices", []):
                    text += choice["delta"].get("content") or ""
    await show(text)


# %% [markdown]
# ## Predict, then run
#
# First, four readers ask at the same moment. `readers.watch` notes what each of them sees, and when. Then the model breaks off four answers, each in another way:
#
# - `cut`: the connection is cut
# - `no_finish`: the stream ends without a finish reason
# - `error_event`: the last event is an error
# - `error_then_done`: so is this one, but `[DONE]` follows

# %%
guess = Predict(
    "07",
    "How many of the four broken answers will the reader see as if they were whole?",
    arm="wrong",
    unit="answers",
)
guess

# %%
wrong_run = await run(readers.watch, llm, wrong)
broken = (await run(readers.break_off, llm, wrong)).result
guess.reveal(list(broken.values()).count("complete"))
sent = readers.sent_before(wrong_run)
print(f"The server had sent {sent:.0f} % when the last reader saw a first word.")

# %% [markdown]
# **What just happened?** Your code had the first token early, and kept it until it had the last one. The reader's **time to first token** (TTFT) became the time of the whole answer: the longer the answer, the longer the empty page.
# And it took the end of the stream for the end of the answer. Only the connection that was cut raised an error.
#
# ## The right way


# %%
class BrokenOffError(Exception):
    """The answer ended before the model had finished it."""


async def right(client, url, question, show):
    finish = None
    async with aconnect_sse(
        client, "POST", f"{url}/chat/completions", json=body(question)
    ) as source:
        source.response.raise_for_status()
        async for event in source.aiter_sse():
            if event.data != "[DONE]":
                chunk = event.json()
                if "error" in chunk:
                    raise BrokenOffError(chunk["error"]["message"])
                for choice in chunk.get("choices", []):
                    if text := choice["delta"].get("content"):
                        await show(text)
                    finish = choice.get("finish_reason") or finish
    if finish is None:
        raise BrokenOffError("the stream ended without a finish reason")
    return finish


# %% [markdown]
# - **Each piece is shown when it arrives.** While none arrives, the event loop is free.
# - **One task reads and shows.** A slow reader slows the reading down: **back-pressure**. Canceling the task leaves the `async with`, which closes the stream. A task group does the same for tasks (**structured concurrency**): no task outlives its block.
# - **The stream is whole only if a finish reason came.** Its end does not prove it, and neither does `[DONE]`, which some gateways send after an error. A finish reason of `stop` means that the answer is complete as well. With `length`, a limit cut it short: `right` returns the reason, so that its caller can say so.
#
# ## Side by side
#
# First, see both as your readers do, at the speed of a real model. Then the four readers ask again, three times with each arm, in turns.

# %%
llm.configure(speed=1)
try:
    with Panes("wrong", "right") as panes, anyio.move_on_after(20):
        async with httpx.AsyncClient(timeout=30) as client, anyio.create_task_group() as tasks:
            for name, answer in {"wrong": wrong, "right": right}.items():
                tasks.start_soon(answer, client, llm.url, "What is a tide?", panes.reader(name))
finally:
    llm.configure(speed=4)

# %% tags=["figure", "table"]
from IPython.display import display

comparison = await compare(llm, **readers.arms(readers.watch, wrong=wrong, right=right))
waits = {
    "empty page, ms": lambda run: 1000 * max(readers.first_words(run)),
    "empty page, % of time to the last word": readers.empty_share,
}
typical = {arm: comparison.typical(arm, *waits.values()) for arm in comparison.arms}
late = [f"{max(readers.first_words(one)):.2f} s ({arm})" for arm, one in typical.items()]
caption = f"All four readers have seen a first word after {', '.join(late)}."
labels = {"x": "seconds", "y": "% of the four answers", "title": "What the readers can see"}
seen = {arm: readers.visible(one) for arm, one in typical.items()}
display(lines(seen, **labels, caption=caption))
table(comparison, waits, standard=False)

# %% [markdown]
# `right` follows what the server sends. Look at the last step of `wrong`: when its last reader saw a first word, everything had been sent.
#
# Now a reader sees five pieces and goes: the framework cancels the task that shows. `detached` reads in a task of its own. Then the four answers break off again.


# %%
import asyncio

running = set()


async def detached(client, url, question, show):
    queue = asyncio.Queue()
    reading = asyncio.create_task(right(client, url, question, queue.put))
    reading.add_done_callback(lambda _: queue.put_nowait(None))
    running.add(reading)
    reading.add_done_callback(running.discard)
    while (text := await queue.get()) is not None:
        await show(text)


# %% tags=["nbval-check-output"]
leavers = {"detached": detached, "right": right}
left = await compare(llm, repeats=1, **readers.arms(readers.leave, **leavers))
ends = await compare(llm, repeats=1, **readers.arms(readers.break_off, wrong=wrong, right=right))
for arm in leavers:
    all_written = left[arm].completion_tokens == 96
    print(f"{arm}: the model wrote {'all 96 tokens' if all_written else 'fewer than 96 tokens'}")
for arm in ("wrong", "right"):
    print(f"{arm}:", ends[arm].result)

# %% [markdown]
# In `right`, the cancellation reaches the task that reads; `async with` closes the connection, and the model stops. In `detached` it ends only the task that shows. (If an answer must be stored whether it is read or not, write such a task on purpose, and give it a limit.) Where a server has one slot, an abandoned answer keeps the next user waiting
# ([cubist38/mlx-openai-server#269](https://github.com/cubist38/mlx-openai-server/issues/269)).
#
# None of the four broken answers was whole. `wrong` takes three of them for complete; one project found over a dozen such half messages in one user's history
# ([anomalyco/opencode#26170](https://github.com/anomalyco/opencode/issues/26170)).
#
# ## Verdict

# %% tags=["nbval-check-output", "verdict"]
from helpers import at_most, equals, verdict

w, r = comparison["wrong"], comparison["right"]
taken = {arm: list((ends[arm].result or {}).values()).count("complete") for arm in ends.arms}
empty = comparison.ratio(readers.empty_share, "right", "wrong")
verdict(
    "07",
    equals("% sent when the last reader sees a first word, wrong", readers.sent_before(w), 100),
    at_most("% sent when the last reader sees a first word, right", readers.sent_before(r), 50),
    at_most("empty page, % of time to the last word, right ÷ wrong", empty, 0.7),
    equals("tokens written where five were read, detached", left["detached"].completion_tokens, 96),
    at_most("tokens written where five were read, right", left["right"].completion_tokens, 48),
    equals("broken answers taken for whole, wrong", taken["wrong"], 3),
    equals("broken answers taken for whole, right", taken["right"], 0),
)

# %% [markdown]
# ## Your turn
#
# Between the model and the browser is your service. `relay` is its endpoint: it sends `request` to the model, and what it yields goes to the reader as server-sent events.
#
# - each piece of text: `data: {"text": "…"}`
# - at the end of a whole stream: `data: {"finish": …}` with the model's own reason, such as `"stop"` or `"length"`
# - in any other case, at the end: `event: error` with `data: {"message": "…"}`, and no finish
#
# When the reader leaves, the task that runs `relay` is canceled. This one has several mistakes. The check serves it over HTTP, reads, leaves, and breaks the model's answers.

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
    reading = asyncio.create_task(read())
    await asyncio.wait([reading])
    for text in texts:
        yield event({"text": text})
    yield event({"finish": "stop"})


# %% tags=["nbval-check-output"]
from helpers import check, hints

await check("07", relay)
hints("07")

# %% [markdown]
# ## Going deeper
#
# Each section below runs on its own after the cells above. Choose what you need, or continue with [lesson 08](08_error_boundaries.ipynb).

# %% [markdown] jp-MarkdownHeadingCollapsed=true
# ### When is the wrong way fine?

# %% [markdown]
# When a program reads the answer and needs all of it: JSON to parse, a tool call to make. And when answers are short. Move the slider: from how many tokens on would you stream?

# %%
from helpers import WhatIf

waits = {
    "first word, ms": lambda run: 1000 * max(readers.first_words(run)),
    "last word, ms": lambda run: 1000 * readers.visible(run)[-1][0],
}


# %%
async def vary(tokens):
    llm.configure(answer_tokens=tokens)
    try:
        arms = readers.arms(readers.watch, wrong=wrong, right=right)
        return table(await compare(llm, repeats=1, **arms), waits, standard=False)
    finally:
        llm.configure(answer_tokens=96)


# %%
WhatIf(vary, tokens=(5, 300, 96))

# %% [markdown]
# <details><summary>Answer</summary>A few tokens come at once with either. With 300, the page of <code>wrong</code> stays empty several times as long. Stream where the last word comes more than a second or so after the first.</details>

# %% [markdown] jp-MarkdownHeadingCollapsed=true
# ### What if the reader is slow?

# %% [markdown]
# Where one task reads and another shows, there is a queue between them. A phone loses its connection for a second after the first word, while the model writes 4,000 tokens. How many pieces will wait in a queue without a bound?

# %%
import math
from functools import partial

# %%
guess_queue = Predict(
    "07", "How many pieces wait in the unbounded queue?", arm="unbounded", unit="pieces"
)
guess_queue


# %%
async def tunnel(url, size):
    async def read():
        async with give:
            await right(client, url, "Tell me everything.", give.send)

    give, take = anyio.create_memory_object_stream(size)
    async with httpx.AsyncClient(timeout=30) as client, anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        await take.receive()
        await anyio.sleep(1)
        waiting = take.statistics().current_buffer_used
        tasks.cancel_scope.cancel()
    return waiting


# %%
sizes = {"unbounded": partial(tunnel, size=math.inf), "bounded": partial(tunnel, size=16)}
# %%
llm.configure(speed=200, answer_tokens=4_000)
try:
    slow = await compare(llm, repeats=1, **sizes)
finally:
    llm.configure(speed=4, answer_tokens=96)

# %%
guess_queue.reveal(slow["unbounded"].result)
table(slow, {"pieces waiting": lambda run: run.result}, standard=False)

# %% [markdown]
# With a bound, `send` waits, so reading stops, and TCP makes the server wait too. An HTTP library without it grew by 1,766 MB in 12 s
# ([lexiforest/curl_cffi#798](https://github.com/lexiforest/curl_cffi/issues/798)). Change 16 to 0: how many pieces wait now?
#
# <details><summary>Answer</summary>None. <code>send</code> waits until somebody receives the piece.</details>

# %% [markdown] jp-MarkdownHeadingCollapsed=true
# ### Catch it

# %% [markdown]
# Ruff, with its rules for async code, tasks, exceptions and likely bugs:

# %% tags=["nbval-check-output"]
from helpers import lint

for arm in (wrong, detached):
    print(f"{arm.__name__}:", *lint(arm, "ASYNC,RUF,BLE,B,S,TRY") or ["nothing found"])

# %% [markdown]
# Nothing. No rule looks at when a piece is shown, or whether an answer was whole. Tests do:
#
# ```python
# @pytest.mark.parametrize("kind", ["cut", "no_finish", "error_event", "error_then_done"])
# def test_half_an_answer_is_no_answer(mock_llm, kind):
#     mock_llm.configure(faults=[Fault(kind=kind)])
#     with pytest.raises((BrokenOffError, httpx.RemoteProtocolError)):  # httpx's for a cut
#         anyio.run(my_answer, mock_llm.url, "Anyone there?")
#
# @pytest.mark.mock_llm("medium", speed=5, answer_tokens=96)
# def test_the_model_stops_when_the_reader_leaves(mock_llm):
#     anyio.run(read_five_pieces_and_leave, mock_llm.url)
#     time.sleep(1)  # a whole answer takes half of it
#     (request,) = mock_llm.ledger().requests
#     assert request.completion_tokens < 48
# ```
#
# In production, log the finish reason of every answer, and measure the time to the first piece where the *reader* is.

# %% [markdown] jp-MarkdownHeadingCollapsed=true
# ### In your SDK

# %% [markdown]
# The same four broken answers with the official packages. (Loading them blocks the loop before the first call.)

# %%
import openai


# %%
async def openai_sdk(client, url, question, show):
    headers = dict(client.headers)  # with them, this lesson asks the mock for a fault
    async with openai.AsyncOpenAI(base_url=url, api_key="any", default_headers=headers) as sdk:
        async for chunk in await sdk.chat.completions.create(**body(question)):
            await show(chunk)


# %%
async def anthropic_sdk(client, url, question, show):
    import anthropic  # here, so that it takes memory in the arm alone

    headers = dict(client.headers)
    origin = url.removesuffix("/v1")
    messages = body(question)["messages"]
    async with (
        anthropic.AsyncAnthropic(base_url=origin, api_key="any", default_headers=headers) as sdk,
        sdk.messages.stream(model="claude-sonnet-5-5", messages=messages, max_tokens=500) as stream,
    ):
        async for text in stream.text_stream:
            await show(text)


# %%
sdks = {arm.__name__: await run(readers.break_off, llm, arm) for arm in (openai_sdk, anthropic_sdk)}

# %% tags=["nbval-check-output"]
for name, said in sdks.items():
    print(name, said.result)

# %% [markdown]
# openai wraps a connection that is cut; anthropic lets the error of its HTTP client through: `httpx2.RemoteProtocolError`, which `except httpx.HTTPError` does not catch. Check for yourself that the answer is whole: `choice.finish_reason` in a chunk of openai's, `stop_reason` of anthropic's final message.
#
# The synchronous client in async code repeats the mistake of lesson 01 for every token:


# %%
async def blocking(client, url, question, show):
    with openai.OpenAI(base_url=url, api_key="any") as sdk:
        for chunk in sdk.chat.completions.create(**body(question)):
            if text := chunk.choices[0].delta.content:
                await show(text)


# %%
blocking_run = await run(readers.watch, llm, blocking)
print("asked before the first answer began:", readers.asked_together(blocking_run), "of 4")

# %% [markdown]
# Unlike in lesson 01, some requests are in flight together: between two tokens, `await show` lets another reader start. Make it asynchronous with `openai.AsyncOpenAI`, `async with` and `async for`, and run it again.
#
# <details><summary>Answer</summary>All four have asked before the first answer begins.</details>

# %% [markdown] jp-MarkdownHeadingCollapsed=true
# ### In a service

# %% [markdown]
# FastAPI's `StreamingResponse` takes a generator such as your `relay`. `X-Accel-Buffering: no` asks nginx not to collect the answer, as the gateway of the incident did.

# %%
from contextlib import asynccontextmanager
from time import perf_counter

from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse

from helpers import serving


# %%
def make_app(url):
    @asynccontextmanager
    async def lifespan(app):
        async with httpx.AsyncClient(timeout=30) as client:
            yield {"client": client}

    app = FastAPI(lifespan=lifespan)

    @app.get("/ask")
    async def ask(question: str, request: Request):
        pieces = relay(request.state.client, url, body(question))
        headers = {"X-Accel-Buffering": "no"}
        return StreamingResponse(pieces, media_type="text/event-stream", headers=headers)

    return app


# %%
async def visit(url):
    start = perf_counter()
    async with serving(make_app(url)) as address, httpx.AsyncClient(base_url=address) as reader:
        question = {"question": "What is a tide?"}
        async with aconnect_sse(reader, "GET", "/ask", params=question) as source:
            return [perf_counter() - start async for _ in source.aiter_sse()]


# %%
seen_at = (await run(visit, llm)).result
print(f"first event after {seen_at[0]:.2f} s, last event after {seen_at[-1]:.2f} s")

# %% [markdown]
# With the `relay` of the exercise as it came, all events come at once. Repair it, and run the three cells again.

# %% [markdown]
# When the reader leaves, Starlette cancels the task that runs the generator. Over HTTP/2 the model does not hear of it, because httpx leaves a stream without telling the server
# ([encode/httpcore#943](https://github.com/encode/httpcore/issues/943)):

# %%
from functools import partial

http2 = partial(readers.leave, answer=right, http1=False, http2=True)
left_http2 = await run(http2, llm)

# %% tags=["nbval-check-output"]
print("tokens written where five were read, HTTP/2:", left_http2.completion_tokens)

# %% [markdown]
# Remove `http1=False, http2=True` and run it again. And some providers write on, and bill, whatever you do: then only `max_completion_tokens` helps.

# %% [markdown] jp-MarkdownHeadingCollapsed=true
# ### Coming from asyncio, coming from Rust

# %% [markdown]
# | asyncio | anyio, as in this lesson |
# |---|---|
# | `asyncio.Queue(16)`; `asyncio.Queue()` has no bound | `anyio.create_memory_object_stream(16)` |
# | `asyncio.create_task` without a group goes on alone | a task group ends its tasks |
# | `task.cancel()` | `scope.cancel()` |
#
# | Rust | Python | in both |
# |---|---|---|
# | `response.bytes_stream()` | `client.stream(…)`, `aiter_…` | `response.text()` and `client.post` collect |
# | `eventsource-stream` | httpx-sse | a parser. (`reqwest-eventsource` also reconnects: a second POST of your prompt) |
# | dropping the stream cancels it | `async with`, or `aclose()` | in Python, `break` does not close the stream |
# | on HTTP/2, dropping sends `RST_STREAM` | httpx sends nothing | know your client |
# | `tokio::sync::mpsc::channel(16)` | a memory object stream | `unbounded_channel` has no bound |

# %% [markdown] jp-MarkdownHeadingCollapsed=true
# ### Recap and further reading

# %% [markdown]
# 1. Which number tells a stream that is shown from one that is collected?
# 2. A reader has left. What must happen for the model to stop?
# 3. What proves that an answer is whole?
#
# <details><summary>Answers</summary>
#
# 1. The time from the server's first piece to the reader's first word.
# 2. The cancellation must reach the task that reads, and that task must close the stream.
# 3. The finish reason `stop` (anthropic: the stop reason `end_turn`).
#
# </details>
#
# **Further reading.** Gaps between tokens that improve behind a proxy are the sign of a buffer: [confidential-dot-ai/c8s#140](https://github.com/confidential-dot-ai/c8s/issues/140).
# A stream that just stopped, taken for a completed, empty answer: [open-webui/open-webui#29628](https://github.com/open-webui/open-webui/issues/29628).
#
# Next: [08 · Draw error boundaries](08_error_boundaries.ipynb).
