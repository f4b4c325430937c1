"""Lesson 07: a relay that collects first, ignores that its reader left, and hides cut answers."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import anyio
import httpx
import uvicorn
from httpx_sse import ServerSentEvent, aconnect_sse
from starlette.applications import Starlette
from starlette.requests import Request as HttpRequest
from starlette.responses import StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from helpers.lab import Run, run_arm
from helpers.lessons.exercise import Criterion, Exercise, Solution, ended
from helpers.lessons.exercises.criteria import loop_is_free, undisturbed
from helpers.mock_llm import MockLLM, Profile, Request
from helpers.mock_llm.tokens import decode_bytes, encode

_TOKENS = 80
_PROFILE = Profile(base=0.1, prefill_rate=100_000, decode_rate=80)
# Seconds that a reader stays; an answer takes 1.1 s.
_PATIENCE = 5.0
# Seconds in which an answer that was not stopped is written to its end.
_AFTERWARDS = 1.5
# Pieces of text.
_LEAVES_AFTER = 5
# Tokens of the answer that is no longer than its request allows.
_LONGEST = 60
# Tokens of an answer that breaks off.
_WRITTEN = 7
_CUT, _REFUSED = "the connection to the model is cut", "the model answers with status 503"
_BROKEN = {
    _CUT: f"cut; after_tokens={_WRITTEN}",
    "the model's stream ends without a finish reason": f"no_finish; after_tokens={_WRITTEN}",
    "the model sends an error event": f"error_event; after_tokens={_WRITTEN}",
    "the model sends an error event, then [DONE]": f"error_then_done; after_tokens={_WRITTEN}",
    "the model sends an event that is not JSON": f"malformed_json; after_tokens={_WRITTEN}",
    _REFUSED: "503",
}
_STAYS, _LEAVES, _LIMITED = "the reader stays", "the reader leaves", "the answer is limited"
# Each has a client, and an API key that marks its requests. The long answers are the first and the
# last: with readers one after another, one of them ends before the other begins.
_READERS = (_STAYS, _LEAVES, *_BROKEN, _LIMITED)


@dataclass(slots=True)
class Seen:
    """What one reader received."""

    text: str = ""
    pieces: list[tuple[float, int]] = field(default_factory=list)
    """Each piece of text: ``perf_counter()`` and the number of characters so far."""
    finish: Any = None
    failed: bool = False
    """An error event came."""
    odd: str = ""
    """An event that is not one of the three."""
    raised: str = ""
    """What the relay raised."""
    swallowed: bool = False
    """The relay went on when its task had been cancelled."""
    returned: str = ""
    """What the relay returned, if that is no async generator."""

    def take(self, event: ServerSentEvent) -> None:
        data = _data(event)
        if event.event == "error" and isinstance(data.get("message"), str):
            self.failed = True
        elif isinstance(data.get("finish"), str):
            self.finish = data["finish"]
        elif isinstance(data.get("text"), str):
            self.text += data["text"]
            if data["text"]:
                self.pieces.append((perf_counter(), len(self.text)))
        else:
            self.odd = event.data[:80]

    @property
    def reported_failure(self) -> bool:
        return self.failed and self.finish is None

    @property
    def end(self) -> str:
        """How the stream ended, in words."""
        if self.raised:
            return f"the relay raised {self.raised}"
        if self.odd:
            return f"it got an unknown event: {self.odd}"
        if self.failed:
            return "it got an error event" + (" and a finish reason" if self.finish else "")
        return f"it got finish {self.finish!r}" if self.finish else "the stream just ended"


def _data(event: ServerSentEvent) -> dict[str, Any]:
    try:
        data = json.loads(event.data)
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}


class _ClosedStream(StreamingResponse):
    """Closes the generator when the reader leaves, wherever it was suspended."""

    def __init__(self, content: AsyncGenerator[str | bytes]) -> None:
        super().__init__(content, media_type="text/event-stream")
        self._content = content

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self._content):
            await super().__call__(scope, receive, send)


def _service(
    relay: Solution, url: str, clients: list[httpx.AsyncClient], readers: list[Seen]
) -> Starlette:
    """An app that serves ``GET /NUMBER``: what the relay yields for that reader."""

    async def relayed(number: int) -> AsyncGenerator[str | bytes]:
        parts = relay(clients[number], url, _request(number) | {"stream": True})
        if not hasattr(parts, "__aiter__"):
            readers[number].returned = type(parts).__name__
            return
        try:
            async with aclosing(parts) if hasattr(parts, "aclose") else nullcontext():
                async for part in parts:
                    if _is_error(part) and _is_cancelled():
                        readers[number].swallowed = True
                    if not isinstance(part, str | bytes):
                        raise TypeError(f"it yielded a {type(part).__name__}, not a text")
                    yield part
                # It reads on until its reader leaves, so it cannot have come to its end.
                readers[number].swallowed |= _is_cancelled()
        except Exception as error:
            readers[number].raised = f"{type(error).__name__}: {error}"
            raise  # the server then breaks the connection off, as in production

    async def serve(request: HttpRequest) -> StreamingResponse:
        return _ClosedStream(relayed(request.path_params["number"]))

    return Starlette(routes=[Route("/{number:int}", serve)])


def _is_cancelled() -> bool:
    return anyio.current_effective_deadline() == -math.inf


def _is_error(part: object) -> bool:
    text = part.decode("utf-8", "replace") if isinstance(part, bytes) else str(part)
    return "event: error" in text or "event:error" in text


@asynccontextmanager
async def _served(app: Any) -> AsyncIterator[str]:
    """Serve the app on this event loop; yields its URL."""
    options: dict[str, Any] = {"ws": "none", "lifespan": "off", "log_level": "critical"}
    server = uvicorn.Server(
        uvicorn.Config(app, host="127.0.0.1", port=0, timeout_graceful_shutdown=1, **options)
    )
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.serve)
        while not server.started:  # noqa: ASYNC110 - uvicorn has no event to wait for
            await anyio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
        server.should_exit = True


async def _read_all(url: str, relay: Solution) -> list[Seen]:
    """All readers at once."""
    async with AsyncExitStack() as stack:
        stack.enter_context(undisturbed())
        clients = [await stack.enter_async_context(_client(n)) for n in range(len(_READERS))]
        readers = [Seen() for _ in _READERS]
        app = _service(relay, url, clients, readers)
        async with _served(app) as address, anyio.create_task_group() as tasks:
            for number, seen in enumerate(readers):
                tasks.start_soon(_read, f"{address}/{number}", seen, _READERS[number] == _LEAVES)
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
                    if leaves and len(seen.pieces) >= _LEAVES_AFTER:
                        break
        except httpx.TransportError:
            pass  # what arrived before counts
    if leaves:
        await anyio.sleep(_AFTERWARDS)


def _request(number: int) -> dict[str, Any]:
    messages = [{"role": "user", "content": f"Question {number}?"}]
    limit = {"max_completion_tokens": _LONGEST} if _READERS[number] == _LIMITED else {}
    return {"model": "gpt-4o-mini", "messages": messages, **limit}


def _key(number: int) -> str:
    return f"sk-lesson-07-reader-{number:04}"


def _client(number: int) -> httpx.AsyncClient:
    headers = {"authorization": f"Bearer {_key(number)}"}
    if fault := _BROKEN.get(_READERS[number]):
        headers["x-mock-fault"] = fault
    return httpx.AsyncClient(headers=headers, timeout=10)


async def _grade(relay: Solution) -> list[Criterion]:
    async with MockLLM(_PROFILE, answer_tokens=_TOKENS) as llm:
        run = await run_arm(_read_all, llm, relay, name="relay", limit=20)
        if run.outcome != "returned":
            return [ended(run)]
        llm.configure(profile="instant")
        whole = await _whole_answers(llm.url)
    seen = dict(zip(_READERS, run.result, strict=True))
    if returned := seen[_STAYS].returned:
        found = f"it returned a {returned}: `yield` the events in an `async def`"
        return [Criterion("`relay` is an async generator", False, found)]
    return [
        ended(run),
        _complete(seen, whole),
        _as_written(run, seen[_STAYS], len(whole[_STAYS])),
        _together(run),
        loop_is_free(run),
        _asked_once(run),
        _stopped(run),
        _cancelled(seen[_LEAVES]),
        *(_marked(name, seen[name], whole[name]) for name in _BROKEN),
    ]


async def _whole_answers(url: str) -> dict[str, str]:
    """What each reader should read: the same question always gets the same answer."""
    answers = {}
    async with httpx.AsyncClient(timeout=10) as client:
        for number, reader in enumerate(_READERS):
            reply = await client.post(f"{url}/chat/completions", json=_request(number))
            answers[reader] = reply.json()["choices"][0]["message"]["content"]
    return answers


def _requests(run: Run, reader: str) -> list[Request]:
    end = f"{_READERS.index(reader):04}"
    return [request for request in run.requests if request.key and request.key.endswith(end)]


def _complete(seen: dict[str, Seen], answers: dict[str, str]) -> Criterion:
    """The lower bound: a relay that drops text stops early, but it is wrong."""
    what = "a reader who stays gets the whole text and the model's finish reason"
    for reader, finish in ((_STAYS, "stop"), (_LIMITED, "length")):
        got, answer = seen[reader], answers[reader]
        if got.text != answer:
            found = f"{len(got.text)} of {len(answer)} characters arrived"
            if len(got.text) == len(answer):
                found = "the text is not the model's"
            return Criterion(what, False, f"{found}; {got.end}" if got.raised else found)
        if got.failed or got.finish != finish:
            found = f"the model's finish reason was {finish!r}, but {got.end}"
            return Criterion(what, False, found)
    return Criterion(what, True)


def _as_written(run: Run, seen: Seen, length: int) -> Criterion:
    what = "the text is passed on while the model writes it"
    if not seen.pieces:
        return Criterion(what, False, "no text arrived")
    chunks = [at for request in _requests(run, _STAYS) for at in request.chunks]
    if not chunks:
        return Criterion(what, False, "the model was not asked for a stream")
    times = [(at - run.start, characters) for at, characters in seen.pieces]
    before = sum(at <= times[0][0] for at in chunks)
    # Half of the answer takes half of its time, even if a busy server joins pieces.
    if before > len(chunks) / 2:
        written = "all" if before == len(chunks) else "more than half"
        found = f"{written} of it was written before the first piece arrived"
        return Criterion(what, False, found)
    arrived = max((characters for at, characters in times if at <= chunks[-1]), default=0)
    found = "when all of it was written, less than half had arrived"
    return Criterion(what, arrived >= length / 2, found)


def _together(run: Run) -> Criterion:
    """The server sees in which order answers begin and end."""
    what = "readers are served at the same time: none waits for another one"
    ends = [r.last_byte for reader in (_STAYS, _LIMITED) for r in _requests(run, reader)]
    end = min((at for at in ends if at is not None), default=None)
    firsts = [requests[0] for reader in _READERS if (requests := _requests(run, reader))]
    late = sum(end is not None and request.arrival > end for request in firsts)
    found = f"{late} of {len(_READERS)} were served only after another one's answer had ended"
    return Criterion(what, not late, found)


def _asked_once(run: Run) -> Criterion:
    made = {reader: len(_requests(run, reader)) for reader in _READERS}
    wrong = [f"{n} times where {reader}" for reader, n in made.items() if n != 1]
    what = "the model is asked once for each reader"
    return Criterion(what, not wrong, f"it was asked {', '.join(wrong)}")


def _stopped(run: Run) -> Criterion:
    what = f"when the reader leaves after {_LEAVES_AFTER} pieces, the model stops"
    asked = _requests(run, _LEAVES)
    written = sum(request.completion_tokens or 0 for request in asked)
    noticed = all(request.client_left is not None for request in asked)
    if not asked:
        return Criterion(what, False, "the model was not asked")
    if not noticed:
        found = f"it finished its answer, {written} tokens: the request to it stayed open"
        return Criterion(what, False, found)
    # That it left before the end is what counts; a busy machine needs time for that.
    met = _LEAVES_AFTER <= written <= _TOKENS * 7 / 8
    return Criterion(what, met, "it stopped late: nearly all of the answer was written")


def _cancelled(seen: Seen) -> Criterion:
    what = "when its reader leaves, `relay` lets the cancellation through"
    return Criterion(what, not seen.swallowed, "it caught the cancellation and went on")


def _marked(name: str, seen: Seen, answer: str) -> Criterion:
    what = f"{name}: the reader gets an error event and no finish"
    if seen.reported_failure and (lost := _lost(name, seen, answer)):
        return Criterion(what, False, lost)
    return Criterion(what, seen.reported_failure, seen.end)


def _lost(name: str, seen: Seen, answer: str) -> str:
    """What is missing of the text before the failure, in words."""
    if name == _REFUSED:
        return ""
    if not seen.text:
        return "the text before the failure did not arrive"
    if name == _CUT:  # the last pieces may be lost with the connection
        return ""
    # Spaces that are missing are missing everywhere: another criterion.
    written = decode_bytes(encode(answer)[:_WRITTEN]).decode("utf-8", "ignore").split()
    missing = len("".join(written)) - len("".join(seen.text.split()))
    return f"the last {missing} characters before the failure did not arrive" * (missing > 0)


EXERCISE = Exercise(
    function="relay",
    grade=_grade,
    hints=(
        "Where does `relay` yield its first text, and what has happened by then? A generator can "
        "yield inside the `async for` that reads the model's stream. Then one task does both, and "
        "closing the generator closes the stream.",
        "What makes an answer complete? Keep the last `finish_reason` that is not None, and yield "
        "the finish only if there was one. A chunk that contains `error` has no choices; "
        "`source.response.raise_for_status()` finds a refused request.",
        "Put the reading into a `try`, without a separate task. After it, "
        "`except (httpx.HTTPError, ValueError) as failure` (a status, a cut connection, an event "
        "that is not JSON) keeps what went wrong; "
        'then yield the finish, or `event({"message": …}, "error")`. Do not catch '
        "`BaseException`: a cancellation must get through.",
    ),
    explanation=(
        "One task reads and yields. So each piece is passed on as it comes, a slow reader slows "
        "the reading down (back-pressure), and closing the generator closes the request to the "
        "model, which then stops writing. The end of a stream is no proof of a whole answer, and "
        "neither is [DONE]: only a finish reason is."
    ),
)
