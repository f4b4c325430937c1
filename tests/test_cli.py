"""The command, as a person or a script would call it."""

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import get_args

import httpx
import pytest

from helpers.lessons.catalogue import lesson
from helpers.mock_llm import PROFILES, Fault
from helpers.mock_llm.settings.faults import KINDS
from helpers.mock_llm.settings.limits import RetryAfter

COMMAND = [sys.executable, "-m", "helpers.cli"]


def call(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *args], capture_output=True, text=True, check=False)


def test_the_doctor_says_ok() -> None:
    done = call("doctor")
    assert done.returncode == 0, done.stdout
    lines = done.stdout.splitlines()
    assert len(lines) == 9
    assert all(line.startswith("ok") for line in lines)


def test_the_doctor_names_the_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("LLM_ANTIPATTERNS_HOME", str(blocked))
    done = call("doctor")
    assert done.returncode == 1
    assert "FAIL progress" in done.stdout
    assert "Set LLM_ANTIPATTERNS_HOME to a folder that you may write to." in done.stdout


def test_check_grades_a_file() -> None:
    done = call("check", "01", str(lesson("01").solution))
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("PASS") == 5
    assert "Solved." in done.stdout.splitlines()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("x = 1", "has no function `handle`"),
        ("def handle(:", "does not run: SyntaxError"),
        ("1 / 0", "does not run: ZeroDivisionError"),
    ],
)
def test_check_says_what_is_wrong_with_a_file(tmp_path: Path, text: str, sentence: str) -> None:
    file = tmp_path / "answer.py"
    file.write_text(text)
    done = call("check", "01", str(file))
    assert done.returncode == 1
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (["run", "77"], "There is no lesson '77'. There are: 00, 01"),
        (["run", "00"], "Lesson 00 has no verdict"),
        (["check", "00", "x.py"], "Lesson 00 has no exercise"),
        (["check", "01", "missing.py"], "missing.py: No such file or directory."),
        (["serve", "--profile", "huge"], "huge"),
        (["serve", "--speed", "0"], "speed must be more than 0"),
        (["serve", "--speed", "1e400"], "speed must be more than 0"),
        (["serve", "--answer-tokens", "99999999999"], "answer_tokens must be a whole number from"),
        (["serve", "--port", "99999"], "port must be a whole number from 0 to 65535"),
        (["serve", "--burst-tokens", "5"], "burst_tokens needs tokens_per_minute"),
        (["serve", "--fault", "cut shar=1"], "did you mean share?"),
        (["serve", "--config", "missing.yaml"], "missing.yaml: the file cannot be read"),
    ],
)
def test_mistakes_get_one_sentence(args: list[str], sentence: str) -> None:
    done = call(*args)
    assert done.returncode != 0
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


@contextmanager
def serving(*options: str) -> Iterator[tuple[str, str]]:
    """The base URL and the control token of a server that ends with 0 on Ctrl-C."""
    command = [*COMMAND, "serve", "--port", "0", *options]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        first = server.stdout.readline().strip()
        assert re.fullmatch(r"listening on http://127\.0\.0\.1:\d+/v1", first)
        yield first.split()[-1], server.stdout.readline().split()[-1]
        server.send_signal(signal.SIGINT)
        assert server.wait(timeout=10) == 0
    finally:
        server.kill()
        server.wait()
        server.stdout.close()


def ask(url: str) -> httpx.Response:
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hi"}]}
    return httpx.post(f"{url}/chat/completions", json=body, timeout=20)


def test_serve_says_where_it_listens_and_stops_on_ctrl_c() -> None:
    with serving() as (url, token):
        assert ask(url).status_code == 200
        ledger = httpx.get(url.replace("/v1", "/_mock/ledger"), headers={"x-mock-token": token})
        assert [request["path"] for request in ledger.json()["requests"]] == [
            "/v1/chat/completions"
        ]
        assert "mock_llm_requests_total" in httpx.get(url.replace("/v1", "/metrics")).text


def test_serve_takes_limits_and_faults() -> None:
    options = ["--rpm", "2", "--retry-after", "ms", "--fault", "503 first=1 retry_after=7"]
    with serving(*options) as (url, _):
        answers = [ask(url) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [503, 200, 429]
    assert answers[0].headers["retry-after-ms"] == "7000"
    assert answers[1].headers["x-ratelimit-limit-requests"] == "2"


def test_serve_reads_a_file_and_options_win_over_it(tmp_path: Path) -> None:
    file = tmp_path / "provider.yaml"
    file.write_text(
        "port: 1\nanswer_tokens: 9\nseed: 3\nprofile: {decode_rate: 1000}\n"
        "limits: {requests_per_minute: 1, retry_after: none}\nfaults: [{kind: 500}]\n"
    )
    options = [
        "--config",
        str(file),
        "--answer-tokens",
        "4",
        "--rpm",
        "5",
        "--fault",
        "503 first=1",
    ]
    with serving(*options) as (url, _):
        failed, answered = ask(url), ask(url)
    assert failed.status_code == 503
    assert "retry-after" not in failed.headers
    assert answered.json()["usage"]["completion_tokens"] == 4
    assert answered.headers["x-ratelimit-limit-requests"] == "5"


def test_the_help_of_serve_names_every_profile_and_fault() -> None:
    text = call("serve", "--help").stdout
    options = {*Fault.model_fields} - {"kind"}
    for name in [*PROFILES, *KINDS, *get_args(RetryAfter), *options]:
        assert re.search(rf"\b{name}\b", text), name
    assert text.count("llm-antipatterns serve --") == 4
