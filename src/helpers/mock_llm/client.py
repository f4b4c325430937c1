"""The mock server from Python: start it, configure it, read its ledger, stop it."""

from __future__ import annotations

import json
import secrets
import sys
import threading
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import anyio
import httpx

from helpers import forking
from helpers.mock_llm.event_stream import EventReader
from helpers.mock_llm.records.ledger import Connection, Ledger, Request
from helpers.mock_llm.settings.options import takes
from helpers.mock_llm.settings.script import Rule
from helpers.mock_llm.settings.settings import Changes, Settings
from helpers.mock_llm.view import ProviderView, view_of
from helpers.processes import Child, ChildFailedError, StartStop

_START_SECONDS = 30.0
_CONTROL_SECONDS = 10.0


class MockLLM(StartStop):
    """A fake LLM provider in a process of its own, on a port of this machine.

    Its options are those of `Settings`; all but the profile must be named. A request can ask for a
    fault with the header ``x-mock-fault: cut; after_tokens=3``.

    Use it with ``with`` or ``async with``, or call ``start`` and ``stop``. It also stops when it is
    garbage collected and when the interpreter exits, however that happens.

    Raises ValueError for an invalid value.
    """

    @takes(Settings)
    def __init__(self, *args: Any, **options: Any) -> None:
        self._settings = Settings(*args, **options)
        self._token = secrets.token_urlsafe(16)
        self._lock = threading.Lock()
        self._server: _Server | None = None
        self._finalizer: weakref.finalize[..., MockLLM] | None = None

    def start(self) -> Self:
        """Start the server, unless it runs, and wait until it answers.

        The first start of a process takes about 0.8 s, each further one some 20 ms.

        Raises RuntimeError, with the remedy, when it does not start.
        """
        with self._lock:
            if self._server is None:
                server = _launch(self._settings, self._token)
                self._finalizer = weakref.finalize(self, _end, server)
                self._server = server
        return self

    def stop(self) -> None:
        """Stop the server, also in the middle of answers. Does nothing when it is stopped."""
        with self._lock:
            if self._finalizer is not None:
                self._finalizer()
            self._server = self._finalizer = None

    @property
    def url(self) -> str:
        """The base URL, ending in ``/v1``; https with ``tls``. RuntimeError before the start."""
        tls_port = self._running().tls_port
        return self.http_url if tls_port is None else f"https://127.0.0.1:{tls_port}/v1"

    @property
    def http_url(self) -> str:
        """The base URL without TLS. Raises RuntimeError before the start."""
        return f"http://127.0.0.1:{self._running().port}/v1"

    @property
    def ca_file(self) -> str:
        """Path of the PEM certificate to trust, for ``ssl.create_default_context(cafile=…)``.

        It is made at each start and removed at the end. Raises RuntimeError before the start and
        without ``tls``.
        """
        path = self._running().ca_file
        if path is None:
            raise RuntimeError("this MockLLM has no certificate: start it with tls=True")
        return str(path)

    @property
    def token(self) -> str:
        """What the control routes under ``/_mock/`` ask for in ``x-mock-token``."""
        return self._token

    @property
    def pid(self) -> int:
        """The server's process id. Raises RuntimeError before the start."""
        return self._running().pid

    def ledger(self) -> Ledger:
        """A copy of what the server has seen since the last reset."""
        recorder = json.loads(self._control("GET", "ledger"))
        recorder["requests"] = [Request(**entry) for entry in recorder["requests"]]
        recorder["connections"] = [Connection(**entry) for entry in recorder["connections"]]
        return Ledger(**recorder)

    def events(self) -> EventReader:
        """What happens from now on, one dict at a time, for as long as the server runs.

        Each has a ``time``, an ``event`` and, but for ``missed``, an ``id`` one above the last:

        - ``arrived``, ``slot``, ``first_token``, ``fault``, ``finished``: and the ``request``, a
          dict of the fields of `Request`, its chunks left out.
        - ``opened`` (when it first carries a request, or closes having carried none), ``closed``:
          and the ``connection``, a dict of the fields of `Connection`.
        - ``reset``: the ledger was cleared; requests are numbered from 1 again.
        - ``missed``: you read too slowly, and a ``count`` of events before the next was dropped.

        Ends with the server, or when you close it.
        """
        server = self._running()
        try:
            return EventReader(self._control_client())
        except httpx.TransportError as error:
            raise _no_answer(server, error) from error

    def view(self) -> ProviderView:
        """A page that shows live what the server sees: connections, requests in flight, streams,
        429s, faults, and a moving timeline.

        As a cell's last line it appears below the cell; its ``url`` opens in any browser of this
        machine. Raises RuntimeError before the start.
        """
        return view_of(self._running().port, self._token)

    def reset(self) -> None:
        """Clear the ledger and the prefix cache; restart rate limits, the faults' counts and time
        windows, and the request numbers that shares and jitter depend on."""
        self._control("POST", "reset")

    @takes(Changes)
    def configure(self, *args: Any, **changes: Any) -> None:
        """Change options of `Changes` from now on, also after a restart.

        Limits that are given start with full buckets, faults with their counts at 0.
        Raises ValueError for an invalid value.
        """
        given = Changes(*args, **changes).given()
        settings = Settings(**{**dict(self._settings), **given})
        self._control("POST", "configure", json.dumps(settings.to_json(given)))
        self._settings = settings

    def script(self, rules: Sequence[Rule | dict[str, Any]]) -> None:
        """Answer by rules from now on, also after a restart; ``[]`` ends that. See `Rule`.

        ``llm.script([{"last_message": "weather", "call": {"name": "get_weather"}}])``. Raises
        ValueError for an invalid rule.
        """
        self.configure(script=[*rules])  # type: ignore[list-item]  # dicts become rules

    async def __aenter__(self) -> Self:
        abandoned = threading.Event()

        def start() -> None:
            self.start()
            if abandoned.is_set():
                self.stop()

        try:
            await anyio.to_thread.run_sync(start)
        except BaseException:
            # Cancelled while the thread may still be starting it.
            abandoned.set()
            await self._stop_in_thread()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stop_in_thread()

    async def _stop_in_thread(self) -> None:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self.stop)

    def _running(self) -> _Server:
        if self._server is None:
            raise RuntimeError(
                "this MockLLM is not started: use it in a with statement, or call .start()"
            )
        return self._server

    def _control(self, method: str, route: str, body: str | None = None) -> bytes:
        server = self._running()
        try:
            with self._control_client() as client:
                response = client.request(method, route, content=body)
        except httpx.TransportError as error:
            raise _no_answer(server, error) from error
        if response.status_code != 200:
            raise RuntimeError(f"the mock server refused {route}: {response.text}")
        return response.content

    def _control_client(self) -> httpx.Client:
        """A client of its own for each call: a connection kept alive would be seen as open."""
        return httpx.Client(
            base_url=f"http://127.0.0.1:{self._running().port}/_mock/",
            headers={"x-mock-token": self._token},
            timeout=_CONTROL_SECONDS,
            trust_env=False,  # loopback needs no proxy
            verify=False,  # noqa: S501  # it speaks plain HTTP; loading certificates takes 50 ms
        )


@dataclass(frozen=True, slots=True)
class _Server:
    child: Child
    pid: int
    port: int
    tls_port: int | None
    ca_file: Path | None


def _no_answer(server: _Server, error: Exception) -> RuntimeError:
    state = "has ended" if server.child.process.poll() is not None else "does not answer"
    return RuntimeError(f"the mock server {state} ({error}): call .stop() and .start() again")


def _launch(settings: Settings, token: str) -> _Server:
    child = forking.start("helpers.mock_llm.__main__")
    orders = {"settings": settings.to_json(), "token": token}
    try:
        ready = child.ask(orders, _START_SECONDS)
    except BaseException as error:
        child.kill()
        if why := _why_not_started(error):
            raise RuntimeError(f"the mock server did not start: {why}") from None
        raise
    ca_file = Path(ready["ca_file"]) if ready["ca_file"] else None
    return _Server(child, ready["pid"], ready["port"], ready["tls_port"], ca_file)


def _why_not_started(error: BaseException) -> str:
    match error:
        case ChildFailedError():
            return f"it {error}"
        case TimeoutError():
            return (
                f"it was not ready within {_START_SECONDS:g} s; the machine may be overloaded: "
                "close other programs and try again"
            )
        case EOFError():
            return (
                "its process ended before it was ready; run "
                f"`{sys.executable} -P -c 'import helpers.mock_llm.server'` to see why"
            )
    return ""


def _end(server: _Server) -> None:
    server.child.stop()
    if server.ca_file is not None and not server.child.is_foreign:
        server.ca_file.unlink(missing_ok=True)  # its supervisor would, a moment later
