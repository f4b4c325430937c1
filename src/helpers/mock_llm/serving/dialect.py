"""How a provider words what is not the answer itself: errors and headers."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Protocol

from helpers.mock_llm.asgi import Headers
from helpers.mock_llm.serving.errors import ApiError
from helpers.mock_llm.serving.rate_limits import Costs, LimitExceededError, LimitStatus
from helpers.mock_llm.settings.limits import RetryAfter

_SECOND = 1_000_000_000
_MS = 1_000_000


class Dialect(Protocol):
    @property
    def provider(self) -> str:
        """ "openai" or "anthropic"."""

    def error_body(self, error: ApiError, id: str) -> bytes:
        """The body of an error answer. ``id`` is the request's."""

    def headers(self, id: str, processing: float) -> Headers:
        """The headers of every answer. ``processing`` is in seconds."""

    def costs(self, prompt: int, cached: int, longest: int) -> Costs:
        """What a request counts for in the limits before it is answered, in tokens.

        ``cached`` are those of the prompt that are in the prefix cache.
        """

    def dues(self, completion: int) -> Costs:
        """What else it counts for once ``completion`` tokens are generated."""

    def limits(self, statuses: list[LimitStatus]) -> Headers:
        """The headers that say how much a key may still ask for."""

    def limit_exceeded(self, excess: LimitExceededError, model: str) -> ApiError:
        """The error for a request that found too little left of a limit."""

    def quota_exceeded(self) -> ApiError:
        """The error for a key that has used up its quota."""

    def api_key(self, headers: dict[bytes, bytes]) -> bytes | None:
        """The key that a request carries, if any."""


def bearer_key(headers: dict[bytes, bytes]) -> bytes | None:
    scheme, _, key = headers.get(b"authorization", b"").partition(b" ")
    return key.strip() if scheme.lower() == b"bearer" and key.strip() else None


def retry_after(wait: int, form: RetryAfter) -> Headers:
    """The header that asks to wait for ``wait`` nanoseconds, never a moment less.

    Source: RFC 9110, section 10.2.3, which knows whole seconds and dates; ``retry-after-ms`` is
    what the OpenAI and Anthropic SDKs read besides.
    """
    if form == "seconds":
        return [(b"retry-after", b"%d" % round_up(wait, _SECOND))]
    if form == "ms":
        return [(b"retry-after-ms", b"%d" % round_up(wait, _MS))]
    if form == "date":
        return [(b"retry-after", format_datetime(time_of_day(wait), usegmt=True).encode())]
    return []


def time_of_day(wait: int) -> datetime:
    """The time in ``wait`` nanoseconds, in whole seconds, rounded up."""
    seconds = round_up(time.time_ns() + wait, _SECOND)
    try:
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    except OverflowError:
        return datetime.max.replace(tzinfo=UTC)


def round_up(value: int, unit: int) -> int:
    """In whole units."""
    return -(-value // unit)


def number(value: float) -> str:
    """A limit, without a fraction that says nothing."""
    return str(int(value)) if value == int(value) else str(value)
