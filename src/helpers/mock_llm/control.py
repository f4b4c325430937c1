"""The routes under ``/_mock/`` by which whoever started the server reads and steers it."""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from helpers.mock_llm import errors
from helpers.mock_llm.books import Books
from helpers.mock_llm.engine import Engine
from helpers.mock_llm.guard import is_loopback_origin
from helpers.mock_llm.settings import Settings

_METHODS = {"/_mock/ledger": "GET", "/_mock/reset": "POST", "/_mock/configure": "POST"}
_OK = b"{}"


class Control:
    def __init__(self, token: str, settings: Settings, books: Books, engine: Engine) -> None:
        self._token = token.encode()
        self._settings = settings
        self._books = books
        self._engine = engine

    def admit(self, headers: Mapping[bytes, bytes]) -> None:
        """Raises ApiError (403) for anyone but the starter of the server."""
        known = hmac.compare_digest(headers.get(b"x-mock-token", b""), self._token)
        origin = headers.get(b"origin")
        if not known or (origin is not None and not is_loopback_origin(origin)):
            raise errors.control_refused()

    def answer(self, method: str, path: str, body: bytes) -> bytes:
        if path not in _METHODS:
            raise errors.unknown_url(method, path)
        if method != _METHODS[path]:
            raise errors.method_not_allowed(method, path, _METHODS[path])
        if path == "/_mock/ledger":
            return self._books.to_json()
        if path == "/_mock/reset":
            self._books.reset()
            self._engine.reset()
        else:
            self._configure(body)
        return _OK

    def _configure(self, body: bytes) -> None:
        try:
            changes: dict[str, Any] = json.loads(body)
            self._settings = replace(self._settings, **changes)
        except (ValueError, TypeError, RecursionError) as error:
            raise errors.ApiError(400, f"Invalid settings: {error}") from None
        self._engine.configure(self._settings)
