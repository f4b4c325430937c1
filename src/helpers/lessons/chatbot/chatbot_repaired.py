"""The chatbot, repaired. A number in a comment is that of the lesson about the mistake."""

import asyncio
import json
import os
import time
from contextlib import asynccontextmanager
from pathlib import Path

import aiosqlite
import openai
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

MODEL = "gpt-5-mini"
DEADLINE = 6  # seconds until a user has an answer or an error
KEEP = 32  # messages of a conversation
TTL = 3600  # seconds until an idle conversation is forgotten
STORE = Path(__file__).with_name("chatbot.sqlite3")
SYSTEM = {"role": "system", "content": "You answer customers. Be brief."}

TABLE = "CREATE TABLE IF NOT EXISTS messages (id INTEGER PRIMARY KEY, session, message, at)"
ADD = "INSERT INTO messages (session, message, at) VALUES (?, ?, ?)"
WINDOW = "SELECT message FROM messages WHERE session = ? ORDER BY id"
# 03: Cut in steps, not with each message: between two cuts the prompt's beginning stays the same.
TRIM = f"""DELETE FROM messages WHERE session = :session AND id NOT IN
    (SELECT id FROM messages WHERE session = :session ORDER BY id DESC LIMIT {KEEP // 2})
    AND (SELECT count(*) FROM messages WHERE session = :session) > {KEEP}"""  # noqa: S608
EXPIRE = """DELETE FROM messages WHERE session IN
    (SELECT session FROM messages GROUP BY session HAVING max(at) < ?)"""


class Chat(BaseModel):
    session: str
    message: str


@asynccontextmanager
async def lifespan(app):
    # 02: One client, closed at the end. 04: No call waits without a limit.
    # 05: One layer retries, the SDK: transient errors only, after Retry-After or with back-off.
    timeout = openai.Timeout(DEADLINE, connect=2)
    async with openai.AsyncOpenAI(timeout=timeout, max_retries=2) as client, store() as db:
        await db.execute(TABLE)
        yield {"client": client}


app = FastAPI(lifespan=lifespan)


# 06: The conversation is in a store that all workers share.
def store():
    return aiosqlite.connect(STORE, isolation_level=None, timeout=5)


async def window(session):
    async with store() as db:
        rows = await db.execute_fetchall(WINDOW, (session,))
    return [json.loads(message) for (message,) in rows]


async def remember(session, *messages):
    now = time.time()
    async with store() as db:
        await db.execute("BEGIN IMMEDIATE")
        await db.executemany(ADD, [(session, json.dumps(each), now) for each in messages])
        await db.execute(TRIM, {"session": session})
        await db.execute(EXPIRE, (now - TTL,))
        await db.execute("COMMIT")


def event(data, name="message"):
    return f"event: {name}\ndata: {json.dumps(data)}\n\n"


# 07: Each piece is passed on at once. When the reader leaves, this is canceled, and so is the call.
async def answer(client, chat):
    question = {"role": "user", "content": chat.message}
    text, finish = "", None
    try:
        async with asyncio.timeout(DEADLINE):
            # 01: Whatever waits is awaited. 03: A short prompt, and a limit on the answer.
            messages = [SYSTEM, *await window(chat.session), question]
            async with await client.chat.completions.create(
                model=MODEL, messages=messages, max_completion_tokens=500, stream=True
            ) as stream:
                async for chunk in stream:
                    for choice in chunk.choices:
                        if piece := choice.delta.content:
                            text += piece
                            yield event({"text": piece})
                        finish = choice.finish_reason or finish
        # 08: Only a finish reason makes an answer whole. What is not whole is not remembered.
        if finish != "stop":
            raise ValueError(f"the answer ended with {finish}")
        await remember(chat.session, question, {"role": "assistant", "content": text})
        yield event({"finish": finish})
    except TimeoutError:
        yield event({"message": f"no answer from {MODEL} within {DEADLINE} s"}, "error")
    except (openai.OpenAIError, ValueError) as error:
        yield event({"message": str(error)}, "error")


@app.post("/chat")
async def chat(chat: Chat, request: Request):
    return StreamingResponse(answer(request.state.client, chat), media_type="text/event-stream")


@app.get("/health")
async def health():
    return {"status": "ok"}


if __name__ == "__main__":
    uvicorn.run(app, port=int(os.environ.get("PORT", "8000")))
