"""Anthropic's errors and headers."""

from __future__ import annotations

import json
from typing import Any

from helpers.mock_llm.asgi import Headers
from helpers.mock_llm.serving.dialect import bearer_key, number, time_of_day
from helpers.mock_llm.serving.errors import ApiError
from helpers.mock_llm.serving.rate_limits import LimitExceededError, LimitStatus

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

    def limits(self, statuses: list[LimitStatus]) -> Headers:
        """``anthropic-ratelimit-*``: how much of each limit is left, and when it is whole again.

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

    def limit_exceeded(self, excess: LimitExceededError, model: str) -> ApiError:
        limit = f"{number(excess.per_minute)} {excess.kind} per minute for {model}"
        remedy = (
            f"it alone takes {excess.requested}. Please reduce the prompt length or max_tokens."
            if excess.wait is None
            else "please try again later."
        )
        return ApiError(429, f"This request would exceed your rate limit of {limit}: {remedy}")

    def quota_exceeded(self) -> ApiError:
        return ApiError(429, "You have reached your specified API usage limits.")

    def api_key(self, headers: dict[bytes, bytes]) -> bytes | None:
        return headers.get(b"x-api-key", b"").strip() or bearer_key(headers)


ANTHROPIC = Anthropic()


def rfc3339(nanoseconds: int) -> str:
    """The time of day in so many nanoseconds: ``2026-11-25T09:00:00Z``, rounded up."""
    return time_of_day(nanoseconds).strftime("%Y-%m-%dT%H:%M:%SZ")
