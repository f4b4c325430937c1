"""The server's events, as Python reads them."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
from collections.abc import Generator, Iterator
from types import TracebackType
from typing import Any, Self

_SILENCE_SECONDS = 30.0
"""Longer than any between two of the server's heartbeats, also on a busy machine."""


class EventReader(Iterator[dict[str, Any]]):
    """An iterator of events, that waits for the next one and ends with the server, or when closed.

    Raises OSError and HTTPException when the server is not there, and TimeoutError when it is but
    has been silent for too long.
    """

    def __init__(self, port: int, token: str) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_SILENCE_SECONDS)
        try:
            connection.request("GET", "/_mock/events", headers={"x-mock-token": token})
            self._socket = connection.sock
            self._events = _read(connection, connection.getresponse())
            next(self._events)  # it listens: from here on nothing is missed
        except BaseException:
            connection.close()
            raise

    def __next__(self) -> dict[str, Any]:
        return next(self._events)

    def close(self) -> None:
        """End the iteration, also from another thread than the one that waits."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        self.close()


def _read(
    connection: http.client.HTTPConnection, response: http.client.HTTPResponse
) -> Generator[dict[str, Any]]:
    """Closes the connection when it ends, or is no longer wanted by anybody."""
    try:
        event: dict[str, Any] = {}
        for line in response:
            field, _, value = line.decode().strip().partition(": ")
            if field == "id":
                event["id"] = int(value)
            elif field == "event":
                event["event"] = value
            elif field == "data":
                yield event | json.loads(value)
                event = {}
    except (ConnectionError, http.client.IncompleteRead):
        pass  # the server has ended
    finally:
        response.close()
        connection.close()
