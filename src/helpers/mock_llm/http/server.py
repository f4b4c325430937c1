"""uvicorn with our protocols: plain connections on one socket, TLS on another."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import sys
from collections.abc import Generator
from functools import partial
from time import perf_counter

import uvicorn

from helpers.mock_llm.asgi import Application
from helpers.mock_llm.http.connection import LINGER_SECONDS, HttpOptions
from helpers.mock_llm.http.dispatch import ProtocolDispatcher

HOST = "127.0.0.1"
_BACKLOG = 2_048
# File descriptors reserved for everything but connections.
_OTHER_FILES = 100
FEWEST_FILES = 256
"""Open files that a process must be allowed: the default on macOS, so that the course runs there
as it is. It leaves the server 156 connections."""


class HttpServer(uvicorn.Server):
    """Leaves signals to its owner. ``port`` 0 takes any free one.

    With a ``tls`` context ``port`` takes TLS connections, and plain ones get a port of their own.
    Raises OSError when the port cannot be had.
    """

    def __init__(
        self,
        app: Application,
        options: HttpOptions,
        *,
        port: int = 0,
        tls: ssl.SSLContext | None = None,
        loop: str = "auto",
    ) -> None:
        config = uvicorn.Config(
            app,
            http=partial(ProtocolDispatcher, options),  # type: ignore[arg-type]
            loop=loop,
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="critical",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=options.idle_seconds,  # type: ignore[arg-type]
        )
        super().__init__(config)
        self._options = options
        self._tls = tls
        self._tls_socket = None if tls is None else _listen(port)
        self._plain_socket = _listen(port if tls is None else 0)
        self._background: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        """Of plain connections."""
        return int(self._plain_socket.getsockname()[1])

    @property
    def tls_port(self) -> int | None:
        return None if self._tls_socket is None else int(self._tls_socket.getsockname()[1])

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup([self._plain_socket])
        self._background.add(asyncio.create_task(self._close_idle()))
        if self._tls is not None and self._tls_socket is not None:
            self._background.add(asyncio.create_task(self._accept(self._tls_socket, self._tls)))

    async def _accept(self, listener: socket.socket, context: ssl.SSLContext) -> None:
        """Accept TLS connections. Not by `asyncio.loop.create_server`, which says nothing of those
        whose handshake fails."""
        listener.setblocking(False)
        loop = asyncio.get_running_loop()
        while True:
            try:
                endpoint, peer = await loop.sock_accept(listener)
            except OSError:  # no file descriptor is free, or the client has left
                await asyncio.sleep(0.1)
                continue
            task = loop.create_task(self._shake_hands(endpoint, peer[1], context))
            self._background.add(task)
            task.add_done_callback(self._background.discard)

    async def _shake_hands(
        self, endpoint: socket.socket, port: int, context: ssl.SSLContext
    ) -> None:
        recorder = self._options.recorder
        # An idle handshake has a time limit of its own.
        connection = recorder.connection_opened(port, expire=lambda: None)
        connection.entry.tls = True
        if len(recorder.open) > self._options.max_connections:
            endpoint.close()
            recorder.connection_closed(connection)
            return
        dispatcher = partial(
            ProtocolDispatcher,
            self._options,
            connection,
            config=self.config,
            server_state=self.server_state,
            app_state={},
        )
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                dispatcher,
                endpoint,
                ssl=context,
                ssl_handshake_timeout=self._options.idle_seconds,
                ssl_shutdown_timeout=LINGER_SECONDS,
            )
        except OSError:
            recorder.connection_closed(connection)

    async def _close_idle(self) -> None:
        """Close the connections that have been idle for too long."""
        recorder, seconds = self._options.recorder, self._options.idle_seconds
        while True:
            await asyncio.sleep(seconds / 10)
            deadline = perf_counter() - seconds
            for connection in list(recorder.open):
                if connection.in_progress == 0 and connection.idle_since < deadline:
                    connection.expire()


def _listen(port: int) -> socket.socket:
    return socket.create_server((HOST, port), backlog=_BACKLOG)


def most_connections(wanted: int) -> int:
    """How many of the wanted connections this process can serve, after having raised its limit of
    open files. Raises OSError when these are too few."""
    if sys.platform == "win32":
        return wanted
    import resource

    files = wanted + _OTHER_FILES
    allowed, ceiling = resource.getrlimit(resource.RLIMIT_NOFILE)
    if resource.RLIM_INFINITY != allowed < files:
        allowed = files if ceiling == resource.RLIM_INFINITY else min(files, ceiling)
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, ceiling))
    if allowed == resource.RLIM_INFINITY:
        return wanted
    if allowed < FEWEST_FILES:
        raise OSError(
            f"cannot serve with at most {allowed} open files: raise the limit with "
            f"`ulimit -n {FEWEST_FILES}`"
        )
    return min(wanted, allowed - _OTHER_FILES)
