"""A chatbot that answers customers."""

import asyncio
import json
import time
from contextlib import asynccontextmanager
from pathlib import Path

import aiosqlite
import openai
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

MODEL = "gpt-5-mini"
SYSTEM = "You answer customers. Be brief."
KEEP = 10  # messages; a prompt holds this many or up to twice as many
SILENCE = 5  # seconds without a new piece until a user gets an error
TOTAL = 60  # seconds for a whole answer
TTL = 3600  # seconds until an idle conversation is forgotten
STORE = Path(__file__).with_name("chatbot.sqlite3")
TABLE = "CREATE TABLE IF NOT EXISTS messages (id INTEGER PRIMARY KEY, session, message, at)"
WINDOW = "SELECT message FROM messages WHERE session = ? ORDER BY id"
ADD = "INSERT INTO messages (session, message, at) VALUES (?, ?, ?)"
EXPIRE = """DELETE FROM messages WHERE session IN
    (SELECT session FROM messages GROUP BY session HAVING max(at) < ?)"""


class Chat(BaseModel):
    session: str
    message: str


def make_client():
    return openai.AsyncOpenAI(
        timeout=openai.Timeout(SILENCE, connect=2),
        max_retries=2,
    )


@asynccontextmanager
async def lifespan(app):
    client = make_client()
    yield {"client": client}
    await client.close()


app = FastAPI(lifespan=lifespan)


# 06: The conversation is in a store that survives the process and that all workers share.
def store():
    return aiosqlite.connect(STORE, isolation_level=None, timeout=5)


async def load(session):
    async with store() as db:
        await db.execute(TABLE)
        rows = await db.execute_fetchall(WINDOW, (session,))
    return [json.loads(message) for (message,) in rows]


async def save(session, *messages):
    now = time.time()
    async with store() as db:
        await db.execute("BEGIN IMMEDIATE")
        await db.execute(EXPIRE, (now - TTL,))
        await db.executemany(ADD, [(session, json.dumps(each), now) for each in messages])
        await db.execute("COMMIT")


def prompt(messages):
    # 03: Cut in steps: between two cuts, the beginning of the prompt stays the same.
    start = max(0, len(messages) - KEEP) // KEEP * KEEP
    return [{"role": "system", "content": SYSTEM}, *messages[start:]]


async def ask_model(client, messages):
    return await client.chat.completions.create(
        model=MODEL,
        messages=messages,
        max_completion_tokens=500,
        stream=True,
    )


def event(**data):
    return f"data: {json.dumps(data)}\n\n"


async def answer(client, chat):
    question = {"role": "user", "content": chat.message}
    history = await load(chat.session)
    text = ""
    finish = None
    try:
        # 01: Whatever waits is awaited, so that the other users are served meanwhile.
        async with await ask_model(client, prompt([*history, question])) as stream:
            async for chunk in stream:
                for choice in chunk.choices:
                    piece = choice.delta.content or ""
                    text += piece
                    yield event(text=piece)
                    finish = choice.finish_reason or finish
        # 08: Only a finish reason makes an answer whole. What is not whole is not remembered.
        if finish != "stop":
            raise ValueError(f"the answer ended with {finish}")
    except (openai.OpenAIError, ValueError) as error:
        yield "event: error\n" + event(message=str(error))
        return
    await save(chat.session, question, {"role": "assistant", "content": text})
    yield event(finish="stop")


# 04: No user waits without a limit, whatever the provider does.
async def in_time(events):
    clock = asyncio.get_running_loop().time
    end = clock() + TOTAL
    try:
        while True:
            # Not around the yield: there, the reader is slow, not the provider.
            async with asyncio.timeout_at(min(clock() + SILENCE, end)):
                each = await anext(events, None)
            if each is None:
                return
            yield each
    except TimeoutError:
        limits = f"nothing for {SILENCE} s, or no whole answer within {TOTAL} s"
        yield "event: error\n" + event(message=f"{MODEL} sent {limits}")


@app.post("/chat")
async def chat(chat: Chat, request: Request):
    events = answer(request.state.client, chat)
    return StreamingResponse(in_time(events), media_type="text/event-stream")


@app.get("/health")
async def health():
    return {"status": "ok"}
