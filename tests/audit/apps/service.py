"""A chat service with FastAPI and the openai SDK, which makes the mistakes that it is started with.

``python service.py PORT [--stream] [MISTAKE …]``. Without a mistake it makes none.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sqlite3
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import openai
import uvicorn
from fastapi import FastAPI, HTTPException
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

PORT = int(sys.argv[1])
STREAMS = "--stream" in sys.argv
MISTAKES = {word for word in sys.argv[2:] if not word.startswith("-")}
MODEL = "gpt-4o-mini"
SYSTEM = "You are a patient assistant for people who run message queues. " * 8
WINDOW = 12
STORE = Path(os.environ.get("STORE", tempfile.gettempdir())) / "sessions.db"


class Question(BaseModel):
    session: str
    message: str


class Histories:
    """Turns by session: in a file, or with the mistake "restart" in this process."""

    def __init__(self) -> None:
        path = ":memory:" if {"restart", "workers"} & MISTAKES else STORE
        self._base = sqlite3.connect(path, isolation_level=None)
        self._base.execute("PRAGMA busy_timeout = 5000")
        self._base.execute(
            "CREATE TABLE IF NOT EXISTS turns (id INTEGER PRIMARY KEY, session, role, text)"
        )

    def add(self, session: str, role: str, text: str) -> None:
        self._base.execute(
            "INSERT INTO turns (session, role, text) VALUES (?, ?, ?)", (session, role, text)
        )

    def read(self, session: str) -> list[dict[str, str]]:
        rows = self._base.execute(
            "SELECT role, text FROM turns WHERE session = ? ORDER BY id", (session,)
        ).fetchall()
        messages = [{"role": role, "content": text} for role, text in rows]
        if "growth" in MISTAKES:
            return messages
        # Cut in steps, so that the prefix stays the same for some turns.
        surplus = max(0, len(messages) - WINDOW)
        kept = messages[(surplus + 7) // 8 * 8 :] if surplus else messages
        if "prefix" in MISTAKES:
            kept = messages[-6:]
        return kept[::-1] if "order" in MISTAKES else kept


def new_client() -> openai.AsyncOpenAI:
    if "hang" in MISTAKES:
        return openai.AsyncOpenAI(timeout=None)
    return openai.AsyncOpenAI(timeout=1.5)


def prompt(history: list[dict[str, str]]) -> list[dict[str, str]]:
    front = SYSTEM
    if "clock" in MISTAKES:
        front = f"It is {datetime.now().isoformat()}. {SYSTEM}"
    if "uuid" in MISTAKES:
        front = f"Request {uuid.uuid4()}. {SYSTEM}"
    return [{"role": "system", "content": front}, *history]


class Model:
    """The one place that calls the model."""

    def __init__(self) -> None:
        self.client = new_client()
        self.failures = 0

    async def ask(self, messages: list[dict[str, str]]) -> str:
        options: dict[str, Any] = {"model": MODEL, "messages": messages}
        if "limit" not in MISTAKES:
            options["max_completion_tokens"] = 500
        if "flight" in MISTAKES:
            reply = openai.OpenAI(timeout=2).chat.completions.create(**options)
        elif "connections" in MISTAKES:
            async with new_client() as client:
                reply = await client.chat.completions.create(**options)
        else:
            reply = await self._with_retries(options)
        choice = reply.choices[0]
        if not choice.finish_reason and "no_finish" not in MISTAKES:
            raise HTTPException(502, "The model did not finish.")
        if choice.finish_reason == "length" and "length" not in MISTAKES:
            raise HTTPException(502, "The model's answer is too long.")
        return choice.message.content or ""

    async def _with_retries(self, options: dict[str, Any]) -> Any:
        if "early" in MISTAKES:
            return await self._at_once(options)
        if "jitter" in MISTAKES:
            return await self._in_step(options)
        if "layers" in MISTAKES:
            return await self._in_layers(options)
        if "permanent" in MISTAKES:
            return await self._whatever_it_is(options)
        return await self.client.chat.completions.create(**options)

    async def _at_once(self, options: dict[str, Any]) -> Any:
        client = self.client.with_options(max_retries=0)
        for _ in range(3):
            try:
                return await client.chat.completions.create(**options)
            except openai.RateLimitError as error:
                if error.code == "insufficient_quota":
                    raise
                await asyncio.sleep(random.uniform(0.1, 0.5))  # the header is not read
        return await client.chat.completions.create(**options)

    async def _in_step(self, options: dict[str, Any]) -> Any:
        client = self.client.with_options(max_retries=0)
        for seconds in (1.2, 2.4):
            try:
                return await client.chat.completions.create(**options)
            except (openai.InternalServerError, openai.RateLimitError) as error:
                if getattr(error, "code", "") == "insufficient_quota":
                    raise
                await asyncio.sleep(seconds)
        return await client.chat.completions.create(**options)

    async def _in_layers(self, options: dict[str, Any]) -> Any:
        for _ in range(2):
            try:
                return await self.client.chat.completions.create(**options)
            except openai.InternalServerError:
                await asyncio.sleep(random.uniform(0, 0.5))
        return await self.client.chat.completions.create(**options)

    async def _whatever_it_is(self, options: dict[str, Any]) -> Any:
        try:
            return await self.client.chat.completions.create(**options)
        except openai.APIStatusError as error:
            if error.status_code >= 500:
                raise
            await asyncio.sleep(random.uniform(0.1, 0.5))
            return await self.client.chat.completions.create(**options)

    async def stream(self, messages: list[dict[str, str]]) -> AsyncIterator[str]:
        if "first" in MISTAKES:
            yield await self.ask(messages)
            return
        stream = await self.client.chat.completions.create(
            model=MODEL, messages=messages, max_completion_tokens=500, stream=True
        )
        finish = None
        async with stream:
            async for chunk in stream:
                if chunk.choices:
                    finish = chunk.choices[0].finish_reason or finish
                    if text := chunk.choices[0].delta.content:
                        yield text
        if finish != "stop" and "unmarked" not in MISTAKES:
            raise RuntimeError(f"The model ended with {finish}.")


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    app.state.model = Model()
    app.state.histories = Histories()
    yield
    await app.state.model.client.close()


app = FastAPI(lifespan=lifespan)


@app.get("/health")
async def health() -> dict[str, str]:
    if "health" in MISTAKES and app.state.model.failures:
        time.sleep(0.8)
    return {"status": "ok"}


@app.post("/chat", response_model=None)
async def chat(question: Question) -> dict[str, str] | StreamingResponse:
    app.state.histories.add(question.session, "user", question.message)
    messages = prompt(app.state.histories.read(question.session))
    if STREAMS:
        return StreamingResponse(_events(messages), media_type="text/event-stream")
    app.state.model.failures += 1  # calls in flight
    try:
        if "siblings" in MISTAKES or "orphans" in MISTAKES or "batch" in MISTAKES:
            answer = await _of_three(messages)
        elif "slow" in MISTAKES:
            answer = await app.state.model.ask(messages)
        else:
            async with asyncio.timeout(None if {"hang", "drip"} & MISTAKES else 3.0):
                answer = await app.state.model.ask(messages)
    except (openai.APIError, TimeoutError) as error:
        raise HTTPException(502, f"The model is not available: {type(error).__name__}") from None
    finally:
        app.state.model.failures -= 1
    app.state.histories.add(question.session, "assistant", answer)
    return {"answer": answer}


async def _of_three(messages: list[dict[str, str]]) -> str:
    """Three independent calls for one question."""
    kinds = ("a summary", "a title", "a reply")
    asks = [
        app.state.model.ask([*messages, {"role": "user", "content": f"Write {kind}."}])
        for kind in kinds
    ]
    if "siblings" in MISTAKES:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(ask) for ask in asks]
        return "\n".join(task.result() for task in tasks)
    if "orphans" in MISTAKES:
        return "\n".join(await asyncio.gather(*asks))
    answers = await asyncio.gather(*asks, return_exceptions=True)
    return "\n".join(each for each in answers if isinstance(each, str))


async def _events(messages: list[dict[str, str]]) -> AsyncIterator[str]:
    try:
        async for text in app.state.model.stream(messages):
            yield f"data: {json.dumps({'text': text})}\n\n"
        yield "data: [DONE]\n\n"
    except Exception as error:
        yield f"event: error\ndata: {json.dumps({'error': str(error)})}\n\n"


uvicorn.run(app, port=PORT, log_level="warning")
