"""The server's events, as Python reads them."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Generator, Iterator
from typing import Any, Self

import httpx
from httpx_sse import EventSource

# Longer than any gap between two of the server's heartbeats, even on a busy machine.
_SILENCE_SECONDS = 30.0


class EventReader(Iterator[dict[str, Any]]):
    """An iterator of events. It waits for the next one; it ends with the server, or when closed.

    ``client`` is closed with it. Raises httpx.TransportError when the server is not there, and
    httpx.ReadTimeout when it is but has been silent for too long.
    """

    def __init__(self, client: httpx.Client) -> None:
        request = client.build_request("GET", "events", timeout=_SILENCE_SECONDS)
        try:
            response = client.send(request, stream=True)
            self._socket: socket.socket = response.extensions["network_stream"].get_extra_info(
                "socket"
            )
            self._events = _read(client, response)
            next(self._events)  # it listens: from here on nothing is missed
        except BaseException:
            client.close()
            raise

    def __next__(self) -> dict[str, Any]:
        return next(self._events)

    def close(self) -> None:
        """End the iteration. Another thread than the one that waits may call this."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _read(client: httpx.Client, response: httpx.Response) -> Generator[dict[str, Any]]:
    try:
        for event in EventSource(response).iter_sse():
            number = {} if event.event == "missed" else {"id": int(event.id)}
            yield {"event": event.event, **number, **json.loads(event.data)}
    except (httpx.ReadError, httpx.RemoteProtocolError):
        pass  # the server has ended, or the reader was closed
    finally:
        response.close()
        client.close()
