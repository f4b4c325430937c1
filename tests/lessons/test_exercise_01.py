"""Lesson 01's check: every good repair passes, and each mistake is named alone."""

from pathlib import Path

import pytest

from helpers.lessons.catalogue import lesson
from helpers.lessons.exercise import exercise, hints
from helpers.lessons.notebook import read_source, tagged
from tests.lessons.graded import changed, criteria, table, unmet

SOLUTION = lesson("01").solution.read_text("utf-8")
MODERATED = "    await moderate(client, url, question)\n"
PAUSED = "    await anyio.sleep(PAUSE)\n"
ASKED = (
    '    reply = await client.post(f"{url}/chat/completions", '
    'json=request("gpt-5-mini", question))\n'
)
ANSWER = '    return reply.json()["choices"][0]["message"]["content"]\n'
HANDLE = "async def handle(client, url, question):"

# The moderator by a synchronous client, and a handler to be completed.
SYNCHRONOUS = """
import asyncio, functools, anyio, httpx
from concurrent.futures import ThreadPoolExecutor

PAUSE = 0.1

def request(model, question):
    return {"model": model, "messages": [{"role": "user", "content": question}]}

def moderate(url, question):
    httpx.post(f"{url}/chat/completions", json=request("mock-moderator", question))

async def ask(client, url, question):
    await asyncio.sleep(PAUSE)
    reply = await client.post(f"{url}/chat/completions", json=request("gpt-5-mini", question))
    return reply.json()["choices"][0]["message"]["content"]
"""
SDK = """
import asyncio, functools, openai

def body(model, question):
    return {"model": model, "messages": [{"role": "user", "content": question}]}
"""

RIGHT = {
    "the reference": SOLUTION,
    "asyncio.to_thread": SYNCHRONOUS
    + """
async def handle(client, url, question):
    await asyncio.to_thread(moderate, url, question)
    return await ask(client, url, question)
""",
    "anyio.to_thread": SYNCHRONOUS
    + """
async def handle(client, url, question):
    await anyio.to_thread.run_sync(moderate, url, question)
    return await ask(client, url, question)
""",
    "an executor at module level": SYNCHRONOUS
    + """
POOL = ThreadPoolExecutor(max_workers=8)

async def handle(client, url, question):
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(POOL, moderate, url, question)
    return await ask(client, url, question)
""",
    "urllib in a thread": SYNCHRONOUS
    + """
import json, urllib.request

def moderate(url, question):
    data = json.dumps(request("mock-moderator", question)).encode()
    headers = {"content-type": "application/json"}
    call = urllib.request.Request(f"{url}/chat/completions", data, headers)
    urllib.request.urlopen(call, timeout=10).read()

async def handle(client, url, question):
    await asyncio.to_thread(moderate, url, question)
    return await ask(client, url, question)
""",
    "an SDK client for each question": SDK
    + """
async def handle(client, url, question):
    async with openai.AsyncOpenAI(base_url=url, api_key="any") as sdk:
        await sdk.chat.completions.create(**body("mock-moderator", question))
        await asyncio.sleep(0.1)
        reply = await sdk.chat.completions.create(**body("gpt-5-mini", question))
        return reply.choices[0].message.content
""",
    "an SDK client that is cached": SDK
    + """
@functools.cache
def sdk(url):
    return openai.AsyncOpenAI(base_url=url, api_key="any")

async def handle(client, url, question):
    await sdk(url).chat.completions.create(**body("mock-moderator", question))
    await asyncio.sleep(0.1)
    reply = await sdk(url).chat.completions.create(**body("gpt-5-mini", question))
    return reply.choices[0].message.content
""",
    "a synchronous SDK in threads": SDK
    + """
def call(url, model, question):
    sdk = openai.OpenAI(base_url=url, api_key="any")
    return sdk.chat.completions.create(**body(model, question)).choices[0].message.content

async def handle(client, url, question):
    await asyncio.to_thread(call, url, "mock-moderator", question)
    await asyncio.sleep(0.1)
    return await asyncio.to_thread(call, url, "gpt-5-mini", question)
""",
    "a client at module level": changed(
        SOLUTION,
        (HANDLE, "import httpx\nCLIENT = httpx.AsyncClient(timeout=10)\n\n\n" + HANDLE),
        (MODERATED, "    await moderate(CLIENT, url, question)\n"),
    ),
    "an object that can be called": changed(
        SOLUTION,
        (HANDLE, "async def answer(client, url, question):"),
    )
    + """

import httpx


class Handler:
    def __init__(self):
        self.client = httpx.AsyncClient(timeout=10)

    async def __call__(self, client, url, question):
        return await answer(self.client, url, question)


handle = Handler()
""",
    "a method": SOLUTION
    + """
class Handler:
    answer = staticmethod(handle)

    async def handle(self, client, url, question):
        return await self.answer(client, url, question)

handle = Handler().handle
""",
    "functools.partial": changed(SOLUTION, (HANDLE, HANDLE.replace("(", "(pause, ", 1)))
    + """
import functools
handle = functools.partial(handle, PAUSE)
""",
    "a dataclass with lazy annotations": changed(
        SOLUTION,
        ("import anyio\n", "from __future__ import annotations\n\nimport anyio\n"),
        (MODERATED, "    await Moderation(question).run(client, url)\n"),
        (
            HANDLE,
            "from dataclasses import dataclass, field\n\n@dataclass\nclass Moderation:\n"
            "    question: str\n    tags: list[str] = field(default_factory=list)\n\n"
            "    async def run(self, client, url) -> None:\n"
            "        await moderate(client, url, self.question)\n\n" + HANDLE,
        ),
    ),
    "pydantic models": changed(
        SOLUTION,
        (
            HANDLE,
            "from pydantic import BaseModel\n\nclass Message(BaseModel):\n    content: str\n\n"
            "class Choice(BaseModel):\n    message: Message\n\n"
            "class Reply(BaseModel):\n    choices: list[Choice]\n\n" + HANDLE,
        ),
        (
            ANSWER,
            "    return Reply.model_validate_json(reply.content).choices[0].message.content\n",
        ),
    ),
    "a stream": changed(
        SOLUTION,
        ("import anyio\n", "import json\n\nimport anyio\n"),
        (
            ASKED + "    reply.raise_for_status()\n" + ANSWER,
            """
    body = request("gpt-5-mini", question) | {"stream": True}
    text = ""
    async with client.stream("POST", f"{url}/chat/completions", json=body) as reply:
        async for line in reply.aiter_lines():
            if line.startswith("data: {"):
                for choice in json.loads(line[6:])["choices"]:
                    text += choice["delta"].get("content") or ""
    return text
""",
        ),
    ),
    "asyncio's tasks and timeouts": changed(
        SOLUTION,
        ("import anyio\n", "import asyncio\n"),
        (
            MODERATED,
            "    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:\n"
            "        tasks.create_task(moderate(client, url, question))\n",
        ),
        (PAUSED, "    await asyncio.wait_for(asyncio.sleep(PAUSE), 5)\n"),
    ),
}

RUNS = "your code runs to its end"
ANSWERED = "every question gets the model's answer to it"
ORDER = "every question is moderated, and sent to the model after the pause"
AT_ONCE = "the questions do not wait for each other"
LOOP = "nothing blocks the event loop for long"

# The text, the only criterion that is not met, and what the message says.
WRONG = {
    "raises": (changed(SOLUTION, (PAUSED, PAUSED + "    1 / 0\n")), RUNS, "ZeroDivisionError"),
    "blocks for good": (
        changed(SOLUTION, (PAUSED, "    while True:\n        pass\n")),
        RUNS,
        "answer.py, line",
    ),
    "waits for good": (
        changed(SOLUTION, (PAUSED, PAUSED + "    await anyio.sleep_forever()\n")),
        RUNS,
        "still running",
    ),
    "returns the moderator's text": (
        changed(
            SOLUTION,
            ("    opinion.raise_for_status()\n", "    return opinion\n"),
            (MODERATED, MODERATED.replace("await", "opinion = await")),
            (ANSWER, ANSWER.replace("reply", "opinion")),
        ),
        ANSWERED,
        "the moderator's text",
    ),
    "returns the reply": (
        changed(SOLUTION, (ANSWER, "    return reply.json()\n")),
        ANSWERED,
        "of type dict",
    ),
    "returns nothing": (changed(SOLUTION, (ANSWER, "")), ANSWERED, "None"),
    "returns the question": (
        changed(SOLUTION, (ANSWER, "    return question\n")),
        ANSWERED,
        "“Question 1",
    ),
    "shares its answer": (
        changed(
            SOLUTION,
            (HANDLE, "last = {}\n\n\n" + HANDLE),
            (ANSWER, "    last[0] = reply\n    await anyio.sleep(0.3)\n" + ANSWER),
            ('reply.json()["choices"]', 'last[0].json()["choices"]'),
        ),
        ANSWERED,
        "the answer to another question",
    ),
    "skips the moderator": (changed(SOLUTION, (MODERATED, "")), ORDER, "saw 0 moderations"),
    "skips the pause": (changed(SOLUTION, (PAUSED, "")), ORDER, "before the pause"),
    "asks first": (
        changed(SOLUTION, (MODERATED, ""), (ANSWER, MODERATED + PAUSED + ANSWER)),
        ORDER,
        "8 of 8 were sent to the model before the moderator had answered",
    ),
    "asks both at once": (
        changed(
            SOLUTION,
            (MODERATED, "    async with anyio.create_task_group() as tasks:\n"),
            (PAUSED, "        tasks.start_soon(moderate, client, url, question)\n"),
            (ASKED, f"    {PAUSED}    {ASKED}"),
        ),
        ORDER,
        "before the moderator had answered",
    ),
    "does not await the moderator": (
        changed(
            SOLUTION,
            ("import anyio\n", "import asyncio\n\nimport anyio\n"),
            (MODERATED, "    task = asyncio.create_task(moderate(client, url, question))\n"),
            (ANSWER, "    await task\n" + ANSWER),
        ),
        ORDER,
        "before the moderator had answered",
    ),
    "guesses how long the moderator takes": (
        changed(
            SOLUTION,
            ("import anyio\n", "import asyncio\n\nimport anyio\n"),
            (MODERATED, "    task = asyncio.create_task(moderate(client, url, question))\n"),
            (PAUSED, "    await anyio.sleep(0.45)\n"),
            (ANSWER, "    await task\n" + ANSWER),
        ),
        ORDER,
        "were sent to the model before",
    ),
    "pauses while the moderator works": (
        changed(
            SOLUTION,
            (MODERATED, "    async with anyio.create_task_group() as tasks:\n"),
            (
                PAUSED,
                "        tasks.start_soon(moderate, client, url, question)\n"
                "        tasks.start_soon(anyio.sleep, PAUSE)\n",
            ),
        ),
        ORDER,
        "before the pause of 0.1 s was over",
    ),
    "moderates the same question each time": (
        changed(SOLUTION, (MODERATED, MODERATED.replace("question", '"Is this all right?"'))),
        ORDER,
        "1 of the 8 questions were moderated",
    ),
    "one lock around all": (
        changed(
            SOLUTION,
            (HANDLE, "LOCK = anyio.Lock()\n\n\nasync def answer(client, url, question):"),
        )
        + f"\n\n{HANDLE}\n    async with LOCK:\n"
        "        return await answer(client, url, question)\n",
        AT_ONCE,
        "at most 1 were moderated at once and at most 1 were sent to the model at once",
    ),
    "one lock around the model": (
        changed(
            SOLUTION,
            (HANDLE, "import asyncio\n\nLOCK = asyncio.Lock()\n\n\n" + HANDLE),
            (ASKED, f"    async with LOCK:\n    {ASKED}"),
        ),
        AT_ONCE,
        "at most 1 were sent to the model at once",
    ),
    "a thread for all": (
        SYNCHRONOUS
        + """
POOL = ThreadPoolExecutor(max_workers=1)

async def handle(client, url, question):
    await asyncio.get_running_loop().run_in_executor(POOL, moderate, url, question)
    return await ask(client, url, question)
""",
        AT_ONCE,
        "at most 1 were moderated at once",
    ),
    "two at a time": (
        changed(
            SOLUTION,
            (HANDLE, "TWO = anyio.CapacityLimiter(2)\n\n\n" + HANDLE),
            (MODERATED, f"    async with TWO:\n    {MODERATED}"),
        ),
        AT_ONCE,
        "at most 2 were moderated at once",
    ),
    "sleeps": (
        changed(SOLUTION, (PAUSED, "    import time\n    time.sleep(PAUSE)\n")),
        LOOP,
        "in handle: time.sleep(PAUSE) (the loop waits there)",
    ),
    "waits by computing": (
        changed(
            SOLUTION,
            (
                PAUSED,
                "    import time\n    end = time.monotonic() + PAUSE\n"
                "    while time.monotonic() < end:\n        pass\n",
            ),
        ),
        LOOP,
        "(the loop computes there)",
    ),
    "computes": (
        changed(
            SOLUTION,
            (
                ANSWER,
                "    import time\n    end = time.thread_time() + 0.12\n"
                "    while time.thread_time() < end:\n        str(reply)\n" + ANSWER,
            ),
        ),
        LOOP,
        "(the loop computes there)",
    ),
    "waits for a thread": (
        changed(
            SOLUTION,
            (HANDLE, "import threading\n\n\n" + HANDLE),
            (PAUSED, "    threading.Event().wait(PAUSE)\n"),
        ),
        LOOP,
        "threading.Event().wait(PAUSE)",
    ),
}


@pytest.mark.parametrize("text", table(RIGHT, ["the reference", "asyncio.to_thread"]))
def test_a_good_repair_passes(text: str, tmp_path: Path) -> None:
    assert unmet("01", text, tmp_path) == []


@pytest.mark.parametrize(
    ("text", "criterion", "found"),
    table(
        WRONG,
        [
            "raises",
            "returns the moderator's text",
            "asks both at once",
            "one lock around the model",
            "waits by computing",
        ],
    ),
)
def test_a_mistake_is_named_alone(text: str, criterion: str, found: str, tmp_path: Path) -> None:
    lines = unmet("01", text, tmp_path)
    assert [line.partition(":")[0] for line in lines] == [f"FAIL {criterion}"], lines
    assert found in lines[0]


def test_of_the_starter_the_line_that_blocks_longest_is_named(tmp_path: Path) -> None:
    (starter,) = tagged(read_source(lesson("01")), "exercise")
    found = {each.what: each for each in criteria("01", starter.source, tmp_path)}
    assert "in moderate: opinion = httpx.post(" in found[LOOP].found
    assert found[ANSWERED].met
    assert found[ORDER].met


def test_what_did_not_happen_does_not_pass(tmp_path: Path) -> None:
    lines = unmet("01", "async def handle(client, url, question):\n    return question", tmp_path)
    named = [line.partition(":")[0] for line in lines]
    assert named == [f"FAIL {each}" for each in (ANSWERED, ORDER, AT_ONCE)]


def test_hints_are_behind_a_click_each() -> None:
    shown = hints("01")
    assert shown._repr_html_().count("<details>") == 4
    assert "await anyio.sleep(PAUSE)" in shown._repr_html_()
    assert "<code>asyncio.to_thread</code> moves the call off the loop" in shown._repr_html_()


def test_hints_without_html_are_shown_one_at_a_time() -> None:
    shown = hints("01")
    hint, solution = repr(shown).splitlines()
    assert 'print(hints("01").hint(1))' in hint
    assert 'print(hints("01").solution)' in solution
    each = [shown.hint(number) for number in (1, 2, 3)]
    assert each == [*exercise("01").hints]
    assert not any(text in repr(shown) for text in each)
    with pytest.raises(ValueError, match="0"):
        shown.hint(0)
