"""Records what the server sees while it serves, and hands it out as a Ledger."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from pydantic import TypeAdapter

from helpers.mock_llm.records.events import Events
from helpers.mock_llm.records.ledger import Connection, Ledger, Request
from helpers.mock_llm.records.metrics import Metrics

# Records kept of each kind, the newest: some 50 MiB.
_KEPT = 100_000
# Times of chunks kept, of the newest streams: 2,000 streams of 100 tokens, some 6 MiB.
_KEPT_CHUNKS = 200_000
# Characters kept of each.
_LONGEST_PATH, _LONGEST_METHOD = 2_000, 100
# Bytes of paths kept, of the newest requests: 100,000 of ordinary length take a third.
_KEPT_PATHS = 20 * 1024 * 1024
_ADAPTER = TypeAdapter(Ledger)


@dataclass(slots=True, eq=False)
class OpenConnection:
    """A connection while it lasts."""

    entry: Connection
    expire: Callable[[], None]
    """Closes it because it is idle."""
    in_progress: int = 0
    idle_since: float = 0.0
    control: bool = False
    """It has carried nothing but control requests, and is not recorded."""
    announced: bool = False
    """Listeners know of it: it has carried an API request, or closed having carried none."""


class Recorder:
    """One server's records since the last reset. Used by the serving thread alone."""

    def __init__(self) -> None:
        self.open: set[OpenConnection] = set()
        self.events = Events()
        self._metrics = Metrics()
        self._requests: deque[Request] = deque()
        # What their paths take.
        self._path_bytes = 0
        self._closed: deque[Connection] = deque(maxlen=_KEPT)
        # Streams that have ended and whose chunks are kept.
        self._streamed: deque[Request] = deque()
        # How many these are.
        self._chunks = 0
        self._count = 0
        self._in_flight = 0
        self._streams = 0
        self._peak_in_flight = 0
        self._peak_streams = 0

    def connection_opened(self, port: int, expire: Callable[[], None]) -> OpenConnection:
        """``port`` is that of the client's end."""
        now = perf_counter()
        connection = OpenConnection(Connection(id=port, opened=now), expire, idle_since=now)
        self.open.add(connection)
        return connection

    def connection_closed(self, connection: OpenConnection) -> None:
        self.open.remove(connection)
        connection.expire = _do_nothing  # it refers to the protocol, which refers to connection
        connection.entry.closed = perf_counter()
        if not connection.control:
            self._closed.append(connection.entry)
            self._announce(connection, carried=False)
            self.events.of_connection("closed", connection.entry)

    def _announce(self, connection: OpenConnection, *, carried: bool) -> None:
        if not connection.announced:
            connection.announced = True
            self._metrics.connection(carried=carried)
            self.events.of_connection("opened", connection.entry)

    def request_arrived(self, connection: OpenConnection, scope: Any) -> Request:
        connection.control = False
        connection.entry.requests += 1
        self._announce(connection, carried=True)
        self._count += 1
        self._in_flight += 1
        self._peak_in_flight = max(self._peak_in_flight, self._in_flight)
        request = Request(
            id=self._count,
            connection=connection.entry.id,
            http_version=scope["http_version"],
            tls=scope["scheme"] == "https",
            method=scope["method"][:_LONGEST_METHOD],
            path=scope["path"][:_LONGEST_PATH],
            arrival=perf_counter(),
        )
        self._keep(request)
        self.events.of_request("arrived", request)
        return request

    def _keep(self, request: Request) -> None:
        self._requests.append(request)
        self._path_bytes += sys.getsizeof(request.path)
        while len(self._requests) > _KEPT or self._path_bytes > _KEPT_PATHS:
            self._path_bytes -= sys.getsizeof(self._requests.popleft().path)

    def slot_granted(self, request: Request) -> float:
        """Returns the time."""
        request.slot = now = perf_counter()
        self.events.of_request("slot", request)
        return now

    def first_token(self, request: Request) -> float:
        """Returns the time."""
        request.first_token = now = perf_counter()
        self.events.of_request("first_token", request)
        return now

    def fault(self, request: Request, kind: str) -> None:
        request.fault = kind
        self._metrics.fault(kind)
        self.events.of_request("fault", request)

    def connection_refused(self) -> None:
        """A fault that no request's record shows."""
        self._metrics.fault("refuse")

    def request_over(self, request: Request, route: str) -> None:
        """``route``: a path of the API as its documentation writes it."""
        self._in_flight -= 1
        end = request.last_byte or request.client_left or perf_counter()
        self._metrics.request_over(request, route, end)
        self.events.of_request("finished", request)

    def stream_began(self, request: Request) -> list[float]:
        """A list for the times of its chunks."""
        self._streams += 1
        self._peak_streams = max(self._peak_streams, self._streams)
        chunks: list[float] = []
        request.chunks = chunks
        return chunks

    def stream_over(self, request: Request) -> None:
        self._streams -= 1
        self._streamed.append(request)
        self._chunks += len(request.chunks)
        while self._chunks > _KEPT_CHUNKS or len(self._streamed) > _KEPT:
            oldest = self._streamed.popleft()
            self._chunks -= len(oldest.chunks)
            oldest.chunks = ()

    def reset(self) -> None:
        """Forget everything but the requests and connections still open."""
        self._requests.clear()
        self._path_bytes = 0
        self._closed.clear()
        self._streamed.clear()
        self._chunks = 0
        self._count = 0
        self._peak_in_flight = self._in_flight
        self._peak_streams = self._streams
        for connection in self.open:
            connection.entry.requests = 0
        self.events.of_reset()

    def to_json(self) -> bytes:
        still_open = [c.entry for c in self.open if not c.control]
        ledger = Ledger(
            requests=list(self._requests),
            connections=sorted([*self._closed, *still_open], key=lambda entry: entry.opened),
            peak_in_flight=self._peak_in_flight,
            peak_streams=self._peak_streams,
        )
        return _ADAPTER.dump_json(ledger)

    def to_prometheus(self) -> tuple[bytes, str]:
        """The metrics in Prometheus' text format, and its content type."""
        return self._metrics.render(self._in_flight, self._streams, len(self.open))


def _do_nothing() -> None:
    pass
