"""A chatbot that answers customers."""

import json
from datetime import datetime

import openai
import tenacity
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

MODEL = "gpt-5-mini"
SYSTEM = """
Hello, dear assistant! First of all I would like to thank you very much for taking the time to
help us and our valued customers today. We would be really grateful if you could please read
the conversation below with great care, think about it step by step, and then, if it is not too
much trouble, write an answer that is as helpful, complete and friendly as possible. Please
never be rude, and please do not make anything up. Thank you so much in advance!
"""
sessions = {}


class Chat(BaseModel):
    session: str
    message: str


def make_client():
    return openai.OpenAI(
        timeout=None,
        max_retries=0,
    )


app = FastAPI()


def prompt(messages):
    now = f"The current time is {datetime.now()}."
    return [{"role": "system", "content": now + SYSTEM}, *messages]


@tenacity.retry(stop=tenacity.stop_after_attempt(5))
def ask_model(client, messages):
    return client.chat.completions.create(
        model=MODEL,
        messages=messages,
        stream=True,
    )


def event(**data):
    return f"data: {json.dumps(data)}\n\n"


async def answer(client, chat):
    question = {"role": "user", "content": chat.message}
    history = sessions.setdefault(chat.session, [])
    text = ""
    try:
        with ask_model(client, prompt([*history, question])) as stream:
            for chunk in stream:
                for choice in chunk.choices:
                    piece = choice.delta.content or ""
                    text += piece
    except Exception:
        text = text or "Sorry, something went wrong. Please try again!"
    yield event(text=text)
    history += [question, {"role": "assistant", "content": text}]
    yield event(finish="stop")


@app.post("/chat")
async def chat(chat: Chat):
    events = answer(make_client(), chat)
    return StreamingResponse(events, media_type="text/event-stream")


@app.get("/health")
async def health():
    return {"status": "ok"}
