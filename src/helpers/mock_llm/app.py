"""The ASGI application: access checks, routing, and what is recorded."""

from __future__ import annotations

import hmac
import re
import sys
import traceback
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import TypeAlias

from helpers.mock_llm.anthropic.dialect import ANTHROPIC
from helpers.mock_llm.anthropic.messages import Messages
from helpers.mock_llm.anthropic.threads import Threads
from helpers.mock_llm.asgi import (
    ABORT,
    CONNECTION,
    AbortedResponseError,
    AbortHandle,
    ClientDisconnectError,
    Headers,
    Reader,
    Receive,
    Scope,
    Send,
    respond,
)
from helpers.mock_llm.control import Control, is_control
from helpers.mock_llm.guard import check_sender, shorten_key
from helpers.mock_llm.openai.chat import Chat
from helpers.mock_llm.openai.completions import Completions
from helpers.mock_llm.openai.dialect import OPENAI
from helpers.mock_llm.openai.embeddings import Embeddings
from helpers.mock_llm.openai.response_store import ResponseStore
from helpers.mock_llm.openai.responses import Responses
from helpers.mock_llm.records.recorder import OpenConnection, Recorder
from helpers.mock_llm.serving import errors
from helpers.mock_llm.serving.dialect import Dialect
from helpers.mock_llm.serving.engine import Engine
from helpers.mock_llm.serving.errors import ApiError
from helpers.mock_llm.serving.exchange import Exchange
from helpers.mock_llm.serving.models import list_models, show_model
from helpers.mock_llm.serving.request_body import joined

_Handler: TypeAlias = Callable[[Exchange], Awaitable[None]]
_DEPLOYMENT = re.compile(
    r"/openai/deployments/([\w.-]{1,64})/(chat/completions|completions|embeddings)", re.ASCII
)
_ITEM = re.compile(r"^(/v1/\w+/)[^/]+")


@dataclass(frozen=True, slots=True)
class _Route:
    handlers: dict[str, _Handler]
    """By method; GET's handler answers HEAD too."""
    dialect: Dialect | None = OPENAI
    """None: both providers have this path."""
    asks_model: bool = False

    def handler(self, method: str) -> _Handler | None:
        return self.handlers.get("GET" if method == "HEAD" else method)


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
            "/v1/completions": _Route({"POST": Completions(engine).answer}, asks_model=True),
            "/v1/embeddings": _Route({"POST": Embeddings(engine).answer}, asks_model=True),
            "/v1/messages": _Route({"POST": messages.answer}, dialect=ANTHROPIC, asks_model=True),
            "/v1/messages/count_tokens": _Route({"POST": messages.count}, dialect=ANTHROPIC),
            "/v1/models": _Route({"GET": partial(list_models, engine.models)}, dialect=None),
            "/v1/models/{id}": _Route({"GET": partial(show_model, engine.models)}, dialect=None),
            "/v1/responses": _Route({"POST": stored.create}, asks_model=True),
            "/v1/responses/compact": _Route({}),
            "/v1/responses/input_tokens": _Route({"POST": stored.count}),
            "/v1/responses/{id}": _Route({"GET": stored.show, "DELETE": stored.delete}),
            "/v1/responses/{id}/cancel": _Route({"POST": stored.cancel}),
            "/v1/responses/{id}/input_items": _Route({"GET": stored.list_input}),
        }

    def error_body(self, status: int, message: str, path: str, headers: Headers) -> bytes:
        """That of a refusal, for a request that does not get as far as a route."""
        return self._dialect(path, dict(headers)).error_body(ApiError(status, message), "")

    def refuses(self, path: str) -> bool:
        """Whether a connection whose first request is for this path is to be dropped."""
        return not is_control(path) and self._engine.refuses()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Taken out: while the abort handle and the scope refer to each other, only the garbage
        # collector would free them.
        extensions = scope.pop("extensions")
        connection: OpenConnection = extensions[CONNECTION]
        connection.in_progress += 1
        try:
            if is_control(scope["path"]):
                await self._serve_control(connection, scope, receive, send)
            else:
                await self._serve_api(connection, extensions[ABORT], scope, receive, send)
        finally:
            connection.in_progress -= 1
            connection.idle_since = perf_counter()

    async def _serve_control(
        self, connection: OpenConnection, scope: Scope, receive: Receive, send: Send
    ) -> None:
        path, headers = scope["path"], dict(scope["headers"])
        try:
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
        self,
        connection: OpenConnection,
        abort: AbortHandle,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        path, deployment = _without_alias(scope["path"])
        name, route = self._route(path)
        headers = joined(scope["headers"])
        dialect = self._dialect(scope["path"], headers)
        try:
            # Before the recorder learns of it: a web page must not spoil what is measured.
            check_sender(headers)
        except ApiError as error:
            await respond(send, error.status, dialect.error_body(error, ""), [])
            return
        record = self._recorder.request_arrived(connection, scope)
        exchange = Exchange(
            record=record,
            recorder=self._recorder,
            dialect=dialect,
            route=name,
            request_headers=headers,
            path=path,
            deployment=deployment,
            query=scope["query_string"],
            reader=Reader(receive),
            abort=abort,
            _receive=receive,
            _send=send,
        )
        try:
            await self._answer(exchange, scope["path"], route)
        except ApiError as error:
            await exchange.refuse(error)
        except ClientDisconnectError:
            exchange.client_left(perf_counter())
        except AbortedResponseError:
            return
        except Exception:  # noqa: BLE001  # a mistake of ours: say so, and keep serving
            traceback.print_exc(file=sys.stderr)
            if record.first_byte is None:
                await exchange.refuse(errors.internal())
        finally:
            if connection.entry.closed is not None and record.last_byte is None:
                exchange.client_left(connection.entry.closed)
            exchange.close()

    def _route(self, path: str) -> tuple[str, _Route | None]:
        name = path if path in self._routes else _ITEM.sub(r"\1{id}", path)
        route = self._routes.get(name)
        return (name if route else "other"), route

    def _dialect(self, path: str, headers: dict[bytes, bytes]) -> Dialect:
        _, route = self._route(path)
        if route is not None:
            return route.dialect or _dialect_of(headers)
        return ANTHROPIC if path.startswith("/v1/messages/") else _dialect_of(headers)

    async def _answer(self, exchange: Exchange, path: str, route: _Route | None) -> None:
        method = exchange.record.method
        key = exchange.dialect.api_key(exchange.request_headers)
        if key is not None:
            exchange.name_key(shorten_key(key))
        if route is None or not route.handlers:
            raise errors.unknown_url(method, exchange.record.path)
        handler = route.handler(method)
        if handler is None:
            raise errors.method_not_allowed(method, path, ", ".join(route.handlers))
        self._check_key(key)
        if method == "POST":
            _check_content_type(exchange.request_headers)
        self._engine.welcome(exchange, key or b"")
        if exchange.fault is not None and not route.asks_model:
            raise errors.no_fault_here()
        await handler(exchange)

    def _check_key(self, key: bytes | None) -> None:
        if self._api_key is None:
            return
        if key is None:
            raise errors.no_api_key()
        if not hmac.compare_digest(key, self._api_key):
            raise errors.wrong_api_key(key.decode("latin-1"))


def _dialect_of(headers: dict[bytes, bytes]) -> Dialect:
    """The provider that a client expects, where the path does not tell."""
    return ANTHROPIC if b"anthropic-version" in headers else OPENAI


def _without_alias(path: str) -> tuple[str, str | None]:
    """A path as OpenAI has it, and the deployment that it names, for Azure's paths."""
    if path.startswith("/openai/v1/"):
        return path.removeprefix("/openai"), None
    if match := _DEPLOYMENT.fullmatch(path):
        return f"/v1/{match[2]}", match[1]
    return path, None


def _check_content_type(headers: Mapping[bytes, bytes]) -> None:
    """A body must be JSON where its type is named; many small clients do not name it."""
    kind = headers.get(b"content-type", b"")
    if kind.partition(b";")[0].strip().lower() not in (b"", b"application/json"):
        raise errors.unsupported_content_type(kind.decode("latin-1"))
