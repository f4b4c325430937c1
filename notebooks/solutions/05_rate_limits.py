"""Lesson 05: decide first, then wait as asked."""

import random
import time
from email.utils import parsedate_to_datetime

import anyio

from helpers.mock_llm.tokens import count_prompt_tokens

ATTEMPTS = 4
BASE = 0.5  # seconds
LONGEST = 10  # seconds that a call may wait


async def call(client, url, body):
    for attempt in range(ATTEMPTS):
        reply = await client.post(f"{url}/chat/completions", json=body)
        if reply.is_success or hopeless(reply, body):
            break
        if attempt < ATTEMPTS - 1:
            await anyio.sleep(retry_after(reply.headers) + random.uniform(0, BASE * 2**attempt))
    return reply.raise_for_status()


def hopeless(reply, body):
    if reply.status_code != 429:
        return reply.status_code < 500 or retry_after(reply.headers) > LONGEST
    limit = int(reply.headers.get("x-ratelimit-limit-tokens", 0))
    return (
        reply.json()["error"]["code"] == "insufficient_quota"
        or retry_after(reply.headers) > LONGEST
        or 0 < limit < count_prompt_tokens(body["messages"])
    )


def retry_after(headers):
    """Seconds that the server asks for; 0 if it does not say."""
    if "retry-after-ms" in headers:
        return int(headers["retry-after-ms"]) / 1000
    after = headers.get("retry-after", "0")
    if after.isdigit():
        return int(after)
    return max(0, parsedate_to_datetime(after).timestamp() - time.time())
