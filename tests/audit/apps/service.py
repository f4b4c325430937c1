"""A chat service with FastAPI and the openai SDK, which makes the mistakes that it is started with.

``python service.py PORT [--stream] [MISTAKE …]``: a mistake is called as its check is. Without one
it makes none.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sqlite3
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import httpx2
import openai
import uvicorn
from fastapi import FastAPI, HTTPException
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

PORT = int(sys.argv[1])
STREAMS = "--stream" in sys.argv
MISTAKES = {word for word in sys.argv[2:] if not word.startswith("-")}
FAN_OUT = {"batch", "siblings", "orphans"}
MODELS = ("gpt-4.1", "gpt-4.1-mini", "gpt-4.1-nano", "gpt-4o", "gpt-4o-mini", "gpt-5-mini")
TRANSIENT = (openai.RateLimitError, openai.InternalServerError)
SYSTEM = "You are a patient assistant for people who run message queues. " * 8
WINDOW = 12
STORE = Path(os.environ["STORE"])
IS_HTTPS = os.environ["OPENAI_BASE_URL"].startswith("https")


class Question(BaseModel):
    session: str
    message: str


class Histories:
    """The turns of each session, in a file that all processes share."""

    def __init__(self) -> None:
        name = f"{PORT}.db" if "workers" in MISTAKES else "sessions.db"
        self._base = sqlite3.connect(STORE / name, isolation_level=None, timeout=5)
        if "restart" in MISTAKES:
            self._base.execute("DROP TABLE IF EXISTS turns")
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
        if "prefix" in MISTAKES:
            return messages[-3:]
        if "clock" in MISTAKES:
            return messages[-1:]
        # Cut in steps, so that the prefix stays the same for some turns.
        surplus = max(0, len(messages) - WINDOW)
        kept = messages[(surplus + 7) // 8 * 8 :]
        return kept[::-1] if "order" in MISTAKES else kept


def prompt(history: list[dict[str, str]]) -> list[dict[str, str]]:
    front = f"It is {datetime.now().isoformat()}." if "clock" in MISTAKES else SYSTEM
    return [{"role": "system", "content": front}, *history]


def new_client() -> openai.AsyncOpenAI:
    # A hung call must end before the deadline; an orphan must not outlive a provider's fall.
    retries = 0 if {"drip", "orphans"} & MISTAKES else 2
    return openai.AsyncOpenAI(timeout=2.5, max_retries=retries)


class Model:
    """The one place that calls the model."""

    def __init__(self) -> None:
        self.client = new_client()
        self.in_flight = 0
        self.calls = 0
        self.failures = 0
        self.gate = asyncio.Semaphore(1 if "flight" in MISTAKES else 4)
        self.is_gated = bool({"flight", "starve"} & MISTAKES)

    async def ask(self, messages: list[dict[str, str]]) -> str:
        self.calls += 1
        self.in_flight += 1
        try:
            if "starve" in MISTAKES and self.gate.locked():
                raise HTTPException(503, "Too many users.")
            async with self.gate if self.is_gated else nullcontext():
                return await self._ask(messages)
        finally:
            self.in_flight -= 1

    def options(self, messages: list[dict[str, str]]) -> dict[str, Any]:
        model = MODELS[self.calls % len(MODELS)] if "cached" in MISTAKES else "gpt-4o-mini"
        limit = {} if "limit" in MISTAKES else {"max_completion_tokens": 500}
        return {"model": model, "messages": messages, **limit}

    async def _ask(self, messages: list[dict[str, str]]) -> str:
        options = self.options(messages)
        if "hang" in MISTAKES:
            return await self._without_a_limit_on_the_head(options)
        if ("handshakes" if IS_HTTPS else "connections") in MISTAKES:
            async with new_client() as client:
                reply = await client.chat.completions.create(**options)
        elif "blocking" in MISTAKES:
            reply = openai.OpenAI(timeout=4).chat.completions.create(**options)
        else:
            reply = await self._with_retries(options)
        choice = reply.choices[0]
        if choice.finish_reason != "stop":
            raise HTTPException(502, f"The model ended with {choice.finish_reason}.")
        return str(choice.message.content)

    async def _without_a_limit_on_the_head(self, options: dict[str, Any]) -> str:
        url = f"{self.client.base_url}chat/completions"
        headers = {"authorization": f"Bearer {self.client.api_key}"}
        async with (
            # Loading certificates takes 50 ms, which is the processor's.
            httpx.AsyncClient(timeout=None, verify=False) as client,  # noqa: S501
            client.stream("POST", url, json=options, headers=headers) as reply,
        ):
            async with asyncio.timeout(5):
                body = json.loads(await reply.aread())
        if reply.status_code != 200:
            raise HTTPException(502, f"The model answers {reply.status_code}.")
        return str(body["choices"][0]["message"]["content"])

    async def _with_retries(self, options: dict[str, Any]) -> Any:
        create = self.client.chat.completions.create
        once = self.client.with_options(max_retries=0).chat.completions.create
        if "early" in MISTAKES:
            return await _repeat(once, options, TRANSIENT, lambda: random.uniform(0.2, 0.6))
        if "jitter" in MISTAKES:
            return await _repeat(once, options, TRANSIENT, lambda: 2.2)
        if "permanent" in MISTAKES:
            return await _repeat(
                once, options, (openai.APIStatusError,), lambda: 2 + random.random()
            )
        if "layers" in MISTAKES:
            return await _repeat(create, options, (openai.InternalServerError,), lambda: 0.1)
        if "down" in MISTAKES:
            return await _repeat(once, options, (openai.APIConnectionError,), lambda: 0.05, 14)
        if "breaker" in MISTAKES:
            return await self._behind_a_breaker(options)
        return await create(**options)

    async def _behind_a_breaker(self, options: dict[str, Any]) -> Any:
        if self.failures >= 2:
            raise HTTPException(503, "The model is down.")
        try:
            return await self.client.chat.completions.create(**options)
        except openai.APIConnectionError:
            self.failures += 1
            raise

    async def stream(self, messages: list[dict[str, str]]) -> AsyncIterator[str]:
        stream = await self.client.chat.completions.create(**self.options(messages), stream=True)
        finish = None
        async with stream:
            try:
                async for chunk in stream:
                    for choice in chunk.choices:
                        finish = choice.finish_reason or finish
                        if text := choice.delta.content:
                            yield text
            except (httpx2.HTTPError, ValueError, openai.APIError) as error:
                if _kind(error) not in MISTAKES:
                    raise
                return
        if finish != "stop" and ("length" if finish else "no_finish") not in MISTAKES:
            raise ValueError(f"The model ended with {finish}.")


def _kind(error: Exception) -> str:
    """The check that wants this error to be heard of."""
    if isinstance(error, json.JSONDecodeError):
        return "json"
    is_events = isinstance(error, openai.APIError) and not isinstance(
        error, openai.APIConnectionError
    )
    return "error_event" if is_events else "cut"


async def _repeat(
    call: Any,
    options: dict[str, Any],
    errors: tuple[type[openai.APIError], ...],
    pause: Callable[[], float],
    retries: int = 1,
) -> Any:
    for _ in range(retries):
        try:
            return await call(**options)
        except errors as error:
            if error.code == "insufficient_quota" and "permanent" not in MISTAKES:
                raise
            await asyncio.sleep(pause())
    return await call(**options)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    app.state.model = Model()
    app.state.histories = Histories()
    app.state.tasks = set()
    yield
    await app.state.model.client.close()


app = FastAPI(lifespan=lifespan)


@app.get("/health")
async def health() -> dict[str, str]:
    if "health" in MISTAKES and app.state.model.in_flight:
        time.sleep(0.7)
    return {"status": "ok"}


@app.post("/chat", response_model=None)
async def chat(question: Question) -> dict[str, str] | StreamingResponse:
    app.state.histories.add(question.session, "user", question.message)
    messages = prompt(app.state.histories.read(question.session))
    if STREAMS:
        return StreamingResponse(_events(messages), media_type="text/event-stream")
    try:
        async with asyncio.timeout(None if {"hang", "drip"} & MISTAKES else 5.0):
            answer = await _answer(messages)
    except (openai.APIError, httpx.HTTPError, TimeoutError, ValueError) as error:
        raise HTTPException(502, f"The model is not available: {type(error).__name__}") from None
    app.state.histories.add(question.session, "assistant", answer)
    return {"answer": answer}


async def _answer(messages: list[dict[str, str]]) -> str:
    ask = app.state.model.ask
    if not FAN_OUT & MISTAKES:
        return str(await ask(messages))
    # Three independent calls for one question.
    parts = [
        ask([*messages, {"role": "user", "content": f"Write {kind}."}])
        for kind in ("a summary", "a title", "a reply")
    ]
    if "siblings" in MISTAKES:
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(part) for part in parts]
        except* openai.APIError:
            raise HTTPException(502, "A part failed.") from None
        return "\n".join(task.result() for task in tasks)
    if "orphans" in MISTAKES:
        return "\n".join(await asyncio.gather(*parts))
    answers = await asyncio.gather(*parts, return_exceptions=True)
    return "\n".join(answer for answer in answers if isinstance(answer, str))


async def _events(messages: list[dict[str, str]]) -> AsyncIterator[str]:
    texts = app.state.model.stream(messages)
    if "first" in MISTAKES:
        texts = _all_at_the_end(texts)
    if "leave" in MISTAKES:
        texts = _from_a_task(texts)
    try:
        async with asyncio.timeout(5.0):
            async for text in texts:
                yield f"data: {json.dumps({'text': text})}\n\n"
        yield "data: [DONE]\n\n"
    except (openai.APIError, httpx2.HTTPError, ValueError, TimeoutError) as error:
        yield f"event: error\ndata: {json.dumps({'message': str(error)})}\n\n"


async def _all_at_the_end(texts: AsyncIterator[str]) -> AsyncIterator[str]:
    for text in [text async for text in texts]:
        yield text


async def _from_a_task(texts: AsyncIterator[str]) -> AsyncIterator[str]:
    """The task reads on when the reader has left."""
    queue: asyncio.Queue[str | None] = asyncio.Queue()

    async def read() -> None:
        async for text in texts:
            await queue.put(text)
        await queue.put(None)

    app.state.tasks.add(asyncio.create_task(read()))
    while (text := await queue.get()) is not None:
        yield text


uvicorn.run(app, port=PORT, log_level="warning")
