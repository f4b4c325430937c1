"""Lesson 04: each call may use what is left of the budget, and leaves the next one its share."""

import anyio
import httpx

RESERVE = 0.8  # seconds of the budget that are kept for the small model


class NoAnswerError(Exception):
    """Nobody answered in time."""


async def ask(client, url, model, question, limit):
    body = {"model": model, "messages": [{"role": "user", "content": question}]}
    try:
        with anyio.fail_after(limit):
            reply = await client.post(f"{url}/chat/completions", json=body, timeout=limit)
    except (TimeoutError, httpx.TimeoutException) as error:
        raise NoAnswerError(model) from error
    reply.raise_for_status()
    return reply.json()["choices"][0]["message"]["content"]


async def handle(client, url, question, budget):
    end = anyio.current_time() + budget
    await ask(client, url, "mock-moderator", question, end - anyio.current_time())
    try:
        left = end - anyio.current_time()
        return await ask(client, url, "gpt-5", question, left - RESERVE)
    except NoAnswerError:
        return await ask(client, url, "gpt-5-mini", question, end - anyio.current_time())
