"""Lesson 05's check: right calls pass, whatever their style, and each mistake is named."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from helpers.lessons.catalogue import lesson
from helpers.lessons.exercise import Criterion
from tests.lessons.graded import changed, criteria, table

TOLD = """
import asyncio
import functools
import random
import threading
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

import anyio
import httpx

from helpers.mock_llm.tokens import count_prompt_tokens

ATTEMPTS = 4
BASE = 0.5
LONGEST = 10


def told(headers):
    if "retry-after-ms" in headers:
        return float(headers["retry-after-ms"]) / 1000
    after = headers.get("retry-after", "0")
    if after.isdigit():
        return int(after)
    return max(0, parsedate_to_datetime(after).timestamp() - time.time())


def is_permanent(reply, body):
    if reply.status_code != 429 and reply.status_code < 500:
        return True
    if told(reply.headers) > LONGEST:
        return True
    if reply.status_code != 429:
        return False
    if reply.json()["error"]["code"] == "insufficient_quota":
        return True
    limit = int(reply.headers.get("x-ratelimit-limit-tokens", 0))
    return 0 < limit < count_prompt_tokens(body["messages"])


def pause(reply, attempt):
    return told(reply.headers) + random.uniform(0, BASE * 2**attempt)

"""
LOOP = """
async def call(client, url, body):
    for attempt in range(ATTEMPTS):
        reply = await client.post(f"{url}/chat/completions", json=body)
        if reply.is_success or is_permanent(reply, body):
            break
        if attempt < ATTEMPTS - 1:
            await anyio.sleep(pause(reply, attempt))
    return reply.raise_for_status()
"""
PATIENT = TOLD + LOOP

RIGHT = {
    "a loop": PATIENT,
    "asyncio, and waits that are half fixed": TOLD
    + """
async def call(client, url, body):
    attempt = 0
    while True:
        attempt += 1
        reply = await client.post(url + "/chat/completions", json=body)
        if reply.is_success:
            return reply
        if attempt == ATTEMPTS or is_permanent(reply, body):
            reply.raise_for_status()
        longest = BASE * 2 ** (attempt - 1)
        backoff = longest / 2 + random.random() * longest / 2
        await asyncio.sleep(max(told(reply.headers), backoff))
""",
    "recursion": TOLD
    + """
async def call(client, url, body, attempt=0):
    request = client.build_request("POST", f"{url}/chat/completions", json=body)
    reply = await client.send(request)
    if reply.status_code == 200:
        return reply
    if attempt + 1 == ATTEMPTS or is_permanent(reply, body):
        raise httpx.HTTPStatusError("gave up", request=request, response=reply)
    await anyio.sleep(pause(reply, attempt))
    return await call(client, url, body, attempt + 1)
""",
    "a decorator": TOLD
    + """
def patient(function):
    @functools.wraps(function)
    async def wrapper(client, url, body):
        for attempt in range(ATTEMPTS):
            try:
                return await function(client, url, body)
            except httpx.HTTPStatusError as error:
                if attempt == ATTEMPTS - 1 or is_permanent(error.response, body):
                    raise
                await asyncio.sleep(pause(error.response, attempt))

    return wrapper


@patient
async def call(client, url, body):
    reply = await client.post(f"{url}/chat/completions", json=body)
    return reply.raise_for_status()
""",
    "tenacity": TOLD
    + """
from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt


async def call(client, url, body):
    def wait(state):
        return pause(state.outcome.exception().response, state.attempt_number - 1)

    def again(error):
        return isinstance(error, httpx.HTTPStatusError) and not is_permanent(error.response, body)

    retrying = AsyncRetrying(
        stop=stop_after_attempt(ATTEMPTS), wait=wait, retry=retry_if_exception(again), reraise=True
    )
    async for attempt in retrying:
        with attempt:
            reply = await client.post(f"{url}/chat/completions", json=body)
            return reply.raise_for_status()
""",
    "stamina": TOLD
    + """
import stamina


async def call(client, url, body):
    made = 0

    def again(error):
        if not isinstance(error, httpx.HTTPStatusError) or is_permanent(error.response, body):
            return False
        return pause(error.response, made - 1)

    async for attempt in stamina.retry_context(on=again, attempts=ATTEMPTS, timeout=None):
        with attempt:
            made += 1
            reply = await client.post(f"{url}/chat/completions", json=body)
            return reply.raise_for_status()
""",
    "a client at module level": TOLD
    + changed(LOOP, ("await client.post", "await CLIENT.post"))
    + "\n\nCLIENT = httpx.AsyncClient(timeout=20)\n",
    "a thread for the request": TOLD
    + changed(
        LOOP,
        (
            'client.post(f"{url}/chat/completions", json=body)',
            'asyncio.to_thread(httpx.post, f"{url}/chat/completions", json=body)',
        ),
    ),
    "a dataclass and a match": TOLD
    + """
@dataclass
class Retries:
    left: int = ATTEMPTS

    def wait(self, reply, body):
        self.left -= 1
        match reply.status_code:
            case 200:
                return None
            case _ if self.left == 0 or is_permanent(reply, body):
                reply.raise_for_status()
        return pause(reply, ATTEMPTS - self.left - 1)


async def call(client, url, body):
    retries = Retries()
    while True:
        reply = await client.post(f"{url}/chat/completions", json=body)
        if (seconds := retries.wait(reply, body)) is None:
            return reply
        await anyio.sleep(seconds)
""",
    "a partial": PATIENT.replace("async def call(", "async def retry(_, ")
    + "\n\ncall = functools.partial(retry, None)\n",
    "a callable object": TOLD
    + """
class Caller:
    def __init__(self, attempts):
        self.attempts = attempts

    async def __call__(self, client, url, body):
        for attempt in range(self.attempts):
            if attempt:
                await anyio.sleep(pause(reply, attempt - 1))
            reply = await client.post(f"{url}/chat/completions", json=body)
            if reply.is_success or is_permanent(reply, body):
                break
        return reply.raise_for_status()


call = Caller(ATTEMPTS)
""",
    "no more than a few requests at once": TOLD
    + changed(
        LOOP,
        (
            '        reply = await client.post(f"{url}/chat/completions", json=body)\n',
            "        async with GATE:\n"
            '            reply = await client.post(f"{url}/chat/completions", json=body)\n',
        ),
    )
    + "\n\nGATE = asyncio.Semaphore(8)\n",
}

RUNS = "your code runs to its end"
ANSWER = "a call that is refused once returns the reply with the model's answer"
SECONDS = "it waits as long as Retry-After in seconds asks"
DATE = "it waits as long as Retry-After as a date asks"
MS = "it waits as long as retry-after-ms asks"
RANDOM = "without a header the waits are random: clients do not come back all at once"
GROWS = "without a header the waits grow: up to twice as long before each further attempt"
FREE = "nothing blocks the event loop"
TOGETHER = "calls wait at the same time: none holds up the others"
BAD = "a bad request (400, 401 or 404) is sent once"
QUOTA = "a spent quota (insufficient_quota) is sent once"
LARGE = "a prompt larger than the limit is sent once"
HOUR = "a call that would have to wait for an hour is sent once and gives up immediately"
BOUNDED = "a server that stays down or busy gets 4 requests from a call"
RAISES = "it raises HTTPStatusError when it gives up"

MS_LINE = 'return float(headers["retry-after-ms"]) / 1000'
SECONDS_LINE = "return int(after)"
DATE_LINE = "return max(0, parsedate_to_datetime(after).timestamp() - time.time())"
JITTER = "random.uniform(0, BASE * 2**attempt)"
SLEEP = "            await anyio.sleep(pause(reply, attempt))"
POST = 'await client.post(f"{url}/chat/completions", json=body)'
RETURN = "return reply.raise_for_status()"

# What is wrong → how the loop is changed, the one criterion that is not met, and what it says.
WRONG = {
    "does not read retry-after-ms": ((MS_LINE, "return 0"), MS, "asked to wait for 2.1 s"),
    "waits for half of the milliseconds": ((MS_LINE, MS_LINE + " / 2"), MS, "too early"),
    "waits four seconds more": (
        (
            MS_LINE,
            "milliseconds = float(headers['retry-after-ms'])\n        "
            "return milliseconds / 1000 + 4 * (milliseconds > 1000)",
        ),
        MS,
        "asked to wait for 2.1 s, it came back more than 3 s after that",
    ),
    "does not read a date": ((DATE_LINE, "return 0"), DATE, "asked to wait for 2.1 s"),
    "waits five seconds for any date": ((DATE_LINE, "return 5"), DATE, "more than 3 s after that"),
    "waits for half of the seconds": (
        (SECONDS_LINE, "return int(after) / 2"),
        SECONDS,
        "too early",
    ),
    "waits three seconds if the server says when": (
        (SECONDS_LINE, "return 3 if 0 < int(after) < LONGEST else int(after)"),
        SECONDS,
        "asked to wait for 1 s, it waited about as long as when asked for 3 s",
    ),
    "backs off in step": ((JITTER, "BASE * 2**attempt"), RANDOM, "about the same time"),
    "ten percent of jitter": (
        (JITTER, "random.uniform(0.95, 1.05) * BASE * 2**attempt"),
        RANDOM,
        "about the same time",
    ),
    "the same jitter for all": (
        (JITTER, "random.Random(attempt).uniform(0, BASE * 2**attempt)"),
        RANDOM,
        "about the same time",
    ),
    "never backs off further": ((JITTER, "random.uniform(0.3, 0.9)"), GROWS, "the third wait"),
    "blocks the event loop for a while": (
        (
            SLEEP,
            "            if 'ms-2.1' in body['model']:\n                time.sleep(0.5)\n" + SLEEP,
        ),
        FREE,
        "time.sleep(0.5) (the loop waits there)",
    ),
    "computes for a while": (
        (
            SLEEP,
            "            end = time.thread_time() + 0.15\n"
            "            while 'busy' in body['model'] and time.thread_time() < end:\n"
            "                pass\n" + SLEEP,
        ),
        FREE,
        "computes",
    ),
    "retries a wrong key": (
        ("reply.status_code != 429 and reply.status_code < 500", "reply.status_code == 400"),
        BAD,
        "a wrong key (401): the server saw 4 requests",
    ),
    "retries a spent quota": (
        ('== "insufficient_quota"', '== "quota"'),
        QUOTA,
        "insufficient_quota): the server saw 4 requests",
    ),
    "retries a large prompt": (
        ("return 0 < limit <", "return limit < 0 <"),
        LARGE,
        "a prompt larger than the limit (429): the server saw 4 requests",
    ),
    "waits for an hour": (("> LONGEST:", "> 86_400:"), HOUR, "it still waited after 8 s"),
    "waits for an hour if the server is down": (
        (
            "if told(reply.headers) > LONGEST:",
            "if reply.status_code == 429 and told(reply.headers) > LONGEST:",
        ),
        HOUR,
        "a server that is down for an hour (503): ",
    ),
    "five attempts": (("ATTEMPTS = 4", "ATTEMPTS = 5"), BOUNDED, "it saw 5"),
    "counts only a server that is down": (
        ("for attempt in range(ATTEMPTS):", "for attempt in limited(body):"),
        BOUNDED,
        "it saw 9",
    ),
    "returns the refusal": ((RETURN, "return reply"), RAISES, "it did not for a bad request (400)"),
    "returns the last refusal": (
        (RETURN, "return reply.raise_for_status() if is_permanent(reply, body) else reply"),
        RAISES,
        "always busy (429), a server that is down and does not say for how long (503)",
    ),
    "one answer for all": (
        (RETURN, "return REPLIES.setdefault(reply.raise_for_status().status_code, reply)"),
        ANSWER,
        "1 of 6 calls returned the answer to their own request",
    ),
    "a prompt of its own": (
        ("json=body)", "json=body | {'messages': body['messages'] + [CONCISE]})"),
        ANSWER,
        "0 of 6 calls returned the answer to their own request",
    ),
    "the text in place of the reply": (
        (RETURN, "return reply.raise_for_status().json()"),
        ANSWER,
        "0 of 6 calls returned a reply with status 200",
    ),
}
EXTRA = """

REPLIES = {}
CONCISE = {"role": "system", "content": "Be concise."}


def limited(body):
    return range(9 if body["model"] == "mock-always-busy" else ATTEMPTS)
"""
LOCKED = """

LOCK = asyncio.Lock()


async def call(client, url, body):
    async with LOCK:
        return await retry(client, url, body)
"""
# Mistakes that show in more than one way.
WORSE = {
    "never retries": (
        changed(PATIENT, ("if reply.is_success or is_permanent(reply, body):", "if True:")),
        [ANSWER, SECONDS, DATE, MS, RANDOM, GROWS, BOUNDED],
    ),
    "reads no header": (
        changed(PATIENT, ("return told(reply.headers) +", "return")),
        [SECONDS, DATE, MS],
    ),
    "any 429 with a limit is too large": (
        changed(
            PATIENT,
            (
                "return 0 < limit < count_prompt_tokens(body['messages'])".replace("'", '"'),
                "return 0 < limit",
            ),
        ),
        [ANSWER, SECONDS, DATE, MS, BOUNDED],
    ),
    "any message about a quota is final": (
        changed(
            PATIENT,
            ('reply.json()["error"]["code"] == "insufficient_quota"', '"quota" in reply.text'),
        ),
        [ANSWER, SECONDS, DATE, MS],
    ),
    "raises": (TOLD + "async def call(client, url, body):\n    raise ValueError('oops')\n", [RUNS]),
}


def unmet(text: str, folder: Path) -> list[Criterion]:
    return [criterion for criterion in criteria("05", text, folder) if not criterion.met]


def names(solutions: Mapping[str, object], in_every_run: list[str]) -> list[Any]:
    return table({name: name for name in solutions}, in_every_run)


def test_the_solution_passes(tmp_path: Path) -> None:
    assert unmet(lesson("05").solution.read_text("utf-8"), tmp_path) == []


@pytest.mark.parametrize("name", names(RIGHT, ["asyncio, and waits that are half fixed"]))
def test_a_right_call_passes_whatever_its_style(name: str, tmp_path: Path) -> None:
    assert unmet(RIGHT[name], tmp_path) == []


QUICK = [
    "does not read retry-after-ms",
    "does not read a date",
    "waits three seconds if the server says when",
    "backs off in step",
    "never backs off further",
    "blocks the event loop for a while",
    "retries a wrong key",
    "retries a spent quota",
    "retries a large prompt",
    "waits for an hour if the server is down",
    "five attempts",
    "returns the refusal",
    "one answer for all",
]


@pytest.mark.parametrize("name", names(WRONG, QUICK))
def test_one_mistake_is_named_alone(name: str, tmp_path: Path) -> None:
    edit, what, found = WRONG[name]
    (criterion,) = unmet(changed(PATIENT, edit) + EXTRA, tmp_path)
    assert criterion.what == what
    assert found in criterion.found


@pytest.mark.slow
def test_one_call_at_a_time_is_named(tmp_path: Path) -> None:
    failures = unmet(PATIENT.replace("async def call(", "async def retry(") + LOCKED, tmp_path)
    (found,) = [criterion.found for criterion in failures if criterion.what == TOGETHER]
    assert "calls began only when another one had ended" in found


@pytest.mark.parametrize("name", names(WORSE, ["raises"]))
def test_a_mistake_that_shows_in_several_ways_is_named(name: str, tmp_path: Path) -> None:
    source, expected = WORSE[name]
    assert sorted(each.what for each in unmet(source, tmp_path)) == sorted(expected)
