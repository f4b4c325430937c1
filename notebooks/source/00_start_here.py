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
# Applications built on language models fail in a small number of ways, and the same ones everywhere: a blocked event loop, a client per request,
# no deadline, retries that make things worse. Each lesson takes one such mistake. You run the wrong and the right implementation
# against a mock provider on your own machine and see side by side what really happened.
#
# Nothing is recorded in advance. Every number in a lesson is measured when you run the cell. You need no key and no network.
#
# ## Can this machine run the course?

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
# 1. **Read** the incident and the wrong code. It is complete; it could stand in your own application.
# 2. **Predict.** Commit to a number before you run anything. Being wrong here is how the lesson sticks.
# 3. **Run** the wrong way, live. The picture shows each request as the server saw it, and the event loop below.
# 4. **Compare** with the right way. The verdict cell checks every claim of the lesson on your machine.
# 5. **Play.** Change a parameter and find where the wrong way stops being wrong.
# 6. **Repair** the exercise. It is graded by measurement; three hints are there when you want them.
#
# Run the cells from top to bottom with Shift+Enter. You can stop any cell with the ■ button and restart the kernel at any time: nothing stays behind.
#
# ## How to read the picture

# %%
import anyio
import httpx

from helpers import MockLLM, figure, run

llm = MockLLM("medium", speed=4, answer_tokens=16).start()


async def three_calls(url):
    async def ask(question):
        request = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": question}]}
        await client.post(f"{url}/chat/completions", json=request)

    async with httpx.AsyncClient() as client, anyio.create_task_group() as calls:
        for question in ("What is a token?", "What is a slot?", "What is a queue?"):
            calls.start_soon(ask, question)


# %%
example = await run(three_calls, llm)
llm.stop()

# %% tags=["figure"]
figure(example)

# %% [markdown]
# - A **bar** is one request as the server saw it: pale while it waits for its first token, solid while the answer is generated.
# - The **strip** below is the event loop of the code you ran. A tick is a heartbeat that came in time; a block is a stretch in which the loop was blocked or busy.
# - Both share one time axis, because server and client read the same clock.
#
# The short block at the start is the HTTP client reading its certificates. You will meet it again.
#
# ## The lessons

# %%
CourseMap()
