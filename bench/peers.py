"""How does the mock server compare with its peers? Side by side, in the same minutes.

    python bench/peers.py

llmock and mocktopus from the package index, each started as its documentation says, in a throw-away
environment of their own. All get the same load from the same clients: completions a second, and 200
streams of some 50 chunks, one every 20 ms. Rounds alternate, so that the machine's mood hits all.
"""

from __future__ import annotations

import contextlib
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from server import CHUNKS, GAP, Speed, in_process, measure, time_streams

from helpers.mock_llm import MockLLM, Profile

PEERS = ("llmock==0.2.2", "mocktopus==0.2.0")
ROUNDS = 5
STREAMS = 200
WORDS = " ".join(["event"] * (CHUNKS - 3))
"""llmock echoes the prompt, word by word, after three words of its own."""
SCENARIO = {
    "version": 1,
    "rules": [
        {
            "type": "llm.openai",
            "when": {"model": "*", "messages_contains": ""},
            "respond": {"content": "x" * (5 * CHUNKS)},
        }
    ],
}
"""mocktopus sends five characters every 20 ms; JSON is YAML."""


@dataclass
class Result:
    speeds: list[Speed] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)
    drifts: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        return statistics.median(speed.rate for speed in self.speeds)

    @property
    def ratio(self) -> float:
        return statistics.median(self.ratios)

    @property
    def drift(self) -> float:
        return statistics.median(self.drifts)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        scripts = installed(Path(folder))
        scenario = Path(folder) / "scenario.yaml"
        scenario.write_text(json.dumps(SCENARIO))
        llmock = ["serve", "--log-level", "error", "--response-style", "echo"]
        paced = [*llmock, "--stream-chunk-delay-ms", str(round(GAP * 1000))]
        mocktopus = ["serve", "--scenario", str(scenario)]
        ours = MockLLM(Profile(decode_rate=1 / GAP), answer_tokens=CHUNKS)
        servers = {
            "ours": (stack.enter_context(mock()), stack.enter_context(mock(ours))),
            "llmock": tuple(
                stack.enter_context(peer([str(scripts / "llmock"), *options]))
                for options in (llmock, paced)
            ),
            "mocktopus": (stack.enter_context(peer([str(scripts / "mocktopus"), *mocktopus])),) * 2,
        }
        results = {name: Result() for name in servers}
        for _ in range(ROUNDS):
            for name, (fast, slow) in servers.items():
                results[name].speeds.append(in_process(measure, *fast))
                ratio, drift = in_process(time_streams, slow[0], STREAMS, request(slow[0]))
                results[name].ratios.append(ratio)
                results[name].drifts.append(drift)
    report(results)


def report(results: dict[str, Result]) -> None:
    print(f"{'':10} completions/s   {STREAMS} streams, × ideal   drift, ms   (median of {ROUNDS})")
    for name, result in results.items():
        print(f"{name:10} {result.rate:13,.0f} {result.ratio:20.3f} {result.drift * 1000:11.1f}")
    ours, *peers = results.values()
    print(f"completions: {ours.rate / max(p.rate for p in peers):.2f} of the fastest peer's rate")
    print(f"stream time: {ours.ratio / min(p.ratio for p in peers):.3f} of the best peer's")
    print(f"drift:       {ours.drift / min(p.drift for p in peers):.3f} of the best peer's")


Address = tuple[int, int]
"""Port and process id."""


@contextlib.contextmanager
def mock(llm: MockLLM | None = None) -> Iterator[Address]:
    with llm or MockLLM(answer_tokens=CHUNKS) as server:
        yield int(server.url.split(":")[2].split("/")[0]), server.pid


@contextlib.contextmanager
def peer(command: list[str]) -> Iterator[Address]:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    null = subprocess.DEVNULL
    process = subprocess.Popen([*command, "--port", str(port)], stdout=null, stderr=null)
    try:
        until_it_answers(port, lambda: process.poll() is None)
        # What does the work may be a child of what was started.
        children = psutil.Process(process.pid).children(recursive=True)
        yield port, children[-1].pid if children else process.pid
    finally:
        process.kill()
        process.wait()


def until_it_answers(port: int, alive: Callable[[], bool]) -> None:
    for _ in range(300):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        if not alive():
            break
        time.sleep(0.1)
    raise SystemExit("a peer did not start")


def request(port: int) -> bytes:
    """A streamed completion whose prompt is long enough for a peer that echoes it."""
    messages = [{"role": "user", "content": WORDS}]
    body = json.dumps({"model": "gpt-4o", "messages": messages, "stream": True}).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def installed(folder: Path) -> Path:
    """The folder of the peers' commands."""
    venv.create(folder / "env", with_pip=True)
    scripts = folder / "env" / ("Scripts" if sys.platform == "win32" else "bin")
    pip = [str(scripts / "python"), "-m", "pip", "install", "--quiet"]
    done = subprocess.run([*pip, *PEERS], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"the peers cannot be installed: {done.stderr.strip()[-300:]}")
    return scripts


if __name__ == "__main__":
    main()
