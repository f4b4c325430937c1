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
# # 08 · Draw error boundaries
#
# **Symptom.** One call in twenty fails, and your users get none of the twenty answers. Since somebody repaired that, they get all twenty, and some are half a sentence.
#
# **What you'll do**
#
# - lose a batch to one bad item, and count what is paid for afterwards
# - count the broken answers that a careless `except` stores as good
# - give each call a boundary of its own, with an outcome that says what failed and whether to try again
# - find out why a task ignores its deadline
# - stop asking a model that is down, and answer with another one
# - write a batch that keeps every good answer
#
# **What you'll need.** Lessons 01 and 04; 05 and 07 help. 35 minutes.
#
# ## The incident
#
# An evaluation ran its graders in a task group. One grader raised, the task group cancelled the others, and the reports that were already finished were lost as well.
# The repair isolates each item, and raises what went wrong when all are done (scitix/sieval#117). With `gather` it is the other way round: in two nested ones, one text failed,
# and the sibling calls *kept running and were paid for*, for results that were thrown away (run-llama/llama_index#22312).
#
# Twenty calls to a model are twenty chances to fail. Where does a failure end? If your code does not say, the library decides.
#
# ## Three wrong ways
#
# Twenty reviews are to be rated; `save` writes a rating into the database. `wrong` and `grouped` differ in how they wait for their calls.
# `swallow` is the usual repair of both: it catches whatever comes. It reads streams, for the sake of a progress bar, and keeps what it got.

# %%
import asyncio
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Literal

import anthropic
import anyio
import httpx
import openai
from httpx_sse import aconnect_sse
from purgatory import AsyncCircuitBreakerFactory
from purgatory.domain.model import OpenedState
from pydantic import BaseModel, Field, ValidationError

from helpers import Fault, MockLLM, Predict, Profile, batches, compare, figure, run, table


class Rating(BaseModel, extra="forbid"):
    stars: int = Field(ge=1, le=5)
    reason: str


# %%
SCHEMA = {"name": "rating", "strict": True, "schema": Rating.model_json_schema()}
REVIEWS = {number: f"Review {number}: it works, mostly." for number in range(1, 21)}
REVIEWS[7] = "It was a dark and stormy night. " * 400  # somebody pasted a novel


def body(review, **options):
    messages = [{"role": "user", "content": f"Rate this review. {review}"}]
    form = {"type": "json_schema", "json_schema": SCHEMA}
    return {"model": "gpt-4o", "messages": messages, "response_format": form} | options


def is_good(text):
    with suppress(ValidationError):
        return bool(Rating.model_validate_json(text))
    return False


FAULTS = [  # of a bad day, for later
    Fault(kind="503", every=9),
    Fault(kind="cut", every=17),
    Fault(kind="broken_answer", every=13),
]
PROFILE = Profile(base=0.3, decode_rate=40, slots=5, context_window=2_000)
llm = MockLLM(PROFILE).start()
print("A mock model is running. It answers five calls at once; it reads 2,000 tokens at most.")


# %%
async def ask(client, url, review):
    reply = await client.post(f"{url}/chat/completions", json=body(review))
    return reply.raise_for_status().json()["choices"][0]["message"]["content"]


async def wrong(client, url, reviews, save):
    answers = await asyncio.gather(*(ask(client, url, review) for review in reviews.values()))
    for number, answer in zip(reviews, answers, strict=True):
        await save(number, answer)


async def grouped(client, url, reviews, save):
    async def one(number, review):
        answers[number] = await ask(client, url, review)

    answers = {}
    async with anyio.create_task_group() as tasks:
        for number, review in reviews.items():
            tasks.start_soon(one, number, review)
    for number, answer in answers.items():
        await save(number, answer)


# %%
async def swallow(client, url, reviews, save):
    async def one(number, review):
        text = ""
        request = ("POST", f"{url}/chat/completions")
        try:
            async with aconnect_sse(client, *request, json=body(review, stream=True)) as source:
                async for event in source.aiter_sse():
                    text += event.json()["choices"][0]["delta"].get("content", "")
        except:  # at the latest `[DONE]`, which is not JSON, ends up here
            pass
        await save(number, text)

    async with anyio.create_task_group() as tasks:
        for number, review in reviews.items():
            tasks.start_soon(one, number, review)


# %% [markdown]
# ## Predict, then run
#
# Review 7 is longer than the model can read: status 400. The other nineteen are fine. `batches.process` runs a batch in a service that lives on when the batch has ended.

# %%
guess = Predict("08", "How many of the 20 ratings will be saved?", arm="wrong", unit="ratings")
guess

# %%
llm.configure(faults=[])
wrong_run = await run(batches.process, llm, REVIEWS, wrong)
print("ended with:", wrong_run.result.raised)
print("ratings saved:", len(wrong_run.result.saved))
print("answers finished after that:", batches.orphaned(wrong_run))

# %% [markdown]
# **What just happened?** The refusal came first. `gather` raised it at once, and the line that saves was never reached. The other calls were not stopped: the model wrote nineteen good ratings,
# you pay for them, and nobody is there to take them. Such calls are **orphans**. If your code now tries the batch again, they run beside it: one caller did, after 5 s, while the
# orphans of its first try were still writing (vectorize-io/hindsight#3417).
#
# `grouped` has no orphans: a task group cancels its other tasks when one raises. Their answers are lost all the same.
#
# ## The right way
#
# What can go wrong with one call is known, and most of it comes in three kinds: no answer (`httpx.TransportError`), an answer that says no (`httpx.HTTPStatusError`), an answer that is not what you asked for.
# For the third you need a check. `Reply` is the part of the provider's reply that you rely on, `Rating` what you asked the model for.


# %%
class Message(BaseModel):
    content: str


class Choice(BaseModel):
    finish_reason: Literal["stop"]  # "length": the answer was cut off
    message: Message


class Reply(BaseModel):
    choices: list[Choice] = Field(min_length=1)


# %%
@dataclass
class Failure:
    cause: str
    retryable: bool


DEADLINE = 15  # seconds, for the whole batch
PASSES = {408, 429, 500, 502, 503, 504, 529}


def failure(error):
    match error:
        case httpx.HTTPStatusError(response=reply):
            return Failure(f"status {reply.status_code}", reply.status_code in PASSES)
        case httpx.TransportError():
            return Failure(f"no answer: {type(error).__name__}", True)
        case ValidationError():
            return Failure(f"not a rating: {error.errors()[0]['type']}", True)
    raise error


# %%
async def rate(client, url, review):
    reply = await client.post(f"{url}/chat/completions", json=body(review))
    answer = Reply.model_validate_json(reply.raise_for_status().content)
    return Rating.model_validate_json(answer.choices[0].message.content)


async def right(client, url, reviews, save):
    async def one(number):
        try:
            rating = await rate(client, url, reviews[number])
        except (httpx.HTTPError, ValidationError) as error:
            failed[number] = failure(error)
        else:
            await save(number, rating.model_dump_json())
            del failed[number]

    failed = dict.fromkeys(reviews, Failure("no answer before the deadline", True))
    with anyio.move_on_after(DEADLINE):
        for _round in range(2):
            async with anyio.create_task_group() as tasks:
                for number in (n for n, why in failed.items() if why.retryable):
                    tasks.start_soon(one, number)
    return failed


# %% [markdown]
# - **A boundary around each call**, inside its task. A failure ends there, and becomes a value: what failed, and whether another try may help.
# - **Save each answer when it is there.** Whatever happens to the batch later, it is not lost.
# - **Validate before you save.** Malformed JSON, no choices, half an answer, six stars: each is a `ValidationError`.
# - **Catch what you expect, by name.** A `TypeError` is not a failed call but a bug of yours: it still ends the batch, loudly. And `CancelledError` gets through, so that the deadline works.
# - **Account for every item.** Who is not saved is in `failed`, also those whom the deadline cut off.
#
# ## Side by side
#
# Now the provider has a bad day, too: of the nineteen calls that it admits, every ninth gets status 503, one is cut off in the middle, and one is answered with half a JSON object, as if it were whole.


# %% tags=["figure"]
llm.configure(faults=FAULTS)
ways = batches.arms(wrong=wrong, grouped=grouped, swallow=swallow, right=right)
comparison = await compare(llm, REVIEWS, repeats=1, **ways)
numbers = [
    ("good ratings saved", lambda run: batches.kept(run, is_good)),
    ("broken ones saved", lambda run: batches.broken(run, is_good)),
    ("answers for nobody", batches.orphaned),
]
figure(comparison, prediction=guess.made, numbers=numbers)

# %% tags=["table"]
rows = {
    "good ratings saved, of 20": lambda run: batches.kept(run, is_good),
    "broken ones saved as good": lambda run: batches.broken(run, is_good),
    "failures reported": lambda run: len(run.result.report or {}),
    "answers finished for nobody": batches.orphaned,
    "tokens paid for": lambda run: run.completion_tokens,
    "the batch ended with": lambda run: run.result.raised or "a result",
}
table(comparison, rows, standard=False)

# %% [markdown]
# Each bar is one call as the server saw it. `wrong` raised at its first ×, and its bars went on to the end, with nothing to show for them. The circles of `grouped` are calls that were cancelled.
#
# `swallow` looks best at first: twenty of twenty saved, no error anywhere. Five of them are not ratings. The next program that reads the table will find them, or the one after that.
# It happens: a corrupted argument of a tool call, once stored in the history, was parsed again on each run, and blocked the conversation for good (ag-ui-protocol/ag-ui#2681).
#
# `right` asked 24 times: once more for each of the four failures that may pass. It did not ask about the novel again, which will not get shorter; that is the one failure in its report.
# A gateway that turned such a 400 into a 500 had it retried twelve times, took the provider for down, and answered a whole run with 500s (benchflow-ai/benchflow#830).
#
# ## Let the cancellation through
#
# A deadline works by raising `CancelledError` at the `await` where the task waits. It is not an `Exception`, so that `except Exception` lets it pass. A bare `except:` does not.
# Two retry loops that differ in that word ask a model that never answers.


# %% tags=["nbval-check-output"]
async def stubborn(url):
    async with httpx.AsyncClient(timeout=60) as client, asyncio.timeout(1):
        for _attempt in range(5):
            try:
                return await rate(client, url, REVIEWS[1])
            except:
                print("it failed, once more")


async def yielding(url):
    with suppress(TimeoutError):
        async with httpx.AsyncClient(timeout=60) as client, asyncio.timeout(1):
            for _attempt in range(5):
                try:
                    return await rate(client, url, REVIEWS[1])
                except Exception:
                    print("it failed, once more")


with MockLLM(faults=[Fault(kind="hang")]) as silent:
    outlived = await compare(silent, repeats=1, limit=4, stubborn=stubborn, yielding=yielding)
for arm, (done,) in outlived.arms.items():
    print(f"{arm:8} {done.outcome}, requests: {len(done.requests)}")

# %% [markdown]
# The deadline of `stubborn` did come. The loop took it for one more failure, and asked again; it does not come twice. The lab ended it.
# anyio's deadlines do come again, at each `await` that follows: there the loop would have run out of attempts.
#
# ## Leave the dead alone
#
# Now the larger model is down: it accepts requests and never answers. Eight users ask, one after another. There is a second model, smaller and worse, and better than nothing: the **fallback**.
#
# `hammer` gives the first model three tries, every time. `guarded` has a **circuit breaker** in front of it, from the library purgatory. After three failures in a row the circuit is *open*:
# the breaker raises `OpenedState` and nothing is sent. After `ttl` seconds it lets a call try. If that succeeds, the circuit is closed again; `recovers` shows it.
#
# What counts as a failure is yours to say. A bad request is no sign of trouble at the other end, and a user who left is none: hence `innocent`. purgatory would count both.


# %%
async def answer(client, url, question, model, timeout=10):
    request = {"model": model, "messages": [{"role": "user", "content": question}]}
    reply = await client.post(f"{url}/chat/completions", json=request, timeout=timeout)
    return Reply.model_validate_json(reply.raise_for_status().content)


async def hammer(client, url, question):
    for _attempt in range(3):
        with suppress(httpx.HTTPError):
            return await answer(client, url, question, "gpt-4o", timeout=0.2)
    return await answer(client, url, question, "gpt-4o-mini")


# %%
innocent = [asyncio.CancelledError, (httpx.HTTPStatusError, lambda e: not failure(e).retryable)]
breakers = AsyncCircuitBreakerFactory(default_threshold=3, default_ttl=30, exclude=innocent)


async def guarded(client, url, question):
    with suppress(httpx.HTTPError, OpenedState):
        async with await breakers.get_breaker("gpt-4o"):
            return await answer(client, url, question, "gpt-4o", timeout=0.2)
    return await answer(client, url, question, "gpt-4o-mini")


# %%
down = [Fault(kind="hang", model="gpt-4o")]
two_models = MockLLM("small", speed=10, answer_tokens=8, faults=down).start()
users = {ask.__name__: partial(batches.in_turn, ask=ask) for ask in (hammer, guarded)}
dead = await compare(two_models, repeats=1, **users)
outage = {
    "requests to the model that is down": lambda run: run.asked("gpt-4o"),
    "time to an answer, median, ms": lambda run: 1000 * median(run.result),
}
table(dead, outage, standard=False)


# %% tags=["nbval-check-output"]
async def recovers(url):
    short = AsyncCircuitBreakerFactory(default_threshold=3, default_ttl=0.5, exclude=innocent)
    breaker = await short.get_breaker("gpt-4o")
    async with httpx.AsyncClient() as client:
        for pause in (0, 0, 0, 0, 0.6, 0):
            await anyio.sleep(pause)
            with suppress(httpx.HTTPError, OpenedState):
                async with breaker:
                    await answer(client, url, "Are you well?", "gpt-4o")
            yield breaker.context.state


with MockLLM(faults=[Fault(kind="503", first=3)]) as patient:
    print("after each call the circuit is:", [state async for state in recovers(patient.url)])
    print("calls that reached the model:", len(patient.ledger().requests), "of 6")

# %% [markdown]
# Both answer every user, from the second model. But `hammer` lets each of them wait for three timeouts first. In one such outage, of 60 s, eleven requests made 33 attempts at the dead provider, and took 5 to 6 s each instead of about 1;
# with a breaker, fifteen requests made four attempts (BerriAI/litellm#40405). Nor does a provider get up sooner for being hammered.
#
# In the second cell the model fails three times and is well from then on. The fourth call comes too early and is not sent. After half a second the fifth may try, and closes the circuit.
#
# ## Verdict
#
# Counters, and one ratio of times.

# %% tags=["nbval-check-output", "verdict"]
from helpers import at_least, at_most, equals, verdict

w, g, s, r = (comparison[arm] for arm in ("wrong", "grouped", "swallow", "right"))
usable = dead.ratio(lambda run: median(run.result), "guarded", "hammer")
verdict(
    "08",
    equals("ratings saved, wrong", len(w.result.saved), 0),
    equals("ratings saved, grouped", len(g.result.saved), 0),
    at_least("answers finished for nobody, wrong", batches.orphaned(w), 10),
    equals("answers finished for nobody, grouped", batches.orphaned(g), 0),
    equals("broken ratings saved as good, swallow", batches.broken(s, is_good), 5),
    equals("good ratings saved, right", batches.kept(r, is_good), 19),
    equals("broken ratings saved as good, right", batches.broken(r, is_good), 0),
    equals("failures reported, right", list(r.result.report or {}), [7]),
    equals("requests, right", len(r.requests), 24),
    equals("requests after the deadline, stubborn", len(outlived["stubborn"].requests) - 1, 1),
    equals("requests after the deadline, yielding", len(outlived["yielding"].requests) - 1, 0),
    equals("requests to a model that is down, hammer", dead["hammer"].asked("gpt-4o"), 24),
    equals("requests to a model that is down, guarded", dead["guarded"].asked("gpt-4o"), 3),
    at_most("time to an answer, guarded ÷ hammer", usable, 0.6),
)

# %% [markdown]
# ## What if more of them fail?
#
# Without the novel, the panel lets a share of the calls fail, about half of them by status 503 and half by a broken answer.

# %%
from helpers import WhatIf


async def vary(percent):
    half = percent / 200
    plan = [Fault(kind="503", share=half), Fault(kind="broken_answer", share=half)]
    reviews = REVIEWS | {7: "A short one, this time."}
    with MockLLM(PROFILE, faults=plan) as unlucky:
        return table(await compare(unlucky, reviews, repeats=1, **ways), rows, standard=False)


WhatIf(vary, percent=(0, 50, 10))

# %% [markdown]
# **When is the wrong way fine?** At 0 % all four save twenty good ratings. And where the answers are of use only together, such as the votes of a jury of models, one failure *is* the failure of all:
# then `grouped` is right, because it stops paying at once. In one project that failing fast was meant (THUDM/slime#1365). `gather` without `return_exceptions=True` is the one to avoid.
#
# ## Your turn
#
# `pipeline` sends each job, the body of a request, to the model. Repair it:
#
# - It saves every good answer as soon as it is there: finished (`finish_reason` is `"stop"`), with a content that is a `Rating`. It saves the content as it is, and nothing else.
# - It returns `{number: cause}` for all other jobs: `"status 503"` with the number that came; `"no answer"` if the connection broke; `"not valid"` if an answer came that is none; `"deadline"`.
# - It ends within `deadline` seconds, and leaves no call behind, also when somebody cancels it.


# %% tags=["exercise"]
import asyncio

from pydantic import BaseModel, Field


class Rating(BaseModel, extra="forbid"):
    stars: int = Field(ge=1, le=5)
    reason: str


async def pipeline(client, url, jobs, save, deadline):
    async def one(number, job):
        content = ""
        try:
            reply = await client.post(f"{url}/chat/completions", json=job)
            content = reply.json()["choices"][0]["message"]["content"]
        except BaseException:
            failed[number] = "no answer"
        await save(number, content)

    failed = {}
    await asyncio.gather(*(one(number, job) for number, job in jobs.items()))
    return failed


# %% tags=["nbval-check-output"]
from helpers import check, hints

await check("08", pipeline)
hints("08")

# %% [markdown]
# ## Catch it
#
# Four of ruff's rules look for lost errors: E722 (bare `except`), BLE001 (a blind `except Exception`), S110 (`except` … `pass`) and RUF006 (a task that nobody holds on to). `forget` starts its calls and returns: nobody holds their tasks, and nobody hears of their errors.


# %% tags=["nbval-check-output"]
from helpers import lint


async def forget(client, url, reviews, save):
    async def one(number):
        await save(number, await ask(client, url, reviews[number]))

    for number in reviews:
        asyncio.create_task(one(number))


for arm in (wrong, grouped, swallow, yielding, forget, right):
    print(f"{arm.__name__}:", *lint(arm, "E722,BLE001,S110,RUF006") or ["nothing found"])

# %% [markdown]
# `wrong` is correct Python, and so is saving a broken answer. A **chaos test** finds both: the provider misbehaves as told, and the test counts. The fixture `mock_llm` comes with this course:
#
# ```python
# CHAOS = [Fault(kind="503", every=5), Fault(kind="cut", every=7), Fault(kind="broken_answer", every=11)]
#
# @pytest.mark.mock_llm(faults=CHAOS)
# def test_a_bad_day_costs_what_failed_and_no_more(mock_llm):
#     saved, failed = anyio.run(my_batch, mock_llm.url, twenty_reviews)
#     assert all(is_good(text) for text in saved.values())
#     assert len(saved) == 20 - 4 - 2 - 1
#     assert saved.keys() | failed.keys() == twenty_reviews.keys()
# ```
#
# In production count outcomes by cause, and alert on the share of those that are not answers: a batch that "succeeds" with five empty rows looks healthy in any log. Watch the state of each breaker, too.
#
# ## In your SDK
#
# One call for each kind of failure, with the official packages and without their retries: what does the caller get?
# openai's `parse` checks the answer against `Rating`; `create` does not. "too short" is an answer of at most 4 tokens.


# %%
KINDS = ["400", "rate_limit_exceeded", "503", "529", "reset", "cut", "malformed_json"]
KINDS += ["error_event", "empty_choices", "no_finish", "broken_answer", "too short"]
COLUMNS = ("openai, create", "openai, parse", "anthropic, create")


async def outcome(create, kind, **request):
    options = {"max_tokens": 50, "extra_headers": {"x-mock-fault": kind}}
    request |= {"max_tokens": 4} if kind == "too short" else options
    try:
        await create(messages=[{"role": "user", "content": "Fine."}], **request)
    except Exception as error:
        return type(error).__name__
    return "an answer"


async def outcomes(gpt, claude, kind):
    yield await outcome(gpt.create, kind, model="gpt-4o")
    yield await outcome(gpt.parse, kind, model="gpt-4o", response_format=Rating)
    yield await outcome(claude.create, kind, model="claude-sonnet-4")


# %% tags=["nbval-check-output"]
with MockLLM() as strict:
    gpt = openai.AsyncOpenAI(base_url=strict.url, api_key="any", max_retries=0)
    claude = anthropic.AsyncAnthropic(base_url=strict.url[:-3], api_key="any", max_retries=0)
    print(f"{'':20}", *(f"{name:23}" for name in COLUMNS))
    for kind in KINDS:
        told = [name async for name in outcomes(gpt.chat.completions, claude.messages, kind)]
        print(f"{kind:20}", *(f"{name:23}" for name in told))

# %% [markdown]
# The first six are typed, and tell you whether to try again: catch `openai.APIError` at the boundary, then look at its class. The others are for you to notice.
# A body that is not JSON ends in an error of Python's own parser, which no `except openai.APIError` catches. A reply with no answer in it, with half of one, or with an error in its place, is "an answer".
#
# `parse` notices more: half a rating is pydantic's `ValidationError`, an answer cut off at `max_tokens` a `LengthFinishReasonError`. The latter is an `OpenAIError`, but no `APIError`. An empty list of choices passes.
# And what `parse` makes of an error in the body is a `TypeError`. It looks like a bug of yours; here it is the provider's word for "no". For streams see lesson 07: both packages take one that just ends for a whole answer.
#
# So put the boundary around the call *and* the check. Let the packages retry only if you do not (lesson 05).
#
# ## Coming from Rust
#
# | Rust | Python | in both |
# |---|---|---|
# | `futures::future::try_join_all` | `asyncio.gather` | the first error is the result; Rust drops the other futures, `gather` lets them run |
# | `join_all` over `Result`s | a task group with a boundary in each task | every outcome is there |
# | an `enum` of errors (thiserror), `match` | a data class, `match` | the compiler finds the case that you forgot; in Python, end with `raise error` |
# | serde, `deny_unknown_fields` | pydantic, `extra="forbid"` | parse, then use |
# | a dropped future | `CancelledError` | in Rust nothing can swallow it; in Python a bare `except:` does |
# | the crate `failsafe` | purgatory | a circuit breaker |
# | `tokio::time::timeout` | `anyio.move_on_after`, `asyncio.timeout` | a deadline for the whole |
#
# ## Recap
#
# 1. One of twenty calls in `gather` fails. What of the other nineteen, and what in a task group?
# 2. Which failures must a batch not ask again, and what does it need in order to know?
# 3. Why does `except Exception` let a deadline work, and `except:` not?
#
# <details><summary>Answers</summary>
#
# 1. In `gather` they run to their end, are paid for, and have nobody who takes their answers. In a task group they are cancelled. In both cases the batch has nothing, unless each call has a boundary of its own.
# 2. Those that will fail again, such as a request that is too long. It needs outcomes with a type, not a log line.
# 3. A deadline raises `CancelledError` in the task. That is a `BaseException`, but no `Exception`.
#
# </details>
#
# **Further reading.** Three `gather`s in which one failed page dropped all the others: NousResearch/hermes-agent#26244. Parallel tool calls left running as orphans: pydantic/pydantic-ai#4502.
# An upstream that dropped after status 200, and clients that stored a completed, empty answer: open-webui/open-webui#29628. A tool that was run with `{}` because its arguments did not parse: NousResearch/hermes-agent#2342.
# The mirror image of a swallowed cancellation, a task that vanished without a trace because only `Exception` was handled: awslabs/agentcore-rl-toolkit#25.
