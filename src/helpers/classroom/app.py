"""The room's page and what learners' notebooks send, as a Starlette application.

Learners post with the join code, which their address for the room contains; only the teacher's
address, with its token, opens the page.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from importlib.resources import files
from typing import Any, cast
from urllib.parse import urlsplit

from aiolimiter import AsyncLimiter
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from helpers.classroom.room import (
    Checked,
    Measured,
    PredictionMade,
    Room,
    RoomIsFullError,
)

LONGEST_BODY = 4096
"""Bytes."""
_MESSAGES: dict[str, type[PredictionMade] | type[Measured] | type[Checked]] = {
    "predictions": PredictionMade,
    "measured": Measured,
    "checks": Checked,
}
# Messages in ten seconds: of one learner, and from one address (a hub's is everybody's).
_PER_LEARNER, _PER_ADDRESS, _PERIOD = 30, 3000, 10.0
# Guesses at the code: six characters of 31 are safe from one guess in three seconds.
_WRONG_CODES, _WRONG_PERIOD = 20, 60.0
# Seconds: at most five updates a second, and keep-alives for proxies.
_BETWEEN_SNAPSHOTS, _HEARTBEAT = 0.2, 15.0
_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
_TYPES = {"page.css": "text/css", "page.js": "text/javascript"}


class _Limits:
    """Token buckets by key. The oldest are forgotten, so that keys cannot fill the memory."""

    def __init__(self, rate: float, period: float, keep: int = 2000) -> None:
        self._rate, self._period, self._keep = rate, period, keep
        self._buckets: dict[str, AsyncLimiter] = {}

    async def spend(self, key: str) -> None:
        """Raises HTTPException (429) if nothing is left."""
        bucket = self._buckets.pop(key, None) or AsyncLimiter(self._rate, self._period)
        self._buckets[key] = bucket
        if len(self._buckets) > self._keep:
            del self._buckets[next(iter(self._buckets))]
        if not bucket.has_capacity():
            raise HTTPException(429, "Too many messages: wait a few seconds.")
        await bucket.acquire()


class Classroom:
    """One workshop: its room, its join code, its teacher's token."""

    def __init__(self, code: str, token: str, hosts: frozenset[str] | None) -> None:
        self.room = Room()
        self._code, self._token = code, token
        self._changed = asyncio.Event()
        self._learners = _Limits(_PER_LEARNER, _PERIOD)
        self._addresses = _Limits(_PER_ADDRESS, _PERIOD)
        self._wrong_codes = _Limits(_WRONG_CODES, _WRONG_PERIOD)
        self.app = Starlette(
            routes=[
                Route("/", self._page),
                Route("/events", self._events),
                Route("/page.css", _file("page.css")),
                Route("/page.js", _file("page.js")),
                Route("/{code}/{kind}", self._take, methods=["POST"]),
            ],
            exception_handlers={HTTPException: _sentence},
            middleware=[Middleware(_Guard, hosts=hosts)],
        )

    async def _take(self, request: Request) -> Response:
        address = request.client.host if request.client else ""
        await self._addresses.spend(address)
        if not secrets.compare_digest(request.path_params["code"].encode(), self._code.encode()):
            await self._wrong_codes.spend(address)
            raise HTTPException(403, "There is no room with this code.")
        message = await _message(request)
        await self._learners.spend(message.learner)
        try:
            self.room.take(message)
        except RoomIsFullError as error:
            raise HTTPException(429, str(error)) from None
        self._changed.set()
        return Response(status_code=204)

    async def _page(self, request: Request) -> Response:
        self._check_teacher(request)
        return Response(_read("page.html").replace("{code}", self._code), media_type="text/html")

    async def _events(self, request: Request) -> Response:
        self._check_teacher(request)
        return StreamingResponse(self._snapshots(), media_type="text/event-stream")

    async def _snapshots(self) -> AsyncIterator[str]:
        shown = -1
        while True:
            if shown != self.room.version:
                shown = self.room.version
                yield f"data: {json.dumps(self.room.snapshot())}\n\n"
            else:
                yield ": nothing new\n\n"
            await asyncio.sleep(_BETWEEN_SNAPSHOTS)
            await self._wait_for_change(shown)

    async def _wait_for_change(self, shown: int) -> None:
        try:
            async with asyncio.timeout(_HEARTBEAT):
                while shown == self.room.version:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            pass

    def _check_teacher(self, request: Request) -> None:
        given = request.query_params.get("teacher", "")
        if not secrets.compare_digest(given.encode(), self._token.encode()):
            raise HTTPException(403, "Open the address that `llm-antipatterns class` printed.")


async def _message(request: Request) -> PredictionMade | Measured | Checked:
    kind = _MESSAGES.get(request.path_params["kind"])
    if kind is None:
        raise HTTPException(404, f"A room takes {', '.join(_MESSAGES)}.")
    body = b""
    try:
        async for part in request.stream():
            body += part
            if len(body) > LONGEST_BODY:
                raise HTTPException(413, f"A message has at most {LONGEST_BODY} bytes.")
    except ClientDisconnect:
        raise HTTPException(400, "The message was cut off.") from None
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        wrong = error.errors()[0]
        where = ".".join(map(str, wrong["loc"])) or "message"
        raise HTTPException(422, f"{where[:60]}: {wrong['msg']}.") from None


async def _sentence(_: Request, error: Exception) -> Response:
    refused = cast(HTTPException, error)
    return JSONResponse({"error": refused.detail}, refused.status_code, refused.headers)


def _file(name: str) -> Callable[[Request], Response]:
    def send(_: Request) -> Response:
        return Response(_read(name), media_type=_TYPES[name])

    return send


def _read(name: str) -> str:
    return (files(__package__) / "page" / name).read_text("utf-8")


class _Guard:
    """Refuses foreign host names and origins, and adds the headers that every answer has."""

    def __init__(self, app: ASGIApp, hosts: frozenset[str] | None) -> None:
        self._app, self._hosts = app, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = [(name.encode(), value.encode()) for name, value in _HEADERS.items()]
                message["headers"] = [*message["headers"], *own]
            await send(message)

        if refusal := self._refusal(Request(scope).headers):
            answer = JSONResponse({"error": refusal}, 403)
            await answer(scope, receive, send_with_headers)
        else:
            await self._app(scope, receive, send_with_headers)

    def _refusal(self, headers: Mapping[str, str]) -> str:
        host = headers.get("host", "")
        if self._hosts is not None and _name(f"//{host}") not in self._hosts:
            return "This room has another address."
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != host:
            return "Other web pages cannot use this room."
        return ""


def _name(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "").removesuffix(".")
    except ValueError:
        return ""


def make_code() -> str:
    """Six characters that nobody confuses when reading them from a projector."""
    return "".join(secrets.choice("ABCDEFGHJKLMNPQRSTUVWXYZ23456789") for _ in range(6))


def settings() -> dict[str, Any]:
    """Uvicorn's settings, other than the application and its socket."""
    return {"log_level": "error", "lifespan": "off", "timeout_graceful_shutdown": 1}
