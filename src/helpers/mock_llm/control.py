"""The routes under ``/_mock/``, by which the process that started the server reads and steers it.

And ``/metrics``, ``/health`` and the live view's page, which need no token, since scrapers, probes
and browsers have none: any program on this machine can read them, but no web page.
"""

from __future__ import annotations

import asyncio
import hmac
import json
from collections.abc import Callable, Mapping, Sequence

from helpers.mock_llm import view
from helpers.mock_llm.asgi import Reader, Receive, Send, respond
from helpers.mock_llm.guard import check_sender
from helpers.mock_llm.records.events import Event, Events
from helpers.mock_llm.records.recorder import Recorder
from helpers.mock_llm.serving import errors
from helpers.mock_llm.serving.engine import Engine
from helpers.mock_llm.serving.request_body import read_body
from helpers.mock_llm.settings.settings import Changes, Settings

_METRICS, _HEALTH = "/metrics", "/health"
_NO_SNIFFING = (b"x-content-type-options", b"nosniff")
# More than any event's id has.
_DIGITS = 19
_HEARTBEAT_SECONDS = 5.0
_HEARTBEAT = b": heartbeat\n\n"
_STREAM = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store")]
_METHODS = {
    "/_mock/ledger": "GET",
    "/_mock/events": "GET",
    "/_mock/reset": "POST",
    "/_mock/configure": "POST",
    _METRICS: "GET",
    _HEALTH: "GET",
    **dict.fromkeys(view.PATHS, "GET"),
}
_NEED_NO_TOKEN = (_METRICS, _HEALTH, *view.PATHS)


def is_control(path: str) -> bool:
    """Whether a path is none of the API's: such requests stay out of the ledger."""
    return path in _METHODS or path.startswith("/_mock/")


class Control:
    def __init__(
        self,
        token: str,
        settings: Settings,
        recorder: Recorder,
        engine: Engine,
        resets: Sequence[Callable[[], None]],
    ) -> None:
        self._token = token.encode()
        self._settings = settings
        self._recorder = recorder
        self._engine = engine
        self._resets = resets

    def admit(self, method: str, path: str, headers: Mapping[bytes, bytes]) -> None:
        """Raises ApiError: 403 without the token, 404 and 405."""
        check_sender(headers)
        known = hmac.compare_digest(headers.get(b"x-mock-token", b""), self._token)
        if not known and path not in _NEED_NO_TOKEN:
            raise errors.control_refused()
        if path not in _METHODS:
            raise errors.unknown_url(method, path)
        if ("GET" if method == "HEAD" else method) != _METHODS[path]:
            raise errors.method_not_allowed(method, path, _METHODS[path])

    async def answer(
        self, path: str, headers: Mapping[bytes, bytes], receive: Receive, send: Send
    ) -> None:
        """Raises ApiError, ClientDisconnectError."""
        body = await read_body(receive, headers)
        if path == "/_mock/events":
            heard = headers.get(b"last-event-id", b"")
            number = int(heard) if heard.isdigit() and len(heard) < _DIGITS else None
            await _stream(self._recorder.events, send, Reader(receive), number)
        elif path == "/_mock/ledger":
            await respond(send, 200, self._recorder.to_json(), [])
        elif path == _METRICS:
            page, kind = self._recorder.to_prometheus()
            await respond(send, 200, page, [_NO_SNIFFING], (b"content-type", kind.encode()))
        elif path == _HEALTH:
            await respond(send, 200, b'{"status":"ok"}', [])
        elif path in view.PATHS:
            page, content_type = view.read(path)
            await respond(send, 200, page, view.HEADERS, (b"content-type", content_type))
        else:
            self._change(path, body)
            await respond(send, 200, b"{}", [])

    def _change(self, path: str, body: bytes) -> None:
        if path == "/_mock/reset":
            for reset in self._resets:
                reset()
        else:
            self._configure(body)

    def _configure(self, body: bytes) -> None:
        try:
            changes = Changes(**json.loads(body)).given()
            self._settings = Settings(**{**dict(self._settings), **changes})
        except (ValueError, TypeError, RecursionError) as error:
            raise errors.ApiError(400, f"Invalid settings: {error}") from None
        self._engine.configure(self._settings, changes.keys())


async def _stream(events: Events, send: Send, reader: Reader, last_seen: int | None) -> None:
    """Send events to a listener, as server-sent events, until it leaves.

    Raises ClientDisconnectError.
    """
    listener = events.subscribe(last_seen)
    loop = asyncio.get_running_loop()
    try:
        await send({"type": "http.response.start", "status": 200, "headers": _STREAM})
        while True:
            body = b"".join(map(_server_sent, listener.take())) or _HEARTBEAT
            await send({"type": "http.response.body", "body": body, "more_body": True})
            timer = loop.call_later(_HEARTBEAT_SECONDS, listener.wake)
            try:
                await reader.wait_for(listener.news())
            finally:
                timer.cancel()
    finally:
        events.unsubscribe(listener)


def _server_sent(event: Event) -> bytes:
    number = b"" if event.number is None else b"id: %d\n" % event.number
    return b"%sevent: %s\ndata: %s\n\n" % (number, event.name.encode(), event.data)
