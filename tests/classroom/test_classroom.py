"""The room's page: what it takes, from whom, and what it shows."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from tests.classroom.served import QUESTION, Served, check, message, served_room


@pytest.fixture
def room() -> Iterator[Served]:
    with served_room() as served:
        yield served


def test_predictions_are_shown_sorted_and_the_latest_counts(room: Served) -> None:
    for learner, value in ((1, 8), (2, 1), (1, 3)):
        assert room.predict(learner, value).status_code == 204
    (question,) = room.snapshot()["questions"]
    assert question["text"] == QUESTION
    assert question["unit"] == "requests"
    assert question["predictions"] == [1, 3]
    assert question["measured"] is None


def test_a_number_committed_after_the_run_does_not_count(room: Served) -> None:
    room.predict(1, 8)
    room.post("measured", message(1, value=12))
    assert room.predict(1, 12).status_code == 204
    (question,) = room.snapshot()["questions"]
    assert question["predictions"] == [8]


def test_the_measured_value_is_the_machines_median(room: Served) -> None:
    for learner, value in ((1, 12), (2, 12), (3, 40)):
        assert room.post("measured", message(learner, value=value)).status_code == 204
    (question,) = room.snapshot()["questions"]
    assert question["measured"] == 12
    assert question["machines"] == 3


def test_exercises_count_the_solved_and_who_may_want_help(room: Served) -> None:
    sent = [check(1, solved=True, name="Ada"), check(2, solved=False), check(2, solved=False)]
    for each in [*sent, check(3, solved=False), check(3, solved=True)]:
        assert room.post("checks", each).status_code == 204
    (exercise,) = room.snapshot()["exercises"]
    assert exercise == {
        "lesson": "05",
        "solved": 2,
        "names": ["Ada"],
        "stuck": {"count": 1, "names": []},
    }


def test_a_hundred_learners_at_once_lose_nothing(room: Served) -> None:
    with ThreadPoolExecutor(100) as pool:
        statuses = list(pool.map(lambda i: room.predict(i, i).status_code, range(100)))
        statuses += pool.map(
            lambda i: room.post("checks", check(i, solved=True)).status_code, range(100)
        )
    assert statuses == [204] * 200
    snapshot = room.snapshot()
    assert snapshot["learners"] == 100
    assert snapshot["questions"][0]["predictions"] == [float(i) for i in range(100)]
    assert snapshot["exercises"][0]["solved"] == 100


def test_the_page_hears_of_what_comes_later(room: Served) -> None:
    snapshots = room.snapshots()
    assert next(snapshots)["learners"] == 0
    sender = threading.Thread(target=room.predict, args=(1, 5))
    sender.start()
    assert next(snapshots)["questions"][0]["predictions"] == [5]
    sender.join()


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"value": -1}, 422),
        ({"value": "8"}, 422),
        ({"value": 1e300}, 422),
        ({"value": None}, 422),
        ({"learner": "Ada"}, 422),
        ({"lesson": "1"}, 422),
        ({"question": ""}, 422),
        ({"question": "?" * 201}, 422),
        ({"name": "A" * 41}, 422),
        ({"more": 1}, 422),
        ({"name": "A" * 5000}, 413),
    ],
)
def test_wrong_messages_get_one_sentence(
    room: Served, changed: dict[str, Any], status: int
) -> None:
    answer = room.post("predictions", message(1, value=1) | changed)
    assert answer.status_code == status
    assert len(answer.json()["error"].splitlines()) == 1
    assert room.snapshot()["learners"] == 0


@pytest.mark.parametrize("body", [b"", b"\xff", b"[1]", b"{", b"NaN", b"[" * 4000])
def test_any_bytes_are_answered(room: Served, body: bytes) -> None:
    answer = httpx.post(f"{room.learners}/predictions", content=body, trust_env=False)
    assert answer.status_code == 422
    assert answer.json()["error"]


def test_only_the_code_lets_learners_in_and_guesses_are_slow(room: Served) -> None:
    guess = f"{room.url}/WRONG2/predictions"
    statuses = [
        httpx.post(guess, json=message(1, value=1), trust_env=False).status_code for _ in range(25)
    ]
    assert statuses[0] == 403
    assert statuses[-1] == 429
    assert room.predict(1, 1).status_code == 204, "those with the code are not held up"


def test_a_learner_who_sends_too_much_is_refused_alone(room: Served) -> None:
    statuses = {room.predict(1, value).status_code for value in range(60)}
    assert statuses == {204, 429}
    assert room.predict(2, 1).status_code == 204


@pytest.mark.parametrize("path", ["/", "/events", "/?teacher=", "/events?teacher=x"])
def test_only_the_teachers_address_shows_the_room(room: Served, path: str) -> None:
    assert httpx.get(room.url + path, trust_env=False).status_code == 403


@pytest.mark.parametrize(
    "header", [{"host": "evil.example"}, {"origin": "https://evil.example"}, {"origin": "null"}]
)
def test_foreign_pages_are_refused(room: Served, header: dict[str, str]) -> None:
    assert room.post("predictions", message(1, value=1), headers=header).status_code == 403
    assert httpx.get(room.page, headers=header, trust_env=False).status_code == 403


def test_the_page_allows_no_script_but_its_own(room: Served) -> None:
    page = httpx.get(room.page, trust_env=False)
    assert page.status_code == 200
    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert urlsplit(room.learners).path[1:] in page.text, "the code to join is on the page"


def test_a_full_room_says_so(room: Served) -> None:
    full = [room.predict(i, 1, question=f"{i}?") for i in range(201)]
    assert full[199].status_code == 204
    assert full[200].status_code == 429
    assert "200 questions" in full[200].json()["error"]


def test_a_port_in_use_is_one_sentence(room: Served) -> None:
    port = str(urlsplit(room.url).port)
    command = [sys.executable, "-m", "helpers.cli", "class", "--port", port]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
