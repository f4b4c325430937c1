"""The ASGI application: who may ask, what for, and what the books say about it."""

from __future__ import annotations

import hmac
import sys
import traceback
from collections.abc import Mapping
from time import perf_counter

from helpers.mock_llm import errors
from helpers.mock_llm.asgi import ClientLeftError, Reader, Receive, Scope, Send, read_body, respond
from helpers.mock_llm.books import Books, OpenConnection
from helpers.mock_llm.chat import Chat
from helpers.mock_llm.control import Control
from helpers.mock_llm.errors import ApiError
from helpers.mock_llm.exchange import Exchange
from helpers.mock_llm.guard import is_loopback
from helpers.mock_llm.models import model_card, model_list

_CHAT = "/v1/chat/completions"
_MODELS = "/v1/models"
_MODEL = "/v1/models/"


class App:
    def __init__(self, books: Books, chat: Chat, control: Control, api_key: str | None) -> None:
        self._books = books
        self._chat = chat
        self._control = control
        self._api_key = None if api_key is None else api_key.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        connection = self._books.open.get(scope["client"])
        if connection is None:  # it closed before its request got here
            return
        connection.in_progress += 1
        try:
            await self._serve(connection, scope, receive, send)
        finally:
            connection.in_progress -= 1
            connection.idle_since = perf_counter()

    async def _serve(
        self, connection: OpenConnection, scope: Scope, receive: Receive, send: Send
    ) -> None:
        path = scope["path"]
        if path == "/v1" or path.startswith("/v1/"):
            await self._serve_api(connection, scope, receive, send)
            return
        try:
            await respond(send, 200, await self._serve_control(connection, scope, receive), [])
        except ApiError as error:
            await respond(send, error.status, error.body, list(error.headers))
        except ClientLeftError:
            pass
        except Exception:  # noqa: BLE001  # a mistake of ours, which uvicorn would not mention
            traceback.print_exc(file=sys.stderr)
            await respond(send, 500, errors.internal().body, [])

    async def _serve_control(
        self, connection: OpenConnection, scope: Scope, receive: Receive
    ) -> bytes:
        method, path, headers = scope["method"], scope["path"], dict(scope["headers"])
        _check_host(headers)
        if not path.startswith("/_mock/"):
            raise errors.unknown_url(method, path)
        self._control.admit(headers)
        if connection.entry.requests == 0:
            connection.control = True
        return self._control.answer(method, path, await read_body(receive))

    async def _serve_api(
        self, connection: OpenConnection, scope: Scope, receive: Receive, send: Send
    ) -> None:
        record = self._books.request_arrived(connection, scope)
        exchange = Exchange(record, self._books, Reader(receive), receive, send)
        try:
            await self._answer(exchange, scope)
        except ApiError as error:
            await exchange.reply(error.status, error.body, list(error.headers))
        except ClientLeftError:
            record.client_left = perf_counter()
        except Exception:  # noqa: BLE001  # a mistake of ours: say so, and keep serving
            traceback.print_exc(file=sys.stderr)
            if record.first_byte is None:
                failure = errors.internal()
                await exchange.reply(failure.status, failure.body)
        finally:
            exchange.close()
            if connection.entry.closed is not None and record.client_left is None:
                record.client_left = connection.entry.closed

    async def _answer(self, exchange: Exchange, scope: Scope) -> None:
        method, path, headers = scope["method"], scope["path"], dict(scope["headers"])
        _check_host(headers)
        if path == _CHAT:
            _check_method(method, path, "POST")
            self._check_key(headers)
            await self._chat.answer(exchange)
        elif path == _MODELS:
            _check_method(method, path, "GET")
            self._check_key(headers)
            await exchange.reply(200, model_list())
        elif path.startswith(_MODEL):
            _check_method(method, path, "GET")
            self._check_key(headers)
            await exchange.reply(200, model_card(path.removeprefix(_MODEL)))
        else:
            raise errors.unknown_url(method, path)

    def _check_key(self, headers: Mapping[bytes, bytes]) -> None:
        if self._api_key is None:
            return
        scheme, _, key = headers.get(b"authorization", b"").partition(b" ")
        if scheme.lower() != b"bearer" or not key:
            raise errors.no_api_key()
        if not hmac.compare_digest(key.strip(), self._api_key):
            raise errors.wrong_api_key(key.decode("latin-1"))


def _check_host(headers: Mapping[bytes, bytes]) -> None:
    if not is_loopback(headers.get(b"host", b"")):
        raise errors.not_loopback()


def _check_method(method: str, path: str, allowed: str) -> None:
    if method != allowed:
        raise errors.method_not_allowed(method, path, allowed)
