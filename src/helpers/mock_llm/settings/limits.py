"""Rate limits: token buckets per key and model, and what a provider's headers say of them."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from fractions import Fraction
from typing import Any, Literal, TypeVar, get_args

from helpers.mock_llm.asgi import Headers
from helpers.mock_llm.serving import errors

Kind = Literal["requests", "tokens"]
RetryAfter = Literal["seconds", "date", "ms", "none"]
_Name = TypeVar("_Name")
_Entry = TypeVar("_Entry")
_SECOND = 1_000_000_000
_MS = 1_000_000
_KEPT = 10_000
"""Accounts kept, those used last. One that is forgotten begins anew, with full buckets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What each key may ask of each model. Raises ValueError for a value that cannot be.

    A bucket begins full and refills continuously. A request takes 1 from the first and its tokens
    from the second, before it waits for a slot: its prompt and the most that it may answer
    (``max_tokens``, for each choice), or without such a limit what the answer will take. OpenAI's
    rate limits guide counts ``max_tokens`` too; its estimate from the number of characters is not
    published, so ours are the true tokens.

    Failed requests count: also one that is wrong, or refused for its tokens, takes 1 from the first
    bucket. One that finds less than 1 there takes nothing.
    """

    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    burst_requests: float | None = None
    """Size of the bucket: the limit per minute, unless given."""
    burst_tokens: float | None = None
    quota_tokens: int | None = None
    """Tokens that a key may use for ever, of all models; those of its prompts and answers."""
    retry_after: RetryAfter = "seconds"
    """How a 429 says when to come back: ``Retry-After`` in whole seconds, rounded up, or as an
    HTTP-date; ``retry-after-ms``; or not at all. With a ``speed`` that leaves waits of some
    milliseconds, only ``"ms"`` can say so: whole seconds are at least 1."""

    def __post_init__(self) -> None:
        for name, least in (
            ("requests_per_minute", 0),
            ("tokens_per_minute", 0),
            ("burst_requests", 1),
            ("burst_tokens", 1),
        ):
            value = getattr(self, name)
            if value is not None and not _is_above(value, least, allow_equal=least > 0):
                words = f"at least {least}" if least else "more than 0"
                raise ValueError(f"{name} must be {words}, or None for no limit, not {value!r}")
        for kind in ("requests", "tokens"):
            if getattr(self, f"burst_{kind}") and not getattr(self, f"{kind}_per_minute"):
                raise ValueError(f"burst_{kind} needs {kind}_per_minute, which refills the bucket")
        quota = self.quota_tokens
        if quota is not None and (
            isinstance(quota, bool) or not isinstance(quota, int) or quota < 0
        ):
            raise ValueError(f"quota_tokens must be a whole number from 0, or None, not {quota!r}")
        if self.retry_after not in get_args(RetryAfter):
            choices = ", ".join(map(repr, get_args(RetryAfter)))
            raise ValueError(f"retry_after must be one of {choices}, not {self.retry_after!r}")


def find_limits(limits: Limits | dict[str, Any] | None) -> Limits | None:
    """Limits by their fields. Raises ValueError."""
    if limits is None or isinstance(limits, Limits):
        return limits
    if not isinstance(limits, dict):
        raise ValueError(f"limits must be a Limits or None, not {limits!r}")
    try:
        return Limits(**limits)
    except TypeError as error:
        raise ValueError(f"not the fields of Limits: {error}") from None


class Bucket:
    """A token bucket in continuous time, exact: integers, of nanoseconds and of shares of a token.

    Its level is never below 0 nor above ``capacity``, so that in any stretch of time it lets
    through at most ``capacity`` and what it gained meanwhile.
    """

    def __init__(self, capacity: float, per_minute: float, speed: float, now: int) -> None:
        rate = Fraction(per_minute) * Fraction(speed) / (60 * _SECOND)
        self._gain, self._unit = rate.numerator, rate.denominator
        self._capacity = self._level = math.floor(Fraction(capacity) * self._unit)
        self._at = now

    @property
    def capacity(self) -> int:
        """In whole tokens."""
        return self._capacity // self._unit

    def remaining(self, now: int) -> int:
        """Whole tokens in it."""
        return self._refill(now) // self._unit

    def wait(self, cost: int, now: int) -> int:
        """Nanoseconds until ``cost`` is in it, which must not be above ``capacity``."""
        return self._until(cost * self._unit, now)

    def until_full(self, now: int) -> int:
        """Nanoseconds."""
        return self._until(self._capacity, now)

    def take(self, cost: int, now: int) -> bool:
        """Take all of ``cost``, or nothing."""
        if self._refill(now) < cost * self._unit:
            return False
        self._level -= cost * self._unit
        return True

    def _refill(self, now: int) -> int:
        self._level = min(self._capacity, self._level + (now - self._at) * self._gain)
        self._at = now
        return self._level

    def _until(self, level: int, now: int) -> int:
        return max(0, -((self._refill(now) - level) // self._gain))


@dataclass(slots=True)
class Quota:
    """What is left of a key's quota."""

    tokens: int | None


@dataclass(frozen=True, slots=True)
class LimitStatus:
    """One limit, as headers tell it."""

    kind: Kind
    limit: float
    """Per minute."""
    remaining: int
    until_full: int
    """Nanoseconds."""


@dataclass(frozen=True, slots=True)
class _Limit:
    per_minute: float
    bucket: Bucket


class Account:
    """One key's use of one model."""

    def __init__(
        self, limits: Limits, speed: float, model: str, quota: Quota, clock: Callable[[], int]
    ) -> None:
        self._form = limits.retry_after
        self._model = model
        self._quota = quota
        self._clock = clock
        self._limits: dict[Kind, _Limit] = {}
        self._add("requests", limits.requests_per_minute, limits.burst_requests, speed)
        self._add("tokens", limits.tokens_per_minute, limits.burst_tokens, speed)

    def admit(self, tokens: int) -> None:
        """Take a request and its tokens. Raises ApiError (429) where there is not enough."""
        now = self._clock()
        costs: dict[Kind, int] = {"requests": 1, "tokens": tokens}
        if (refusal := self._refusal(costs, now)) is not None:
            self.count_failed()
            raise refusal
        for kind, limit in self._limits.items():
            limit.bucket.take(costs[kind], now)

    def count_failed(self) -> None:
        """A request that was not admitted."""
        if "requests" in self._limits:
            self._limits["requests"].bucket.take(1, self._clock())

    def spend(self, tokens: int) -> None:
        """Take used tokens from the quota."""
        if self._quota.tokens is not None:
            self._quota.tokens -= tokens

    def statuses(self) -> list[LimitStatus]:
        now = self._clock()
        return [
            LimitStatus(
                kind, limit.per_minute, limit.bucket.remaining(now), limit.bucket.until_full(now)
            )
            for kind, limit in self._limits.items()
        ]

    def _add(self, kind: Kind, per_minute: float | None, burst: float | None, speed: float) -> None:
        if per_minute is not None:
            bucket = Bucket(burst or max(1, per_minute), per_minute, speed, self._clock())
            self._limits[kind] = _Limit(per_minute, bucket)

    def _refusal(self, costs: dict[Kind, int], now: int) -> errors.ApiError | None:
        if self._quota.tokens is not None and self._quota.tokens <= 0:
            return errors.insufficient_quota()
        waits: dict[Kind, int] = {}
        for kind, limit in self._limits.items():
            if costs[kind] > limit.bucket.capacity:
                return errors.request_too_large(self._model, limit.bucket.capacity, costs[kind])
            waits[kind] = limit.bucket.wait(costs[kind], now)
        if not any(waits.values()):
            return None
        kind = max(waits, key=lambda kind: waits[kind])
        limit = self._limits[kind]
        return errors.rate_limited(
            kind,
            self._model,
            limit=number(limit.per_minute),
            used=limit.bucket.capacity - limit.bucket.remaining(now),
            requested=costs[kind],
            wait=go_duration(waits[kind]),
            headers=tuple(retry_after(waits[kind], self._form)),
        )


class Limiter:
    """The accounts of all keys. ``clock`` gives nanoseconds that never go back."""

    def __init__(
        self, limits: Limits, speed: float, clock: Callable[[], int] = time.perf_counter_ns
    ) -> None:
        self._limits = limits
        self._speed = speed
        self._clock = clock
        self._accounts: OrderedDict[tuple[bytes, str], Account] = OrderedDict()
        self._quotas: OrderedDict[bytes, Quota] = OrderedDict()

    def account(self, key: bytes, model: str) -> Account:
        if key not in self._quotas:
            _remember(self._quotas, key, Quota(self._limits.quota_tokens))
        quota = self._quotas[key]
        if (key, model) not in self._accounts:
            account = Account(self._limits, self._speed, model, quota, self._clock)
            _remember(self._accounts, (key, model), account)
        self._quotas.move_to_end(key)
        self._accounts.move_to_end((key, model))
        return self._accounts[key, model]


def _remember(entries: OrderedDict[_Name, _Entry], name: _Name, entry: _Entry) -> None:
    entries[name] = entry
    if len(entries) > _KEPT:
        entries.popitem(last=False)


def openai_headers(statuses: list[LimitStatus]) -> Headers:
    """``x-ratelimit-*``: how much of each limit is left, and how long until it is whole again.

    Source: OpenAI's rate limits guide, "Rate limits in headers". Resets are durations.
    """
    return [
        (b"x-ratelimit-%s-%s" % (what, status.kind.encode()), value.encode())
        for status in statuses
        for what, value in (
            (b"limit", number(status.limit)),
            (b"remaining", str(status.remaining)),
            (b"reset", go_duration(status.until_full)),
        )
    ]


def anthropic_headers(statuses: list[LimitStatus]) -> Headers:
    """``anthropic-ratelimit-*``: the same, with times of day for the resets.

    Source: the Claude API reference, "Rate limits". There input and output have limits of their
    own and ``tokens`` is the tighter of them; here all three are the one limit there is.
    """
    headers = []
    for status in statuses:
        kinds = ["tokens", "input-tokens", "output-tokens"]
        for kind in kinds if status.kind == "tokens" else ["requests"]:
            for what, value in (
                ("limit", number(status.limit)),
                ("remaining", str(status.remaining)),
                ("reset", rfc3339(status.until_full)),
            ):
                headers.append((f"anthropic-ratelimit-{kind}-{what}".encode(), value.encode()))
    return headers


def retry_after(wait: int, form: RetryAfter) -> Headers:
    """The header that asks to wait for ``wait`` nanoseconds, never a moment less.

    Source: RFC 9110, section 10.2.3, which knows whole seconds and dates; ``retry-after-ms`` is
    what the OpenAI and Anthropic SDKs read besides.
    """
    if form == "seconds":
        return [(b"retry-after", b"%d" % _ceil(wait, _SECOND))]
    if form == "ms":
        return [(b"retry-after-ms", b"%d" % _ceil(wait, _MS))]
    if form == "date":
        return [(b"retry-after", format_datetime(_time_of_day(wait), usegmt=True).encode())]
    return []


def go_duration(nanoseconds: int) -> str:
    """As Go's ``time.Duration`` writes it, in whole milliseconds, rounded up: ``1m30.5s``."""
    ms = _ceil(nanoseconds, _MS)
    if 0 < ms < 1000:
        return f"{ms}ms"
    minutes, ms = divmod(ms, 60_000)
    hours, minutes = divmod(minutes, 60)
    text = f"{ms // 1000}.{ms % 1000:03}".rstrip("0").rstrip(".") + "s"
    if hours:
        return f"{hours}h{minutes}m{text}"
    return f"{minutes}m{text}" if minutes else text


def rfc3339(nanoseconds: int) -> str:
    """The time of day in so many nanoseconds: ``2026-11-25T09:00:00Z``, rounded up."""
    return _time_of_day(nanoseconds).strftime("%Y-%m-%dT%H:%M:%SZ")


def number(value: float) -> str:
    """A limit, without a fraction that says nothing."""
    return str(int(value)) if value == int(value) else str(value)


def _time_of_day(wait: int) -> datetime:
    seconds = _ceil(time.time_ns() + wait, _SECOND)
    try:
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    except OverflowError:
        return datetime.max.replace(tzinfo=UTC)


def _ceil(value: int, unit: int) -> int:
    return -(-value // unit)


def _is_above(value: object, least: float, *, allow_equal: bool) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float) or not value < math.inf:
        return False
    return value > least or (allow_equal and value == least)
