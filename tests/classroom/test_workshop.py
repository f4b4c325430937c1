"""What a learner's notebook sends to the workshop's page, and when."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from helpers.lessons.catalogue import lesson
from tests.classroom.served import Served, served_room

NOTEBOOK = """
from helpers.lessons.predictions import Predict
guess = Predict("01", "How many?", arm="wrong", unit="requests")
guess.commit(8)
guess.reveal(1)
"""


@pytest.fixture(scope="module")
def room() -> Iterator[Served]:
    with served_room() as served:
        yield served


@pytest.fixture
def learner(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs Python as one learner, whose notes are in a folder of their own."""

    def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        home = {"LLM_ANTIPATTERNS_HOME": str(tmp_path)}
        return subprocess.run(
            [sys.executable, *arguments],
            env=os.environ | home | variables,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def test_predictions_measured_values_and_checks_arrive(
    room: Served, learner: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    variables = {"LLM_ANTIPATTERNS_CLASS": room.learners, "LLM_ANTIPATTERNS_CLASS_NAME": "Ada"}
    variables |= {"HTTP_PROXY": "http://192.0.2.1:9", "ALL_PROXY": "socks5://192.0.2.1:9"}
    said = learner("-c", NOTEBOOK, **variables)
    assert said.stdout == "You said 8 requests. It was 1.\n", said.stderr
    solution = str(lesson("03").solution)
    checked = learner("-m", "helpers.cli", "check", "03", solution, **variables)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    snapshot = room.snapshot()
    (question,) = snapshot["questions"]
    assert (question["text"], question["predictions"]) == ("How many?", [8])
    assert question["measured"] == 1
    assert snapshot["learners"] == 1, "both processes are the same learner"
    assert snapshot["exercises"][0]["names"] == ["Ada"]


def test_nothing_is_sent_without_the_address(
    room: Served, learner: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    before = room.snapshot()
    said = learner("-c", NOTEBOOK, LLM_ANTIPATTERNS_CLASS="")
    assert said.stdout == "You said 8 requests. It was 1.\n"
    assert room.snapshot() == before


@pytest.mark.parametrize(
    ("address", "found"),
    [
        ("nonsense", "is not the address of a workshop's page"),
        ("http://127.0.0.1:9/ABCDEF", "does not take your answers"),
        ("http://[::1/ABCDEF", "does not take your answers"),
    ],
)
def test_an_address_that_is_wrong_is_said_once(
    address: str, found: str, learner: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    said = learner("-c", NOTEBOOK, LLM_ANTIPATTERNS_CLASS=address)
    assert said.returncode == 0, said.stderr
    assert said.stdout.count(found) == 1
    assert "You said 8 requests. It was 1." in said.stdout
    assert said.stderr == ""


def test_a_page_that_does_not_answer_delays_no_cell(
    learner: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/ABCDEF"
        said = learner(
            "-c", f"{NOTEBOOK}print('The cell has ended.')", LLM_ANTIPATTERNS_CLASS=address
        )
    lines = said.stdout.splitlines()
    assert lines[:2] == ["You said 8 requests. It was 1.", "The cell has ended."], said.stderr
    assert "does not take your answers: timed out" in lines[2]
