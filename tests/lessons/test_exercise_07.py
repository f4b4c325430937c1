"""Lesson 07's check: right relays pass, whatever their style, and each mistake is named."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from helpers.lessons.catalogue import lesson
from helpers.lessons.exercise import Criterion
from tests.lessons.graded import changed, criteria, table

EVENT = """
import asyncio
import functools
import json
import time
from contextlib import aclosing
from dataclasses import dataclass

import anyio
import httpx
from httpx_sse import aconnect_sse


def event(data, name="message"):
    return f"event: {name}\\ndata: {json.dumps(data)}\\n\\n"

"""
RELAY = """
async def relay(client, url, request):
    finish, failure = None, "the answer broke off"
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
    except (httpx.HTTPError, ValueError) as error:
        failure, finish = str(error), None
    if finish is None:
        yield event({"message": failure}, "error")
    else:
        yield event({"finish": finish})
"""
WHOLE_RELAY = EVENT + RELAY
# What a relay in two tasks has in common: one reads, and puts events into a queue.
READER = RELAY.replace("async def relay(", "async def pieces(")
QUEUED = (
    EVENT
    + READER
    + """

async def relay(client, url, request):
    async def read():
        async for part in pieces(client, url, request):
            await queue.put(part)
        await queue.put(None)

    queue = asyncio.Queue(maxsize=8)
    task = asyncio.create_task(read())
    try:
        while (part := await queue.get()) is not None:
            yield part
    finally:
        task.cancel()
"""
)

RIGHT = {
    "one task": WHOLE_RELAY,
    "lines by hand": EVENT
    + """
async def relay(client, url, request):
    finish = None
    try:
        async with client.stream("POST", url + "/chat/completions", json=request) as reply:
            if reply.status_code != 200:
                yield event({"message": f"status {reply.status_code}"}, name="error")
                return
            async for line in reply.aiter_lines():
                if not line.startswith("data:") or line.endswith("[DONE]"):
                    continue
                chunk = json.loads(line.removeprefix("data:"))
                for choice in chunk.get("choices", []):
                    if choice["delta"].get("content"):
                        yield event({"text": choice["delta"]["content"]})
                    finish = choice["finish_reason"] or finish
    except (httpx.TransportError, ValueError):
        finish = None
    if finish:
        yield event({"finish": finish})
    else:
        yield event({"message": "broken off"}, name="error")
""",
    "bytes": changed(
        WHOLE_RELAY, ('{json.dumps(data)}\\n\\n"', '{json.dumps(data)}\\n\\n".encode()')
    ),
    "stops at [DONE]": changed(WHOLE_RELAY, ("continue", "break")),
    "openai's SDK": EVENT
    + """
import openai


async def relay(client, url, request):
    finish = None
    headers = {name: client.headers[name] for name in client.headers if name.startswith("x-")}
    key = client.headers["authorization"].removeprefix("Bearer ")
    try:
        async with openai.AsyncOpenAI(
            base_url=url, api_key=key, default_headers=headers, max_retries=0
        ) as sdk:
            async with await sdk.chat.completions.create(**request) as stream:
                async for chunk in stream:
                    for choice in chunk.choices:
                        if choice.delta.content:
                            yield event({"text": choice.delta.content})
                        finish = choice.finish_reason or finish
    except (openai.APIError, httpx.HTTPError) as error:
        yield event({"message": str(error)}, "error")
        return
    except Exception as error:  # its own transport's
        yield event({"message": type(error).__name__}, "error")
        return
    if finish:
        yield event({"finish": finish})
    else:
        yield event({"message": "no finish reason"}, "error")
""",
    "two generators": EVENT
    + READER
    + """

async def relay(client, url, request):
    async with aclosing(pieces(client, url, request)) as parts:
        async for part in parts:
            yield part
""",
    "a stream in a task group": EVENT
    + READER
    + """

async def relay(client, url, request):
    async def read():
        async with send:
            async for part in pieces(client, url, request):
                await send.send(part)

    send, receive = anyio.create_memory_object_stream(4)
    async with anyio.create_task_group() as tasks, receive:
        tasks.start_soon(read)
        async for part in receive:
            yield part
""",
    "a task that is canceled and awaited": changed(
        QUEUED,
        ("        task.cancel()\n", "        task.cancel()\n        await asyncio.wait([task])\n"),
    ),
    "a task that is canceled": QUEUED,
    "a callable object": EVENT
    + READER
    + """

class Relay:
    async def __call__(self, client, url, request):
        async with aclosing(pieces(client, url, request)) as parts:
            async for part in parts:
                yield part


relay = Relay()
""",
    "a partial": EVENT
    + RELAY.replace("async def relay(", "async def pieces(_, ")
    + "\n\nrelay = functools.partial(pieces, None)\n",
    "a function that returns a generator": EVENT
    + READER
    + """

def relay(client, url, request):
    return pieces(client, url, dict(request))
""",
    "an iterator": EVENT
    + READER
    + """

@dataclass
class Relayed:
    parts: object

    def __aiter__(self):
        return self

    async def __anext__(self):
        return await anext(self.parts)

    async def aclose(self):
        await self.parts.aclose()


def relay(client, url, request):
    return Relayed(pieces(client, url, request))
""",
    "a client at module level": EVENT
    + changed(
        RELAY,
        (
            'aconnect_sse(client, "POST", address, json=request)',
            'aconnect_sse(CLIENT, "POST", address, json=request, headers=client.headers)',
        ),
    )
    + "\n\nCLIENT = httpx.AsyncClient(timeout=20)\n",
}

RUNS = "your code runs to its end"
WHOLE = "a reader who stays gets the whole text and the model's finish reason"
WRITTEN = "the text is passed on while the model writes it"
TOGETHER = "readers are served at the same time: none waits for another one"
FREE = "nothing blocks the event loop"
ONCE = "the model is asked once for each reader"
CANCELLED = "when its reader leaves, `relay` lets the cancellation through"
STOPS = "when the reader leaves after 5 pieces, the model stops"
MARKED = ": the reader gets an error event and no finish"
CUT = "the connection to the model is cut" + MARKED
NO_FINISH = "the model's stream ends without a finish reason" + MARKED
ERROR = "the model sends an error event" + MARKED
DONE = "the model sends an error event, then [DONE]" + MARKED
NOT_JSON = "the model sends an event that is not JSON" + MARKED
REFUSED = "the model answers with status 503" + MARKED

FINISH = 'finish = choice["finish_reason"] or finish'
CATCH = "    except (httpx.HTTPError, ValueError) as error:\n"
STATUS = "source.response.raise_for_status()"
YIELD = 'yield event({"text": text})'
LAST = '        yield event({"finish": finish})\n'

# The relay → the one criterion that is not met, and what it says.
WRONG = {
    "a clean end is a good end": (
        changed(WHOLE_RELAY, (CATCH, "        finish = finish or 'stop'\n" + CATCH)).replace(
            "                    break\n", "                    raise httpx.ReadError('error')\n"
        ),
        NO_FINISH,
        "it got finish 'stop'",
    ),
    "every end is a stop": (
        changed(WHOLE_RELAY, (LAST, '        yield event({"finish": "stop"})\n')),
        WHOLE,
        "the model's finish reason was 'length', but it got finish 'stop'",
    ),
    "an answer that is too long is an error": (
        changed(WHOLE_RELAY, ("if finish is None:", "if finish != 'stop':")),
        WHOLE,
        "the model's finish reason was 'length', but it got an error event",
    ),
    "no word about a cut": (
        changed(
            WHOLE_RELAY, (CATCH, "    except httpx.RemoteProtocolError:\n        return\n" + CATCH)
        ),
        CUT,
        "the stream just ended",
    ),
    "[DONE] means complete": (
        changed(
            WHOLE_RELAY,
            (
                "                    continue\n",
                "                    finish = finish or 'stop'\n                    continue\n",
            ),
            ("                    break\n", "                    continue\n"),
        ),
        DONE,
        "it got finish 'stop'",
    ),
    "no word about a refusal": (
        changed(
            WHOLE_RELAY,
            (STATUS, "if source.response.status_code >= 400:\n                return"),
        ),
        REFUSED,
        "the stream just ended",
    ),
    "expects JSON in every event": (
        changed(WHOLE_RELAY, (CATCH, "    except httpx.HTTPError as error:\n")),
        NOT_JSON,
        "the relay raised JSONDecodeError",
    ),
    "catches every exception": (
        changed(WHOLE_RELAY, (CATCH, "    except BaseException as error:\n")),
        CANCELLED,
        "it caught the cancellation and went on",
    ),
    "ends quietly when it is cancelled": (
        changed(
            WHOLE_RELAY, (CATCH, "    except asyncio.CancelledError:\n        return\n" + CATCH)
        ),
        CANCELLED,
        "it caught the cancellation and went on",
    ),
    "leaves out spaces": (
        changed(WHOLE_RELAY, (YIELD, 'yield event({"text": text.strip()})')),
        WHOLE,
        "characters arrived",
    ),
    "asks again": (
        EVENT
        + READER
        + """

async def relay(client, url, request):
    for attempt in range(2):
        async for part in pieces(client, url, request):
            if attempt == 1 or "event: error" not in part:
                yield part
        if "event: error" not in part:
            return
""",
        ONCE,
        "it was asked 2 times where the connection to the model is cut",
    ),
    "keeps most of it to the end": (
        EVENT
        + READER
        + """

async def relay(client, url, request):
    kept = []
    number = 0
    async for part in pieces(client, url, request):
        number += 1
        if number <= 10:
            yield part
        else:
            kept.append(part)
    for part in kept:
        yield part
""",
        WRITTEN,
        "when all of it was written, less than half had arrived",
    ),
    "a task that reads on": (
        changed(
            QUEUED, ("        task.cancel()\n", "        TASKS.append(task)\n"), ("maxsize=8", "")
        )
        + "\n\nTASKS = []\n",
        STOPS,
        "it finished its answer, 80 tokens: the request to it stayed open",
    ),
    "a task whose end is interrupted": (
        changed(
            QUEUED,
            (
                "        task.cancel()\n",
                "        task.cancel()\n"
                "        await asyncio.gather(task, return_exceptions=True)\n",
            ),
        ),
        STOPS,
        "it finished its answer, 80 tokens",
    ),
    "one reader at a time": (
        EVENT
        + READER
        + """

LOCK = asyncio.Lock()


async def relay(client, url, request):
    async with LOCK:
        async for part in pieces(client, url, request):
            yield part
""",
        TOGETHER,
        "of 9 were served only after another one's answer had ended",
    ),
    "blocks at the end": (
        changed(WHOLE_RELAY, (LAST, "        time.sleep(0.4)\n" + LAST)),
        FREE,
        "time.sleep(0.4) (the loop waits there)",
    ),
}
# Mistakes that show in more than one way.
WORSE = {
    "five pieces at a time": (
        EVENT
        + READER
        + """

async def relay(client, url, request):
    kept = []
    async for part in pieces(client, url, request):
        kept.append(part)
        if "event: error" in part:
            yield part
            return
        if len(kept) == 5 or '"finish"' in part:
            for each in kept:
                yield each
            kept.clear()
""",
        [ERROR, DONE, NOT_JSON],
    ),
    "collects the answer": (
        EVENT
        + READER
        + """

async def relay(client, url, request):
    parts = [part async for part in pieces(client, url, request)]
    for part in parts:
        yield part
""",
        [WRITTEN, STOPS],
    ),
    "an error is a message": (
        changed(WHOLE_RELAY, ('{"message": failure}, "error")', '{"message": failure})')),
        [CUT, NO_FINISH, ERROR, DONE, NOT_JSON, REFUSED],
    ),
    "an error and a finish": (
        changed(
            WHOLE_RELAY,
            (
                'failure}, "error")\n',
                'failure}, "error")\n        yield event({"finish": "error"})\n',
            ),
        ),
        [CUT, NO_FINISH, ERROR, DONE, NOT_JSON, REFUSED],
    ),
    "exceptions get out": (
        changed(WHOLE_RELAY, (CATCH, "    except KeyError as error:\n")),
        [CUT, NOT_JSON, REFUSED],
    ),
    "returns a text": (
        "async def relay(client, url, request):\n    return 'an answer'\n",
        ["`relay` is an async generator"],
    ),
    "not a stream": (
        EVENT
        + """
async def relay(client, url, request):
    address = f"{url}/chat/completions"
    try:
        reply = await client.post(address, json=request | {"stream": False})
        choice = reply.raise_for_status().json()["choices"][0]
    except (httpx.HTTPError, ValueError, KeyError):
        yield event({"message": "broken off"}, "error")
        return
    yield event({"text": choice["message"]["content"]})
    if choice["finish_reason"]:
        yield event({"finish": choice["finish_reason"]})
    else:
        yield event({"message": "broken off"}, "error")
""",
        [WRITTEN, STOPS, CUT, ERROR, DONE, NOT_JSON],
    ),
}


def unmet(text: str, folder: Path) -> list[Criterion]:
    return [criterion for criterion in criteria("07", text, folder) if not criterion.met]


def names(solutions: Mapping[str, object], in_every_run: list[str]) -> list[Any]:
    return table({name: name for name in solutions}, in_every_run)


def test_the_solution_passes(tmp_path: Path) -> None:
    assert unmet(lesson("07").solution.read_text("utf-8"), tmp_path) == []


@pytest.mark.parametrize("name", names(RIGHT, ["a stream in a task group"]))
def test_a_right_relay_passes_whatever_its_style(name: str, tmp_path: Path) -> None:
    assert unmet(RIGHT[name], tmp_path) == []


QUICK = [
    "a clean end is a good end",
    "every end is a stop",
    "no word about a cut",
    "[DONE] means complete",
    "no word about a refusal",
    "catches every exception",
    "asks again",
    "keeps most of it to the end",
    "a task that reads on",
    "one reader at a time",
    "blocks at the end",
]


@pytest.mark.parametrize("name", names(WRONG, QUICK))
def test_one_mistake_is_named_alone(name: str, tmp_path: Path) -> None:
    text, what, found = WRONG[name]
    (criterion,) = unmet(text, tmp_path)
    assert criterion.what == what
    assert found in criterion.found


@pytest.mark.parametrize("name", names(WORSE, ["an error is a message"]))
def test_a_mistake_that_shows_in_several_ways_is_named(name: str, tmp_path: Path) -> None:
    text, expected = WORSE[name]
    assert sorted(each.what for each in unmet(text, tmp_path)) == sorted(expected)
