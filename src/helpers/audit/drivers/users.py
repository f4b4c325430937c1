"""The users of a service: each sends a message and reads the answer."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from time import perf_counter

import anyio
import httpx

from helpers.audit.drivers.options import ServiceOptions, pick
from helpers.audit.prompts import marker
from helpers.audit.recording import Visit
from helpers.audit.scenarios import WORDS

# Bytes kept of an answer.
_KEPT = 256 * 1024
_FIRST_WORD = WORDS.split()[0]
# A reader who leaves has seen this many words.
_LEAVES_AFTER = 3
_ERROR_EVENT = re.compile(r"^event: ?error\b", re.MULTILINE)
_QUESTION = "Please answer request {marker}: how does a message queue help when a service is busy?"
_REMARK = " Remark {number} says that the team has looked at this before and wants it to be clear."


def question(user: str, turn: int, remarks: int = 0) -> str:
    """``remarks``: of 19 tokens each, which make the question long."""
    background = "".join(_REMARK.format(number=number) for number in range(1, remarks + 1))
    return _QUESTION.format(marker=marker(user, turn)) + background


class Users:
    """All users of the service at one address. Use this with ``async with``."""

    def __init__(self, options: ServiceOptions, audit: str, patience: float) -> None:
        """``audit`` names it: a service may remember the sessions of the one before.

        ``patience``: seconds after which a user gives up.
        """
        self._options = options
        self._patience = patience
        self._audit = audit
        self._client = httpx.AsyncClient(
            base_url=options.app,
            timeout=None,  # noqa: S113  # each visit has a deadline of its own
            # A service closes connections after errors: a user on one of them would not be heard.
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=0),
            trust_env=False,
            verify=False,  # noqa: S501  # the service's own certificate is not what is audited
        )

    async def __aenter__(self) -> Users:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def chat(
        self, user: str, turn: int = 1, *, remarks: int = 0, leaves: bool = False
    ) -> Visit:
        """Send a user's message in the user's own session, and read the answer."""
        reading = _Reading(user, turn, self._options)
        with anyio.move_on_after(self._patience):
            await self._read(reading, question(user, turn, remarks), leaves)
            reading.ended = perf_counter()
        return reading.visit()

    async def health(self) -> float:
        """Seconds that the health route took; a user's whole patience if it is silent."""
        started = perf_counter()
        with anyio.move_on_after(self._patience), suppress(httpx.HTTPError):
            await self._client.get(self._options.health)
        return perf_counter() - started

    async def _read(self, reading: _Reading, message: str, leaves: bool) -> None:
        method, path, body = self._options.chat.filled(f"lap-{self._audit}-{reading.user}", message)
        headers = {"content-type": "application/json"} if body else {}
        try:
            async with self._client.stream(
                method, path, content=body or None, headers=headers
            ) as response:
                reading.status = response.status_code
                reading.kind = response.headers.get("content-type", "").partition(";")[0].strip()
                async for piece in response.aiter_bytes():
                    reading.add(piece)
                    if leaves and reading.words >= _LEAVES_AFTER:
                        reading.left = perf_counter()
                        return
        except httpx.HTTPError as error:
            reading.broken_off = True
            reading.error = f"{type(error).__name__}: {error}"


class _Reading:
    """An answer while it is read."""

    def __init__(self, user: str, turn: int, options: ServiceOptions) -> None:
        self.user = user
        self.status: int | None = None
        self.kind = ""
        self.broken_off = False
        self.error = ""
        self.left: float | None = None
        self.ended: float | None = None
        self._turn = turn
        self._options = options
        self._started = perf_counter()
        self._body = b""
        self._first_byte: float | None = None
        self._first_word: float | None = None
        self._pieces = 0

    def add(self, piece: bytes) -> None:
        if not piece:
            return
        now = perf_counter()
        self._first_byte = self._first_byte or now
        self._pieces += 1
        if len(self._body) < _KEPT:
            self._body += piece
        if self._first_word is None and _FIRST_WORD.encode() in self._body:
            self._first_word = now

    @property
    def words(self) -> int:
        return len(words_in(self._text))

    @property
    def _text(self) -> str:
        return self._body.decode(errors="replace")

    def visit(self) -> Visit:
        answer = answer_in(self._text, self.kind, self._options.answer)
        return Visit(
            user=self.user,
            turn=self._turn,
            started=self._started,
            ended=self.ended,
            status=self.status,
            succeeded=self.ended is not None
            and self.status is not None
            and self.status < 400
            and not self.broken_off
            and self.left is None
            and not (answer == "" and self._options.answer)
            and not _ERROR_EVENT.search(self._text),
            text=self._text,
            answer=answer,
            broken_off=self.broken_off,
            first_byte=self._first_byte,
            first_word=self._first_word,
            left=self.left,
            pieces=self._pieces,
            last_words=self.error,
        )


def words_in(text: str) -> list[str]:
    """Words of the model's known answer, each once, in the order of that answer."""
    there = set(re.findall(r"[a-z]+", text))
    return [word for word in WORDS.split() if word in there]


def answer_in(text: str, kind: str, keys: str) -> str | None:
    """The model's part of a body; None if ``keys`` lead to nothing."""
    if not keys:
        return text
    found = [pick(value, keys) for value in _values(text, kind)]
    parts = [part if isinstance(part, str) else json.dumps(part) for part in found if part]
    return "".join(parts) if any(part is not None for part in found) else None


def _values(text: str, kind: str) -> Iterator[object]:
    """The JSON values of a body: of each event, of each line, or of the whole."""
    if kind == "text/event-stream":
        events = [line[5:] for line in text.splitlines() if line.startswith("data:")]
    elif "ndjson" in kind or "jsonl" in kind:
        events = text.splitlines()
    else:
        events = [text]
    for event in events:
        with suppress(ValueError):
            yield json.loads(event)
