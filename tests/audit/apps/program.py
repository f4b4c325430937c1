"""A program that calls the model with plain httpx, and makes the mistakes that it is started with.

``python program.py [MISTAKE …]``. It summarizes six texts at the same time, and prints what it got.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys

import httpx

MISTAKES = set(sys.argv[1:])
URL = os.environ["OPENAI_BASE_URL"] + "/chat/completions"
KEY = {"authorization": f"Bearer {os.environ['OPENAI_API_KEY']}"}
ATTEMPTS = 3
PERMANENT = {400, 401, 403, 404, 422}
SECONDS = None if {"hang", "drip"} & MISTAKES else 2.5


class IncompleteError(Exception):
    """The model's answer is not whole."""


async def ask(client: httpx.AsyncClient, gate: asyncio.Semaphore, text: str) -> str:
    async with gate:
        return await answer(client, text)


async def answer(client: httpx.AsyncClient, text: str) -> str:
    body = {
        "model": "gpt-4o-mini",
        "messages": [{"role": "user", "content": f"Summarize: {text}"}],
        "max_completion_tokens": 300,
    }
    if "limit" in MISTAKES:
        del body["max_completion_tokens"]
    async with asyncio.timeout(None if {"hang", "drip"} & MISTAKES else 4.0):
        reply = await post(client, body)
    choice = reply.json()["choices"][0]
    mistake = {"length": "length", None: "no_finish"}.get(choice["finish_reason"])
    if choice["finish_reason"] != "stop" and mistake not in MISTAKES:
        raise IncompleteError(str(choice["finish_reason"]))
    return str(choice["message"]["content"])


async def post(client: httpx.AsyncClient, body: dict[str, object]) -> httpx.Response:
    for attempt in range(ATTEMPTS * (4 if "layers" in MISTAKES else 1)):
        reply = await send(client, body)
        if reply.status_code < 400 or not may_retry(reply):
            break
        await asyncio.sleep(pause(reply, attempt))
    reply.raise_for_status()
    return reply


async def send(client: httpx.AsyncClient, body: dict[str, object]) -> httpx.Response:
    if "connections" in MISTAKES:
        async with httpx.AsyncClient(timeout=SECONDS) as own:
            return await own.post(URL, json=body, headers=KEY)
    return await client.post(URL, json=body, headers=KEY)


def may_retry(reply: httpx.Response) -> bool:
    if "permanent" in MISTAKES:
        return True
    return reply.status_code not in PERMANENT and reply.headers.get("x-should-retry") != "false"


def pause(reply: httpx.Response, attempt: int) -> float:
    if "early" in MISTAKES and reply.status_code == 429:
        return 0.1
    if after := reply.headers.get("retry-after"):
        return float(after) + random.uniform(0, 0.2)
    if "jitter" in MISTAKES:
        return 0.5
    return random.uniform(0.15, 0.6) if "layers" not in MISTAKES else random.uniform(0.15, 0.3)


async def main() -> None:
    texts = [f"text {number}" for number in range(1, 7)]
    gate = asyncio.Semaphore(3)
    async with httpx.AsyncClient(timeout=SECONDS) as client:
        if "siblings" in MISTAKES:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(ask(client, gate, text)) for text in texts]
            answers: list[str | BaseException] = [task.result() for task in tasks]
        else:
            answers = await asyncio.gather(
                *(ask(client, gate, text) for text in texts), return_exceptions=True
            )
    failures = [answer for answer in answers if isinstance(answer, BaseException)]
    print(*(answer for answer in answers if isinstance(answer, str)), sep="\n")
    if failures:
        sys.exit(f"{len(failures)} of {len(texts)} texts failed: {failures[0]!r}")


asyncio.run(main())
