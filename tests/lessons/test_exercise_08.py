"""Lesson 08's check: right batches pass, whatever their style, and each mistake is named."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from helpers.lessons.catalogue import lesson
from helpers.lessons.exercise import Criterion
from tests.lessons.graded import changed, criteria, table

RATED = """
import asyncio
import functools
import json
from dataclasses import dataclass, field

import anyio
import httpx
from pydantic import BaseModel, Field


class Rating(BaseModel, extra="forbid"):
    stars: int = Field(ge=1, le=5)
    reason: str


async def rated(client, url, job):
    reply = await client.post(f"{url}/chat/completions", json=job)
    choice = reply.raise_for_status().json()["choices"][0]
    if choice["finish_reason"] != "stop":
        raise ValueError(choice["finish_reason"])
    content = choice["message"]["content"]
    Rating.model_validate_json(content)
    return content


def cause(error):
    if isinstance(error, httpx.HTTPStatusError):
        return f"status {error.response.status_code}"
    if isinstance(error, httpx.TransportError):
        return "no answer"
    if isinstance(error, (ValueError, LookupError)):
        return "not valid"
    raise error

"""
GROUP = """
async def pipeline(client, url, jobs, save, deadline):
    async def one(number, job):
        try:
            content = await rated(client, url, job)
        except Exception as error:
            failed[number] = cause(error)
        else:
            await save(number, content)
            del failed[number]

    failed = dict.fromkeys(jobs, "deadline")
    with anyio.move_on_after(deadline):
        async with anyio.create_task_group() as tasks:
            for number, job in jobs.items():
                tasks.start_soon(one, number, job)
    return failed
"""
BATCH = RATED + GROUP

RIGHT = {
    "a task group of anyio": BATCH,
    "a task group of asyncio": RATED
    + """
async def pipeline(client, url, jobs, save, deadline):
    async def one(number, job):
        try:
            await save(number, await rated(client, url, job))
            failed.pop(number)
        except httpx.HTTPError as error:
            failed[number] = cause(error)
        except (ValueError, LookupError):
            failed[number] = "not valid"

    failed = {number: "deadline" for number in jobs}
    try:
        async with asyncio.timeout(deadline), asyncio.TaskGroup() as tasks:
            for number, job in jobs.items():
                tasks.create_task(one(number, job))
    except TimeoutError:
        pass
    return failed
""",
    "gather with return_exceptions": RATED
    + """
async def pipeline(client, url, jobs, save, deadline):
    async def one(number, job):
        async with asyncio.timeout_at(end):
            content = await rated(client, url, job)
        await save(number, content)

    end = asyncio.get_running_loop().time() + deadline
    calls = (one(number, job) for number, job in jobs.items())
    results = await asyncio.gather(*calls, return_exceptions=True)
    return {
        number: "deadline" if isinstance(result, TimeoutError) else cause(result)
        for number, result in zip(jobs, results)
        if result is not None
    }
""",
    "as_completed": RATED
    + """
async def pipeline(client, url, jobs, save, deadline):
    async def one(number, job):
        try:
            return number, await rated(client, url, job), None
        except (httpx.HTTPError, ValueError, LookupError) as error:
            return number, None, cause(error)

    failed = dict.fromkeys(jobs, "deadline")
    tasks = [asyncio.create_task(one(number, job)) for number, job in jobs.items()]
    try:
        for each in asyncio.as_completed(tasks, timeout=deadline):
            number, content, why = await each
            if why:
                failed[number] = why
            else:
                await save(number, content)
                del failed[number]
    except TimeoutError:
        pass
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return failed
""",
    "asyncio.wait": RATED
    + """
async def pipeline(client, url, jobs, save, deadline):
    async def one(number, job):
        await save(number, await rated(client, url, job))

    tasks = {number: asyncio.create_task(one(number, job)) for number, job in jobs.items()}
    try:
        await asyncio.wait(tasks.values(), timeout=deadline)
    finally:
        for task in tasks.values():
            task.cancel()
        await asyncio.wait(tasks.values())
    failed = {}
    for number, task in tasks.items():
        if task.cancelled():
            failed[number] = "deadline"
        elif error := task.exception():
            failed[number] = cause(error)
    return failed
""",
    "a pool of workers": RATED
    + """
async def pipeline(client, url, jobs, save, deadline):
    async def worker():
        while queue:
            number, job = queue.pop()
            try:
                await save(number, await rated(client, url, job))
            except Exception as error:
                failed[number] = cause(error)
            else:
                failed.pop(number)

    queue = list(jobs.items())
    failed = dict.fromkeys(jobs, "deadline")
    with anyio.move_on_after(deadline):
        async with anyio.create_task_group() as workers:
            for _ in range(12):
                workers.start_soon(worker)
    return failed
""",
    "a class": RATED
    + """
@dataclass
class Batch:
    client: httpx.AsyncClient
    address: str
    save: object
    failed: dict = field(default_factory=dict)

    async def one(self, number, job):
        reply = await self.client.post(self.address, json=job)
        if reply.status_code != 200:
            self.failed[number] = f"status {reply.status_code}"
            return
        try:
            choice = reply.json()["choices"][0]
            content = choice["message"]["content"]
            Rating.model_validate_json(content)
            assert choice["finish_reason"] == "stop"
        except (ValueError, LookupError, AssertionError):
            self.failed[number] = "not valid"
            return
        await self.save(number, content)

    async def bounded(self, number, job, deadline):
        try:
            await asyncio.wait_for(self.one(number, job), deadline)
        except asyncio.TimeoutError:
            self.failed[number] = "deadline"
        except httpx.TransportError:
            self.failed[number] = "no answer"


async def pipeline(client, url, jobs, save, deadline):
    batch = Batch(client, f"{url}/chat/completions", save)
    async with asyncio.TaskGroup() as tasks:
        for number, job in jobs.items():
            tasks.create_task(batch.bounded(number, job, deadline))
    return batch.failed
""",
    "a callable object": BATCH.replace("async def pipeline(", "async def batch(")
    + """

class Pipeline:
    async def __call__(self, *args):
        return await batch(*args)


pipeline = Pipeline()
""",
    "a partial": BATCH.replace("async def pipeline(", "async def batch(_, ")
    + "\n\npipeline = functools.partial(batch, None)\n",
    "a client at module level": changed(
        BATCH,
        ('await client.post(f"{url}', 'await CLIENT.post(f"{url}'),
    ).replace("CLIENT.post(", "CLIENT.post(headers=dict(client.headers), url=")
    + "\n\nCLIENT = httpx.AsyncClient(timeout=20)\n",
    "models of the whole answer": changed(
        BATCH,
        (
            'choice = reply.raise_for_status().json()["choices"][0]\n'
            '    if choice["finish_reason"] != "stop":\n'
            '        raise ValueError(choice["finish_reason"])\n'
            '    content = choice["message"]["content"]\n',
            "reply = Reply.model_validate_json(reply.raise_for_status().content)\n"
            "    content = reply.choices[0].message.content\n",
        ),
    )
    + """

from typing import Literal


class Message(BaseModel):
    content: str


class Choice(BaseModel):
    message: Message
    finish_reason: Literal["stop"]


class Reply(BaseModel):
    choices: list[Choice]
""",
    "openai's SDK": RATED
    + """
import openai


async def pipeline(client, url, jobs, save, deadline):
    async def one(number, job):
        try:
            reply = await sdk.chat.completions.create(**job)
            choice = reply.choices[0]
            Rating.model_validate_json(choice.message.content)
            if choice.finish_reason != "stop":
                raise ValueError("not finished")
        except openai.APIStatusError as error:
            failed[number] = f"status {error.status_code}"
        except openai.APIConnectionError:
            failed[number] = "no answer"
        except (ValueError, LookupError, TypeError, AttributeError, openai.APIError):
            failed[number] = "not valid"
        else:
            await save(number, choice.message.content)
            del failed[number]

    failed = dict.fromkeys(jobs, "deadline")
    key = client.headers["authorization"].removeprefix("Bearer ")
    async with openai.AsyncOpenAI(base_url=url, api_key=key, max_retries=0) as sdk:
        with anyio.move_on_after(deadline):
            async with anyio.create_task_group() as tasks:
                for number, job in jobs.items():
                    tasks.start_soon(one, number, job)
    return failed
""",
}

RUNS = "your code runs to its end"
GOOD = "every good answer is saved once, unchanged"
NOTHING_ELSE = "nothing else is saved"
REPORT = "it returns a dict of the jobs that failed, and no others"
IN_TIME = "it ends within its deadline, here 1.5 s"
HAS_TIME = "a longer deadline gives slow answers time, here 3 s"
LEFT = "no call goes on after the batch has ended or was canceled"
CALLER = "an error of `save` ends the batch, and the caller gets it"
SOON = "each answer is saved as soon as it arrives: canceling the batch does not lose it"


def reported(cause: str) -> str:
    return f"the cause {cause!r} is reported for the right jobs"


SAVE = "            await save(number, content)\n"
VALID = "    Rating.model_validate_json(content)\n"
DEADLINE = "move_on_after(deadline)"
RUN = """    with anyio.move_on_after(deadline):
        async with anyio.create_task_group() as tasks:
            for number, job in jobs.items():
                tasks.start_soon(one, number, job)
"""
CAUGHT = "            failed[number] = cause(error)\n"
NOTE = """

good = {}


async def note(number, content):
    good[number] = content
"""
STATUS = 'return f"status {error.response.status_code}"'
RETURN = "    return failed\n"

# What is wrong → how the batch is changed, the one criterion that is not met, and what it says.
WRONG = {
    "saves a text of its own": (
        (SAVE, "            await save(number, json.dumps(json.loads(content)) + ' ')\n"),
        GOOD,
        "0 of 10 are",
    ),
    "saves twice": ((SAVE, SAVE + SAVE), GOOD, "10 were saved more than once"),
    "saves something for each failure": (
        (CAUGHT, CAUGHT + '            await save(number, "")\n'),
        NOTHING_ELSE,
        "14 failed jobs were saved too: 400, 503, reset, 11 more",
    ),
    "a status made up": (
        (STATUS, 'return "status 503"'),
        reported("status 400"),
        "for 400 it says status 503",
    ),
    "expects one kind of broken connection": (
        (
            'return "no answer"',
            "is_cut = isinstance(error, httpx.RemoteProtocolError)\n"
            '        return "no answer" if is_cut else "not valid"',
        ),
        reported("no answer"),
        "for reset it says not valid",
    ),
    "a word of its own for a broken connection": (
        ('return "no answer"', 'return "connection broke"'),
        reported("no answer"),
        "for reset it says connection broke",
    ),
    "a word of its own for what is not valid": (
        ('return "not valid"', "return type(error).__name__"),
        reported("not valid"),
        "for malformed_json it says JSONDecodeError",
    ),
    "no cause for the deadline": (
        ('fromkeys(jobs, "deadline")', 'fromkeys(jobs, "unknown")'),
        reported("deadline"),
        "for hang it says unknown",
    ),
    "reports the good ones too": (
        ("            del failed[number]\n", '            failed[number] = "saved"\n'),
        REPORT,
        "0 are missing, 10 are not failures",
    ),
    "a deadline of its own": ((DEADLINE, "move_on_after(1.5)"), HAS_TIME, "0 of 4 answers"),
    "at least three seconds": (
        (DEADLINE, "move_on_after(max(deadline, 3.0))"),
        IN_TIME,
        "it took more than 2.5 s",
    ),
    "saves at the end": (
        (
            GROUP,
            GROUP.replace("save(number, content)", "note(number, content)").replace(
                RETURN, "    for item in good.items():\n        await save(*item)\n" + RETURN
            )
            + NOTE,
        ),
        SOON,
        "0 of 10 were saved",
    ),
    "goes on when it is canceled": (
        (
            RUN,
            """    tasks = [asyncio.create_task(one(number, job)) for number, job in jobs.items()]
    while True:
        try:
            await asyncio.wait(tasks, timeout=deadline)
            break
        except asyncio.CancelledError:
            pass
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    for task in tasks:
        if not task.cancelled():
            task.result()
""",
        ),
        LEFT,
        "it went on although it was canceled",
    ),
    "leaves its tasks behind": (
        (
            RUN,
            """    tasks = [asyncio.create_task(one(number, job)) for number, job in jobs.items()]
    done, _ = await asyncio.wait(tasks, timeout=deadline)
    for task in done:
        task.result()
    failed = dict(failed)
""",
        ),
        LEFT,
        "tasks did",
    ),
    "saves what it has parsed": (
        (
            SAVE,
            "            rating = Rating.model_validate_json(content)\n"
            "            await save(number, rating.model_dump_json())\n",
        ),
        GOOD,
        "9 of 10 are",
    ),
    "takes a full disk for a bad answer": (
        (
            SAVE + "            del failed[number]\n",
            "            try:\n"
            "                await save(number, content)\n"
            "                del failed[number]\n"
            "            except OSError:\n"
            '                failed[number] = "not valid"\n',
        ),
        CALLER,
        "it returned as if nothing had happened: for a full disk it reported 'not valid'",
    ),
    "leaves threads behind": (
        (
            'await client.post(f"{url}/chat/completions", json=job)',
            "await anyio.to_thread.run_sync(\n"
            "        lambda: httpx.post(\n"
            '            f"{url}/chat/completions", json=job, headers=client.headers, timeout=20\n'
            "        ),\n"
            "        abandon_on_cancel=True,\n"
            "        limiter=limiter(),\n"
            "    )",
        ),
        LEFT,
        "requests were still open 1 s after that",
    ),
}
EXTRA = """

LIMITERS = []


def limiter():
    if not LIMITERS:
        LIMITERS.append(anyio.CapacityLimiter(100))
    return LIMITERS[0]
"""
NO_RATING = [NOTHING_ELSE, REPORT, reported("not valid")]
# Mistakes that show in more than one way.
WORSE = {
    "any JSON will do": (changed(BATCH, (VALID, "    json.loads(content)\n")), NO_RATING),
    "any key will do": (changed(BATCH, (', extra="forbid"', "")), NO_RATING),
    "any number of stars will do": (changed(BATCH, ("Field(ge=1, le=5)", "Field()")), NO_RATING),
    "finished or not": (changed(BATCH, ('!= "stop":', '== "length":')), NO_RATING),
    "no deadline": (
        changed(BATCH, (DEADLINE, "move_on_after(None)")),
        [reported("deadline"), IN_TIME, HAS_TIME],
    ),
    "forgets the failures": (
        changed(BATCH, (RETURN, "    return {}\n")),
        [
            REPORT,
            *map(reported, ("status 400", "status 503", "no answer", "not valid", "deadline")),
        ],
    ),
    "a TypeError of its own": (changed(BATCH, (VALID, VALID + "    content + 1\n")), [RUNS]),
    "the first failure ends the batch": (
        changed(BATCH, ("except Exception as", "except KeyError as")),
        [RUNS],
    ),
}


def unmet(text: str, folder: Path) -> list[Criterion]:
    return [criterion for criterion in criteria("08", text, folder) if not criterion.met]


def names(solutions: Mapping[str, object], in_every_run: list[str]) -> list[Any]:
    return table({name: name for name in solutions}, in_every_run)


def test_the_solution_passes(tmp_path: Path) -> None:
    assert unmet(lesson("08").solution.read_text("utf-8"), tmp_path) == []


@pytest.mark.parametrize("name", names(RIGHT, ["models of the whole answer"]))
def test_a_right_batch_passes_whatever_its_style(name: str, tmp_path: Path) -> None:
    assert unmet(RIGHT[name], tmp_path) == []


QUICK = [
    "saves a text of its own",
    "saves something for each failure",
    "a status made up",
    "expects one kind of broken connection",
    "a word of its own for what is not valid",
    "no cause for the deadline",
    "reports the good ones too",
    "a deadline of its own",
    "at least three seconds",
    "saves at the end",
    "saves what it has parsed",
    "takes a full disk for a bad answer",
    "leaves threads behind",
]


@pytest.mark.parametrize("name", names(WRONG, QUICK))
def test_one_mistake_is_named_alone(name: str, tmp_path: Path) -> None:
    edit, what, found = WRONG[name]
    (criterion,) = unmet(changed(BATCH, edit) + EXTRA, tmp_path)
    assert criterion.what == what
    assert found in criterion.found


@pytest.mark.parametrize("name", names(WORSE, ["any key will do"]))
def test_a_mistake_that_shows_in_several_ways_is_named(name: str, tmp_path: Path) -> None:
    source, expected = WORSE[name]
    assert sorted(each.what for each in unmet(source, tmp_path)) == sorted(expected)


def test_an_error_is_named_with_its_line(tmp_path: Path) -> None:
    (criterion,) = unmet(changed(BATCH, (VALID, VALID + "    contents\n")), tmp_path)
    assert criterion.what == RUNS
    assert "NameError at answer.py, line " in criterion.found
    assert "'contents' is not defined" in criterion.found
