"""What the rate limits know of one request: whether they were asked, and what they answered."""

from __future__ import annotations

from helpers.mock_llm.settings.limits import Limiter, LimitStatus


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

    def admit(self, model: str, tokens: int) -> None:
        """Count a request and its tokens. Raises ApiError (429)."""
        if self._limiter is not None:
            self._asked = True
            self._account = self._limiter.account(self._key, model)
            self._account.admit(tokens)
            self._admitted = True

    def count_failed(self, model: str) -> None:
        """Count a request that got an error before the limits were asked."""
        if self._limiter is not None:
            self._asked = True
            self._account = self._limiter.account(self._key, model)
            self._account.count_failed()

    def settle(self, tokens: int) -> None:
        """Charge an admitted request for the tokens that it used."""
        if self._admitted and self._account is not None:
            self._account.spend(tokens)

    def statuses(self) -> list[LimitStatus]:
        """Each limit as it stands now."""
        return [] if self._account is None else self._account.statuses()
