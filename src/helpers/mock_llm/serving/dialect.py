"""How a provider says what is not the answer itself: errors and headers."""

from __future__ import annotations

import json
from typing import Any, Protocol

from helpers.mock_llm.asgi import Headers
from helpers.mock_llm.serving.errors import ApiError
from helpers.mock_llm.settings.limits import LimitStatus, anthropic_headers, openai_headers


class Dialect(Protocol):
    def error_body(self, error: ApiError, id: str) -> bytes:
        """The body of an error answer. ``id`` is the request's."""

    def headers(self, id: str, processing: float) -> Headers:
        """The headers of every answer. ``processing`` is in seconds."""

    def limits(self, statuses: list[LimitStatus]) -> Headers:
        """The headers that say how much a key may still ask for."""

    def api_key(self, headers: dict[bytes, bytes]) -> bytes | None:
        """The key that a request carries, if any."""


class OpenAI:
    """Errors are ``{"error": {"message", "type", "param", "code"}}``."""

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

    def limits(self, statuses: list[LimitStatus]) -> Headers:
        return openai_headers(statuses)

    def api_key(self, headers: dict[bytes, bytes]) -> bytes | None:
        if key := headers.get(b"api-key", b"").strip():  # Azure's
            return key
        scheme, _, key = headers.get(b"authorization", b"").partition(b" ")
        return key.strip() if scheme.lower() == b"bearer" and key.strip() else None


OPENAI = OpenAI()


_ANTHROPIC_TYPES = {
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

    def error_body(self, error: ApiError, id: str) -> bytes:
        other = "api_error" if error.status > 500 else "invalid_request_error"
        fields: dict[str, Any] = {
            "type": _ANTHROPIC_TYPES.get(error.status, other),
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
        return anthropic_headers(statuses)

    def api_key(self, headers: dict[bytes, bytes]) -> bytes | None:
        return headers.get(b"x-api-key", b"").strip() or OPENAI.api_key(headers)


ANTHROPIC = Anthropic()


def dialect_of(headers: dict[bytes, bytes]) -> Dialect:
    """Which provider a client believes it speaks with, where the path does not tell."""
    return ANTHROPIC if b"anthropic-version" in headers else OPENAI
