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
# # 10 · Audit your own application
#
# **Symptom.** You know the eight mistakes. You do not know which of them your application makes.
#
# **Objectives.** After this lesson you can
#
# - audit an application in any language, without changing its code
# - read an audit: what failed, by which numbers, and what was not seen
# - make the audit a CI check that your team can live with
#
# **Prerequisites.** Lessons 01 to 08, or those that interest you. **Time.** 20 minutes for the core, 40 with everything in *Going deeper*.
#
# ## The incident
#
# A service created its OpenAI client without a timeout. Slow answers held both of its workers, and both were killed, four seconds apart: nothing was left to serve anyone.
# The team knew the mistake. Several releases earlier, they had repaired exactly the same one in their *other* client
# ([alibaizhanov/mengram#124](https://github.com/alibaizhanov/mengram/pull/124)).
#
# An **audit** looks at the whole application: it runs the application against a mock provider that misbehaves, and reports what the application did.

# %%
from helpers import Predict, Scratch, figure
from helpers.audit import audit_service, audit_services
from helpers.audit.reports import comparison, text
from helpers.lessons import chatbot

scratch = Scratch()  # a temporary folder, removed when this notebook's kernel ends
folder = scratch.folder
chatbot.copy_to(folder)
print(*sorted(file.name for file in folder.iterdir()))

# %% [markdown]
# ## The wrong way
#
# The chatbot of [lesson 09](09_repair_a_chatbot.ipynb#The-wrong-way), where you can read it. It makes all eight mistakes, but a demo with one user and a healthy provider would show none of them.

# %%
wrong = "chatbot.py"
right = "chatbot_repaired.py"

# %% [markdown]
# ## Predict, then run
#
# The audit below makes 15 checks. A check can pass, fail, or be unable to judge, because what it needs did not happen. Remember that this chatbot's event loop is blocked.

# %%
question = "How many of the 15 checks cannot judge the chatbot?"
guess = Predict("10", question, arm="wrong", unit="checks")
guess

# %% [markdown]
# The audit plays the chatbot's users. It starts the chatbot, asks eight things at once, has a long conversation, restarts the chatbot between two questions, and leaves in the middle of an answer. Meanwhile the provider hangs, drips, refuses and breaks off. It takes half a minute, most of it waiting, so the cell below audits the repaired chatbot at the same time. In a terminal, in the folder of `chatbot.py`, the whole audit is
#
# ```
# llm-antipatterns audit --start 'uvicorn chatbot:app --port $PORT' --app 'http://127.0.0.1:$PORT' \
#     --chat 'POST /chat {"session": "$SESSION", "message": "$MESSAGE"}' --stream --answer text --deadline 6
# ```
#
# `$PORT`, `$SESSION` and `$MESSAGE` are replaced; `--answer` says where the text is in the reply. `--deadline` is the time within which a user must have an answer or an error.

# %%
SOME = "LAP01.flight LAP02.connections 03 04 LAP05.permanent LAP06.restart 07 LAP08.cut"


def audit(only=SOME, **files):
    starts = {name: chatbot.command(folder / file) for name, file in files.items()}
    how = {"stream": True, "answer": "text", "deadline": 6, "only": only}
    return audit_services(starts, "http://127.0.0.1:$PORT", chatbot.CHAT, **how)


reports = audit(wrong=wrong, right=right)
wrong_report = reports["wrong"]
guess.reveal(len(comparison.unseen(wrong_report)))

# %%
print(text.render(wrong_report))

# %% [markdown]
# **What just happened?** The audit finds all eight mistakes. Read the report row by row.
#
# - A **verdict** is about what happened at the provider and at the user's end, in numbers. Nobody read the code: the same audit works for a program in any language.
# - **The id**, such as `LAP04.hang`, begins with the lesson to read. Ids do not change, so you can refer to them.
# - **`not seen`** is not a pass. The application did not do what the check needs, and the sentence says what was missing.
# - **Users** who wait in a check of lesson 04 are more than eight: the scenario `silence` plays more users than the figure below shows.
#
# ## The right way
#
# The repaired chatbot has one change for each lesson; a comment at the larger ones names it.

# %%
print((folder / right).read_text())

# %% [markdown]
# ## Side by side

# %% tags=["figure"]
right_report = reports["right"]
numbers = [
    ("requests in flight at once", lambda run: run.peak_in_flight),
    ("checks that failed", lambda run: len(reports[run.arm].failures)),
    ("checks not seen", lambda run: len(comparison.unseen(reports[run.arm]))),
]
figure(comparison.played(reports, "crowd"), prediction=guess.made, numbers=numbers)

# %% tags=["table"]
comparison.side_by_side(reports)

# %% [markdown]
# The figure shows one of the scenarios as the provider saw it: eight users ask at once. With `wrong`, the last ones give up at the deadline: a request that is missing was never sent. The audit does not look into the chatbot's process, so nothing is drawn of its event loop. The table has all scenarios.
#
# ## Verdict

# %% tags=["nbval-check-output", "verdict"]
from helpers import equals, verdict

w, r = wrong_report, right_report
verdict(
    "10",
    equals("mistakes, wrong", len(comparison.mistakes(w)), 8),
    equals("verdict of the audit, wrong", w.verdict, "fail"),
    equals("mistakes, right", len(comparison.mistakes(r)), 0),
    equals("lessons of which a check passed, right", len(comparison.passed(r)), 8),
    equals("verdict of the audit, right", r.verdict, "pass"),
)

# %% [markdown]
# ## Your turn
#
# Audit an application of yours. It must take the provider's address from the environment; the SDKs do (see *In your SDK*).
#
# 1. Write the command that starts it into `START`, with `$PORT` where the port goes, and a user's request into `CHAT`.
# 2. Begin with one lesson: `only=["04"]` takes about a minute at worst: the default deadline is 30 seconds, and it was 6 above. Then leave `only` out.
# 3. Take the first failure, open the lesson that the report names, and repair it.
#
# Your application calls no provider but the mock one: it needs no key, and it costs nothing.

# %% tags=["exercise"]
START = ""  # such as "uvicorn app:app --port $PORT"
APP = "http://127.0.0.1:$PORT"
CHAT = 'POST /chat {"session": "$SESSION", "message": "$MESSAGE"}'

if START:
    mine = audit_service(START, APP, CHAT, only=["04"])
    print(text.render(mine))
else:
    print("Write the command that starts your application into START.")

# %% [markdown]
# ## Going deeper
#
# Each section below runs on its own after the cells above. Choose what you need, or go back to the [course map](00_start_here.ipynb).

# %% [markdown] jp-MarkdownHeadingCollapsed=true
# ### When is the wrong way fine?

# %% [markdown]
# A failed check can be right and still not be worth a repair now: a script for one person needs no store, and a prototype no back-off. Say so in a file that the team can read, with a reason for each entry:

# %%
from helpers.audit.expected_failures import read_expected_failures
from helpers.audit.outcome import AuditReport

REASONS = """
- id: LAP06.restart
  reason: The demo is restarted once a day, at night.
"""
file = folder / "expected-failures.yaml"
file.write_text(REASONS)
ids = [check.id for check in wrong_report.checks]
expected = read_expected_failures(file, ids)

# %% tags=["nbval-check-output"]
with_reasons = AuditReport(wrong_report.checks, wrong_report.scenarios, expected)
for number in ("05", "06"):
    print(number, "is still a mistake:", number in comparison.mistakes(with_reasons))

# %% [markdown]
# The check still runs. If it passes one day, the entry is *stale* and the audit fails until you remove the entry: the file cannot go out of date. Try it: put `right_report` in place of `wrong_report` above, and run `print(text.render(with_reasons))`.

# %% [markdown] jp-MarkdownHeadingCollapsed=true
# ### What can the audit not see?

# %% [markdown]
# - **What did not happen.** An application that never asks for JSON is not judged by how it parses JSON.
# - **Whether answers are good.** The mock provider's text means nothing.
# - **Your load.** Eight users at once prove that a loop is blocked. They do not say how many users you can serve.
# - **Your infrastructure.** A proxy that buffers, a load balancer with a shorter timeout, a second provider behind a gateway.
#
# Which checks could not judge each chatbot, and why?

# %%
for name, report in reports.items():
    unseen = comparison.unseen(report)
    print(f"{name}: {len(unseen)} of {len(report.checks)} not seen")
    for check in unseen:
        print(f"    {check.id}: {check.evidence}")

# %% [markdown]
# `SOME` names a check or two for each lesson. Run `print(text.render(audit(right=right, only=())["right"]))` for all checks: one of them needs a `--health` route, and says so.

# %% [markdown] jp-MarkdownHeadingCollapsed=true
# ### Catch it

# %% [markdown]
# In CI, the audit is one command. It ends with status 0 if nothing failed unexpectedly, 1 if something did, and 2 if it could not run:
#
# ```yaml
# - run: >
#     llm-antipatterns audit --start 'uvicorn app:app --port $PORT' --app 'http://127.0.0.1:$PORT'
#     --chat 'POST /chat {"session": "$SESSION", "message": "$MESSAGE"}'
#     --expected-failures audit.yaml --junit audit.xml --html audit.html --markdown "$GITHUB_STEP_SUMMARY"
# ```
#
# Keep the HTML page, with the timeline of each scenario, for the person who makes the repair.

# %%
from helpers.audit.reports import files, html, junit

files.write(folder / "audit.html", html.render(wrong_report))
files.write(folder / "audit.xml", junit.render(wrong_report))

# %%
import re

page = (folder / "audit.html").read_text("utf-8")
print(f"{len(page.encode()) / 1024:.0f} KiB, {page.count('<h3')} timelines")

# %% tags=["nbval-check-output"]
suites = re.findall(r'name="(LAP\d\d)"', (folder / "audit.xml").read_text())
print(*suites)

# %% [markdown]
# To see the page, run `print(folder / "audit.html")`, and open that file in a browser.
#
# Begin by listing today's failures as expected: then each *new* mistake fails the build, and each repair removes an entry.

# %% [markdown] jp-MarkdownHeadingCollapsed=true
# ### What about a command-line program?

# %% [markdown]
# A program that calls the model by itself needs no users. The audit runs it once for each behavior of the provider, and judges by the requests, the exit status and the output. In a terminal: `llm-antipatterns audit -- python summarize.py`.

# %%
import shlex
import sys

from helpers.audit import audit_command

SCRIPT = """
import openai

client = openai.OpenAI()
question = [{"role": "user", "content": "Hello?"}]
reply = client.chat.completions.create(model="gpt-5-mini", messages=question)
print(reply.choices[0].message.content)
"""


def audit_script(code, **options):
    (folder / "script.py").write_text(code)
    return audit_command(shlex.join([sys.executable, str(folder / "script.py")]), **options)


# %%
script_report = audit_script(SCRIPT, only=["LAP03.limit"], deadline=5)
print(text.render(script_report))

# %% [markdown]
# Add `max_completion_tokens=200` to the call, and audit it again. Then try `only=["08"]`: the script takes an answer without a finish reason for a complete one. Let it raise an error unless `reply.choices[0].finish_reason` is `"stop"`.

# %% [markdown] jp-MarkdownHeadingCollapsed=true
# ### In your SDK

# %% [markdown]
# The audit points an application at the mock provider with environment variables:
#
# | variable | read by |
# |---|---|
# | `OPENAI_BASE_URL`, `OPENAI_API_KEY` | openai for Python and Node, and what is built on them |
# | `OPENAI_API_BASE` | LangChain, LiteLLM |
# | `ANTHROPIC_BASE_URL`, `ANTHROPIC_API_KEY` | anthropic for Python and Node |
# | `AZURE_OPENAI_ENDPOINT` | the Azure clients of openai |
#
# If the code sets `base_url` itself, no request arrives, and the audit says so. Let the code read the variable.
#
# Here is a program with a timeout of one second. The provider hangs, and a user waits for three seconds at most. How many requests will the program send?

# %%
guess_sdk = Predict("10", "How many requests does the program send?", arm="sdk", unit="requests")
guess_sdk

# %%
import shlex
import sys

from helpers.audit import audit_command

CODE = """
import openai

question = [{"role": "user", "content": "Hello?"}]
reply = openai.OpenAI(timeout=1).chat.completions.create(model="gpt-5-mini", messages=question)
print(reply.choices[0].message.content)
"""


def meet_a_hang(code):
    (folder / "sdk.py").write_text(code)
    command = shlex.join([sys.executable, str(folder / "sdk.py")])
    return audit_command(command, only=["LAP04.hang"], deadline=3)


# %%
sdk_report = meet_a_hang(CODE)
guess_sdk.reveal(sdk_report.checks[0].counted["requests"])
print(text.render(sdk_report))

# %% [markdown]
# Each of the SDK's three attempts has this timeout ([lesson 04](04_deadlines.ipynb)). Add `max_retries=0` to the code: does the program end in time now? Then audit `LAP04.drip`: does `timeout=1` help against a drip?
#
# <details><summary>Answer</summary>Without retries, the program ends in time. Against a drip, it does not: each byte starts the timeout again.</details>

# %% [markdown] jp-MarkdownHeadingCollapsed=true
# ### In a service

# %% [markdown]
# Most services answer with JSON, all at once. `answer` says where in the JSON the text is. Do the eight users of this one wait for each other?

# %%
SERVICE = """
import openai
from fastapi import FastAPI

app = FastAPI()
client = openai.OpenAI(timeout=10)

@app.post("/ask")
def ask(body: dict):
    question = [{"role": "user", "content": body["question"]}]
    reply = client.chat.completions.create(model="gpt-5-mini", messages=question)
    return {"answer": reply.choices[0].message.content}
"""
ASK = 'POST /ask {"question": "$MESSAGE"}'


# %%
def audit_app(code, **options):
    (folder / "service.py").write_text(code)
    start = chatbot.command(folder / "service.py")
    return audit_service(start, "http://127.0.0.1:$PORT", ASK, answer="answer", **options)


service_report = audit_app(SERVICE, only="LAP01.flight")
print(service_report.checks[0].evidence)

# %% [markdown]
# Write `async def ask`: what does the audit say now?
#
# <details><summary>Answer</summary>At most one call was in flight: FastAPI gives a plain function a thread; `async def` runs on the event loop, which the synchronous client blocks.</details>

# %% [markdown] jp-MarkdownHeadingCollapsed=true
# ### Coming from asyncio, coming from Rust

# %% [markdown]
# The audit talks to a process, so its verdicts are the same in any language. What a failure usually points to:
#
# | check | asyncio | tokio, reqwest |
# |---|---|---|
# | `LAP01` | `httpx.post`, a synchronous SDK | `reqwest::blocking`, `std::thread::sleep` |
# | `LAP02` | a client in the handler | `Client::new()` in the handler |
# | `LAP04` | `timeout=None`, no `asyncio.timeout` | no `.timeout(…)`, no `tokio::time::timeout` |
# | `LAP05` | `except Exception: continue` | a loop around `send().await` without `Retry-After` |
# | `LAP06` | a module-level dict | a `HashMap` in the state |
# | `LAP07` | `await reply.aread()` | `text().await` where `bytes_stream()` was wanted |
# | `LAP08` | `finish_reason or "stop"` | `unwrap()` on what the model sent |
#
# reqwest reads no variable for the provider's address. One line in your program is enough:
#
# ```rust
# let base = std::env::var("OPENAI_BASE_URL").unwrap_or("https://api.openai.com/v1".into());
# ```
#
# Then `llm-antipatterns audit -- target/release/summarize`, or `--start 'target/release/server --port $PORT'`. Build first: compiling would count as waiting.

# %% [markdown] jp-MarkdownHeadingCollapsed=true
# ### Recap and further reading

# %% [markdown]
# 1. Why is `not seen` not a pass?
# 2. A check fails, and you will repair it next month. What do you do today?
# 3. No request arrives at the mock provider. Why?
#
# <details><summary>Answers</summary>
#
# 1. The application did not do what the check needs, so nothing is known about it.
# 2. List the check in the expected failures, with the reason. Once the check passes, the audit fails until you remove the entry.
# 3. The application does not read the provider's address from the environment.
#
# </details>
#
# **Further reading.** A detector that people turn off because changing the code is hard: [langchain-ai/langsmith-docs#849](https://github.com/langchain-ai/langsmith-docs/issues/849).
#
# Back to the [course map](00_start_here.ipynb).
