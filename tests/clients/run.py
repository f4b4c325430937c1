"""Real clients with their default settings against a real mock server: ``make clients``.

Each client gets an environment of its own in a temporary folder, with the newest versions from the
configured index, so this is the one command that downloads. Prints a line per check; the exit
status is 1 if one failed. Names as arguments, such as ``litellm``, choose clients.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from helpers import MockLLM
from helpers.mock_llm import Fault, Ledger
from tests.clients.checks import FAULTY, LIMITED_CLAUDE, LIMITED_OPENAI
from tests.clients.environments import CLIENTS, Client, NotInstalledError

SCRIPT_SECONDS = 240
LIMITED = (LIMITED_OPENAI, LIMITED_CLAUDE)
# What some clients send elsewhere or fetch by default; the checks are about the mock server.
AT_HOME = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "NO_PROXY": "127.0.0.1",
    "OPENAI_AGENTS_DISABLE_TRACING": "1",
}


@dataclass(frozen=True, slots=True)
class Result:
    check: str
    error: str | None


def script_results(command: list[str], llm: MockLLM) -> Iterator[Result]:
    """A result per line of JSON, and one more if the script did not come to its end."""
    root = llm.url.removesuffix("/v1")
    urls = {"OPENAI_BASE_URL": llm.url, "ANTHROPIC_BASE_URL": root}
    keys = {"OPENAI_API_KEY": "sk-mock", "ANTHROPIC_API_KEY": "sk-ant-mock"}
    with tempfile.TemporaryFile("w+", encoding="utf-8") as errors:
        script = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=errors,
            encoding="utf-8",
            env=os.environ | urls | keys | AT_HOME,
        )
        try:
            output, _ = script.communicate(timeout=SCRIPT_SECONDS)
        except subprocess.TimeoutExpired:
            script.kill()
            output, _ = script.communicate()
            ended = f"it took longer than {SCRIPT_SECONDS} s"
        else:
            errors.seek(0)
            ended = (errors.read().strip() or "no message").splitlines()[-1]
    for line in output.splitlines():
        if line.startswith('{"check"'):
            yield Result(**json.loads(line))
    if script.returncode:
        yield Result("runs to its end", ended[:500])


def ledger_result(ledger: Ledger) -> Result:
    """Every request is answered with 200, but for the first one to each limited model."""
    problems = []
    for model in {request.model for request in ledger.requests} - {FAULTY}:
        statuses = [request.status for request in ledger.requests if request.model == model]
        expected = [429] if model in LIMITED else []
        if statuses != expected + [200] * (len(statuses) - len(expected)):
            problems.append(f"{model}: {statuses}")
    if not ledger.requests:
        problems.append("there is no request")
    return Result("statuses in the ledger", "; ".join(problems) or None)


def results(client: Client, folder: Path) -> Iterator[Result]:
    """Raises NotInstalledError."""
    command = client.install(folder)
    print(f"{client.name} ({client.versions(folder)})", flush=True)
    faults = [
        Fault(kind="rate_limit_exceeded", first=1, model=model, retry_after=1) for model in LIMITED
    ]
    with MockLLM(faults=faults) as llm:
        yield from script_results(command, llm)
        yield ledger_result(llm.ledger())


def main(names: list[str]) -> int:
    passed = total = absent = 0
    for client in CLIENTS:
        if names and client.name not in names:
            continue
        # Windows keeps the files of a process that has just ended.
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            try:
                for result in results(client, Path(folder) / "environment"):
                    total += 1
                    passed += result.error is None
                    verdict = "ok" if result.error is None else f"FAILED: {result.error}"
                    print(f"  {result.check}: {verdict}", flush=True)
            except NotInstalledError as error:
                absent += 1
                print(f"{client.name}: not installed: {error}", flush=True)
    print(f"{passed} of {total} checks passed; clients not installed: {absent}")
    return int(passed < total or not total)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
