"""A chat service as it runs in production: several worker processes behind a round robin."""

from __future__ import annotations

import base64
import pickle
import sys
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Self

import anyio
import cloudpickle
import httpx

from helpers import forking
from helpers.processes import Child, ChildFailedError

if TYPE_CHECKING:
    from helpers.lab.worker_process import Handle

_START_SECONDS = 30.0


class WorkerError(Exception):
    """A worker did not start, did not answer, or its code raised."""


@dataclass(frozen=True, slots=True)
class _Worker:
    child: Child
    url: str


class Workers:
    """``number`` processes that serve ``handle``, each with a memory of its own.

    ``await handle(ask, session, text)`` is one turn of the conversation ``session``: it returns the
    answer. ``await ask(messages)`` sends messages to the model at ``llm_url`` and returns its text.

    Use it with ``async with``. The workers end with the process that started them, however it ends.
    """

    def __init__(self, handle: Handle, llm_url: str, number: int = 1) -> None:
        try:
            code = cloudpickle.dumps((handle, llm_url))
        except (TypeError, pickle.PicklingError) as error:
            raise TypeError(f"{handle} cannot be sent to a worker process: {error}") from error
        # What the code imports is found there as it is here.
        self._orders = {"path": sys.path, "code": base64.b64encode(code).decode()}
        self._workers: list[_Worker | None] = [None] * number
        self._turns = count()
        self._client = httpx.AsyncClient(timeout=30, trust_env=False)

    async def __aenter__(self) -> Self:
        try:
            async with anyio.create_task_group() as starts:
                for index in range(len(self._workers)):
                    starts.start_soon(self.start, index)
        except BaseException as error:
            await self._end()
            if isinstance(error, ExceptionGroup):  # the same happened to several workers
                raise error.exceptions[0] from None
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._end()

    async def send(self, session: str, text: str) -> str:
        """One turn, at the next worker of the round robin; the answer's text.

        Raises `WorkerError` if that worker has been killed or its code raises.
        """
        index = next(self._turns) % len(self._workers)
        worker = self._workers[index]
        if worker is None:
            raise WorkerError(f"Worker {index} is dead: start it again with .start({index}).")
        try:
            reply = await self._client.post(worker.url, json={"session": session, "text": text})
        except httpx.TransportError as error:
            raise WorkerError(f"Worker {index} did not answer: {error!r}") from error
        if reply.status_code != 200:
            raise WorkerError(f"Worker {index} raised {reply.json()['error']}")
        answer: str = reply.json()["answer"]
        return answer

    async def kill(self, index: int) -> None:
        """SIGKILL a worker: what is only in its memory is gone."""
        worker, self._workers[index] = self._workers[index], None
        if worker is not None:
            await _kill(worker.child)

    async def start(self, index: int) -> None:
        """Start a worker, in the place of the one that was killed."""
        await self.kill(index)
        child = await anyio.to_thread.run_sync(forking.start, "helpers.lab.worker_process")
        try:
            port = await anyio.to_thread.run_sync(
                child.ask, self._orders, _START_SECONDS, abandon_on_cancel=True
            )
        except BaseException as error:
            await _kill(child)
            if why := _why_not_started(error):
                raise WorkerError(f"Worker {index} did not start: {why}.") from None
            raise
        self._workers[index] = _Worker(child, f"http://127.0.0.1:{port['port']}")

    async def _end(self) -> None:
        with anyio.CancelScope(shield=True):
            for index in range(len(self._workers)):
                await self.kill(index)
            await self._client.aclose()


def _why_not_started(error: BaseException) -> str:
    match error:
        case ChildFailedError():
            return str(error)
        case EOFError():
            return "its process ended before it was ready"
        case TimeoutError():
            return f"it was not ready within {_START_SECONDS:g} s; close other programs"
    return ""


async def _kill(child: Child) -> None:
    with anyio.CancelScope(shield=True):
        await anyio.to_thread.run_sync(child.kill)
