"""Responses that are written in the background: they are queued, polled and cancelled."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from helpers.mock_llm.asgi import AbortedResponseError, ClientDisconnectError
from helpers.mock_llm.openai.response_store import ResponseStore
from helpers.mock_llm.openai.responses_answer import ResponseAnswer
from helpers.mock_llm.serving.engine import Completion, Engine, Prepared
from helpers.mock_llm.serving.errors import ApiError
from helpers.mock_llm.serving.exchange import Exchange

_OPEN = ("queued", "in_progress")


class Jobs:
    def __init__(self, engine: Engine, store: ResponseStore) -> None:
        self._engine = engine
        self._store = store
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def start(
        self,
        exchange: Exchange,
        prepared: Prepared,
        write: Callable[[Completion], ResponseAnswer],
        keep: Callable[[dict[str, Any]], None],
    ) -> dict[str, Any]:
        """The response as it is queued. ``keep`` stores one."""
        answer = write(prepared.completion)
        queued = answer.pending("queued")
        id = queued["id"]
        keep(queued)

        def begin(completion: Completion) -> ResponseAnswer:
            self._update(id, answer.pending("in_progress"), keep)
            return write(completion)

        async def run() -> None:
            try:
                await self._engine.carry_out(exchange.detached(), prepared, begin)
            except (ApiError, AbortedResponseError, ClientDisconnectError):
                pass
            finally:
                self._tasks.pop(id, None)
            self._update(id, answer.pending("failed"), keep)

        exchange.record.completion_tokens = prepared.completion.completion_tokens
        self._tasks[id] = asyncio.create_task(run())
        return queued

    def cancel(self, id: str) -> None:
        """Raises ApiError (400, 404). One that is over stays as it is."""
        response = json.loads(self._store.find(id).body)
        if not response["background"]:
            raise ApiError(400, "Cannot cancel a synchronous response.")
        task = self._tasks.pop(id, None)
        if task is not None and response["status"] in _OPEN:
            task.cancel()
            self._store.find(id).body = json.dumps(response | {"status": "cancelled"}).encode()

    def _update(
        self, id: str, response: dict[str, Any], keep: Callable[[dict[str, Any]], None]
    ) -> None:
        """Unless it is over, or was deleted."""
        stored = self._store.get(id)
        if stored is not None and json.loads(stored.body)["status"] in _OPEN:
            keep(response)
