"""A scripted learner on a JupyterHub: logs in, opens lessons, and runs all their cells."""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlsplit
from uuid import uuid4

import anyio
import httpx
from tornado.httpclient import HTTPRequest
from tornado.websocket import WebSocketClientConnection, websocket_connect

_START_SECONDS, _CELL_SECONDS = 240.0, 300.0


@dataclass(slots=True)
class LessonRun:
    """What a learner saw of one lesson."""

    lesson: str
    seconds: float = 0.0
    verdict: list[str] = field(default_factory=list)
    """The lines of the verdict's cell."""
    errors: list[str] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        passed = [line.startswith("PASS") for line in self.verdict]
        return bool(passed) and all(passed) and not self.errors


class Learner:
    """One person with a browser's cookies."""

    def __init__(self, hub: str, name: str, password: str) -> None:
        self.name = name
        self._password = password
        self._http = httpx.AsyncClient(
            base_url=hub, follow_redirects=True, timeout=_START_SECONDS, trust_env=False
        )
        self._root = f"/user/{name}"

    async def log_in(self) -> float:
        """Log in and wait for the server. Returns the seconds that the server took."""
        page = await self._http.get("/hub/login")
        form = {"username": self.name, "password": self._password, "_xsrf": _xsrf(page.text)}
        began = time.monotonic()
        (await self._http.post("/hub/login", data=form)).raise_for_status()
        while time.monotonic() < began + _START_SECONDS:
            # As the page does that says "Your server is starting up".
            answer = await self._http.get(f"{self._root}/lab")
            if answer.url.path.startswith(self._root) and answer.is_success:
                return time.monotonic() - began
            await anyio.sleep(0.5)
        raise AssertionError(f"{self.name}: no server after {_START_SECONDS:g} s: {answer.url}")

    async def run(self, lesson: str) -> LessonRun:
        """Open a lesson, run all its cells, and shut its kernel down."""
        found = LessonRun(lesson)
        began = time.monotonic()
        notebook = (await self._api("GET", f"contents/{lesson}"))["content"]
        made = {"path": lesson, "name": lesson, "type": "notebook", "kernel": {"name": "python3"}}
        session = await self._api("POST", "sessions", made)
        channel = await self._connect(session["kernel"]["id"], session["id"])
        for cell in notebook["cells"]:
            if cell["cell_type"] == "code":
                with anyio.fail_after(_CELL_SECONDS):
                    text = await _execute(channel, session["id"], cell["source"], found.errors)
                if "verdict" in cell["metadata"].get("tags", []):
                    found.verdict += re.findall(r"^(?:PASS|FAIL).*", text, re.M)
        channel.close()
        await self._api("DELETE", f"sessions/{session['id']}")
        found.seconds = time.monotonic() - began
        return found

    async def leave(self) -> None:
        """Close the browser without logging out."""
        await self._http.aclose()

    async def _api(self, method: str, path: str, body: Any = None) -> Any:
        headers = {"x-xsrftoken": self._cookie(self._root)}
        answer = await self._http.request(
            method, f"{self._root}/api/{path}", json=body, headers=headers
        )
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def _cookie(self, path: str) -> str:
        found = [c for c in self._http.cookies.jar if c.name == "_xsrf" and path in c.path]
        return str(found[0].value) if found else ""

    async def _connect(self, kernel: str, session: str) -> WebSocketClientConnection:
        url = self._http.base_url.join(f"{self._root}/api/kernels/{kernel}/channels")
        own = [c for c in self._http.cookies.jar if urlsplit(str(url)).path.startswith(c.path)]
        headers = {
            "Cookie": "; ".join(f"{c.name}={c.value}" for c in own),
            "Origin": str(self._http.base_url).rstrip("/"),
        }
        address = str(url).replace("http", "ws", 1)
        query = f"session_id={quote(session)}&_xsrf={quote(self._cookie(self._root))}"
        return await websocket_connect(HTTPRequest(f"{address}?{query}", headers=headers))


def _xsrf(page: str) -> str:
    found = re.search(r'name="_xsrf"\s+value="([^"]*)"', page)
    assert found, page[:500]
    return found[1]


async def _execute(
    channel: WebSocketClientConnection, session: str, code: str, errors: list[str]
) -> str:
    """Run one cell. Returns what it printed; adds to ``errors`` if it raises."""
    number = uuid4().hex
    header = {"msg_id": number, "msg_type": "execute_request", "session": session}
    header |= {"username": "", "version": "5.3", "date": "2026-01-01T00:00:00Z"}
    content = {"code": code, "silent": False, "store_history": True, "stop_on_error": True}
    await channel.write_message(
        json.dumps({"channel": "shell", "header": header, "parent_header": {}, "metadata": {},
                    "content": content, "buffers": []})
    )  # fmt: skip
    printed: list[str] = []
    replied = idle = False
    while not (replied and idle):
        received = await channel.read_message()
        assert received is not None, "the kernel's connection was closed"
        if isinstance(received, bytes):
            continue  # a widget's buffers
        message = json.loads(received)
        if message["parent_header"].get("msg_id") != number:
            continue
        kind, content = message["header"]["msg_type"], message["content"]
        if kind == "stream":
            printed.append(content["text"])
        elif kind == "error":
            errors.append(f"{content['ename']}: {content['evalue']}"[:300])
        elif kind == "execute_reply":
            replied = True
        elif kind == "status" and content["execution_state"] == "idle":
            idle = True
    return "".join(printed)
