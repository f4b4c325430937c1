"""Lesson 07: one task reads and yields; only a finish reason makes an answer whole."""

import json

import httpx
from httpx_sse import aconnect_sse


def event(data, name="message"):
    return f"event: {name}\ndata: {json.dumps(data)}\n\n"


async def relay(client, url, request):
    finish, failure = None, "the model's answer broke off"
    address = f"{url}/chat/completions"
    try:
        async with aconnect_sse(client, "POST", address, json=request) as source:
            source.response.raise_for_status()
            async for received in source.aiter_sse():
                if received.data == "[DONE]":
                    continue
                chunk = received.json()
                if "error" in chunk:
                    failure = chunk["error"]["message"]
                    break
                for choice in chunk["choices"]:
                    if text := choice["delta"].get("content"):
                        yield event({"text": text})
                    finish = choice["finish_reason"] or finish
    except (httpx.HTTPError, ValueError, LookupError) as error:  # cut, or not what was agreed
        failure, finish = str(error), None
    if finish is None:
        yield event({"message": failure}, "error")
    else:
        yield event({"finish": finish})
