"""Twelve thousand requests that nobody should send, over both versions of HTTP, while others send
slowly, send half and hold the line, or send too much.

The server must answer each as a provider would: no status of 500, no traceback, memory flat, and
it goes on serving. A failure names the seed and the request.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import json
import random
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from .load import Server, post, serving

REQUESTS = 12_000
AT_ONCE = 12
SEED = 2026
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"a": {"type": "string"}, "b": {"anyOf": [{"type": "null"}, {"$ref": "#"}]}},
    "required": ["a", "b"],
    "additionalProperties": False,
}
SAY = [{"role": "user", "content": "Say it in JSON"}]
TOOL = {"type": "function", "function": {"name": "f", "parameters": SCHEMA, "strict": True}}
BODIES: list[tuple[str, dict[str, Any]]] = [
    (
        "/chat/completions",
        {
            "model": "gpt-4o",
            "messages": [{"role": "system", "content": "Be brief"}, *SAY],
            "tools": [TOOL],
            "tool_choice": "auto",
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "n", "schema": SCHEMA, "strict": True},
            },
            "stop": ["."],
            "n": 2,
            "logprobs": True,
            "top_logprobs": 3,
            "max_tokens": 30,
            "stream": False,
            "stream_options": None,
            "seed": 4,
        },
    ),
    ("/chat/completions", {"model": "o3", "messages": SAY, "stream": True}),
    (
        "/responses",
        {
            "model": "gpt-5",
            "input": [{"role": "user", "content": [{"type": "input_text", "text": "json"}]}],
            "tools": [{"type": "function", "name": "f", "parameters": SCHEMA, "strict": True}],
            "text": {"format": {"type": "json_object"}},
            "max_output_tokens": 30,
            "previous_response_id": None,
            "stream": True,
        },
    ),
    (
        "/messages",
        {
            "model": "claude-sonnet-5-5",
            "max_tokens": 30,
            "system": [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}],
            "messages": SAY,
            "tools": [{"name": "f", "input_schema": SCHEMA}],
            "tool_choice": {"type": "auto"},
            "stop_sequences": ["."],
            "stream": False,
        },
    ),
    ("/messages/count_tokens", {"model": "claude-sonnet-5-5", "messages": SAY}),
    (
        "/embeddings",
        {"model": "text-embedding-3-small", "input": ["a", "b"], "dimensions": 5},
    ),
]
JUNK: list[Any] = [
    *(None, True, False, 0, -1, 1, 1.5, 1e308, 10**30, "", "a", "\0", "x" * 2000, "𝕏🙂", "null"),
    *([], {}, [[]], [None], {"type": "text"}, {"type": None}, {"": {}}, {"$ref": "#"}, ["a", 1]),
    {"role": "tool", "content": "x", "tool_call_id": "t"},
    {"role": "assistant", "content": None, "tool_calls": [{"id": "t", "type": "function"}]},
]
FAULTS = ["cut", "no_finish; after_tokens=1", "drip; interval=-1", "nonsense", "404", "; ;=", "é"]


def values(body: Any) -> Iterator[Any]:
    """Every value in a JSON value, itself first."""
    yield body
    inside = body.values() if isinstance(body, dict) else body if isinstance(body, list) else ()
    for value in inside:
        yield from values(value)


def mutated(body: Any, rng: random.Random) -> Any:
    """The same with up to two things replaced, taken out, moved or added."""
    body = copy.deepcopy(body)
    for _ in range(rng.randint(0, 2)):
        everything = list(values(body))
        containers = [value for value in everything if isinstance(value, dict | list) and value]
        if not containers:
            return junk(rng)
        inside = rng.choice(containers)
        key = rng.choice(list(inside) if isinstance(inside, dict) else range(len(inside)))
        match rng.randrange(4):
            case 0:
                del inside[key]
            case 1:
                inside[key] = junk(rng)
            case 2:
                inside[key] = copy.deepcopy(rng.choice(everything))
            case _ if isinstance(inside, dict):
                inside[rng.choice(["type", "id", "content", "role", "x", "stream"])] = junk(rng)
            case _:
                inside.insert(0, junk(rng))
    return body if rng.random() < 0.99 else junk(rng)


def junk(rng: random.Random) -> Any:
    return copy.deepcopy(rng.choice(JUNK))


def broken(data: bytes, rng: random.Random) -> bytes:
    """Bytes turned, cut off or doubled: hardly ever JSON."""
    match rng.randrange(3):
        case 0:
            turned = bytearray(data)
            for _ in range(3):
                turned[rng.randrange(len(turned))] = rng.randrange(256)
            return bytes(turned)
        case 1:
            return data[: rng.randrange(len(data))]
        case _:
            return data + data


def requests(seed: int, count: int) -> Iterator[tuple[str, bytes, dict[str, str]]]:
    rng = random.Random(seed)
    for _ in range(count):
        path, body = rng.choice(BODIES)
        data = json.dumps(mutated(body, rng)).encode()
        if rng.random() < 0.15:
            data = broken(data, rng)
        headers = {"anthropic-version": "2023-06-01"} if path.startswith("/messages") else {}
        if rng.random() < 0.05:
            headers["x-mock-fault"] = rng.choice(FAULTS)
        yield path, data, headers


async def throw(server: Server, seed: int, count: int) -> list[str]:
    """What was not answered as it should be, with the request."""
    wrong: list[str] = []
    todo = requests(seed, count)

    async def work(client: httpx.AsyncClient) -> None:
        for path, data, headers in todo:
            if fault := complaint(await answer(client, server.url + path, data, headers)):
                wrong.append(f"seed {seed}: {path} {headers} {data[:1000]!r}: {fault}")

    async with (
        httpx.AsyncClient(timeout=60) as one,
        httpx.AsyncClient(timeout=60, http1=False, http2=True) as two,
    ):
        await asyncio.gather(*(work(one if n % 2 else two) for n in range(AT_ONCE)))
    return wrong


async def answer(
    client: httpx.AsyncClient, url: str, data: bytes, headers: dict[str, str]
) -> httpx.Response | None:
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    try:
        return await client.post(url, content=data, headers=raw)
    except httpx.RemoteProtocolError:
        if headers.get("x-mock-fault", "").startswith("cut"):
            return None  # as it was asked to
        raise


def complaint(reply: httpx.Response | None) -> str:
    if reply is None:
        return ""
    if reply.status_code >= 500:
        return f"status {reply.status_code}"
    if reply.headers["content-type"] != "application/json":
        return ""
    try:
        body = reply.json()
    except ValueError:
        return f"not JSON: {reply.content[:200]!r}"
    refused = reply.status_code >= 400
    return f"no error in {body}" if refused and "message" not in body.get("error", {}) else ""


async def hold(port: int, seed: int) -> None:
    """Half a request, then silence until cancelled; some shut their sending end."""
    rng = random.Random(seed)
    request = post("/chat/completions", json.dumps(BODIES[1][1]).encode())
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    with contextlib.closing(writer):
        writer.write(request[: rng.randrange(len(request))])
        if rng.random() < 0.3:
            writer.write_eof()
        await asyncio.Event().wait()


async def dawdle(port: int) -> bytes:
    """A request sent in pieces of a few bytes."""
    request = post("/chat/completions", json.dumps(BODIES[1][1]).encode(), b"connection: close")
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    with contextlib.closing(writer):
        for start in range(0, len(request), 5):
            writer.write(request[start : start + 5])
            await asyncio.sleep(0.01)
        return await reader.read()


async def flood(port: int, size: int) -> bytes:
    """A body of ``size`` bytes, of which the server need not read all."""
    head = post("/chat/completions", b"").replace(b"length: 0", b"length: %d" % size)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    with contextlib.closing(writer):
        try:
            writer.write(head)
            for _ in range(size // 2**20):
                writer.write(b"[" * 2**20)
                await writer.drain()
            return await reader.read(4096)
        except ConnectionError:
            return b""


async def siege(server: Server, seed: int) -> list[str]:
    holders = [asyncio.create_task(hold(server.port, seed + n)) for n in range(50)]
    slow = [asyncio.create_task(dawdle(server.port)) for _ in range(10)]
    large = asyncio.create_task(flood(server.port, 40 * 2**20))
    wrong = await throw(server, seed, REQUESTS // 2)
    for reply in await asyncio.gather(*slow):
        assert reply.startswith(b"HTTP/1.1 200"), reply[:200]
        assert b"data: [DONE]" in reply
    assert (await large)[:12] in (b"HTTP/1.1 413", b"")
    for holder in holders:
        assert not holder.done()
        holder.cancel()
    await asyncio.gather(*holders, return_exceptions=True)
    return wrong


def test_requests_that_nobody_should_send() -> None:
    with serving() as server:
        sizes = []
        for round_ in range(2):
            assert asyncio.run(siege(server, SEED + round_)) == []
            httpx.post(
                server.url.replace("/v1", "/_mock/reset"), headers={"x-mock-token": server.token}
            ).raise_for_status()
            sizes.append(server.memory())
        assert httpx.get(f"{server.url}/models").status_code == 200
        assert sizes[1] - sizes[0] < 25, f"MiB after each half: {sizes}"
        assert server.stop() == ""


@pytest.mark.parametrize("version", ["1.1", "2"])
def test_the_fuzz_finds_a_500_where_there_is_one(version: str) -> None:
    """An injected one, so that the test above is known to look."""
    with (
        serving("--fault", "500") as server,
        httpx.Client(http1=version == "1.1", http2=version == "2") as client,
    ):
        reply = client.post(f"{server.url}/chat/completions", json=BODIES[1][1])
    assert complaint(reply) == "status 500"
