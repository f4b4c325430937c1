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
# # Start here
#
# Applications built on language models fail in the same few ways everywhere: a blocked event loop, a client per request,
# no deadline, retries that make things worse. Each lesson takes one such mistake. You run the wrong and the right implementation
# against a mock provider on your own machine and see side by side what really happened. The code that runs and measures them is called *the lab*.
#
# Every number is measured when you run the cell. Results in the published pages come from the computer on which the course was built; your own copy starts without results. You need no key and no internet.
#
# ## Can this machine run the course?
#
# If the cell says `No module named 'helpers'`, this notebook runs in another Python environment. Choose the one with `llm-antipatterns` as its kernel; in Colab, first run the `%pip` line of the README.

# %%
from helpers import CourseMap, doctor

findings = []
for finding in doctor():
    print(finding)
    findings.append(finding)

# %% tags=["nbval-check-output"]
failed = [finding.question for finding in findings if not finding.ok]
assert not failed, f"Follow the remedy for: {', '.join(failed)}. Then run this page again."
print("This machine can run the course.")

# %% [markdown]
# ## How a lesson works
#
# A lesson has a core and further sections under *Going deeper*. The line *Time* at the top says how long each takes, with the exercise. The sections are folded: click the button below a heading ("+ 3 cells hidden") to open one.
#
# 1. **Read** the incident and the wrong code. The code could be part of your own application; the lab only calls it.
# 2. **Predict.** Commit to a number before you run anything. A wrong guess helps you remember the lesson.
# 3. **Run** the wrong way, live. The picture shows each request as the server saw it, and the event loop below.
# 4. **Compare** it with the right way. The verdict cell checks the claims of the lesson on your machine.
# 5. **Repair** the exercise. It is graded by measurement; three hints are there when you want them.
# 6. **Go deeper** where you like: change a number, and see when the wrong way stops being wrong.
#
# Run the cells from top to bottom with Shift+Enter. You can stop a cell with the ■ button and restart the kernel at any time: nothing stays behind.
#
# The lessons use **anyio**. If you know asyncio: `anyio.create_task_group()` is asyncio's `TaskGroup()`, and `tasks.start_soon(ask, question)` is `tasks.create_task(ask(question))`. Each lesson has more of this near its end, under *Coming from asyncio, coming from Rust*.
#
# **If you see no input fields or sliders**, your editor does not show Jupyter widgets. Nothing is lost: the text in their place is the code to use instead, for example `guess.commit(1.5)`. Run it in a new cell.
#
# ## How to read the picture

# %%
import anyio
import httpx

from helpers import MockLLM, figure, run

llm = MockLLM("medium", speed=4, answer_tokens=16).start()


async def three_calls(url):
    async def ask(question):
        request = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": question}]}
        await client.post(f"{url}/chat/completions", json=request)

    async with httpx.AsyncClient() as client, anyio.create_task_group() as calls:
        for question in ("What is a token?", "What is a slot?", "What is a queue?"):
            calls.start_soon(ask, question)


# %%
example = await run(three_calls, llm)
llm.stop()

# %% [markdown]
# This is the live view. It starts when your code starts.
#
# - A **bar** is one request as the server saw it: pale while it waits for its first token, solid while the model writes the answer. A thin line before a bar is time in the server's queue. A request is *in flight* when it is sent and not yet answered.
# - The **strip** below is the event loop of your code. A tick is a **heartbeat**, a tiny task that the lab wakes up fifty times a second on the same loop. A block is a period of at least 5 ms in which the loop could not respond. It is *blocked* if one step took that long, and *busy* if it was many short steps in a row.
# - Both share one time axis, because the server and your code read the same clock.
#
# The short block before the first request is the HTTP client loading its certificates. The line below the picture counts it separately, as "before the calls", and names the line of code. "Cell 3" is the cell with `[3]` at its left.
#
# The closing figure of a lesson starts at the first request, so that block is not in it. Some versions of the code have hatched or dotted bars there, so that you can tell them apart without color:

# %% tags=["figure"]
figure(example)

# %% [markdown]
# ## The lessons

# %%
CourseMap()

# %% [markdown]
# Start with [01 · Keep the event loop free](01_event_loop.ipynb).
#
# Two pages to keep open: the [glossary](98_glossary.ipynb) links each term to the place where it happens, and the [review checklist](99_review_checklist.ipynb) puts the eight mistakes on one printed page.
