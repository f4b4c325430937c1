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
# # 09 · Repair a chatbot
#
# **Symptom.** The chatbot works in every demo. With twenty users, it hangs.
#
# **Objectives.** After this lesson you can
#
# - find all eight mistakes in code that looks like your own
# - repair them one by one, and prove each repair by measurement
# - say which repairs depend on each other, and why
#
# **Prerequisites.** Lessons 01 to 08. **Time.** 35 minutes for the core, 45 with everything in *Going deeper*.
#
# ## The incident
#
# In nine weeks, four of these mistakes were reported in one open-source chatbot. Sessions were kept in a dict that only grew
# ([jenkinsci/resources-ai-chatbot-plugin#66](https://github.com/jenkinsci/resources-ai-chatbot-plugin/pull/66)), the stream blocked the event loop
# ([#101](https://github.com/jenkinsci/resources-ai-chatbot-plugin/issues/101)), so did the route for uploads
# ([#132](https://github.com/jenkinsci/resources-ai-chatbot-plugin/issues/132)), and a restart lost every streamed message
# ([#173](https://github.com/jenkinsci/resources-ai-chatbot-plugin/issues/173)). No mistake came alone.

# %%
from helpers import Predict, Scratch, figure, scoreboard, table
from helpers.audit.scoreboard import rush_hour, side_by_side
from helpers.lessons import chatbot
from helpers.lessons.chatbot.repairs import Repairs

mine = chatbot.give("chatbot.py")  # yours to repair; an existing file is never overwritten
scratch = Scratch()  # a temporary folder, with the chatbot as it was and as it was repaired
folder = scratch.folder
chatbot.copy_to(folder)

# %% [markdown]
# ## The wrong way
#
# A chatbot with FastAPI and the openai SDK. Each of lessons 01 to 08 is about one of its mistakes. Mark them before you go on: which line, which lesson?

# %%
wrong = "chatbot.py"
print((folder / wrong).read_text())

# %% [markdown]
# ## Predict, then run
#
# Twenty users each send a message, wait for the answer, and send the next one, for five seconds, or longer while a slow chatbot is still answering. An answer takes about 0.8 seconds. The provider has its usual troubles: it never answers one user, breaks off the answers to another, and limits the rate of a third. An answer is **complete** if the provider wrote all of it, and all of it reached the user.

# %%
question = "How many complete answers do the twenty users get?"
guess = Predict("09", question, arm="wrong", unit="answers")
guess

# %%
wrong_rush = rush_hour(folder / wrong)
guess.reveal(wrong_rush.answers)

# %% [markdown]
# **What just happened?** The event loop is blocked during each call, so the users are served one after the other. Then it is the turn of the user whom the provider never answers. There is no timeout: from then on, nobody gets anything. Two mistakes are enough to stop the service, and six more are waiting behind them.
#
# ## The right way
#
# The repaired chatbot has one change for each lesson. You will make these changes, so the code is not shown here; you see only what it does for the same users.

# %%
right = "chatbot_repaired.py"
for name in (wrong, right):
    print(f"{name}: {len((folder / name).read_text().splitlines())} lines")

# %% [markdown]
# ## Side by side

# %%
right_rush = rush_hour(folder / right)
rushes = {"wrong": wrong_rush, "right": right_rush}

# %% [markdown]
# The requests as the provider saw them. Each row is a user whose messages reached the provider.

# %% tags=["figure"]
both = side_by_side(**rushes)
numbers = [
    ("complete answers", lambda run: rushes[run.arm].answers),
    ("users with an answer, of 20", lambda run: rushes[run.arm].users_answered),
    ("requests in flight at once", lambda run: run.peak_in_flight),
]
figure(both, prediction=guess.made, numbers=numbers, by_client=True)

# %% tags=["table"]
rows = {
    "complete answers": lambda run: rushes[run.arm].answers,
    "complete answers a minute": lambda run: rushes[run.arm].per_minute,
    "users with an answer, of 20": lambda run: rushes[run.arm].users_answered,
    "requests to the provider": lambda run: len(run.requests),
}
table(both, rows, standard=False)

# %% [markdown]
# ## Verdict

# %% tags=["nbval-check-output", "verdict"]
from helpers import at_least, at_most, verdict

w, r = wrong_rush, right_rush
verdict(
    "09",
    at_most("users of 20 with an answer, wrong", w.users_answered, 4),
    at_least("users of 20 with an answer, right", r.users_answered, 10),
    at_least("complete answers, right ÷ wrong", r.answers / max(w.answers, 1), 3),
)

# %% [markdown]
# ## Your turn
#
# Open `chatbot.py`, which is next to this notebook, and repair it. After each repair, save the file and run the next cell. It starts your chatbot, plays its users and its provider, and shows a row for each mistake. **A row turns green only when every check of its lesson has passed**; until then it says what was measured. If a change breaks a row that was green, the row says so.
#
# - `ONLY` names the rows to measure: `"01"`, or `"04,05"`. A row takes 5 to 20 seconds.
# - With `ONLY = ""`, the scoreboard measures all eight rows in about a minute. Below them are two totals: the complete answers a minute with twenty users, and the cost of a day with 1,000 conversations of 24 turns, at the prices of `gpt-5-mini`.
# - Any order works, but start with 01: rows 02, 04 and 07 cannot turn green before it. See below for the reason.
#
# Keep the route `POST /chat`, and the events `data: {"text": …}` in its answer.

# %% tags=["exercise"]
ONLY = "01"
scoreboard(mine, only=ONLY)

# %% [markdown]
# In a terminal, `llm-antipatterns check 09 chatbot.py` does the same for all rows.
#
# **Why do rows depend on each other?** A deadline is a timer of the event loop, and the loop also brings the news that a reader has left: a blocked loop delivers neither (04, 07). And the openai SDK's *synchronous* stream closes its connection after the last event, while the asynchronous one reads to the end and keeps the connection (02).
#
# Are you stuck? Each repair is behind a click, with the lesson to read again. The diffs build on each other, from 01 to 08.

# %%
repairs = Repairs()
repairs

# %% [markdown]
# ## Going deeper
#
# Each section below runs on its own after the cells above. Choose what you need, or continue with [lesson 10](10_audit.ipynb).

# %% [markdown] jp-MarkdownHeadingCollapsed=true
# ### When is the wrong way fine?

# %% [markdown]
# For a demo on your own laptop, all eight. You are the only user, you notice a hang yourself, and a restart loses nothing that you need. The mistakes become expensive with the second user, the first bill, and the first deployment.
#
# How often did each trouble of the provider come in the rush? `no trouble` counts the requests that met none, including those still open at the end:

# %%
from collections import Counter

for name, rush in rushes.items():
    kinds = Counter(request.fault or "no trouble" for request in rush.record.ledger.requests)
    print(name, dict(kinds))

# %% [markdown]
# Which of these faults does a user of the wrong chatbot not notice?
#
# <details><summary>Answer</summary>A 429: the chatbot asks again at once. And an answer that is broken off (none came here): the chatbot shows and stores it like a whole one.</details>

# %% [markdown] jp-MarkdownHeadingCollapsed=true
# ### Catch it

# %% [markdown]
# `scan` reads code without running it. In a terminal it is `llm-antipatterns scan chatbot.py`. How many of the eight mistakes can it see in the code?

# %%
guess_scan = Predict("09", "How many mistakes does the scan find?", arm="scan", unit="mistakes")
guess_scan

# %%
from helpers.audit.scan.scanner import scan

findings = scan([folder / wrong]).findings
guess_scan.reveal(len({finding.lesson for finding in findings}))

# %% tags=["nbval-check-output"]
for finding in findings:
    print(f"line {finding.line}: {finding.rule}")

# %% [markdown]
# A scan points to lines, in milliseconds; only the audit, which runs the code, knows what users get ([lesson 10](10_audit.ipynb) explains it). A client that is made in one function and used in another, or a half answer that is passed on, looks like any other code. Scan your own repair: put `mine` in place of `folder / wrong`.

# %% [markdown] jp-MarkdownHeadingCollapsed=true
# ### In your SDK

# %% [markdown]
# The same chatbot on the anthropic SDK makes the same eight mistakes. Mistake 05 is not made by the SDK, which does not retry 400, 401 or 404. The decorator around the call does. `LAP05.permanent` is the id of one of the audit's checks:

# %%
from helpers.lessons.chatbot.steps import MISTAKES, Chatbot

on_anthropic = Chatbot("anthropic_chatbot")
(folder / "on_anthropic.py").write_text(on_anthropic.text(repaired=MISTAKES[:1]))
scoreboard(folder / "on_anthropic.py", only="LAP05.permanent")

# %% [markdown]
# Repair more: `MISTAKES[:5]`, or `MISTAKES` for all, and leave out `only`. `print(on_anthropic.text())` shows the code, and `print(on_anthropic.step("03"))` a repair. Two differences: the API requires `max_tokens`, and it caches a prompt only where `cache_control` says so.

# %% [markdown] jp-MarkdownHeadingCollapsed=true
# ### In a service

# %% [markdown]
# In production, several processes share the users. Here, two processes of the repaired chatbot each answer a part of one conversation, in the check `LAP06.workers`:

# %%
scoreboard(folder / right, only="LAP06.workers")

# %% [markdown]
# Put `wrong` in place of `right`: which turns does each process not know?
#
# <details><summary>Answer</summary>The turn that the other process answered: each has a dict of its own.</details>
#
# The store is a SQLite file here, because all processes are on one machine. With several machines, use Redis, Valkey or PostgreSQL.

# %% [markdown] jp-MarkdownHeadingCollapsed=true
# ### What about a batch script?

# %% [markdown]
# This script is of the kind that cookbooks publish: parallel, with retries from a library. It has three hidden mistakes. A *proposed* tutorial of this kind sent 18 requests for one answer ([openai/openai-cookbook#2812](https://github.com/openai/openai-cookbook/pull/2812)). Which do you see?

# %%
from helpers.lessons.chatbot.steps import MISTAKES, Chatbot

batch = Chatbot("batch").text()
print(batch)

# %%
import shlex
import sys

from helpers.audit import audit_command
from helpers.audit.reports import text

(folder / "batch.py").write_text(batch)
command = shlex.join([sys.executable, str(folder / "batch.py")])
print(text.render(audit_command(command, deadline=3, only="LAP05.layers")))

# %% [markdown]
# This is one of the three. It is fewer than 18 requests because `deadline=3` ends the script early: six attempts of the decorator times three of the SDK would be 18. Which are the other two? Leave out `only`, set `deadline=8`, and wait for a minute. Then repair the script.
#
# <details><summary>Answer</summary>
#
# A call that hangs has no deadline of a few seconds (04). A call that fails takes the others with it, and an answer without `stop` passes for a whole one (08). The repaired script: `print(Chatbot("batch").text(repaired=MISTAKES))`.
#
# </details>

# %% [markdown] jp-MarkdownHeadingCollapsed=true
# ### Coming from asyncio, coming from Rust

# %% [markdown]
# The eight repairs in the words that you know:
#
# | | asyncio, FastAPI | tokio, axum, reqwest |
# |---|---|---|
# | 01 | `AsyncOpenAI`, `await`, `async for` | no `reqwest::blocking` in a task |
# | 02 | a client in the lifespan's state | one `Client` in the router's `State`, cloned |
# | 03 | a constant system prompt first | the same |
# | 04 | `asyncio.timeout` around each piece | `tokio::time::timeout` around each `next()` |
# | 05 | `max_retries` of the SDK, no loop around it | one retry layer of `tower` |
# | 06 | `aiosqlite`, or Redis | `sqlx`, or Redis |
# | 07 | `yield` in the generator | `Sse::new(stream)` |
# | 08 | an error event unless the reason is `stop` | `Result<Event, E>` for each item |

# %% [markdown] jp-MarkdownHeadingCollapsed=true
# ### Recap and further reading

# %% [markdown]
# 1. You add a deadline to a service whose loop is blocked. What changes for its users?
# 2. Every row is green. What do you still not know?
# 3. Which of your repairs would a scan have found without running anything?
#
# <details><summary>Answers</summary>
#
# 1. Nothing: the loop must run to deliver the deadline.
# 2. What was not seen, such as a load of thousands of users, or the quality of the answers.
# 3. The four that it found above. A reviewer who knows the lessons sees all eight.
#
# </details>
#
# **Further reading.** How to see a blocked loop without any tool, with a second request for the API's own documentation: [jenkinsci/resources-ai-chatbot-plugin#132](https://github.com/jenkinsci/resources-ai-chatbot-plugin/issues/132).
#
# Next: [10 · Audit your own application](10_audit.ipynb).
