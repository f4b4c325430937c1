"""How a provider says what is not the answer itself: errors and headers."""

from __future__ import annotations

import json
from typing import Protocol

from helpers.mock_llm.asgi import Headers
from helpers.mock_llm.errors import ApiError


class Dialect(Protocol):
    def error_body(self, error: ApiError, id: str) -> bytes:
        """The body of an error answer. ``id`` is the request's."""

    def headers(self, id: str, processing: float) -> Headers:
        """The headers of every answer. ``processing`` is in seconds."""

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

    def api_key(self, headers: dict[bytes, bytes]) -> bytes | None:
        scheme, _, key = headers.get(b"authorization", b"").partition(b" ")
        return key.strip() if scheme.lower() == b"bearer" and key.strip() else None


OPENAI = OpenAI()
