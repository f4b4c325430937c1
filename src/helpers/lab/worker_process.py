"""The process that `Workers` starts: one worker of a chat service, on a port of its own.

Standard input carries what to serve; its end means that whoever started the worker has gone.
"""

from __future__ import annotations

import json
import os
import pickle
import socket
import sys
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias

import cloudpickle
import httpx
import uvicorn

from helpers.lab.stall_meter import learners_traceback
from helpers.mock_llm.asgi import Receive, Scope, Send, respond
from helpers.mock_llm.serving.request_body import read_body

Messages: TypeAlias = list[dict[str, str]]
Ask: TypeAlias = Callable[[Messages], Coroutine[Any, Any, str]]
Handle: TypeAlias = Callable[[Ask, str, str], Coroutine[Any, Any, str]]


class ChatService:
    """``POST {"session": …, "text": …}`` is one turn of a conversation, answered by ``handle``."""

    def __init__(self, handle: Handle, llm_url: str) -> None:
        self._handle, self._url = handle, f"{llm_url}/chat/completions"
        self._model = httpx.AsyncClient(timeout=30)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        turn = json.loads(await read_body(receive, {}))
        try:
            answer = await self._handle(self._ask, turn["session"], turn["text"])
            status, reply = 200, {"answer": answer}
        except Exception as error:  # noqa: BLE001 - the learner's code: whatever it is, it is told
            status, reply = 500, {"error": _told(error)}
        await respond(send, status, json.dumps(reply).encode(), [])

    async def _ask(self, messages: Messages) -> str:
        """Send the messages to the model; the text of its answer."""
        body = {"model": "gpt-4o-mini", "messages": messages}
        reply = await self._model.post(self._url, json=body)
        reply.raise_for_status()
        text: str = reply.json()["choices"][0]["message"]["content"]
        return text


def _told(error: Exception) -> str:
    frame = learners_traceback(error.__traceback__)
    where = f" in {frame[2]}, line {frame[1]}" if frame else ""
    return f"{type(error).__name__}{where}: {error}"


class _Server(uvicorn.Server):
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        _say("port", self.servers[0].sockets[0].getsockname()[1])
        sys.stdout = (
            sys.stderr
        )  # nobody reads the pipe any more; what the code prints must not fill it


def _say(word: str, rest: Any) -> None:
    print(word, rest, flush=True)


def main() -> None:
    payload = sys.stdin.buffer.read(int(sys.stdin.buffer.readline()))
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    try:
        path, code = pickle.loads(payload)  # noqa: S301 - written by our own parent
        sys.path += [folder for folder in path if folder not in sys.path]
        handle, llm_url = cloudpickle.loads(code)
    except Exception as error:  # noqa: BLE001 - unpickling runs anybody's code
        _say("failed", f"its code could not be rebuilt in its own process: {error}")
        return
    config = uvicorn.Config(
        ChatService(handle, llm_url),
        host="127.0.0.1",
        port=0,
        ws="none",
        lifespan="off",
        log_level="critical",
        access_log=False,
    )
    _Server(config).run()


def _end_with_stdin() -> None:
    while os.read(0, 4096):
        pass
    os._exit(0)


if __name__ == "__main__":
    main()
