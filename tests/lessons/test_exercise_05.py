"""Lesson 05's check: each typical mistake is named, and a good call passes on a busy machine."""

import asyncio
import random
import time
from email.utils import parsedate_to_datetime
from typing import Any

import anyio
import httpx
import pytest

from helpers.lessons.exercise import grade
from helpers.lessons.exercises.exercise_05 import ATTEMPTS
from helpers.mock_llm.tokens import count_prompt_tokens

BASE, LONGEST = 0.5, 10

Body = dict[str, Any]


def unmet(solution: Any) -> dict[str, str]:
    return {c.what: c.found for c in asyncio.run(grade("05", solution)) if not c.met}


def retry_after(headers: httpx.Headers) -> float:
    if "retry-after-ms" in headers:
        return int(headers["retry-after-ms"]) / 1000
    after = headers.get("retry-after", "0")
    if after.isdigit():
        return int(after)
    return max(0, parsedate_to_datetime(after).timestamp() - time.time())


def too_large(reply: httpx.Response, body: Body) -> bool:
    limit = int(reply.headers.get("x-ratelimit-limit-tokens", 0))
    return 0 < limit < count_prompt_tokens(body["messages"])


def permanent(reply: httpx.Response, body: Body) -> bool:
    if reply.status_code < 500 and reply.status_code != 429:
        return True
    if reply.status_code == 429 and reply.json()["error"]["code"] == "insufficient_quota":
        return True
    return too_large(reply, body) or retry_after(reply.headers) > LONGEST


def jitter(attempt: int) -> float:
    return random.uniform(0, BASE * 2**attempt)


async def patient(
    client: httpx.AsyncClient,
    url: str,
    body: Body,
    is_permanent: Any = permanent,
    wait: Any = lambda reply, attempt: retry_after(reply.headers) + jitter(attempt),
    attempts: int = ATTEMPTS,
) -> httpx.Response:
    for attempt in range(attempts):
        reply = await client.post(f"{url}/chat/completions", json=body)
        if reply.is_success or is_permanent(reply, body):
            break
        if attempt < attempts - 1:
            await anyio.sleep(wait(reply, attempt))
    return reply.raise_for_status()


async def reads_no_header(client: httpx.AsyncClient, url: str, body: Body) -> Any:
    return await patient(client, url, body, wait=lambda reply, attempt: jitter(attempt))


async def reads_seconds_only(client: httpx.AsyncClient, url: str, body: Body) -> Any:
    def wait(reply: httpx.Response, attempt: int) -> float:
        after = reply.headers.get("retry-after", "")
        return int(after) if after.isdigit() else jitter(attempt)

    return await patient(client, url, body, wait=wait)


async def backs_off_in_step(client: httpx.AsyncClient, url: str, body: Body) -> Any:
    def wait(reply: httpx.Response, attempt: int) -> float:
        return retry_after(reply.headers) or BASE * 2**attempt

    return await patient(client, url, body, wait=wait)


async def retries_a_spent_quota(client: httpx.AsyncClient, url: str, body: Body) -> Any:
    def is_permanent(reply: httpx.Response, body: Body) -> bool:
        wrong = reply.status_code < 500 and reply.status_code != 429
        return wrong or too_large(reply, body) or retry_after(reply.headers) > LONGEST

    return await patient(client, url, body, is_permanent=is_permanent)


async def retries_a_large_prompt(client: httpx.AsyncClient, url: str, body: Body) -> Any:
    def is_permanent(reply: httpx.Response, body: Body) -> bool:
        return permanent(reply, {"messages": []})

    return await patient(client, url, body, is_permanent=is_permanent)


async def sleeps_for_an_hour(client: httpx.AsyncClient, url: str, body: Body) -> Any:
    def is_permanent(reply: httpx.Response, body: Body) -> bool:
        return retry_after(reply.headers) < LONGEST and permanent(reply, body)

    return await patient(client, url, body, is_permanent=is_permanent)


async def never_retries(client: httpx.AsyncClient, url: str, body: Body) -> Any:
    return await patient(client, url, body, attempts=1)


async def tries_too_often(client: httpx.AsyncClient, url: str, body: Body) -> Any:
    return await patient(client, url, body, attempts=5)


async def returns_the_refusal(client: httpx.AsyncClient, url: str, body: Body) -> Any:
    try:
        return await patient(client, url, body)
    except httpx.HTTPStatusError as error:
        return error.response


async def calls_no_server(client: httpx.AsyncClient, url: str, body: Body) -> Any:
    return httpx.Response(200, json={"choices": [{"message": {"content": "Hello."}}]})


async def breaks(client: httpx.AsyncClient, url: str, body: Body) -> Any:
    raise ZeroDivisionError("oops")


def test_a_patient_call_passes() -> None:
    assert unmet(patient) == {}


@pytest.mark.parametrize(
    ("solution", "criterion", "found"),
    [
        (reads_no_header, "it waits as long as Retry-After in seconds asks", "too early"),
        (
            reads_seconds_only,
            "it waits as long as Retry-After as a date asks",
            "too early",
        ),
        (reads_seconds_only, "it waits as long as retry-after-ms asks", "too early"),
        (backs_off_in_step, "without a header the waits are random", "about the same time"),
        (retries_a_spent_quota, "a spent quota", "saw 4 requests"),
        (retries_a_large_prompt, "a prompt larger than the limit", "saw 4 requests"),
        (sleeps_for_an_hour, "it raises HTTPStatusError", "mock-wait-an-hour"),
        (never_retries, "a call that is refused once gets an answer", "0 of 23 calls"),
        (never_retries, "it waits as long as retry-after-ms asks", "did not try again"),
        (tries_too_often, "a server that stays down", "saw 5"),
        (returns_the_refusal, "it raises HTTPStatusError", "mock-down"),
        (calls_no_server, "it waits as long as Retry-After in seconds asks", "did not try again"),
        (breaks, "your code runs to its end", "ZeroDivisionError"),
        ("not a function", "`call` is a function", "str"),
    ],
)
def test_what_is_wrong_is_named(solution: Any, criterion: str, found: str) -> None:
    (message,) = [found for what, found in unmet(solution).items() if what.startswith(criterion)]
    assert found in message
