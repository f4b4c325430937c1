"""HTTP/2 for uvicorn, on the h2 library: any number of requests on one connection."""

from __future__ import annotations

import asyncio
import logging
from typing import Any
from urllib.parse import unquote

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    DataReceived,
    Event,
    RemoteSettingsChanged,
    RequestReceived,
    StreamEnded,
    StreamReset,
    WindowUpdated,
)
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings
from uvicorn.config import Config
from uvicorn.protocols.utils import get_local_addr, get_remote_addr, is_ssl
from uvicorn.server import ServerState

from helpers.mock_llm.asgi import (
    ABORT,
    CONNECTION,
    Application,
    Headers,
    Message,
    Receive,
    Scope,
    Send,
    respond,
)
from helpers.mock_llm.http.connection import (
    MAX_HEAD,
    HttpConnection,
    HttpOptions,
    find_problem,
    reset,
)
from helpers.mock_llm.http.flood import Frames
from helpers.mock_llm.records.recorder import OpenConnection

_log = logging.getLogger("uvicorn.error")

_MAX_STREAMS = 1_000
# Bytes of a request's body that may wait for the app: the protocol's default.
_STREAM_WINDOW = 65_535
# So large that no client waits for it: a request that its app does not read must not block others.
_CONNECTION_WINDOW = 16 * 1024 * 1024
# Bytes of an answer in one frame: what every client has to accept.
_FRAME = 16_384
# Bytes of header compression state, also for a client that would accept more.
_HPACK_TABLE = 4_096
# Closed streams of which h2 remembers how they ended, so that late frames on them are no error.
_KNOWN_CLOSED = 1_000
# Bytes of acknowledgements and the like that a client may leave unread. Answers stay below it.
_MAX_UNREAD = 1024 * 1024
_NOT_IN_HTTP2 = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade")
)
_CONFIG = H2Configuration(
    client_side=False,
    header_encoding=None,
    validate_outbound_headers=False,  # they are our own
    normalize_outbound_headers=False,
)


class Http2(HttpConnection):
    """One connection. Each request runs in a task of its own, on a ``Stream``."""

    def __init__(
        self,
        options: HttpOptions,
        connection: OpenConnection,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(options, connection)
        self._app: Application = config.loaded_app
        self._root_path = config.root_path
        self._server_state = server_state
        self._app_state = app_state
        self._loop = _loop or asyncio.get_running_loop()
        self._h2 = _Connection(_CONFIG)
        self._frames = Frames()
        self._h2.incoming_buffer = self._frames
        self._streams: dict[int, Stream] = {}
        self._waiting: dict[int, asyncio.Future[None]] = {}
        self._received = 0
        self._paused = False
        self._last_stream = False
        self._first = True

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.transport = transport
        self._server_state.connections.add(self)  # type: ignore[arg-type]
        self._client = get_remote_addr(transport)
        self._server = get_local_addr(transport)
        self._scheme = "https" if is_ssl(transport) else "http"
        self._h2.initiate_connection()
        self._h2.increment_flow_control_window(_CONNECTION_WINDOW - _STREAM_WINDOW)
        self._flush()

    def data_received(self, data: bytes) -> None:
        if self.closing:
            self.discard(data)
            return
        try:
            for event in self._h2.receive_data(data):
                self._handle(event)
        except ProtocolError as error:
            self._terminate(error.error_code)
        except Exception:  # noqa: BLE001  # h2 or hpack tripped over what the client sent
            _log.exception("Exception in HTTP/2")
            self._terminate(ErrorCodes.INTERNAL_ERROR)
        if self.closing:
            return
        self._flush()
        if self.transport.get_write_buffer_size() > _MAX_UNREAD:
            self.transport.abort()
        if self._frames.goaway_received:
            self.shutdown()

    def connection_lost(self, exc: Exception | None) -> None:
        self.closing = True
        self._server_state.connections.discard(self)
        super().connection_lost(exc)
        self._disconnect_all()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._paused = True

    def resume_writing(self) -> None:
        super().resume_writing()
        self._paused = False
        self._wake_all()

    def shutdown(self) -> None:
        """Close as soon as the requests that are being answered have been."""
        self._last_stream = True
        if not self._streams:
            self._terminate(ErrorCodes.NO_ERROR)

    # What the client sends.

    def _handle(self, event: Event) -> None:
        if isinstance(event, RequestReceived):
            self._begin(event)
        elif isinstance(event, DataReceived):
            self._receive_data(event)
        elif isinstance(event, WindowUpdated):
            if event.stream_id:
                self._wake(event.stream_id)
            else:
                self._wake_all()
        elif isinstance(event, StreamEnded):
            if stream := self._streams.get(event.stream_id):
                stream.body_ended()
        elif isinstance(event, StreamReset):
            if stream := self._streams.get(event.stream_id):
                stream.disconnect()
        elif isinstance(event, RemoteSettingsChanged):
            if self._h2.encoder.header_table_size > _HPACK_TABLE:
                self._h2.encoder.header_table_size = _HPACK_TABLE
            self._wake_all()  # the windows may have grown

    def _begin(self, event: RequestReceived) -> None:
        if self.closing:
            return
        pseudo = {name: value for name, value in event.headers if name.startswith(b":")}
        path, _, query = pseudo.get(b":path", b"").partition(b"?")
        first, self._first = self._first, False
        if first and self.must_refuse(path.decode("latin-1")):
            self.close_gracefully()
            self._disconnect_all()
            return
        stream = Stream(self, event.stream_id, self._scope(event, pseudo, path, query))
        self._streams[event.stream_id] = stream
        app = self._app
        if problem := find_problem(event.headers):
            app = self._refuse(*problem)
        elif not (path.startswith(b"/") and path.isascii()):
            app = self._refuse(400, "Invalid HTTP request received.")
        task = self._loop.create_task(stream.run(app))
        self._server_state.tasks.add(task)
        task.add_done_callback(self._server_state.tasks.discard)

    def _scope(
        self, event: RequestReceived, pseudo: dict[bytes, bytes], path: bytes, query: bytes
    ) -> Scope:
        headers = [header for header in event.headers if not header[0].startswith(b":")]
        if b":authority" in pseudo:  # which h2 has compared with the header host, if there is one
            headers = [header for header in headers if header[0] != b"host"]
            headers.insert(0, (b"host", pseudo[b":authority"]))
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "2",
            "server": self._server,
            "client": self._client,
            "scheme": self._scheme,
            "method": pseudo[b":method"].decode("latin-1"),
            "root_path": self._root_path,
            "path": unquote(path.decode("latin-1")),
            "raw_path": path,
            "query_string": query,
            "headers": headers,
            "state": self._app_state.copy(),
        }

    def _refuse(self, status: int, message: str) -> Application:
        """An app that refuses every request."""

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            await respond(send, status, self.error_body(status, message, scope), [])

        return app

    def _receive_data(self, event: DataReceived) -> None:
        self._received += event.flow_controlled_length
        if self._received >= _CONNECTION_WINDOW // 2:
            self._h2.increment_flow_control_window(self._received)
            self._received = 0
        if stream := self._streams.get(event.stream_id):
            stream.body_received(event.data, event.flow_controlled_length)

    # What streams ask of their connection.

    def error_body(self, status: int, message: str, scope: Scope) -> bytes:
        return self.options.error_body(status, message, scope["path"], scope["headers"])

    def default_headers(self) -> Headers:
        return self._server_state.default_headers

    def open_window(self, stream: Stream, size: int) -> None:
        """Let the client send more of this request's body."""
        if self._is_open(stream):
            self._h2.increment_flow_control_window(size, stream.id)
            self._flush()

    def send_headers(self, stream: Stream, headers: Headers) -> None:
        self._h2.send_headers(stream.id, headers)
        self._frames.earn()
        self._flush()

    def room(self, stream: Stream) -> int:
        """How many bytes of an answer may be sent now; 0 is a reason to ``wait_for_room``."""
        if self._paused:
            return 0
        return max(0, min(self._h2.local_flow_control_window(stream.id), _FRAME))

    async def wait_for_room(self, stream: Stream) -> None:
        """Wait until there may be room again. A client that makes none loses its answer."""
        waiting = self._waiting[stream.id] = self._loop.create_future()
        timer = self._loop.call_later(self.options.stuck_seconds, stream.cut)
        try:
            await waiting
        finally:
            timer.cancel()

    def send_data(self, stream: Stream, data: memoryview, *, end: bool) -> None:
        self._h2.send_data(stream.id, data, end_stream=end)
        self._frames.earn()
        self._flush()

    def reset_stream(self, stream: Stream, code: ErrorCodes) -> None:
        if not self.closing and self._is_open(stream):
            self._h2.reset_stream(stream.id, code)
            self._flush()

    def forget(self, stream: Stream) -> None:
        self._streams.pop(stream.id, None)
        self._wake(stream.id)
        if self._last_stream and not self._streams and not self.closing:
            self._terminate(ErrorCodes.NO_ERROR)

    def count(self) -> None:
        self._server_state.total_requests += 1

    def _is_open(self, stream: Stream) -> bool:
        """Whether h2, having read all input, has not seen the end of the stream."""
        known = self._h2.streams.get(stream.id)
        return known is not None and known.open

    def _flush(self) -> None:
        data = self._h2.data_to_send()
        if data and not self.transport.is_closing():
            self.transport.write(data)

    def _terminate(self, code: ErrorCodes | int) -> None:
        """Send GOAWAY, unless h2 has, and close."""
        if self.closing:
            return
        last = self._h2.data_to_send()
        if code == ErrorCodes.NO_ERROR or not last:
            self._h2.close_connection(code)
            last += self._h2.data_to_send()
        self.close_gracefully(last)
        self._disconnect_all()

    def _disconnect_all(self) -> None:
        for stream in list(self._streams.values()):
            stream.disconnect()

    def _wake(self, stream_id: int) -> None:
        waiting = self._waiting.pop(stream_id, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(None)

    def _wake_all(self) -> None:
        for stream_id in list(self._waiting):
            self._wake(stream_id)


class Stream:
    """One request and its answer: what the app receives from and sends to, and its
    `AbortHandle`."""

    def __init__(self, connection: Http2, id: int, scope: Scope) -> None:
        self.id = id
        self._connection = connection
        self._scope = scope
        scope["extensions"] = {ABORT: self, CONNECTION: connection.connection}
        self._disconnected = False
        self._changed = asyncio.Event()
        # The request.
        self._body: list[bytes] = []
        self._more_body = True
        # Bytes of window that the client has used and the app has not yet read.
        self._unread = 0
        # Bytes of window that the app has read and that the client may use again.
        self._to_open = 0
        self._ignored = 0
        self._continue = any(name == b"expect" for name, _ in scope["headers"])
        # The answer.
        self._started = False
        self._answered = False
        self._expected: int | None = None
        self._bodyless = False

    async def run(self, app: Application) -> None:
        try:
            await app(self._scope, self.receive, self.send)
        except Exception:  # noqa: BLE001  # a mistake of the app, which answers for its own
            _log.exception("Exception in ASGI application")
        if self._answered or self._disconnected:
            return
        if self._started:
            self.cut()
        else:
            body = self._connection.error_body(500, "The server did not answer.", self._scope)
            await respond(self.send, 500, body, [])

    # ASGI.

    async def receive(self) -> Message:
        if self._continue and not self._started and not self._disconnected:
            self._continue = False
            self._connection.send_headers(self, [(b":status", b"100")])
        if not self._disconnected and not self._answered:
            await self._changed.wait()
            self._changed.clear()
        if self._disconnected or self._answered:
            return {"type": "http.disconnect"}
        body, self._body = b"".join(self._body), []
        self._give_back(self._unread)
        self._unread = 0
        return {"type": "http.request", "body": body, "more_body": self._more_body}

    async def send(self, message: Message) -> None:
        if self._disconnected:
            return
        if message["type"] == "http.response.start" and not self._started:
            self._start(message["status"], message.get("headers", ()))
        elif message["type"] == "http.response.body" and self._started and not self._answered:
            await self._write(message.get("body", b""), message.get("more_body", False))
        else:
            raise RuntimeError(f"Unexpected ASGI message {message['type']!r}")

    # AbortHandle.

    def cut(self) -> None:
        if not self._answered and not self._disconnected:
            self._connection.reset_stream(self, ErrorCodes.INTERNAL_ERROR)
            self.disconnect()

    def reset(self) -> None:
        self.disconnect()
        reset(self._connection.transport)

    # What the client does.

    def body_received(self, data: bytes, size: int) -> None:
        """``size``: bytes of the window that it takes; with padding, more than the data."""
        if self._answered:
            self._ignore(size)
            return
        self._body.append(data)
        self._unread += size
        self._changed.set()

    def body_ended(self) -> None:
        self._more_body = False
        self._changed.set()
        if self._answered:
            self._connection.forget(self)

    def disconnect(self) -> None:
        self._disconnected = True
        self._changed.set()
        self._connection.forget(self)

    def _start(self, status: int, headers: Headers) -> None:
        self._started = True
        self._bodyless = self._scope["method"] == "HEAD" or status in (204, 304)
        lines = [(b":status", b"%d" % status)]
        for name, value in [*self._connection.default_headers(), *headers]:
            name = name.lower()
            if name == b"content-length" and not self._bodyless:
                self._expected = int(value)
            if name not in _NOT_IN_HTTP2:
                lines.append((name, value))
        self._connection.send_headers(self, lines)

    async def _write(self, body: bytes, more: bool) -> None:
        rest = memoryview(b"" if self._bodyless else body)
        if self._expected is not None:
            self._expected -= len(rest)
            if self._expected < 0 or (self._expected and not more):
                raise RuntimeError("The body is not as long as content-length says")
        while rest:
            room = self._connection.room(self)
            if not room:
                await self._connection.wait_for_room(self)
            else:
                part, rest = rest[:room], rest[room:]
                self._connection.send_data(self, part, end=not more and not rest)
                if rest:
                    await asyncio.sleep(0)  # the other streams have a turn: the window is shared
            if self._disconnected:
                return
        if not more:
            if self._bodyless or not body:
                self._connection.send_data(self, rest, end=True)
            self._finish()

    def _finish(self) -> None:
        self._answered = True
        self._changed.set()
        self._connection.count()
        if self._more_body:
            self._ignore(self._unread)
        else:
            self._connection.forget(self)

    def _ignore(self, size: int) -> None:
        """Skip the body of a request that has been answered; end its stream if it is too long."""
        self._ignored += size
        if self._ignored > self._connection.options.max_ignored_body:
            self._connection.reset_stream(self, ErrorCodes.NO_ERROR)
            self._connection.forget(self)
        else:
            self._give_back(size)

    def _give_back(self, size: int) -> None:
        self._to_open += size
        if self._more_body and self._to_open >= _STREAM_WINDOW // 2:
            self._connection.open_window(self, self._to_open)
            self._to_open = 0


class _Connection(H2Connection):
    MAX_CLOSED_STREAMS = _KNOWN_CLOSED

    def __init__(self, config: H2Configuration) -> None:
        super().__init__(config)
        self.local_settings = Settings(
            client=False,
            initial_values={
                SettingCodes.MAX_CONCURRENT_STREAMS: _MAX_STREAMS,
                SettingCodes.MAX_HEADER_LIST_SIZE: MAX_HEAD,
            },
        )
        # What is larger than a head may be gets an answer, up to here; beyond, a closed connection.
        self.decoder.max_header_list_size = 4 * MAX_HEAD
