"""Every call that cannot be right ends with status 2 and a sentence, never with a traceback."""

import json
import os
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from helpers.lessons.catalogue import lesson
from tests.obstacles import permissions_count

# Imports the command once; each call is then a process of its own, and a moment's work.
DRIVER = """
import contextlib, gc, io, json, os, sys, tempfile, time
import helpers.cli
import helpers.lessons.exercises.grading, helpers.lessons.kernel, helpers.lessons.course.reset

def call(args):
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = os.fork()
        if not process:
            os.dup2(out.fileno(), 1); os.dup2(err.fileno(), 2)
            sys.argv = ["llm-antipatterns", *args]
            try:
                helpers.cli.main()
            except SystemExit as ended:
                sys.stdout.flush(); sys.stderr.flush()
                os._exit(ended.code or 0)  # taking the interpreter down would take longest
        status, deadline = None, time.monotonic() + 60
        while status is None and time.monotonic() < deadline:
            ended, code = os.waitpid(process, os.WNOHANG)
            status = os.waitstatus_to_exitcode(code) if ended else None
            time.sleep(0.01)
        if status is None:
            os.kill(process, 9); os.waitpid(process, 0)
        out.seek(0); err.seek(0)
        return status, out.read().decode("utf-8", "replace"), err.read().decode("utf-8", "replace")

calls = json.load(sys.stdin)
with contextlib.redirect_stderr(io.StringIO()), contextlib.suppress(SystemExit):
    helpers.cli.app(["serve", "--speed", "0"])  # imports what serve needs, and fails
gc.freeze()
print(json.dumps([call(args) for args in calls]))
"""
LONG = "9" * 50_000
NOT_UTF_8 = "\udcff\udcfe"
WORDS = ["", " ", "42", "77", "-1", "1.0", "x", "٠١", "01 02", LONG, NOT_UTF_8, "\n", "../01"]
SOLUTION = str(lesson("01").solution)


def calls(*lists: list[str]) -> list[list[str]]:
    return [list(args) for args in product(*lists)]


OTHER = [["--no-such-option"], ["01", "02", "03"]]
BAD: dict[str, list[list[str]]] = {
    "command": [[""], ["nothing"], ["--nothing"], [LONG], [NOT_UTF_8], ["Run", "01"]],
    "run": [[], *calls(WORDS), ["00"], *OTHER],
    "check": [
        [],
        ["01"],
        *calls(WORDS, [SOLUTION]),
        ["00", SOLUTION],
        *calls(
            ["01"], [*WORDS, ".", "/", os.devnull, "missing.py", "missing/x.py", "missing.ipynb"]
        ),
        *calls(["01"], [f"{LONG}.py", f"{NOT_UTF_8}.py", "folder.py", "text.txt", "secret.py"]),
        *OTHER,
    ],
    "reset": [[], *calls(WORDS), *OTHER],
    "progress": [
        [""],
        ["x"],
        ["."],
        *calls(["--csv"], ["", "missing", "text.txt", "folder.py", LONG, NOT_UTF_8]),
        ["--csv", "folder.py", "missing"],
        *calls(["--certificate"], ["", ".", "text.txt", "missing/x.html", f"{LONG}.html"]),
        ["--certificate"],
        ["--csv", "--certificate", "x.html"],
        ["--certificate", "x.html", "."],
        *OTHER,
    ],
    "doctor": [[""], ["x"], *OTHER],
    "lab": [[""], [LONG], ["text.txt"], [".", "nowhere"], [".", "--port=0", "nowhere.ipynb"]],
    "init": [[""], [LONG], ["text.txt"], [os.devnull], ["a", "b"], ["--no-such-option"]],
    "update": [[""], ["x"], [LONG], ["text.txt"], ["."], ["a", "b"], ["--no-such-option"]],
    "class": [
        ["x"],
        *calls(["--port"], ["", "x", "-1", "65536"]),
        ["--host", ""],
        ["--host", LONG],
    ],
    "scan": [
        [],
        *calls(["", "missing", LONG, NOT_UTF_8]),
        [".", "--format", "x"],
        [".", "--output", "missing/x"],
    ],
    "audit": [
        [],
        ["--"],
        ["--", "no-such-program"],
        ["--only", "99", "--", "true"],
        *calls(["--deadline"], ["", "0", "-1", "nan", "x"], ["--"], ["true"]),
        ["--start", "true"],
        ["--start", "true", "--app", "http://127.0.0.1:$PORT"],
        ["--start", "true", "--app", "x", "--chat", "POST /"],
        ["--start", "'", "--app", "http://127.0.0.1:$PORT", "--chat", "POST /chat {}"],
        ["--expected-failures", "missing.yaml", "--", "true"],
        ["--expected-failures", "bytes.yaml", "--", "true"],
        ["--json", "missing/x", "--", "true"],
    ],
    "serve": [
        ["x"],
        *calls(["--port"], ["", "x", "-1", "65536", LONG, "1.5"]),
        *calls(["--config"], ["", "missing.yaml", ".", "text.txt", "bytes.yaml", f"{LONG}.yaml"]),
        *calls(["--profile"], ["", "huge", LONG, NOT_UTF_8]),
        *calls(["--speed"], ["", "0", "-1", "nan", "inf", "x"]),
        *calls(["--seed"], ["", "x", "1.5"]),
        *calls(["--answer-tokens"], ["", "0", "-1", "x"]),
        *calls(["--rpm", "--tpm"], ["", "0", "-1", "nan", "x"]),
        *calls(["--burst-requests", "--burst-tokens", "--quota-tokens"], ["", "5x", "-1"]),
        *calls(["--retry-after"], ["", "x", LONG]),
        *calls(["--fault"], ["", "cut shar=1", "x", "503 first=x", "503 share=2", LONG, NOT_UTF_8]),
        *OTHER,
    ],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("calls")
    (folder / "folder.py").mkdir()
    (folder / "text.txt").write_text("text")
    (folder / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
    (folder / "secret.py").write_text("x = 1")
    (folder / "secret.py").chmod(0o000)
    return folder


def outcomes(folder: Path, args: list[list[str]]) -> list[Any]:
    done = subprocess.run(
        [sys.executable, "-c", DRIVER],
        input=json.dumps(args),
        cwd=folder,
        env=os.environ | {"LLM_ANTIPATTERNS_HOME": str(folder / "home")},
        capture_output=True,
        text=True,
        check=True,
        preexec_fn=permissions_count,
    )
    found: list[Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("command", BAD)
def test_bad_calls(command: str, folder: Path) -> None:
    args = [[*([] if command == "command" else [command]), *rest] for rest in BAD[command]]
    wrong = []
    for call, (status, out, err) in zip(args, outcomes(folder, args), strict=True):
        # Typer and the settings quote even the longest argument.
        longest = 200_000 if command in ("command", "serve") else 2_500
        is_sentence = 0 < len(err.strip()) < longest and "Traceback" not in err
        # The framed message that names a wrong option has some lines more.
        if status != 2 or out or not is_sentence or (len(err.splitlines()) > 1 and "─" not in err):
            wrong.append(([word[:40] for word in call], status, out[-200:], err[-300:]))
    assert wrong == []
