"""The exercise of lesson 07 tells right from wrong relays, and says what is wrong."""

import asyncio
from pathlib import Path

import pytest

from helpers.lessons.catalogue import lesson
from helpers.lessons.exercise import grade, load_solution

SOLUTION = lesson("07").solution.read_text("utf-8")
FINISH = 'finish = choice["finish_reason"] or finish'
CHECKED = "if finish is None:"
ERRORS = "except httpx.HTTPError as error:\n        failure, finish = str(error), None"
STATUS = "source.response.raise_for_status()"
YIELD = 'yield event({"text": text})'
START = 'finish, failure = None, "the model\'s answer broke off"'

WHOLE = "a reader who stays gets the whole text"
FIRST = "the first text is passed on"
STOPS = "the model stops"
CUT = "the connection to the model is cut"
NO_FINISH = "ends without a finish reason"
EVENT = "the model sends an error event"
REFUSED = "status 503"

DETACHED = """
import asyncio

whole_relay = relay
tasks = set()


async def relay(client, url, request):
    async def read():
        async for part in whole_relay(client, url, request):
            queue.put_nowait(part)
        queue.put_nowait(None)

    queue = asyncio.Queue()
    tasks.add(asyncio.create_task(read()))
    while (part := await queue.get()) is not None:
        yield part
"""
COLLECTS = """
stream = relay


async def relay(client, url, request):
    parts = [part async for part in stream(client, url, request)]
    for part in parts:
        yield part
"""

WRONG = {
    "the end of the stream is the end": (FINISH, "finish = 'stop'", NO_FINISH),
    "a finish whatever came": (CHECKED, "if False:", NO_FINISH),
    "no word of errors": (ERRORS, "except httpx.HTTPError:\n        return", CUT),
    "an exception gets out": ("except httpx.HTTPError as error", "except KeyError as error", CUT),
    "the status is not looked at, and what follows is odd": (
        STATUS,
        "if source.response.status_code >= 400:\n                return",
        REFUSED,
    ),
    "an error event and a finish": (
        'yield event({"message": failure}, "error")',
        'yield event({"message": failure}, "error"); yield event({"finish": "error"})',
        EVENT,
    ),
    "leaves text out": (YIELD, 'yield event({"text": text.strip()})', WHOLE),
    "an event of its own kind": (YIELD, 'yield event({"words": text})', WHOLE),
    "only the error, not the text before it": (YIELD, "pass", WHOLE),
}
PASS = {
    "yields bytes": ('{json.dumps(data)}\\n\\n"', '{json.dumps(data)}\\n\\n".encode()'),
    "stops at [DONE]": ("continue", "break"),
}


def unmet(text: str, tmp_path: Path) -> list[str]:
    file = tmp_path / "answer.py"
    file.write_text(text)
    criteria = asyncio.run(grade("07", load_solution("07", file)))
    return [str(criterion) for criterion in criteria if not criterion.met]


def test_the_solution_is_accepted(tmp_path: Path) -> None:
    assert unmet(SOLUTION, tmp_path) == []


@pytest.mark.parametrize("name", PASS)
def test_another_right_way_is_accepted(name: str, tmp_path: Path) -> None:
    before, after = PASS[name]
    assert SOLUTION.count(before) == 1
    assert unmet(SOLUTION.replace(before, after), tmp_path) == []


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_relay_is_told_what_is_wrong(name: str, tmp_path: Path) -> None:
    before, after, sentence = WRONG[name]
    assert SOLUTION.count(before) == 1
    found = unmet(SOLUTION.replace(before, after), tmp_path)
    assert any(sentence in line for line in found), found


def test_a_task_that_reads_on_is_found(tmp_path: Path) -> None:
    found = unmet(SOLUTION + DETACHED, tmp_path)
    assert len(found) == 1
    assert STOPS in found[0]
    assert "finished its answer" in found[0]


def test_a_relay_that_collects_is_found(tmp_path: Path) -> None:
    first, stops = unmet(SOLUTION + COLLECTS, tmp_path)
    assert FIRST in first
    assert STOPS in stops  # the reader has nothing to leave from before all is written


def test_a_relay_that_yields_nothing_is_told_so(tmp_path: Path) -> None:
    found = unmet("async def relay(client, url, request):\n    return 'an answer'\n", tmp_path)
    assert found == ["FAIL `relay` is an async generator: it has no `yield`, or no `async def`"]


def test_a_relay_that_asks_for_a_whole_answer_is_found(tmp_path: Path) -> None:
    found = unmet(
        "import json\n"
        "async def relay(client, url, request):\n"
        "    whole = request | {'stream': False}\n"
        "    reply = (await client.post(f'{url}/chat/completions', json=whole)).json()\n"
        "    text = reply['choices'][0]['message']['content']\n"
        "    yield f'data: {json.dumps({\"text\": text})}\\n\\n'\n"
        '    yield \'data: {"finish": "stop"}\\n\\n\'\n',
        tmp_path,
    )
    assert any("the model was not asked for a stream" in line for line in found), found
