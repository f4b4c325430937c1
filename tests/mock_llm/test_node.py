"""A client from another language: the official openai package from npm, run by Node."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from helpers.mock_llm import MockLLM

HERE = Path(__file__).parents[1] / "node"
KEY = "sk-from-another-language"


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What the client printed. Skipped where there is no Node, or its package cannot be had."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if not node or not npm:
        pytest.skip("Node and npm are not on this machine: its openai package is not tried")
    folder = tmp_path_factory.mktemp("node")
    for file in ("package.json", "package-lock.json", ".npmrc", "client.mjs"):
        shutil.copy(HERE / file, folder)
    install = [npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
    done = subprocess.run(install, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"npm cannot install the openai package: {done.stderr.strip()[-200:]}")
    with MockLLM(api_key=KEY) as llm:
        command = [node, "client.mjs", llm.url, KEY]
        ran = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, check=False, timeout=120
        )
        assert ran.returncode == 0, ran.stderr
        return json.loads(ran.stdout) | {"ledger": llm.ledger()}


def test_whole_and_streamed_answers_agree(seen: Any) -> None:
    assert seen["whole"]["text"]
    assert seen["streamed"] == {**seen["whole"], "finish": "stop"}


def test_tools_and_schemas(seen: Any) -> None:
    assert seen["tool"] == {"name": "weather", "city": "string"}
    assert seen["structured"] == "string"


def test_responses_and_their_events(seen: Any) -> None:
    assert seen["response"]["status"] == "completed"
    assert seen["response"]["text"]
    assert (seen["events"][0], seen["events"][-1]) == ("response.created", "response.completed")
    assert "response.output_text.delta" in seen["events"]


def test_embeddings_and_models(seen: Any) -> None:
    assert seen["embeddings"] == [1536, 1536]
    assert seen["models"] > 3


def test_errors_have_their_types(seen: Any) -> None:
    assert seen["errors"] == {
        "model": ["NotFoundError", 404, "model_not_found"],
        "parameter": ["BadRequestError", 400, "decimal_above_max_value"],
        "limited": ["RateLimitError", 429, "rate_limit_exceeded"],
        "key": ["AuthenticationError", 401, "invalid_api_key"],
    }


def test_the_client_retried_what_may_be_retried(seen: Any) -> None:
    limited = [r for r in seen["ledger"].requests if r.fault == "rate_limit_exceeded"]
    assert len(limited) == 3
