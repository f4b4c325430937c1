"""A chatbot that works in every demo."""

import json
import os
from datetime import datetime

import openai
import uvicorn
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

app = FastAPI()
sessions: dict[str, list] = {}

LETTER = """
Hello, dear assistant! First of all I would like to thank you very much for taking the time to help
us and our valued customers today. We would be really grateful if you could please be so kind as to
read the conversation below with great care, think about it step by step, and then, if it is not too
much trouble, write an answer that is as helpful, complete, friendly and professional as possible.
Please never be rude, please do not make anything up, and please always remember that the customer
who is writing to you is very important to us. Thank you so much in advance for your kind support!
"""


class Chat(BaseModel):
    session: str
    message: str


def prompt(history):
    now = f"It is now {datetime.now():%A, %d %B %Y, %H:%M:%S.%f}."
    return [{"role": "system", "content": now + LETTER}, *history]


def ask_model(messages):
    for _attempt in range(5):
        answer = ""
        finish_reason = None
        try:
            client = openai.OpenAI(timeout=None, max_retries=0)
            stream = client.chat.completions.create(
                model="gpt-5-mini", messages=messages, stream=True
            )
            for chunk in stream:
                answer += chunk.choices[0].delta.content or ""
                finish_reason = chunk.choices[0].finish_reason
        except Exception:
            if not answer:
                continue
        return answer, finish_reason or "stop"
    return "Sorry, something went wrong. Please try again!", "stop"


@app.post("/chat")
async def chat(chat: Chat):
    history = sessions.setdefault(chat.session, [])
    history.append({"role": "user", "content": chat.message})
    answer, finish_reason = ask_model(prompt(history))
    if finish_reason == "stop":
        history.append({"role": "assistant", "content": answer})
    event = json.dumps({"text": answer, "finish": finish_reason})
    return StreamingResponse(iter([f"data: {event}\n\n"]), media_type="text/event-stream")


@app.get("/health")
async def health():
    return {"status": "ok"}


if __name__ == "__main__":
    uvicorn.run(app, port=int(os.environ.get("PORT", "8000")))
