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
import threading
import time
from collections.abc import Callable
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
from helpers.mock_llm.shutdown import leave, remove_temporary_files, temporary_files

_PARENT_POLL = 0.5


class CannotListenError(OSError):
    """The port is taken or not allowed, or too few files may be open; the message says so and what
    to do."""


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
    token = secrets.token_urlsafe(16)
    try:
        serve(checked, port, token, listening=lambda: say(f"control token {token}"))
    except CannotListenError as error:
        raise SystemExit(str(error)) from None
    raise SystemExit(0)


def serve(
    settings: Settings,
    port: int,
    token: str,
    *,
    listening: Callable[[], None] = lambda: None,
    ready: Callable[[], None] = lambda: None,
) -> None:
    """Serve until the process ends. Raises CannotListenError.

    Prints the address and calls ``listening`` when bound, and ``ready`` with the tokenizer loaded.
    """
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        Server(settings, port, token, listening, ready).run()
    finally:
        remove_temporary_files()


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
        listening: Callable[[], None],
        ready: Callable[[], None],
    ) -> None:
        self._tokenizer_loaded = asyncio.Event()
        self._engine = Engine(settings, self._tokenizer_loaded)
        recorder, responses, threads = Recorder(), ResponseStore(), Threads()
        resets = (recorder.reset, self._engine.reset, responses.clear, threads.clear)
        control = Control(token, settings, recorder, self._engine, resets)
        app = App(recorder, self._engine, control, responses, threads, settings.api_key)
        options = HttpOptions(recorder, app.error_body, app.refuses, _max_connections())
        context = None
        if settings.tls:
            context, ca_file = make_context()
            temporary_files.append(ca_file)
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
        https = "" if self.tls_port is None else f" and https://{HOST}:{self.tls_port}/v1"
        say(f"listening on http://{HOST}:{self.port}/v1{https}")
        for ca_file in temporary_files:
            say(f"CA certificate {ca_file}")
        self._listening()
        self._background.add(asyncio.create_task(self._load_tokenizer()))

    async def _load_tokenizer(self) -> None:
        try:
            await asyncio.to_thread(encoding)
        except Exception as error:  # noqa: BLE001  # without a tokenizer there is no model
            print(error, file=sys.stderr, flush=True)
            leave(1)
        gc.collect()
        gc.freeze()  # what is loaded now stays: no garbage collection need look at it again
        self._engine.reset()  # the faults' time windows count from now
        self._tokenizer_loaded.set()
        self._ready()


def _max_connections() -> int:
    try:
        return most_connections(MAX_CONNECTIONS)
    except OSError as error:
        raise CannotListenError(str(error)) from None


def _end_with_parent() -> None:
    """Elsewhere than on POSIX an orphan keeps its parent's id, and nothing is noticed."""
    parent = os.getppid()
    while os.getppid() == parent:
        time.sleep(_PARENT_POLL)
    leave(1)


def _leave(number: int, frame: FrameType | None) -> None:
    leave(0)
