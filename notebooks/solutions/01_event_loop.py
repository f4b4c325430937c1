"""Lesson 01: neither the moderator nor the pause blocks the loop."""

import anyio

PAUSE = 0.1  # seconds that the moderator asks for before the next request


def request(model, question):
    return {"model": model, "messages": [{"role": "user", "content": question}]}


async def moderate(client, url, question):
    body = request("mock-moderator", question)
    opinion = await client.post(f"{url}/chat/completions", json=body)
    opinion.raise_for_status()


async def handle(client, url, question):
    await moderate(client, url, question)
    await anyio.sleep(PAUSE)
    reply = await client.post(f"{url}/chat/completions", json=request("gpt-5-mini", question))
    reply.raise_for_status()
    return reply.json()["choices"][0]["message"]["content"]
