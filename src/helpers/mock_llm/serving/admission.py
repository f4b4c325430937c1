"""What the rate limits know of one request: whether they were asked, and what they answered."""

from __future__ import annotations

from helpers.mock_llm.serving.rate_limits import Costs, Limiter, LimitStatus


class Admission:
    """One request before its key's limits. Without a limiter every request is admitted."""

    def __init__(self, limiter: Limiter | None, key: bytes) -> None:
        self._limiter = limiter
        self._key = key
        self._account = None if limiter is None else limiter.account(key, "")
        self._asked = False
        self._admitted = False

    @property
    def decided(self) -> bool:
        """Whether the limits have counted the request."""
        return self._limiter is None or self._asked

    def admit(self, model: str, costs: Costs) -> None:
        """Count a request. Raises QuotaExceededError, LimitExceededError."""
        if self._limiter is not None:
            self._asked = True
            self._account = self._limiter.account(self._key, model)
            self._account.admit(costs)
            self._admitted = True

    def count_failed(self, model: str) -> None:
        """Count a request that got an error before the limits were asked."""
        if self._limiter is not None:
            self._asked = True
            self._account = self._limiter.account(self._key, model)
            self._account.count_failed()

    def settle(self, tokens: int, dues: Costs) -> None:
        """Charge an admitted request for the tokens that it used, and what is due only now."""
        if self._admitted and self._account is not None:
            self._account.settle(tokens, dues)

    def statuses(self) -> list[LimitStatus]:
        """Each limit as it stands now."""
        return [] if self._account is None else self._account.statuses()
