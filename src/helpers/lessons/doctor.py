"""Examines whether this machine can run the course: one line per question, with the remedy."""

from __future__ import annotations

import importlib.metadata
import platform
import socket
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import redis

from helpers.lab import Valkey, ValkeyMissing, noise_floor
from helpers.lessons import environment
from helpers.lessons.progress import HOME_VARIABLE, progress_folder
from helpers.mock_llm import MockLLM
from helpers.mock_llm.tokens import encoding

# Seconds. A timer this late hides the smallest effects that the lessons claim (10 ms).
_NOISY = 0.02
_BLOCK = bytes(16_384)


@dataclass(frozen=True, slots=True)
class Finding:
    ok: bool
    question: str
    answer: str
    """What was found, or what is wrong and what to do about it."""

    def __str__(self) -> str:
        return f"{'ok  ' if self.ok else 'FAIL'} {self.question}: {self.answer}"


def doctor() -> Iterator[Finding]:
    """Examine the machine; yields each finding as soon as it is known. Blocks for some seconds."""
    for question, examine, remedy in _EXAMINATIONS:
        try:
            yield Finding(True, question, examine())
        except Exception as error:  # noqa: BLE001 - what is wrong is the finding
            reason = str(error).strip() or type(error).__name__
            yield Finding(False, question, f"{reason.rstrip('.')}. {remedy}".strip())


def _python() -> str:
    if sys.version_info < (3, 11):  # noqa: UP036 - this is the question
        raise RuntimeError(f"Python {platform.python_version()} is too old")
    return f"{platform.python_version()} on {platform.system()}"


def _packages() -> str:
    names = ("jupyterlab", "httpx", "anyio", "matplotlib", "tiktoken", "openai")
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)


def _environment() -> str:
    if found := environment.problems():
        raise RuntimeError(" ".join(found))
    return "no proxy or certificate variable gets in the way"


def _loopback() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        socket.create_connection(("127.0.0.1", port), timeout=2).close()
    return "a port can be opened and reached"


def _tokenizer() -> str:
    count = len(encoding().encode("Keep the event loop free."))
    if count != 6:
        raise RuntimeError(f"six tokens were counted as {count}")
    return "o200k_base, from the package"


def _server() -> str:
    with MockLLM() as llm:
        message = {"role": "user", "content": "Are you there?"}
        body = {"model": "mock-1", "messages": [message]}
        # Not through a proxy: that is another question.
        reply = httpx.post(f"{llm.url}/chat/completions", json=body, timeout=10, trust_env=False)
        reply.raise_for_status()
    return f"answered in {reply.elapsed.total_seconds() * 1000:.0f} ms"


def _timers() -> str:
    late = noise_floor()
    if late > _NOISY:
        raise RuntimeError(f"timers are {late * 1000:.0f} ms late")
    return f"{late * 1000:.1f} ms late at most, nine times out of ten"


def _store() -> str:
    with tempfile.TemporaryDirectory() as folder:
        store = sqlite3.connect(Path(folder) / "doctor.sqlite")
        try:
            mode = store.execute("PRAGMA journal_mode=WAL").fetchone()[0]
        finally:
            store.close()
    if mode != "wal":
        raise RuntimeError(f"SQLite cannot keep a write-ahead log here ({mode})")
    return f"SQLite {sqlite3.sqlite_version}, {_valkey()}"


def _valkey() -> str:
    """Optional: lesson 06 shows less without it."""
    try:
        with Valkey() as server, redis.Redis.from_url(server.url) as client:
            return f"Valkey {client.info('server')['valkey_version']}"
    except ValkeyMissing as missing:
        return f"no Valkey ({missing})"


def _progress() -> str:
    folder = progress_folder()
    folder.mkdir(parents=True, exist_ok=True)
    # A full disk still makes an empty file.
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(_BLOCK)
        file.flush()
    return "can be kept"


_SET_UP = "Run `make setup` again."
_EXAMINATIONS: tuple[tuple[str, Callable[[], str], str], ...] = (
    ("Python", _python, "Install Python 3.11 or later, delete .venv and run `make setup`."),
    ("packages", _packages, _SET_UP),
    ("environment", _environment, ""),
    ("loopback", _loopback, "Let a firewall or VPN allow connections to 127.0.0.1."),
    ("tokenizer", _tokenizer, _SET_UP),
    ("mock server", _server, "Run `llm-antipatterns serve` and read what it says."),
    ("timers", _timers, "Close other programs, or plug in the laptop."),
    ("store", _store, "Free some disk space, or set TMPDIR to a local disk."),
    ("progress", _progress, f"Set {HOME_VARIABLE} to a folder that you may write to."),
)
