"""The process that `Workers` starts: one worker of a chat service, on a port of its own."""

from __future__ import annotations

import base64
import socket
import sys
from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import cloudpickle
import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from helpers.lab.stall_meter import learners_traceback
from helpers.processes import Parent, stay_on_loopback

Messages: TypeAlias = list[dict[str, str]]
Ask: TypeAlias = Callable[[Messages], Coroutine[Any, Any, str]]
Handle: TypeAlias = Callable[[Ask, str, str], Coroutine[Any, Any, str]]

# A page from elsewhere, or one whose name was rebound to 127.0.0.1, says so in these headers.
_HOSTS = ["127.0.0.1", "localhost", "*.localhost"]


class ChatService:
    """``POST {"session": …, "text": …}`` is one turn of a conversation, answered by ``handle``."""

    def __init__(self, handle: Handle, llm_url: str) -> None:
        self._handle, self._url = handle, f"{llm_url}/chat/completions"
        self._model = httpx.AsyncClient(timeout=30)

    async def turn(self, request: Request) -> JSONResponse:
        if not _is_loopback(request.headers.get("origin")):
            return JSONResponse({"error": "Pages from elsewhere may not use this service."}, 403)
        turn = await request.json()
        try:
            return JSONResponse(
                {"answer": await self._handle(self._ask, turn["session"], turn["text"])}
            )
        except Exception as error:  # noqa: BLE001 - the learner's code: whatever it is, is reported
            return JSONResponse({"error": _described(error)}, 500)

    async def _ask(self, messages: Messages) -> str:
        """Send the messages to the model; the text of its answer."""
        body = {"model": "gpt-4o-mini", "messages": messages}
        reply = await self._model.post(self._url, json=body)
        reply.raise_for_status()
        text: str = reply.json()["choices"][0]["message"]["content"]
        return text


def application(service: ChatService) -> Starlette:
    return Starlette(
        routes=[Route("/", service.turn, methods=["POST"])],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=_HOSTS)],
    )


def _is_loopback(origin: str | None) -> bool:
    host = urlsplit(origin).hostname or "" if origin else "localhost"
    return host in _HOSTS or host.endswith(".localhost")


def _described(error: Exception) -> str:
    frame = learners_traceback(error.__traceback__)
    where = f" in {frame[2]}, line {frame[1]}" if frame else ""
    return f"{type(error).__name__}{where}: {error}"


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, parent: Parent) -> None:
        super().__init__(config)
        self._parent = parent

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._parent.ready(port=self.servers[0].sockets[0].getsockname()[1])


def main() -> None:
    parent = Parent()
    stay_on_loopback()
    sys.path += [folder for folder in parent.orders["path"] if folder not in sys.path]
    try:
        handle, llm_url = cloudpickle.loads(base64.b64decode(parent.orders["code"]))
    except Exception as error:  # noqa: BLE001 - unpickling runs anybody's code
        parent.failed(f"its code could not be rebuilt in its own process: {error}")
    config = uvicorn.Config(
        application(ChatService(handle, llm_url)),
        host="127.0.0.1",
        port=0,
        ws="none",
        lifespan="off",
        log_level="critical",
        access_log=False,
    )
    _Server(config, parent).run()


if __name__ == "__main__":
    main()
