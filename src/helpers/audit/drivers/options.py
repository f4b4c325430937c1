"""How to start and use a service, as the command line describes it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote, urlsplit

from helpers.audit.drivers.application import split
from helpers.audit.errors import AuditError

_PORT = "$PORT"
_CHAT = re.compile(r"\s*([A-Za-z]+)\s+(\S+)(?:\s+(.*\S))?\s*", re.DOTALL)
_METHODS = ("GET", "POST", "PUT", "PATCH")


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """How a user asks the service."""

    method: str
    path: str
    body: str
    """JSON in which ``$SESSION`` and ``$MESSAGE`` stand for text; "" for none."""

    def filled(self, session: str, message: str) -> tuple[str, str, bytes]:
        """Method, path and body for one message."""
        path = self.path.replace("$SESSION", quote(session, safe=""))
        path = path.replace("$MESSAGE", quote(message, safe=""))
        body = self.body.replace("$SESSION", _escaped(session))
        return self.method, path, body.replace("$MESSAGE", _escaped(message)).encode()


@dataclass(frozen=True, slots=True)
class ServiceOptions:
    """A service under audit."""

    command: list[str]
    app: str
    """Its base URL, without a slash at the end."""
    chat: ChatRequest
    streams: bool = False
    answer: str = ""
    """Dotted keys of the answer in the body; "" for the whole body."""
    health: str = ""
    """The path of its health route; "" if it has none."""

    @property
    def takes_a_port(self) -> bool:
        """Whether several of its processes can run at the same time."""
        return _PORT in self.app and any(_PORT in word for word in self.command)

    def at_port(self, port: int) -> ServiceOptions:
        command = [word.replace(_PORT, str(port)) for word in self.command]
        return replace(self, command=command, app=self.app.replace(_PORT, str(port)))


def read_options(
    start: str, app: str, chat: str, *, stream: bool, answer: str, health: str
) -> ServiceOptions:
    """Raises AuditError for an option that makes no sense."""
    command = split(start)
    in_url, in_command = _PORT in app, any(_PORT in word for word in command)
    if in_url != in_command:
        where, other = ("--app", "--start") if in_url else ("--start", "--app")
        raise AuditError(f"$PORT is in {where}, so it must be in {other}, too.")
    parts = urlsplit(app.replace(_PORT, "1"))
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query:
        raise AuditError(f"--app must be a URL such as http://127.0.0.1:8000, not {app[:200]!r}.")
    try:
        _ = parts.port
    except ValueError:
        raise AuditError(f"--app has a port that is not a number: {app[:200]!r}.") from None
    return ServiceOptions(
        command, app.rstrip("/"), read_chat(chat), stream, answer, _path(health, "--health")
    )


def read_chat(chat: str) -> ChatRequest:
    """Raises AuditError unless it is like ``POST /chat {"message": "$MESSAGE"}``."""
    example = """POST /chat {"session": "$SESSION", "message": "$MESSAGE"}"""
    match = _CHAT.fullmatch(chat)
    if not match or match[1].upper() not in _METHODS:
        raise AuditError(f"--chat must be like {example!r}, not {chat[:200]!r}.")
    request = ChatRequest(match[1].upper(), _path(match[2], "--chat"), match[3] or "")
    if "$MESSAGE" not in request.path + request.body:
        raise AuditError("--chat must say where the user's message goes: $MESSAGE.")
    if request.body:
        try:
            json.loads(request.filled("session", "message")[2])
        except ValueError as error:
            raise AuditError(f"The body in --chat is not JSON: {error}.") from None
    return request


def pick(body: Any, keys: str) -> Any:
    """The part of a JSON value under dotted keys, such as ``choices.0.text``; None if there is
    none."""
    for key in keys.split("."):
        if isinstance(body, list) and key.isdigit() and int(key) < len(body):
            body = body[int(key)]
        elif isinstance(body, dict) and key in body:
            body = body[key]
        else:
            return None
    return body


def _path(path: str, option: str) -> str:
    if path and not path.startswith("/"):
        raise AuditError(f"The path in {option} must begin with a slash, not {path[:200]!r}.")
    return path


def _escaped(text: str) -> str:
    return json.dumps(text)[1:-1]
