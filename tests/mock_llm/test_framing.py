"""Server-sent events in every form that the format allows: a right parser sees no difference.

vercel/ai, encode/httpx and others had parsers that miss one of them; so has EventSource/eventsource
(#326: a CRLF split between two chunks).
"""

from __future__ import annotations

from typing import Any

import httpx
import openai
import pytest
from httpx_sse import EventSource

from helpers.mock_llm import Fault, MockLLM

from .conftest import NO_TLS

FORMS = ("crlf", "no_space", "comments", "multi_line", "bom", "split", "glued")
BODY = {
    "model": "gpt-4o",
    "messages": [{"role": "user", "content": "Tell me a story"}],
    "stream": True,
    "max_completion_tokens": 30,
}


def stream(llm: MockLLM, fault: str | None = None) -> httpx.Response:
    headers = {} if fault is None else {"x-mock-fault": fault}
    url = f"{llm.url}/chat/completions"
    return httpx.post(url, json=BODY, headers=headers, verify=NO_TLS, timeout=30)


def events(response: httpx.Response) -> list[dict[str, Any]]:
    found = [event for event in EventSource(response).iter_sse() if event.data != "[DONE]"]
    return [event.json() | {"id": None, "created": None} for event in found]


@pytest.mark.parametrize("form", FORMS)
def test_a_parser_that_follows_the_format_reads_the_same_events(llm: MockLLM, form: str) -> None:
    plain, framed = stream(llm), stream(llm, f"framing; form={form}")
    assert framed.status_code == 200
    # httpx decodes the byte order mark as a character; a parser has to remove it.
    text = framed.text.removeprefix("\ufeff")
    assert events(httpx.Response(200, headers=framed.headers, text=text)) == events(plain)


@pytest.mark.parametrize(
    ("form", "sign"),
    [
        ("crlf", b"\r\n\r\n"),
        ("no_space", b"data:{"),
        ("comments", b": keep-alive\n"),
        ("multi_line", b"data: {\ndata: "),
        ("bom", b"\xef\xbb\xbfdata: "),
    ],
)
def test_the_form_can_be_seen_in_the_bytes(llm: MockLLM, form: str, sign: bytes) -> None:
    assert sign not in stream(llm).content
    assert sign in stream(llm, f"framing; form={form}").content


def test_a_split_stream_comes_in_pieces_of_the_size(llm: MockLLM) -> None:
    url, headers = f"{llm.url}/chat/completions", {"x-mock-fault": "framing; form=split; size=7"}
    with httpx.stream("POST", url, json=BODY, headers=headers, verify=NO_TLS) as response:
        sizes = [len(piece) for piece in response.iter_raw()]
    assert min(sizes) <= 7
    assert len(sizes) > 10


def test_glued_events_come_in_one_piece(llm: MockLLM) -> None:
    llm.configure(profile="small", speed=2)
    url, headers = f"{llm.url}/chat/completions", {"x-mock-fault": "framing; form=glued"}
    with httpx.stream("POST", url, json=BODY, headers=headers, verify=NO_TLS) as response:
        pieces = list(response.iter_raw())
    assert pieces[0].count(b"data: ") >= 2


@pytest.mark.parametrize("form", FORMS)
def test_the_official_clients_read_every_form(llm: MockLLM, form: str) -> None:
    headers = {"x-mock-fault": f"framing; form={form}; size=5"}
    with openai.OpenAI(base_url=llm.url, api_key="any", max_retries=0) as client:
        body: Any = {name: value for name, value in BODY.items() if name != "stream"}
        whole = client.chat.completions.create(**body).choices[0].message.content
        chunks = client.chat.completions.create(**body, stream=True, extra_headers=headers)
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == whole


def test_an_error_event_is_followed_by_done(llm: MockLLM) -> None:
    text = stream(llm, "error_then_done; after_tokens=3").text
    error, done = text.index('"error"'), text.index("data: [DONE]")
    assert error < done
    assert '"finish_reason":"stop"' not in text
    assert text.count("data: [DONE]") == 1


def test_anthropics_stream_stops_as_if_all_were_well(llm: MockLLM) -> None:
    headers = {"x-mock-fault": "error_then_done", "anthropic-version": "2023-06-01"}
    body = {"model": "claude-haiku-4-5", "max_tokens": 20, "stream": True}
    messages = [{"role": "user", "content": "Hi"}]
    url = f"{llm.url}/messages"
    text = httpx.post(url, json=body | {"messages": messages}, headers=headers, verify=NO_TLS).text
    assert "event: error" in text
    assert text.rstrip().endswith('data: {"type":"message_stop"}')


def test_framing_is_a_fault_of_the_plan_too(llm: MockLLM) -> None:
    llm.configure(faults=[Fault(kind="framing", form="crlf", first=1)])
    assert b"\r\n\r\n" in stream(llm).content
    assert b"\r\n\r\n" not in stream(llm).content


def test_an_unknown_form_is_one_sentence() -> None:
    with pytest.raises(ValueError, match="crlf"):
        Fault(kind="framing", form="no-such")  # type: ignore[arg-type]
