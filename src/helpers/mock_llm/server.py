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
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
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
from helpers.processes import TemporaryFolder, end_with_parent

_HOST = "127.0.0.1"


class CannotListenError(OSError):
    """The port is taken or not allowed; the message says so and what to do."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server is."""

    port: int
    ca_file: Path | None
    """Its CA's certificate, with ``tls``. It goes when the server's process does."""

    @property
    def url(self) -> str:
        return f"http://{_HOST}:{self.port}/v1"


def serve_forever(*, port: int = 0, **settings: Any) -> NoReturn:
    """Serve in the foreground until Ctrl-C or SIGTERM, then exit with status 0.

    ``settings`` are the arguments of `Settings`. Prints ``listening on http://127.0.0.1:PORT/v1``,
    then the control token, and with ``tls`` the path of the CA's certificate. Raises ValueError for
    bad settings and SystemExit (status 1, with one sentence) when the port cannot be had. Ends with
    the process that started it. Call it in the main thread.
    """
    checked = Settings(**settings)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _leave)
    end_with_parent(lambda: os._exit(1))
    token = secrets.token_urlsafe(16)

    def listening(address: Address) -> None:
        say(f"listening on {address.url}")
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
        listening: Callable[[Address], None],
        ready: Callable[[Address], None],
    ) -> None:
        self._recorder = ProtocolDispatcher.recorder = Recorder()
        ProtocolDispatcher.most = most_connections()
        self._folder: TemporaryFolder | None = None
        self._ca_file: Path | None = None
        if settings.tls:
            self._folder = TemporaryFolder()
            self._ca_file = self._folder.folder / "ca.pem"
            ProtocolDispatcher.tls = make_context(self._ca_file)
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
        address = Address(self.servers[0].sockets[0].getsockname()[1], self._ca_file)
        self._listening(address)
        self._background.append(asyncio.create_task(close_idle(self._recorder)))
        self._background.append(asyncio.create_task(self._load_tokenizer(address)))

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


def _reason(failure: SystemExit) -> str:
    error = failure.__context__
    return (os.strerror(error.errno) if isinstance(error, OSError) and error.errno else "") or "?"


def _leave(number: int, frame: FrameType | None) -> None:
    os._exit(0)
