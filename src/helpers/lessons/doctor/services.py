"""Whether what lessons start and use works here."""

from __future__ import annotations

import os
import socket
import sqlite3
import tempfile
from pathlib import Path

import httpx

from helpers.lab import Valkey, ValkeyMissing, noise_floor
from helpers.lessons import environment
from helpers.lessons.doctor.answers import Note
from helpers.lessons.progress import HOME_VARIABLE, progress_folder
from helpers.mock_llm import MockLLM
from helpers.mock_llm.tokens import encoding

# Seconds. A timer this late hides the smallest effects that the lessons claim (10 ms).
_NOISY = 0.02
_BLOCK = bytes(16_384)


def loopback() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        socket.create_connection(("127.0.0.1", port), timeout=2).close()
    return "a port can be opened and reached"


def tokenizer() -> str:
    count = len(encoding().encode("Keep the event loop free."))
    if count != 6:
        raise RuntimeError(f"six tokens were counted as {count}")
    return "o200k_base, from the package"


def server() -> str:
    with MockLLM() as llm:
        message = {"role": "user", "content": "Are you there?"}
        body = {"model": "mock-1", "messages": [message]}
        # As in a lesson: without the environment's proxies and certificates.
        with httpx.Client(trust_env=False, timeout=10) as client:
            reply = client.post(f"{llm.url}/chat/completions", json=body)
        reply.raise_for_status()
    return f"answered in {reply.elapsed.total_seconds() * 1000:.0f} ms"


def timers() -> str:
    late = noise_floor()
    said = f"{late * 1000:.1f} ms late at most, nine times out of ten"
    if late > _NOISY:
        return Note(f"{said}; small effects may not be seen. Close other programs")
    return said


def store() -> str:
    with tempfile.TemporaryDirectory() as folder:
        database = sqlite3.connect(Path(folder) / "doctor.sqlite")
        try:
            mode = database.execute("PRAGMA journal_mode=WAL").fetchone()[0]
        finally:
            database.close()
    if mode != "wal":
        raise RuntimeError(f"SQLite cannot keep a write-ahead log here ({mode})")
    return f"SQLite {sqlite3.sqlite_version}, {_valkey()}"


def _valkey() -> str:
    """Optional: lesson 06 shows less without it."""
    try:
        import redis
    except ImportError:  # it comes with the course
        return "no Valkey (the package redis is missing)"
    try:
        with Valkey() as running, redis.Redis.from_url(running.url) as client:
            return f"Valkey {client.info('server')['valkey_version']}"
    except ValkeyMissing as missing:
        return f"no Valkey ({missing})"


def progress() -> str:
    """Raises RuntimeError if the progress cannot be kept. Makes no folder."""
    folder = progress_folder()
    try:
        # A full disk still makes an empty file.
        with tempfile.TemporaryFile(dir=environment.existing_part(folder)) as file:
            file.write(_BLOCK)
            file.flush()
    except OSError as error:
        reason = error.strerror or "no file can be made in it"
        raise RuntimeError(f"{folder}: {reason}. {_progress_remedy()}") from error
    return "can be kept"


def _progress_remedy() -> str:
    if not os.environ.get(HOME_VARIABLE) and environment.has_no_home():
        return f"To fix this: {environment.home_remedy()}"
    return (
        "Choose a folder that you may write to: "
        f"{environment.set_variable(HOME_VARIABLE, 'FOLDER')}"
    )
