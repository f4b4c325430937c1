"""The ASGI application: who may ask, what for, and what the books say about it."""

from __future__ import annotations

import hmac
import re
import sys
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from time import perf_counter
from typing import TypeAlias

from helpers.mock_llm.anthropic.messages import Messages
from helpers.mock_llm.anthropic.threads import Threads
from helpers.mock_llm.asgi import (
    AbortedResponseError,
    ClientDisconnectError,
    Reader,
    Receive,
    Scope,
    Send,
    respond,
)
from helpers.mock_llm.control import Control
from helpers.mock_llm.guard import is_loopback, shorten_key
from helpers.mock_llm.http.connection import EXTENSION
from helpers.mock_llm.openai.chat import Chat
from helpers.mock_llm.openai.embeddings import Embeddings
from helpers.mock_llm.openai.response_store import ResponseStore
from helpers.mock_llm.openai.responses import Responses
from helpers.mock_llm.records.recorder import OpenConnection, Recorder
from helpers.mock_llm.serving import errors
from helpers.mock_llm.serving.dialect import ANTHROPIC, OPENAI, Dialect, dialect_of
from helpers.mock_llm.serving.engine import Engine
from helpers.mock_llm.serving.errors import ApiError
from helpers.mock_llm.serving.exchange import Exchange
from helpers.mock_llm.serving.models import list_models, show_model

_Handler: TypeAlias = Callable[[Exchange], Awaitable[None]]
_ITEM = re.compile(r"^(/v1/\w+/)[^/]*")


@dataclass(frozen=True, slots=True)
class _Route:
    handlers: dict[str, _Handler]
    """By method."""
    dialect: Dialect | None = OPENAI
    """None: both providers have this path."""
    asks_model: bool = False


class App:
    def __init__(
        self,
        recorder: Recorder,
        engine: Engine,
        control: Control,
        responses: ResponseStore,
        threads: Threads,
        api_key: str | None,
    ) -> None:
        self._recorder = recorder
        self._engine = engine
        self._control = control
        self._api_key = None if api_key is None else api_key.encode()
        stored = Responses(engine, responses)
        messages = Messages(engine, threads)
        self._routes = {
            "/v1/chat/completions": _Route({"POST": Chat(engine).answer}, asks_model=True),
            "/v1/embeddings": _Route({"POST": Embeddings(engine).answer}, asks_model=True),
            "/v1/messages": _Route({"POST": messages.answer}, dialect=ANTHROPIC, asks_model=True),
            "/v1/messages/count_tokens": _Route({"POST": messages.count}, dialect=ANTHROPIC),
            "/v1/models": _Route({"GET": list_models}, dialect=None),
            "/v1/models/{id}": _Route({"GET": show_model}, dialect=None),
            "/v1/responses": _Route({"POST": stored.create}, asks_model=True),
            "/v1/responses/input_tokens": _Route({"POST": stored.count}),
            "/v1/responses/{id}": _Route({"GET": stored.show, "DELETE": stored.delete}),
            "/v1/responses/{id}/cancel": _Route({"POST": stored.cancel}),
            "/v1/responses/{id}/input_items": _Route({"GET": stored.list_input}),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        connection = self._recorder.open.get(scope["client"])
        if connection is None:  # it closed before its request got here
            return
        path = scope["path"]
        is_api = path == "/v1" or path.startswith("/v1/")
        serve = self._serve_api if is_api else self._serve_control
        connection.in_progress += 1
        try:
            await serve(connection, scope, receive, send)
        finally:
            connection.in_progress -= 1
            connection.idle_since = perf_counter()

    async def _serve_control(
        self, connection: OpenConnection, scope: Scope, receive: Receive, send: Send
    ) -> None:
        path, headers = scope["path"], dict(scope["headers"])
        try:
            _check_host(headers)
            self._control.admit(scope["method"], path, headers)
            if not connection.announced:
                connection.control = True
            await self._control.answer(path, headers, receive, send)
        except ApiError as error:
            await respond(send, error.status, OPENAI.error_body(error, ""), list(error.headers))
        except ClientDisconnectError:
            pass
        except Exception:  # noqa: BLE001  # a mistake of ours, which uvicorn would not mention
            traceback.print_exc(file=sys.stderr)
            await respond(send, 500, OPENAI.error_body(errors.internal(), ""), [])

    async def _serve_api(
        self, connection: OpenConnection, scope: Scope, receive: Receive, send: Send
    ) -> None:
        record = self._recorder.request_arrived(connection, scope)
        name, route = self._route(scope["path"])
        headers = dict(scope["headers"])
        exchange = Exchange(
            record=record,
            recorder=self._recorder,
            dialect=(route.dialect if route else None) or dialect_of(headers),
            route=name,
            request_headers=headers,
            query=scope["query_string"],
            reader=Reader(receive),
            # Taken out: while they hold each other, only the garbage collector would free them.
            wire=scope["extensions"].pop(EXTENSION),
            _receive=receive,
            _send=send,
        )
        try:
            await self._answer(exchange, route)
        except ApiError as error:
            await exchange.refuse(error)
        except ClientDisconnectError:
            record.client_left = record.client_left or perf_counter()
        except AbortedResponseError:
            return
        except Exception:  # noqa: BLE001  # a mistake of ours: say so, and keep serving
            traceback.print_exc(file=sys.stderr)
            if record.first_byte is None:
                await exchange.refuse(errors.internal())
        finally:
            if connection.entry.closed is not None and record.last_byte is None:
                record.client_left = record.client_left or connection.entry.closed
            exchange.close()

    def _route(self, path: str) -> tuple[str, _Route | None]:
        name = path if path in self._routes else _ITEM.sub(r"\1{id}", path)
        route = self._routes.get(name)
        return (name if route else "other"), route

    async def _answer(self, exchange: Exchange, route: _Route | None) -> None:
        method, path = exchange.record.method, exchange.record.path
        key = exchange.dialect.api_key(exchange.request_headers)
        exchange.record.key = None if key is None else shorten_key(key)
        _check_host(exchange.request_headers)
        if route is None:
            raise errors.unknown_url(method, path)
        if method not in route.handlers:
            raise errors.method_not_allowed(method, path, ", ".join(route.handlers))
        self._check_key(key)
        self._engine.welcome(exchange, key or b"")
        if exchange.fault is not None and not route.asks_model:
            raise errors.no_fault_here()
        await route.handlers[method](exchange)

    def _check_key(self, key: bytes | None) -> None:
        if self._api_key is None:
            return
        if key is None:
            raise errors.no_api_key()
        if not hmac.compare_digest(key, self._api_key):
            raise errors.wrong_api_key(key.decode("latin-1"))


def _check_host(headers: dict[bytes, bytes]) -> None:
    if not is_loopback(headers.get(b"host", b"")):
        raise errors.not_loopback()
