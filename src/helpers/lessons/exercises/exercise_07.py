"""Lesson 07: a relay that collects, goes on for a reader who left, and calls every answer whole."""

from __future__ import annotations

import inspect
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import anyio
import httpx
import uvicorn
from httpx_sse import ServerSentEvent, aconnect_sse

from helpers.lab import Run, run_arm
from helpers.lessons.exercise import Criterion, Exercise, Solution, ended
from helpers.mock_llm import MockLLM, Profile, Request
from helpers.mock_llm.asgi import Receive, Scope, Send

_TOKENS = 80
_PROFILE = Profile(base=0.1, prefill_rate=100_000, decode_rate=80)
_PATIENCE = 5.0
"""Seconds that a reader stays; an answer takes 1.1 s."""
_AFTERWARDS = 1.5
"""Seconds in which an answer that nobody stopped is written to its end."""
_LEAVES_AFTER = 5
"""Pieces of text."""
_BROKEN = {
    "the connection to the model is cut": "cut; after_tokens=5",
    "the model's stream ends without a finish reason": "no_finish; after_tokens=5",
    "the model sends an error event": "error_event; after_tokens=5",
    "the model answers with status 503": "503",
}
_STAYS, _LEAVES = "the reader stays", "the reader leaves"
_READERS = (_STAYS, _LEAVES, *_BROKEN)
"""Each has a client, and a key by which the books tell its requests."""


@dataclass(slots=True)
class Seen:
    """What one reader received."""

    text: str = ""
    pieces: int = 0
    first: float | None = None
    """``perf_counter()`` at the first piece of text."""
    finish: Any = None
    failed: bool = False
    """An error event came."""
    odd: str = ""
    """An event that is none of the three."""
    raised: str = ""
    """What the relay raised meanwhile."""

    def take(self, event: ServerSentEvent) -> None:
        data = _data(event)
        if event.event == "error" and isinstance(data.get("message"), str):
            self.failed = True
        elif isinstance(data.get("finish"), str):
            self.finish = data["finish"]
        elif isinstance(data.get("text"), str):
            self.text += data["text"]
            if data["text"]:
                self.pieces += 1
                self.first = self.first or perf_counter()
        else:
            self.odd = event.data[:80]

    @property
    def said_broken(self) -> bool:
        return self.failed and self.finish is None

    @property
    def end(self) -> str:
        """How the stream ended, in words."""
        if self.raised:
            return f"the relay raised {self.raised}"
        if self.odd:
            return f"an event came that was not agreed on: {self.odd}"
        if self.failed:
            return "an error event came" + (" and a finish reason" if self.finish else "")
        return f"it ended with finish {self.finish!r}" if self.finish else "it ended without a word"


def _data(event: ServerSentEvent) -> dict[str, Any]:
    try:
        data = json.loads(event.data)
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}


class _Service:
    """Serves ``GET /NUMBER``: what the relay yields for that reader."""

    def __init__(self, relay: Solution, url: str, clients: list[httpx.AsyncClient]) -> None:
        self._relay, self._url, self._clients = relay, url, clients
        self.raised: dict[int, str] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        number = int(scope["path"].strip("/"))
        headers = [(b"content-type", b"text/event-stream; charset=utf-8")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_leave_with_the_reader, receive, tasks.cancel_scope)
            try:
                await self._pass_on(number, send)
            except Exception as error:
                self.raised[number] = f"{type(error).__name__}: {error}"
                raise  # the server breaks the connection off, as it would in production
            tasks.cancel_scope.cancel()

    async def _pass_on(self, number: int, send: Send) -> None:
        parts = self._relay(self._clients[number], self._url, _request(number) | {"stream": True})
        async with aclosing(parts):
            async for part in parts:
                body = part.encode() if isinstance(part, str) else part
                await send({"type": "http.response.body", "body": body, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _leave_with_the_reader(receive: Receive, scope: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()


@asynccontextmanager
async def _served(app: Any) -> AsyncIterator[str]:
    """The address at which the app is served, on this event loop."""
    options: dict[str, Any] = {"ws": "none", "lifespan": "off", "log_level": "critical"}
    server = uvicorn.Server(
        uvicorn.Config(app, host="127.0.0.1", port=0, timeout_graceful_shutdown=1, **options)
    )
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.serve)
        while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
            await anyio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
        server.should_exit = True


async def _read_all(url: str, relay: Solution) -> list[Seen]:
    """All readers at once."""
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(_client(n)) for n in range(len(_READERS))]
        service = _Service(relay, url, clients)
        readers = [Seen() for _ in _READERS]
        async with _served(service) as address, anyio.create_task_group() as tasks:
            for number, seen in enumerate(readers):
                tasks.start_soon(_read, f"{address}/{number}", seen, _READERS[number] == _LEAVES)
        for number, raised in service.raised.items():
            readers[number].raised = raised
        return readers


async def _read(address: str, seen: Seen, leaves: bool) -> None:
    with anyio.move_on_after(_PATIENCE):
        try:
            async with (
                httpx.AsyncClient() as client,
                aconnect_sse(client, "GET", address) as source,
            ):
                async for event in source.aiter_sse():
                    seen.take(event)
                    if leaves and seen.pieces >= _LEAVES_AFTER:
                        break
        except httpx.TransportError:
            pass  # what came until then counts
    if leaves:
        await anyio.sleep(_AFTERWARDS)


def _request(number: int) -> dict[str, Any]:
    messages = [{"role": "user", "content": f"Question {number}?"}]
    return {"model": "gpt-4o-mini", "messages": messages}


def _key(number: int) -> str:
    return f"sk-lesson-07-reader-{number:04}"


def _client(number: int) -> httpx.AsyncClient:
    headers = {"authorization": f"Bearer {_key(number)}"}
    if fault := _BROKEN.get(_READERS[number]):
        headers["x-mock-fault"] = fault
    return httpx.AsyncClient(headers=headers, timeout=10)


async def _grade(relay: Solution) -> list[Criterion]:
    if not inspect.isasyncgenfunction(relay):
        found = "it has no `yield`, or no `async def`"
        return [Criterion("`relay` is an async generator", False, found)]
    async with MockLLM(_PROFILE, answer_tokens=_TOKENS) as llm:
        run = await run_arm(_read_all, llm, relay, name="relay", limit=20)
        if run.outcome != "returned":
            return [ended(run)]
        llm.configure(profile="instant")
        whole = await run_arm(_whole_answer, llm, _READERS.index(_STAYS))
    seen = dict(zip(_READERS, run.result, strict=True))
    return [
        ended(run),
        _complete(seen[_STAYS], whole.result),
        _at_once(run, seen[_STAYS]),
        _stopped(run),
        *(_marked(name, seen[name]) for name in _BROKEN),
    ]


async def _whole_answer(url: str, number: int) -> str:
    """The same question always gets the same answer."""
    async with httpx.AsyncClient(timeout=10) as client:
        reply = await client.post(f"{url}/chat/completions", json=_request(number))
    text: str = reply.json()["choices"][0]["message"]["content"]
    return text


def _requests(run: Run, reader: str) -> list[Request]:
    end = f"{_READERS.index(reader):04}"
    return [request for request in run.requests if request.key and request.key.endswith(end)]


def _complete(seen: Seen, answer: str) -> Criterion:
    """The lower bound: whoever leaves text out is quick to stop, and wrong."""
    what = "a reader who stays gets the whole text, and the model's finish reason"
    if seen.text != answer:
        found = f"{len(seen.text)} of {len(answer)} characters arrived"
        if len(seen.text) == len(answer):
            found = "the text is not the model's"
        return Criterion(what, False, f"{found}; {seen.end}" if seen.raised else found)
    return Criterion(what, seen.finish == "stop" and not seen.failed, seen.end)


def _at_once(run: Run, seen: Seen) -> Criterion:
    what = "the first text is passed on before half of the answer is written"
    if seen.first is None:
        return Criterion(what, False, "no text arrived")
    chunks = [at for request in _requests(run, _STAYS) for at in request.chunks]
    before = sum(at <= seen.first - run.start for at in chunks)
    # In half of its time half of the answer is sent, also where a busy server joins pieces.
    met = bool(chunks) and before <= len(chunks) / 2
    found = "all of it was" if before == len(chunks) else "more than half of it was"
    return Criterion(what, met, found if chunks else "the model was not asked for a stream")


def _stopped(run: Run) -> Criterion:
    what = f"when the reader leaves after {_LEAVES_AFTER} pieces, the model stops"
    asked = _requests(run, _LEAVES)
    written = sum(request.completion_tokens or 0 for request in asked)
    heard = all(request.client_left is not None for request in asked)
    if not asked:
        return Criterion(what, False, "the model was not asked")
    if not heard:
        return Criterion(what, False, f"it wrote its answer to the end, {written} tokens")
    met = _LEAVES_AFTER <= written <= _TOKENS / 2
    return Criterion(what, met, "it heard late: more than half of the answer was written")


def _marked(name: str, seen: Seen) -> Criterion:
    what = f"{name}: the reader gets an error event and no finish"
    if seen.said_broken and not seen.text and not name.endswith("503"):
        return Criterion(what, False, "the text before the break did not arrive")
    return Criterion(what, seen.said_broken, seen.end)


EXERCISE = Exercise(
    function="relay",
    grade=_grade,
    hints=(
        "Where does `relay` yield its first text, and what has happened by then? A generator may "
        "yield inside the `async for` that reads the model's stream. Then one task does both, and "
        "closing the generator closes the stream.",
        "What makes an answer whole? Keep the last `finish_reason` that is not None, and yield the "
        "finish only if there was one. A chunk with `error` in it has no choices; a refused "
        "request is found by `source.response.raise_for_status()`.",
        "Put the reading into `try`, without a task of its own. After it: "
        "`except httpx.HTTPError as failure` (a status, a cut connection) keeps what went wrong; "
        'then yield the finish, or `event({"message": …}, "error")`. Do not catch '
        "`BaseException`: the cancellation must get through.",
    ),
)
