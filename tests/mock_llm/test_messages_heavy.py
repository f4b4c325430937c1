"""No small body may occupy the server: it is answered or refused soon, and others are served."""

from __future__ import annotations

import json
import threading
from time import perf_counter
from typing import Any

import httpx
import pytest

from helpers.mock_llm import MockLLM

VERSION = {"anthropic-version": "2023-06-01"}
HELLO = {"role": "user", "content": "Hello"}


def body(**parameters: Any) -> bytes:
    fields = {"model": "claude-sonnet-4-5", "max_tokens": 9, "messages": [HELLO]}
    return json.dumps(fields | parameters).encode()


def user(*content: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(content)}


def items(count: int, **item: Any) -> dict[str, Any]:
    return {"type": "array", "minItems": count, "items": item}


def tool(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    properties = {"a": schema}
    schema = {"type": "object", "properties": properties, "required": ["a"]}
    return {"name": name, "input_schema": schema}


def list_of(part: bytes, count: int) -> bytes:
    return b",".join([part] * count)


OPENING = b'{"model":"claude-sonnet-4-5","max_tokens":9,"messages":['
CALLS = [{"type": "tool_use", "id": f"t{k}", "name": "f", "input": {}} for k in range(20_000)]
RESULTS = [{"type": "tool_result", "tool_use_id": f"t{k}"} for k in range(20_000)]
BODIES = {
    "long texts": body(tools=[tool("f", items(4900, type="string", minLength=5000))]),
    "a pattern": body(tools=[tool("f", items(4900, type="string", pattern="^(.){1500}$"))]),
    "many tools": body(tools=[tool(f"f{k}", items(4900, type="string")) for k in range(128)]),
    "many marks": body(
        messages=[
            user(*[{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}] * 40_000)
        ]
    ),
    "many calls": body(messages=[HELLO, {"role": "assistant", "content": CALLS}, user(*RESULTS)]),
    "many texts": body(messages=[user(*[{"type": "text", "text": "a"}] * 60_000)]),
    "8 MB of wrong messages": OPENING + b"1," * 4_000_000 + b"1]}",
    "8 MB of wrong blocks": OPENING + b'{"role":"user","content":[' + b"1," * 4_000_000 + b"1]}]}",
    "8 MB of wrong tools": body()[:-1] + b',"tools":[' + b"1," * 4_000_000 + b"1]}",
    "8 MB of unknown names": body()[:-1]
    + b",%s}" % b",".join(b'"a%d":1' % k for k in range(600_000)),
    "740,000 empty images": OPENING
    + b'{"role":"user","content":[%s]}]}' % list_of(b'{"type":"image","source":{}}', 740_000),
    "30 MB of base64": body(
        messages=[
            user(
                {
                    "type": "document",
                    "source": {
                        "type": "base64",
                        "media_type": "application/pdf",
                        "data": "A" * 30_000_000,
                    },
                }
            )
        ]
    ),
}


@pytest.mark.parametrize("name", BODIES)
def test_a_small_body_does_not_freeze_everybody(llm: MockLLM, name: str) -> None:
    url, waits = f"{llm.url}/messages", []
    over, served = threading.Event(), threading.Event()

    def ask() -> None:
        with httpx.Client(timeout=30, headers=VERSION) as client:
            while not over.is_set():
                start = perf_counter()
                client.post(url, content=body()).raise_for_status()
                waits.append(perf_counter() - start)
                served.set()

    other = threading.Thread(target=ask)
    other.start()
    try:
        assert served.wait(30)
        start = perf_counter()
        response = httpx.post(url, content=BODIES[name], headers=VERSION, timeout=30)
        took = perf_counter() - start
    finally:
        over.set()
        other.join()
    print(f"{name}: {response.status_code} {took:.2f} s, others {max(waits):.2f} s")
    assert response.status_code in (200, 400)
    assert took < 5
    assert max(waits) < 1
