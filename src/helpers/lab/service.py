"""Serves an ASGI application, so that a lesson can visit it as its users would."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn


@asynccontextmanager
async def serving(app: Any) -> AsyncIterator[str]:
    """Serve an ASGI application on this event loop, at a free port; yields its address.

    Its lifespan starts before and ends after the body of the ``async with``::

        async with serving(app) as address, httpx.AsyncClient(base_url=address) as user: …

    Raises `RuntimeError` if its lifespan fails.
    """
    config = uvicorn.Config(app, port=0, lifespan="on", log_level="warning", access_log=False)
    server = _Server(config)
    task = asyncio.create_task(server.run_app())
    try:
        await server.tried.wait()
        if not server.started:
            raise RuntimeError("The application did not start: its lifespan failed.")
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        await task


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.tried = asyncio.Event()

    async def run_app(self) -> None:
        # It exits if the lifespan fails; from a task, that would end the caller's event loop.
        with contextlib.suppress(SystemExit):
            await self.serve()
        self.tried.set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.tried.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        # The ■ button and Ctrl+C belong to whoever runs the service.
        yield
