"""A reverse proxy that holds answers back, as many between a service and its readers do."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from urllib.parse import urlsplit

import anyio
from anyio.abc import ByteReceiveStream, ByteSendStream, SocketAttribute, SocketStream

# Ends a chunked body in HTTP/1.1 (RFC 9112, section 7.1).
_LAST_CHUNK = b"0\r\n\r\n"


@asynccontextmanager
async def buffering_proxy(url: str, hold: int) -> AsyncIterator[str]:
    """The address of a proxy for ``url``, on this event loop, as long as the ``with`` block lasts.

    It passes requests on as they come, and an answer whenever it has more than ``hold`` bytes of
    it, or all. Streamed answers in HTTP/1.1 only.
    """
    upstream = urlsplit(url)
    carry = partial(_carry, upstream.hostname or "", upstream.port or 80, hold)
    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(listener.serve, carry)
        port = listener.extra(SocketAttribute.local_port)  # noqa: S610 - no Django here
        try:
            yield f"http://127.0.0.1:{port}{upstream.path}"
        finally:
            tasks.cancel_scope.cancel()


async def _carry(host: str, port: int, hold: int, client: SocketStream) -> None:
    async with (
        client,
        await anyio.connect_tcp(host, port) as server,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(_pass_on, client, server, 0, tasks.cancel_scope)
        tasks.start_soon(_pass_on, server, client, hold, tasks.cancel_scope)


async def _pass_on(
    source: ByteReceiveStream, sink: ByteSendStream, hold: int, both: anyio.CancelScope
) -> None:
    """When either side ends, so does the other: upstream sees that a reader left."""
    held = b""
    try:
        async for piece in source:
            held += piece
            if len(held) > hold or held.endswith(_LAST_CHUNK):
                await sink.send(held)
                held = b""
        await sink.send(held)
    except (anyio.BrokenResourceError, anyio.ClosedResourceError):
        pass  # one side has gone
    both.cancel()
