"""Server-sent events in the other forms that the format allows, and that many parsers miss.

Source: WHATWG HTML, section 9.2.6, "Interpreting an event stream". A parser that follows it reads
the same events from all of them.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator

from helpers.mock_llm.asgi import Message, Send

# Between two pieces, so that they do not reach the client as one.
_PAUSE_SECONDS = 0.001


class Framing:
    """Passes the messages of an answer on, its events in another form. A filter of an Exchange."""

    def __init__(self, form: str, size: int) -> None:
        self._form = form
        self._size = size
        self._streamed = False
        self._begun = False
        self._held = b""

    async def send(self, send: Send, message: Message) -> None:
        if message["type"] == "http.response.start":
            types = dict(message["headers"]).get(b"content-type", b"")
            self._streamed = types.startswith(b"text/event-stream")
            await send(message)
            return
        more = message.get("more_body", False)
        body = self._frame(message["body"], more=more) if self._streamed else message["body"]
        for piece in self._pieces(body):
            await send({**message, "body": piece, "more_body": True})
            await asyncio.sleep(_PAUSE_SECONDS)
        if not more:
            await send({**message, "body": b"", "more_body": False})

    def _frame(self, body: bytes, *, more: bool) -> bytes:
        begun, self._begun = self._begun, True
        if self._form == "bom":
            return body if begun else b"\xef\xbb\xbf" + body
        if self._form == "glued":
            return self._glue(body, more=more)
        rewrite = _REWRITES.get(self._form)
        return body if rewrite is None else rewrite(body)

    def _glue(self, body: bytes, *, more: bool) -> bytes:
        """Every second piece together with the one before it."""
        held, self._held = self._held, b""
        if held or not more:
            return held + body
        self._held = body
        return b""

    def _pieces(self, body: bytes) -> Iterator[bytes]:
        if not body:
            return
        size = self._size if self._form == "split" else len(body)
        yield from (body[at : at + size] for at in range(0, len(body), size))


def _crlf(body: bytes) -> bytes:
    return body.replace(b"\n", b"\r\n")


def _no_space(body: bytes) -> bytes:
    for field in (b"data", b"event"):
        body = body.replace(b"\n" + field + b": ", b"\n" + field + b":")
        if body.startswith(field + b": "):
            body = field + b":" + body[len(field) + 2 :]
    return body


def _comments(body: bytes) -> bytes:
    """One comment before the events, as gateways send to keep a connection open."""
    return b": keep-alive\n\n" + body


def _multi_line(body: bytes) -> bytes:
    """The JSON of each event on several ``data`` lines, which a parser joins with line feeds."""
    return b"\n".join(map(_lines, body.split(b"\n")))


def _lines(line: bytes) -> bytes:
    if not line.startswith(b"data: {"):
        return line
    text = json.dumps(json.loads(line[6:]), indent=0, ensure_ascii=False)
    return b"\n".join(b"data: " + part for part in text.encode().split(b"\n"))


_REWRITES: dict[str, Callable[[bytes], bytes]] = {
    "crlf": _crlf,
    "no_space": _no_space,
    "comments": _comments,
    "multi_line": _multi_line,
}
