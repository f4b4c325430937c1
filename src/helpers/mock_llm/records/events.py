"""The records as they are made, for listeners that follow them live."""

from __future__ import annotations

import asyncio
from collections import deque
from time import perf_counter
from typing import NamedTuple

from pydantic import TypeAdapter

from helpers.mock_llm.records.ledger import Connection, Request

# Events kept for a listener that reads slowly: some 0.5 MiB.
_WAITING = 1_000
_REQUEST = TypeAdapter(Request)
_CONNECTION = TypeAdapter(Connection)


class Event(NamedTuple):
    """What happened. ``MockLLM.events`` lists the names."""

    name: str
    number: int | None
    """One more than the last event's; None for what is said to one listener alone."""
    data: bytes
    """A JSON object."""


class Events:
    """Numbers every event, with or without listeners, so that one can tell how many it missed."""

    def __init__(self) -> None:
        self._last = 0
        self._listeners: set[Listener] = set()

    def of_request(self, name: str, request: Request) -> None:
        self._last += 1
        if self._listeners:
            # Without the chunks: there are too many, and the ledger has them.
            self._publish(name, b"request", _REQUEST.dump_json(request, exclude={"chunks"}))

    def of_connection(self, name: str, connection: Connection) -> None:
        self._last += 1
        if self._listeners:
            self._publish(name, b"connection", _CONNECTION.dump_json(connection))

    def of_reset(self) -> None:
        self._last += 1
        if self._listeners:
            self._publish("reset")

    def subscribe(self, last_seen: int | None) -> Listener:
        """Add a listener, which may have seen events up to number ``last_seen`` before."""
        listener = Listener(0 if last_seen is None else max(0, self._last - last_seen))
        listener.add(_event("listening", self._last))
        self._listeners.add(listener)
        return listener

    def unsubscribe(self, listener: Listener) -> None:
        self._listeners.discard(listener)

    def _publish(self, name: str, kind: bytes = b"", entry: bytes = b"") -> None:
        event = _event(name, self._last, kind, entry)
        for listener in self._listeners:
            listener.add(event)


class Listener:
    """What one listener has yet to be sent. The server never waits for it: the oldest are lost."""

    def __init__(self, missed: int) -> None:
        self._missed = missed
        self._waiting: deque[Event] = deque(maxlen=_WAITING)
        self._news: asyncio.Future[None] | None = None

    def add(self, event: Event) -> None:
        self._missed += len(self._waiting) == _WAITING
        self._waiting.append(event)
        self.wake()

    def take(self) -> list[Event]:
        """All that waits, after the number of events that were lost before it."""
        events = [*self._waiting]
        self._waiting.clear()
        if self._missed:
            events.insert(0, Event("missed", None, b'{"count":%d}' % self._missed))
            self._missed = 0
        return events

    def news(self) -> asyncio.Future[None]:
        """Done when something waits, or when `wake` is called."""
        self._news = asyncio.get_running_loop().create_future()
        if self._waiting:
            self.wake()
        return self._news

    def wake(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)


def _event(name: str, number: int, kind: bytes = b"", entry: bytes = b"") -> Event:
    more = b',"%s":%s' % (kind, entry) if kind else b""
    return Event(name, number, b'{"time":%.6f%s}' % (perf_counter(), more))
