"""The two probes count what a client does when it is refused."""

import asyncio

import anyio
import httpx
import pytest

from helpers.lab import came_early, hopeless


def chat(question: str) -> dict[str, object]:
    return {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": question}]}


async def at_once(client: httpx.AsyncClient, url: str, question: str) -> None:
    for _attempt in range(3):
        reply = await client.post(f"{url}/chat/completions", json=chat(question))
        if reply.is_success:
            return
    reply.raise_for_status()


async def reads_seconds(client: httpx.AsyncClient, url: str, question: str) -> None:
    reply = await client.post(f"{url}/chat/completions", json=chat(question))
    if reply.is_error:
        after = reply.headers.get("retry-after", "")
        await anyio.sleep(int(after) if after.isdigit() else 0)
        reply = await client.post(f"{url}/chat/completions", json=chat(question))
    reply.raise_for_status()


async def once(client: httpx.AsyncClient, url: str, question: str) -> None:
    reply = await client.post(f"{url}/chat/completions", json=chat(question))
    reply.raise_for_status()


def test_each_form_in_which_a_client_comes_early_is_named() -> None:
    assert asyncio.run(came_early(at_once)) == ["seconds", "date", "ms"]
    assert asyncio.run(came_early(reads_seconds)) == ["date", "ms"]


def test_a_client_that_does_not_come_back_is_an_error() -> None:
    async def gives_up(client: httpx.AsyncClient, url: str, question: str) -> None:
        await client.post(f"{url}/chat/completions", json=chat(question))

    with pytest.raises(ValueError, match="did not try again"):
        asyncio.run(came_early(gives_up))


def test_what_hopeless_questions_cost_is_counted() -> None:
    assert asyncio.run(hopeless(at_once)) == (9, 11)
    assert asyncio.run(hopeless(once)) == (3, 17)
