"""OpenAI's errors and headers."""

from __future__ import annotations

import json

from helpers.mock_llm.asgi import Headers
from helpers.mock_llm.serving.dialect import bearer_key, number, round_up
from helpers.mock_llm.serving.errors import ApiError
from helpers.mock_llm.serving.rate_limits import Costs, LimitExceededError, LimitStatus

_MS = 1_000_000


class OpenAI:
    """Errors are ``{"error": {"message", "type", "param", "code"}}``."""

    provider = "openai"

    def error_body(self, error: ApiError, id: str) -> bytes:
        fields = {
            "message": error.message,
            "type": error.type,
            "param": error.param,
            "code": error.code,
        }
        return json.dumps({"error": fields}).encode()

    def headers(self, id: str, processing: float) -> Headers:
        return [
            (b"x-request-id", b"req_" + id.encode()),
            (b"openai-processing-ms", b"%d" % (processing * 1000)),
            (b"openai-version", b"2020-10-01"),
        ]

    def costs(self, prompt: int, cached: int, longest: int) -> Costs:
        return {"requests": 1, "tokens": prompt + longest}

    def dues(self, completion: int) -> Costs:
        return {}

    def limits(self, statuses: list[LimitStatus]) -> Headers:
        """``x-ratelimit-*``: how much of each limit is left, and how long until it is whole again.

        Source: OpenAI's rate limits guide, "Rate limits in headers". Resets are durations.
        """
        return [
            (b"x-ratelimit-%s-%s" % (what, status.kind.encode()), value.encode())
            for status in statuses
            if status.kind in ("requests", "tokens")
            for what, value in (
                (b"limit", number(status.limit)),
                (b"remaining", str(status.remaining)),
                (b"reset", go_duration(status.until_full)),
            )
        ]

    def limit_exceeded(self, excess: LimitExceededError, model: str) -> ApiError:
        kind = excess.kind
        limit = f"{kind} per min ({'RPM' if kind == 'requests' else 'TPM'})"
        if excess.wait is None:
            message = (
                f"Request too large for {model} on {limit}: Limit {excess.capacity}, Requested "
                f"{excess.requested}. The input or output tokens must be reduced in order to run "
                "successfully."
            )
        else:
            message = (
                f"Rate limit reached for {model} on {limit}: Limit {number(excess.per_minute)}, "
                f"Used {excess.used}, Requested {excess.requested}. Please try again in "
                f"{go_duration(excess.wait)}."
            )
        # The same code for a request that is too large, though waiting never helps that one.
        return ApiError(429, message, type=kind, code="rate_limit_exceeded")

    def quota_exceeded(self) -> ApiError:
        return ApiError(
            429,
            "You exceeded your current quota, please check your plan and billing details.",
            type="insufficient_quota",
            code="insufficient_quota",
        )

    def api_key(self, headers: dict[bytes, bytes]) -> bytes | None:
        # Azure has a header of its own.
        return headers.get(b"api-key", b"").strip() or bearer_key(headers)


OPENAI = OpenAI()


def go_duration(nanoseconds: int) -> str:
    """As Go's ``time.Duration`` writes it, in whole milliseconds, rounded up: ``1m30.5s``."""
    ms = round_up(nanoseconds, _MS)
    if 0 < ms < 1000:
        return f"{ms}ms"
    minutes, ms = divmod(ms, 60_000)
    hours, minutes = divmod(minutes, 60)
    text = f"{ms // 1000}.{ms % 1000:03}".rstrip("0").rstrip(".") + "s"
    if hours:
        return f"{hours}h{minutes}m{text}"
    return f"{minutes}m{text}" if minutes else text
