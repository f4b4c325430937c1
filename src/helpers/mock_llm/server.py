"""The server process: binds, serves, and dies with the process that started it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import secrets
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from helpers.mock_llm.anthropic.threads import Threads
from helpers.mock_llm.app import App
from helpers.mock_llm.control import Control
from helpers.mock_llm.http.certificates import make_context
from helpers.mock_llm.http.connection import MAX_CONNECTIONS, HttpOptions
from helpers.mock_llm.http.server import HOST, HttpServer, most_connections
from helpers.mock_llm.model.tokens import encoding
from helpers.mock_llm.openai.response_store import ResponseStore
from helpers.mock_llm.records.recorder import Recorder
from helpers.mock_llm.serving.engine import Engine
from helpers.mock_llm.settings.settings import Settings
from helpers.processes import TemporaryFolder, end_with_parent


class CannotListenError(OSError):
    """The port is taken or not allowed, or too few files may be open; the message says so and what
    to do."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server is."""

    port: int
    """Of plain connections."""
    tls_port: int | None
    ca_file: Path | None
    """Its CA's certificate, with ``tls``. It goes when the server's process does."""

    def __str__(self) -> str:
        https = "" if self.tls_port is None else f" and https://{HOST}:{self.tls_port}/v1"
        return f"http://{HOST}:{self.port}/v1{https}"


def serve_forever(*, port: int = 0, **settings: Any) -> NoReturn:
    """Serve in the foreground until Ctrl-C or SIGTERM, then exit with status 0.

    ``settings`` are the arguments of `Settings`. Prints ``listening on http://127.0.0.1:PORT/v1``,
    then the control token. With ``tls`` the first line ends in `` and https://127.0.0.1:PORT/v1``
    with the given port, and the second names the CA's certificate. Raises ValueError for bad
    settings and SystemExit (status 1, with one sentence) when the port cannot be had. Ends with the
    process that started it. Call it in the main thread.
    """
    checked = Settings(**settings)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _leave)
    end_with_parent(lambda: os._exit(1))
    token = secrets.token_urlsafe(16)

    def listening(address: Address) -> None:
        say(f"listening on {address}")
        if address.ca_file is not None:
            say(f"CA certificate {address.ca_file}")
        say(f"control token {token}")

    try:
        serve(checked, port, token, listening=listening)
    except CannotListenError as error:
        raise SystemExit(str(error)) from None
    raise SystemExit(0)


def serve(
    settings: Settings,
    port: int,
    token: str,
    *,
    listening: Callable[[Address], None] = lambda address: None,
    ready: Callable[[Address], None] = lambda address: None,
) -> None:
    """Serve until the process ends. Raises CannotListenError.

    Calls ``listening`` when bound, and ``ready`` with the tokenizer loaded.
    """
    Server(settings, port, token, listening, ready).run()


def say(line: str) -> None:
    """Print a line for the process that started this one, which may have ended."""
    with contextlib.suppress(OSError):
        print(line, flush=True)


class Server(HttpServer):
    """The mock server, until its process ends."""

    def __init__(
        self,
        settings: Settings,
        port: int,
        token: str,
        listening: Callable[[Address], None],
        ready: Callable[[Address], None],
    ) -> None:
        self._tokenizer_loaded = asyncio.Event()
        self._engine = Engine(settings, self._tokenizer_loaded)
        recorder, responses, threads = Recorder(), ResponseStore(), Threads()
        resets = (recorder.reset, self._engine.reset, responses.clear, threads.clear)
        control = Control(token, settings, recorder, self._engine, resets)
        app = App(recorder, self._engine, control, responses, threads, settings.api_key)
        options = HttpOptions(recorder, app.error_body, app.refuses, _max_connections())
        self._folder = TemporaryFolder() if settings.tls else None
        self._ca_file = self._folder.folder / "ca.pem" if self._folder else None
        context = make_context(self._ca_file) if self._ca_file else None
        try:
            super().__init__(app, options, port=port, tls=context)
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error)
            raise CannotListenError(
                f"cannot listen on {HOST}:{port}: {reason}. Choose another port, or 0 for any free "
                "one."
            ) from error
        self._listening = listening
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        address = Address(self.port, self.tls_port, self._ca_file)
        self._listening(address)
        self._background.add(asyncio.create_task(self._load_tokenizer(address)))

    async def _load_tokenizer(self, address: Address) -> None:
        try:
            await asyncio.to_thread(encoding)
        except Exception as error:  # noqa: BLE001  # without a tokenizer there is no model
            print(error, file=sys.stderr, flush=True)
            os._exit(1)
        gc.collect()
        gc.freeze()  # what is loaded now stays: no garbage collection need look at it again
        self._engine.reset()  # the faults' time windows count from now
        self._tokenizer_loaded.set()
        self._ready(address)


def _max_connections() -> int:
    try:
        return most_connections(MAX_CONNECTIONS)
    except OSError as error:
        raise CannotListenError(str(error)) from None


def _leave(number: int, frame: FrameType | None) -> None:
    os._exit(0)
