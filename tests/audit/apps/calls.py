"""Small programs and services as their authors write them: ``python calls.py KIND [PORT]``."""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
import uuid
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI, HTTPException

KIND = sys.argv[1]
URL = os.environ["OPENAI_BASE_URL"] + "/chat/completions"


def body(*messages: tuple[str, str], limit: str = "max_completion_tokens") -> dict[str, Any]:
    conversation = [{"role": role, "content": text} for role, text in messages]
    return {"model": "gpt-5-mini", "messages": conversation, limit: 500}


def read(reply: httpx.Response) -> str:
    reply.raise_for_status()
    return str(reply.json()["choices"][0]["message"]["content"])


def ask(sent: dict[str, Any]) -> str:
    return read(httpx.post(URL, json=sent, timeout=3))


def retries_with_a_clock() -> None:
    """Each attempt has another system prompt."""
    for question in ("Name a city", "Name a river"):
        for _ in range(8):
            front = f"It is {time.time()}, request {uuid.uuid4()}."
            try:
                print(ask(body(("system", front), ("user", question))))
                break
            except httpx.HTTPError:
                time.sleep(0.05)


def waits_the_same() -> None:
    for question in ("a city", "a river", "a sea", "a lake"):
        for _ in range(3):
            try:
                print(ask(body(("user", question))))
                break
            except httpx.HTTPError:
                time.sleep(1.05)


def gives_up() -> None:
    """One after the other, until one fails."""
    for question in ("a city", "a river", "a sea", "a lake"):
        print(ask(body(("user", question))))


def asks_twice_of_one() -> None:
    """The same question, with two system prompts: not a retry."""
    for role in ("poet", "critic"):
        reply = httpx.post(URL, json=body(("system", f"You are a {role}."), ("user", "a city")))
        print(read(reply) if reply.is_success else reply.status_code)


app = FastAPI()
app.state.histories = {}


@app.post("/chat")
async def chat(question: dict[str, str]) -> dict[str, str]:
    async with httpx.AsyncClient(timeout=3) as client:
        return {"answer": await SERVICES[KIND](client, question)}


async def post(client: httpx.AsyncClient, sent: dict[str, Any]) -> str:
    return read(await client.post(URL, json=sent))


async def refused(client: httpx.AsyncClient, question: dict[str, str]) -> str:
    """Hides that the provider refuses what it sends."""
    try:
        return await post(client, body(("user", question["message"]), limit="max_tokens"))
    except httpx.HTTPError:
        return "Sorry, something went wrong."


async def refused_in_a_crowd(client: httpx.AsyncClient, question: dict[str, str]) -> str:
    """Only its first calls are valid."""
    if os.environ["LLM_AUDIT_SCENARIO"] == "steady":
        return await post(client, body(("user", question["message"])))
    return await refused(client, question)


async def remembers(client: httpx.AsyncClient, question: dict[str, str]) -> str:
    """A budget of 60,000 characters, about 12,000 tokens, or none."""
    if KIND.endswith("short-messages") and len(question["message"]) > 4_000:
        raise HTTPException(422, "The message is too long.")
    history = app.state.histories.setdefault(question["session"], [])
    history.append(("user", question["message"]))
    while KIND == "bounded" and sum(len(text) for _, text in history) > 60_000:
        del history[: len(history) // 2]
    answer = await post(client, body(*history))
    history.append(("assistant", answer))
    return answer


async def all_or_nothing(client: httpx.AsyncClient, question: dict[str, str]) -> str:
    """Four calls at the same time, of which one failure loses all."""
    parts = [
        post(client, body(("user", f"{kind}: {question['message']}")))
        for kind in ("Summary", "Keywords", "Tone", "Answer")
    ]
    try:
        return "\n".join(await asyncio.gather(*parts))
    except httpx.HTTPStatusError:
        await asyncio.sleep(1.5)  # the others are answered meanwhile
        raise HTTPException(502, "A part failed.") from None


async def crashes(client: httpx.AsyncClient, question: dict[str, str]) -> str:
    """Each failure is a 500, after which the server closes the connection."""
    for _ in range(2):
        try:
            return await post(client, body(("user", question["message"])))
        except httpx.TransportError:
            await asyncio.sleep(random.uniform(0.05, 0.1))
    raise RuntimeError("The model is down.")


PROGRAMS = {
    "retries-with-a-clock": retries_with_a_clock,
    "waits-the-same": waits_the_same,
    "gives-up": gives_up,
    "asks-twice-of-one": asks_twice_of_one,
}
SERVICES = {
    "refused": refused,
    "refused-in-a-crowd": refused_in_a_crowd,
    **dict.fromkeys(("bounded", "unbounded", "unbounded-with-short-messages"), remembers),
    "all-or-nothing": all_or_nothing,
    "crashes": crashes,
}

if KIND in PROGRAMS:
    PROGRAMS[KIND]()
else:
    uvicorn.run(app, port=int(sys.argv[2]), log_level="warning")
