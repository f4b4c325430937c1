"""What the server saw: one record per request, one per TCP connection.

All times are seconds of ``time.perf_counter()``, which is one clock for every process of the
machine: a client's events and the server's can stand on the same axis.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(slots=True)
class Request:
    """One request to the model's API, from its first byte in to its last byte out."""

    id: int
    """1, 2, 3, … in order of arrival since the last reset."""
    connection: int
    """Port of the client's end: names the TCP connection."""
    http_version: str
    """"1.1" or "2"."""
    tls: bool
    method: str
    path: str
    arrival: float
    """The request's head had been read."""
    slot: float | None = None
    """A decode slot was granted; ``slot - arrival`` is the time in the queue."""
    first_token: float | None = None
    """The model had its first token, streamed or not."""
    first_byte: float | None = None
    last_byte: float | None = None
    streamed: bool = False
    model: str | None = None
    messages: int | None = None
    """Of the conversation, also those that the provider had stored, but not a system prompt with a
    field of its own. None where there is no conversation."""
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    completion_tokens: int | None = None
    status: int | None = None
    fault: str | None = None
    client_left: float | None = None
    """The client closed or reset before the last byte was sent."""
    tokens_after_client_left: int = 0
    """Generated and billed after the client had left: only with ``finish_abandoned``."""
    key: str | None = None
    """The API key it carried, shortened to ``sk-…1234``: never the whole key."""
    chunks: Sequence[float] = ()
    """When each piece of a streamed answer was sent; the client may read several as one. Kept for
    the newest streams: once 200,000 times are kept, the stream that ended first loses its own."""

    @property
    def queue(self) -> float | None:
        """Seconds it waited for a decode slot; None if it was never given one."""
        return None if self.slot is None else self.slot - self.arrival


@dataclass(slots=True)
class Connection:
    """One TCP connection, also if it never carried a request."""

    id: int
    """Port of the client's end."""
    opened: float
    closed: float | None = None
    http_version: str | None = None
    """None until the client has sent something."""
    tls: bool = False
    requests: int = 0


@dataclass(slots=True)
class Ledger:
    """A copy of what the server has recorded since the last reset."""

    requests: list[Request] = field(default_factory=list)
    connections: list[Connection] = field(default_factory=list)
    """Every connection opened since the last reset, or still open then."""
    peak_in_flight: int = 0
    """Most requests at once between arrival and last byte."""
    peak_streams: int = 0
    """Most streamed answers at once."""
