"""The server process: binds, serves, and dies with whoever started it."""

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
from collections.abc import Callable, Generator
from types import FrameType
from typing import Any, NoReturn

import uvicorn

from helpers.mock_llm.anthropic.threads import Threads
from helpers.mock_llm.app import App
from helpers.mock_llm.control import Control
from helpers.mock_llm.http.dispatch import (
    IDLE_SECONDS,
    ProtocolDispatcher,
    close_idle,
    most_connections,
)
from helpers.mock_llm.http.tls import make_context
from helpers.mock_llm.model.tokens import encoding
from helpers.mock_llm.openai.response_store import ResponseStore
from helpers.mock_llm.records.recorder import Recorder
from helpers.mock_llm.serving.engine import Engine
from helpers.mock_llm.settings.settings import Settings
from helpers.mock_llm.shutdown import leave, remove_temporary_files, temporary_files

_HOST = "127.0.0.1"
_PARENT_POLL = 0.5


class CannotListenError(OSError):
    """The port is taken or not allowed; the message says so and what to do."""


def serve_forever(*, port: int = 0, **settings: Any) -> NoReturn:
    """Serve in the foreground until Ctrl-C or SIGTERM, then exit with status 0.

    ``settings`` are the arguments of `Settings`. Prints ``listening on http://127.0.0.1:PORT/v1``,
    then the control token, and with ``tls`` the path of the CA's certificate. Raises ValueError for
    bad settings and SystemExit (status 1, with one sentence) when the port cannot be had. Ends with
    the process that started it. Call it in the main thread.
    """
    told = Settings(**settings)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _leave)
    token = secrets.token_urlsafe(16)
    try:
        serve(told, port, token, listening=lambda: say(f"control token {token}"))
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
    """One line for whoever started the process, who may have gone."""
    with contextlib.suppress(OSError):
        print(line, flush=True)


def uvicorn_config(app: Callable[..., Any], port: int) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        host=_HOST,
        port=port,
        http=ProtocolDispatcher,
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="critical",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=int(IDLE_SECONDS),
    )


class Server(uvicorn.Server):
    """uvicorn with our protocol at the door, that leaves the signals to us."""

    def __init__(
        self,
        settings: Settings,
        port: int,
        token: str,
        listening: Callable[[], None],
        ready: Callable[[], None],
    ) -> None:
        self._recorder = ProtocolDispatcher.recorder = Recorder()
        ProtocolDispatcher.most = most_connections()
        if settings.tls:
            ProtocolDispatcher.tls, ca_file = make_context()
            temporary_files.append(ca_file)
        self._tokenizer_loaded = asyncio.Event()
        self._engine = Engine(settings, self._tokenizer_loaded)
        ProtocolDispatcher.refuses = self._engine.refuses
        responses, threads = ResponseStore(), Threads()
        resets = (self._recorder.reset, self._engine.reset, responses.clear, threads.clear)
        control = Control(token, settings, self._recorder, self._engine, resets)
        app = App(self._recorder, self._engine, control, responses, threads, settings.api_key)
        super().__init__(uvicorn_config(app, port))
        self._listening = listening
        self._ready = ready
        self._background: list[asyncio.Task[None]] = []

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().startup(sockets)
        except SystemExit as failure:  # uvicorn's answer to an OSError
            raise CannotListenError(
                f"cannot listen on {_HOST}:{self.config.port}: {_reason(failure)}. Choose another "
                "port, or 0 for any free one."
            ) from failure
        port = self.servers[0].sockets[0].getsockname()[1]
        say(f"listening on http://{_HOST}:{port}/v1")
        for ca_file in temporary_files:
            say(f"CA certificate {ca_file}")
        self._listening()
        self._background.append(asyncio.create_task(close_idle(self._recorder)))
        self._background.append(asyncio.create_task(self._load_tokenizer()))

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


def _reason(failure: SystemExit) -> str:
    error = failure.__context__
    return (os.strerror(error.errno) if isinstance(error, OSError) and error.errno else "") or "?"


def _end_with_parent() -> None:
    """Elsewhere than on POSIX an orphan keeps its parent's id, and nothing is noticed."""
    parent = os.getppid()
    while os.getppid() == parent:
        time.sleep(_PARENT_POLL)
    leave(1)


def _leave(number: int, frame: FrameType | None) -> None:
    leave(0)
