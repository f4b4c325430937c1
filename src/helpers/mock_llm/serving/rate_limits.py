"""Rate limits: token buckets and quotas per key and model."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, TypeAlias, TypeVar

from helpers.mock_llm.settings.limits import Limits

Kind = Literal["requests", "tokens", "input_tokens", "output_tokens"]
Costs: TypeAlias = Mapping[Kind, int]
_Name = TypeVar("_Name")
_Entry = TypeVar("_Entry")
_SECOND = 1_000_000_000
# A forgotten account begins with full buckets when its key comes back.
_KEPT = 10_000


class QuotaExceededError(Exception):
    """A key has used up its quota."""


@dataclass(eq=False)
class LimitExceededError(Exception):
    """A request takes more than a bucket holds."""

    kind: Kind
    per_minute: float
    capacity: int
    used: int
    requested: int
    wait: int | None
    """Nanoseconds until the bucket holds enough; None for a request that it can never hold."""


class Bucket:
    """A token bucket in continuous time, exact: integers, of nanoseconds and of shares of a token.

    Without `charge`, its level is never below 0 nor above ``capacity``, so that in any stretch of
    time it lets through at most ``capacity`` and what it gained meanwhile.
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
        return max(0, self._refill(now) // self._unit)

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

    def charge(self, cost: int, now: int) -> None:
        """Take all of ``cost``; what is not there is owed."""
        self._level = self._refill(now) - cost * self._unit

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
    """One limit, as headers report it."""

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
        self, limits: Limits, speed: float, quota: Quota, clock: Callable[[], int]
    ) -> None:
        self._quota = quota
        self._clock = clock
        self._limits: dict[Kind, _Limit] = {}
        self._add("requests", limits.requests_per_minute, limits.burst_requests, speed)
        self._add("tokens", limits.tokens_per_minute, limits.burst_tokens, speed)
        if limits.input_tokens_per_minute is None:
            self._add("input_tokens", limits.tokens_per_minute, limits.burst_tokens, speed)
        else:
            self._add("input_tokens", limits.input_tokens_per_minute, None, speed)
        self._add("output_tokens", limits.output_tokens_per_minute, None, speed)

    def admit(self, costs: Costs) -> None:
        """Take what a request costs. Raises QuotaExceededError, LimitExceededError."""
        now = self._clock()
        try:
            self._check(costs, now)
        except (QuotaExceededError, LimitExceededError):
            self.count_failed()
            raise
        for kind in costs.keys() & self._limits.keys():
            self._limits[kind].bucket.take(costs[kind], now)

    def count_failed(self) -> None:
        """A request that was not admitted."""
        if "requests" in self._limits:
            self._limits["requests"].bucket.take(1, self._clock())

    def settle(self, tokens: int, dues: Costs) -> None:
        """Take used tokens from the quota, and what is due only now from the buckets."""
        if self._quota.tokens is not None:
            self._quota.tokens -= tokens
        for kind in dues.keys() & self._limits.keys():
            self._limits[kind].bucket.charge(dues[kind], self._clock())

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

    def _check(self, costs: Costs, now: int) -> None:
        if self._quota.tokens is not None and self._quota.tokens <= 0:
            raise QuotaExceededError
        waits: dict[Kind, int] = {}
        for kind, cost in costs.items():
            if kind not in self._limits:
                continue
            bucket = self._limits[kind].bucket
            if cost > bucket.capacity:
                raise self._excess(kind, cost, now, wait=None)
            waits[kind] = bucket.wait(cost, now)
        kind = max(waits, key=lambda kind: waits[kind], default="requests")
        if waits.get(kind):
            raise self._excess(kind, costs[kind], now, waits[kind])

    def _excess(self, kind: Kind, cost: int, now: int, wait: int | None) -> LimitExceededError:
        limit = self._limits[kind]
        capacity = limit.bucket.capacity
        used = capacity - limit.bucket.remaining(now)
        return LimitExceededError(kind, limit.per_minute, capacity, used, cost, wait)


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
            account = Account(self._limits, self._speed, quota, self._clock)
            _remember(self._accounts, (key, model), account)
        self._quotas.move_to_end(key)
        self._accounts.move_to_end((key, model))
        return self._accounts[key, model]

    def reset(self) -> None:
        """Restore every key's buckets and quota, also for requests that have already arrived."""
        self._accounts.clear()
        self._quotas.clear()


def _remember(entries: OrderedDict[_Name, _Entry], name: _Name, entry: _Entry) -> None:
    entries[name] = entry
    if len(entries) > _KEPT:
        entries.popitem(last=False)
