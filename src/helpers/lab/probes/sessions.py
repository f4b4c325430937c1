"""Probes of a chat service's memory: they play the model, and count what is kept of the turns."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import anyio

if TYPE_CHECKING:
    from helpers.lab.worker_process import Handle, Messages

_VISITORS = 7


async def at_once(handle: Handle) -> int:
    """Two turns of one conversation at once; how many of them a third turn's prompt contains.

    The model has both questions before it answers either: the worst case, every time.
    """
    sent: list[int] = []
    both = anyio.Event()

    async def ask(messages: Messages) -> str:
        sent.append(len(messages))
        if len(sent) == 2:
            both.set()
        await both.wait()
        return "Hello."

    session = uuid4().hex
    async with anyio.create_task_group() as tabs:
        for text in ("One?", "Two?"):
            tabs.start_soon(handle, ask, session, text)
    await handle(ask, session, "Three?")
    return (sent[-1] - 1) // 2


async def forgotten(
    handle: Handle, wait: float, expire: Callable[[], Coroutine[Any, Any, None]] | None = None
) -> int:
    """Seven visitors ask one question each; how many are forgotten ``wait`` seconds later.

    ``expire`` is what the service does from time to time to forget; it is called before the count.
    """
    sent: list[int] = []

    async def ask(messages: Messages) -> str:
        sent.append(len(messages))
        return "Hello."

    sessions = [uuid4().hex for _ in range(_VISITORS)]
    for session in sessions:
        await handle(ask, session, "Hello?")
    await anyio.sleep(wait)
    if expire is not None:
        await expire()
    sent.clear()
    for session in sessions:
        await handle(ask, session, "Do you know me?")
    return sum(messages == 1 for messages in sent)
