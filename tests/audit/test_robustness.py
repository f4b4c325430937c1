"""An audit always ends, leaves nothing behind, and says in one sentence why it could not run."""

from __future__ import annotations

import json
import os
import secrets
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from typer.testing import CliRunner

from helpers.audit import AuditError, audit_command, audit_service, audit_services
from helpers.audit.drivers.application import Applications
from helpers.cli import app
from tests.audit.auditing import ADDRESS, APPS, CHAT, ids

HOSTILE = [sys.executable, str(APPS / "hostile.py")]


MARK = "LLM_AUDIT_TEST"


def of_an_application() -> list[psutil.Process]:
    """Processes that an audit of this test started, and those that these started."""
    found = []
    for process in psutil.process_iter():
        try:
            variables = process.environ()
            if variables.get(MARK) == os.environ[MARK] and "LLM_AUDIT_PROCESS" in variables:
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


@pytest.fixture(autouse=True)
def nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv(MARK, secrets.token_hex(8))
    yield
    assert not [process.pid for process in of_an_application() if process.is_running()]


def refused(kind: str, deadline: float = 2) -> str:
    """Why a program cannot be audited."""
    with pytest.raises(AuditError) as caught:
        audit_command([*HOSTILE, kind], deadline=deadline, only="04")
    return is_a_sentence(str(caught.value))


def service_refused(kind: str) -> str:
    with pytest.raises(AuditError) as caught:
        audit_service([*HOSTILE, kind, "$PORT"], ADDRESS, CHAT, deadline=2, only="LAP03.limit")
    return is_a_sentence(str(caught.value))


def is_a_sentence(text: str) -> str:
    assert "\n" not in text
    assert text.endswith(".") or "(" in text or ":" in text
    return text


def test_a_command_that_is_not_there() -> None:
    with pytest.raises(AuditError, match="no-such-program' cannot be started: No such file"):
        audit_command("no-such-program --now")


def test_a_program_that_dies_at_once() -> None:
    said = refused("dies")
    assert "no request" in said
    assert "ended with status 1 (no configuration found)" in said


def test_a_program_that_ignores_the_variables() -> None:
    said = refused("ignores")
    assert "no request" in said
    assert "OPENAI_BASE_URL, ANTHROPIC_BASE_URL or AZURE_OPENAI_ENDPOINT" in said


def test_a_program_that_fails_though_the_provider_is_healthy() -> None:
    assert "status 1 although the provider was healthy (the disk is full)" in refused("fails")


def test_a_program_that_goes_on_after_its_answers() -> None:
    assert "did not end although every answer came at once" in refused("hangs-after-asking", 1)


@pytest.mark.slow
def test_a_program_that_hangs_and_never_asks() -> None:
    assert "sent no request and did not end within 30 s" in refused("hangs", 1)


def test_a_program_that_prints_100_mb() -> None:
    report = audit_command([*HOSTILE, "prints"], deadline=5, only="LAP03.limit")
    assert ids(report, "pass") == {"LAP03.limit"}


def test_a_program_that_leaves_a_process() -> None:
    report = audit_command([*HOSTILE, "forks"], deadline=5, only="LAP03.limit")
    assert ids(report, "pass") == {"LAP03.limit"}


def test_a_service_that_dies_at_once() -> None:
    said = service_refused("dies")
    assert "ended with status 1 before it answered" in said
    assert "no configuration found" in said


def test_a_service_that_ignores_the_variables() -> None:
    said = service_refused("ignores-as-service")
    assert "no request arrived at the provider" in said
    assert "OPENAI_BASE_URL" in said


def test_a_service_that_answers_500() -> None:
    said = service_refused("answers-500")
    assert "answers 500 to POST /chat" in said
    assert "no database" in said


def test_a_path_that_is_not_in_the_answer() -> None:
    with pytest.raises(AuditError, match="--answer text finds nothing"):
        audit_service([*HOSTILE, "serves", "$PORT"], ADDRESS, CHAT, answer="text", only="02")


def test_a_port_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(AuditError, match="already listens"):
            audit_service([*HOSTILE, "serves", "0"], address, CHAT, only="02")


@pytest.mark.slow
def test_a_service_that_listens_elsewhere() -> None:
    said = service_refused("listens-elsewhere")
    assert "did not answer" in said
    if sys.platform == "linux":
        assert "it listens on port" in said


@pytest.mark.slow
def test_a_service_that_never_starts() -> None:
    assert "did not answer at http://127.0.0.1" in service_refused("hangs")


@pytest.mark.slow
def test_a_service_that_takes_20_s_to_start() -> None:
    report = audit_service(
        [*HOSTILE, "starts-late", "$PORT"], ADDRESS, CHAT, only="LAP03.limit", deadline=5
    )
    assert ids(report, "pass") == {"LAP03.limit"}


def test_a_service_that_leaves_a_process() -> None:
    report = audit_service(
        [*HOSTILE, "forks-as-service", "$PORT"], ADDRESS, CHAT, only="LAP03.limit", deadline=5
    )
    assert ids(report, "pass") == {"LAP03.limit"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_audit_leaves_nothing(number: signal.Signals) -> None:
    command = [sys.executable, "-m", "helpers.cli", "audit", "--", *HOSTILE, "hangs"]
    audit = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 30
    while not of_an_application():
        assert time.monotonic() < end
        time.sleep(0.05)
    audit.send_signal(number)
    assert audit.wait(15) != 0


def test_versions_of_a_service_are_audited_at_the_same_time() -> None:
    starts = {name: shlex.join([*HOSTILE, name, "$PORT"]) for name in ("serves", "answers-500")}
    with pytest.raises(AuditError, match="answers 500"):
        audit_services(starts, ADDRESS, CHAT, only="LAP03.limit")
    starts["answers-500"] = starts["serves"]
    reports = audit_services(starts, ADDRESS, CHAT, only="LAP03.limit")
    assert [ids(report, "pass") for report in reports.values()] == [{"LAP03.limit"}] * 2
    assert [*reports] == [*starts]


def test_an_interrupt_ends_the_audits_of_all_versions() -> None:
    start = shlex.join([*HOSTILE, "hangs", "$PORT"])
    code = (
        f"from helpers.audit import audit_services as audit\naudit(dict.fromkeys('ab', {start!r})"
    )
    audit = subprocess.Popen(
        [sys.executable, "-c", f"{code}, {ADDRESS!r}, {CHAT!r})"], stderr=subprocess.DEVNULL
    )
    end = time.monotonic() + 30
    while len(of_an_application()) < 2:
        assert time.monotonic() < end
        time.sleep(0.05)
    audit.send_signal(signal.SIGINT)
    assert audit.wait(15) != 0


def test_none_is_started_after_the_last_was_killed() -> None:
    applications = Applications()

    def start_many() -> None:
        while True:
            applications.start([*HOSTILE, "hangs"], dict(os.environ))

    with ThreadPoolExecutor(3) as pool:
        starting = [pool.submit(start_many) for _ in range(3)]
        while len(of_an_application()) < 3:
            time.sleep(0.01)
        applications.end_all()
        errors = [str(future.exception()) for future in starting]
    assert errors == ["The audit is over."] * 3
    assert of_an_application() == []


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "helpers.cli", "audit", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def test_the_command_exits_with_2_and_says_why_in_json(tmp_path: Path) -> None:
    file = tmp_path / "audit.json"
    done = run("--json", str(file), "--only", "03", "--", *HOSTILE, "dies")
    assert done.returncode == 2
    assert done.stderr.count("\n") == done.stderr.count(" s  ") + 1  # progress, and one sentence
    report = json.loads(file.read_text())
    assert report == {"version": 1, "verdict": "error", "error": done.stderr.splitlines()[-1]}
    assert "no request" in report["error"]


def test_the_command_writes_what_it_found(tmp_path: Path) -> None:
    file = tmp_path / "audit.json"
    done = run("--json", str(file), "--only", "LAP03.limit", "--", *HOSTILE, "prints")
    assert done.returncode == 0, done.stderr
    report = json.loads(file.read_text())
    assert report["version"] == 1
    assert report["verdict"] == "pass"
    (check,) = report["checks"]
    assert check["id"] == "LAP03.limit"
    assert check["lesson"] == "03"
    assert check["scenario"] == "steady"
    assert check["verdict"] == "pass"
    assert check["counted"] == {"requests": 1, "without_limit": 0}


@pytest.fixture
def own_handler() -> Iterator[None]:
    """The command ends at SIGTERM as at an interrupt."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.usefixtures("own_handler")
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "There is nothing to audit"),
        (("--start", "x"), "--app is missing"),
        (("--start", "x", "--app", "nowhere", "--chat", "POST / $MESSAGE"), "--app must be a URL"),
        (
            ("--start", "x", "--app", "http://127.0.0.1:1", "--chat", "/chat"),
            "--chat must be like 'POST /chat",
        ),
        (
            ("--start", "x", "--app", "http://127.0.0.1:1", "--chat", "POST /chat {}"),
            "where the user's message goes",
        ),
        (
            ("--start", "x", "--app", "http://127.0.0.1:1", "--chat", "POST /chat {$MESSAGE"),
            "is not JSON",
        ),
        (
            ("--start", "x $PORT", "--app", "http://127.0.0.1:1", "--chat", CHAT),
            "must be in --app",
        ),
        (
            ("--start", "x 'y", "--app", "http://127.0.0.1:1", "--chat", CHAT),
            "cannot be split: No closing quotation",
        ),
        (("--only", "09", "--", "true"), "--only takes lessons 01 to 08"),
        (("--deadline", "0", "--", "true"), "--deadline must be between 1 and"),
        (("--start", "x", "--", "true"), "but not both"),
        (("--json", "/no/such/folder/x.json", "--", "true"), "cannot be written"),
        (("--expected-failures", "/no/such.yaml", "--", "true"), "/no/such.yaml"),
    ],
)
def test_a_bad_option_is_refused_in_one_sentence(arguments: tuple[str, ...], says: str) -> None:
    done = CliRunner().invoke(app, ["audit", *arguments])
    assert done.exit_code == 2
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1
