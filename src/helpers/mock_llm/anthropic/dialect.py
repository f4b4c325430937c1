"""Anthropic's errors and headers."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from helpers.mock_llm.asgi import Headers
from helpers.mock_llm.serving.dialect import bearer_key, number, time_of_day
from helpers.mock_llm.serving.errors import ApiError
from helpers.mock_llm.serving.rate_limits import Costs, Kind, LimitExceededError, LimitStatus

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_NAMES: dict[Kind, str] = {
    "requests": "requests",
    "input_tokens": "input-tokens",
    "output_tokens": "output-tokens",
}


class Anthropic:
    """Errors are ``{"type": "error", "error": {"type", "message"}, "request_id"}``.

    Source: the Claude API reference, "Errors", and what the API answers.
    """

    provider = "anthropic"

    def error_body(self, error: ApiError, id: str) -> bytes:
        other = "api_error" if error.status > 500 else "invalid_request_error"
        fields: dict[str, Any] = {
            "type": _TYPES.get(error.status, other),
            "message": error.anthropic,
        }
        if error.details is not None:
            fields["details"] = error.details
        return json.dumps({"type": "error", "error": fields, "request_id": f"req_{id}"}).encode()

    def headers(self, id: str, processing: float) -> Headers:
        return [
            (b"request-id", b"req_" + id.encode()),
            (b"anthropic-organization-id", b"00000000-0000-4000-8000-000000000000"),
        ]

    def costs(self, prompt: int, cached: int, longest: int) -> Costs:
        # One token of output, so that a bucket that is empty refuses: no more is known yet.
        return {"requests": 1, "input_tokens": prompt - cached, "output_tokens": 1}

    def dues(self, completion: int) -> Costs:
        return {"output_tokens": max(0, completion - 1)}

    def limits(self, statuses: list[LimitStatus]) -> Headers:
        """``anthropic-ratelimit-*``: how much of each limit is left, and when it is whole again.

        ``tokens`` is the tighter of input and output. Source: the Claude API reference, "Rate
        limits", and "Response headers" there.
        """
        named = {_NAMES[status.kind]: status for status in statuses if status.kind in _NAMES}
        tokens = [status for name, status in named.items() if name != "requests"]
        if tokens:
            named["tokens"] = min(tokens, key=lambda status: status.remaining)
        return [
            (f"anthropic-ratelimit-{name}-{what}".encode(), value.encode())
            for name, status in named.items()
            for what, value in (
                ("limit", number(status.limit)),
                ("remaining", str(status.remaining)),
                ("reset", rfc3339(status.until_full)),
            )
        ]

    def limit_exceeded(self, excess: LimitExceededError, model: str) -> ApiError:
        kind = excess.kind.replace("_", " ")
        limit = f"{number(excess.per_minute)} {kind} per minute for {model}"
        remedy = (
            f"it alone takes {excess.requested}. Please reduce the prompt length."
            if excess.wait is None
            else "please try again later."
        )
        return ApiError(429, f"This request would exceed your rate limit of {limit}: {remedy}")

    def quota_exceeded(self) -> ApiError:
        """Not 429: anthropics/claude-code#2127 and #38038 quote the status and the sentence."""
        next_month = (datetime.now(UTC).replace(day=1) + timedelta(days=32)).replace(day=1)
        return ApiError(
            400,
            "You have reached your specified API usage limits. You will regain access on "
            f"{next_month:%Y-%m-%d} at 00:00 UTC.",
        )

    def api_key(self, headers: dict[bytes, bytes]) -> bytes | None:
        return headers.get(b"x-api-key", b"").strip() or bearer_key(headers)


ANTHROPIC = Anthropic()


def rfc3339(nanoseconds: int) -> str:
    """The time of day in so many nanoseconds: ``2026-11-25T09:00:00Z``, rounded up."""
    return time_of_day(nanoseconds).strftime("%Y-%m-%dT%H:%M:%SZ")
