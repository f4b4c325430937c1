"""Lesson 02's check: every good repair passes, and each mistake is named alone."""

from pathlib import Path

import pytest

from helpers.lessons.catalogue import lesson
from helpers.lessons.notebook import read_source, tagged
from tests.lessons.graded import changed, table, unmet

SOLUTION = lesson("02").solution.read_text("utf-8")
MAKE = "        self.client = httpx.AsyncClient(timeout=10, limits=limits)\n"
MODERATE = '        await self.post("mock-moderator", messages)\n'
ASK = '        reply = await self.post("gpt-5", messages)\n'
ANSWER = '        return reply.json()["choices"][0]["message"]["content"]\n'
POST = (
    "        reply = await self.client.post("
    'self.url, json={"model": model, "messages": messages})\n'
)
CLOSE = "        await self.client.aclose()\n"
CLASS = "class Assistant:"

SDK = """
import openai

def body(model, question):
    return {"model": model, "messages": [{"role": "user", "content": question}]}
"""

RIGHT = {
    "the reference": SOLUTION,
    "a client at module level": changed(
        SOLUTION,
        (CLASS, "CLIENT = httpx.AsyncClient(timeout=10)\n\n\n" + CLASS),
        (MAKE, "        self.client = CLIENT\n"),
    ),
    "a client for each model": changed(
        SOLUTION,
        ("max_connections=8", "max_connections=4"),
        (MAKE, MAKE + MAKE.replace("self.client", "self.moderator")),
        (
            MODERATE,
            "        await self.moderator.post(\n"
            '            self.url, json={"model": "mock-moderator", "messages": messages}\n'
            "        )\n",
        ),
        (CLOSE, CLOSE + CLOSE.replace("client", "moderator")),
    ),
    "a cached property": changed(
        SOLUTION,
        (MAKE, ""),
        (
            "    async def ask(",
            "    @functools.cached_property\n    def client(self):\n"
            "        return httpx.AsyncClient(timeout=10)\n\n    async def ask(",
        ),
        ("import httpx\n", "import functools\n\nimport httpx\n"),
    ),
    "a dataclass with lazy annotations": changed(
        SOLUTION,
        ("import httpx\n", "from __future__ import annotations\n\nimport httpx\n"),
        (CLASS, "from dataclasses import dataclass, field\n\n@dataclass\n" + CLASS),
        ("    def __init__(self, url):\n", "    base: str\n\n    def __post_init__(self):\n"),
        ('f"{url}/chat', 'f"{self.base}/chat'),
    ),
    "pydantic models": changed(
        SOLUTION,
        (
            CLASS,
            "from pydantic import BaseModel\n\nclass Message(BaseModel):\n    content: str\n\n"
            "class Choice(BaseModel):\n    message: Message\n\n"
            "class Reply(BaseModel):\n    choices: list[Choice]\n\n" + CLASS,
        ),
        (
            ANSWER,
            "        found = Reply.model_validate(reply.json())\n"
            "        return found.choices[0].message.content\n",
        ),
    ),
    "an exit stack": changed(
        SOLUTION,
        ("import httpx\n", "import contextlib\n\nimport httpx\n"),
        (
            MAKE,
            MAKE + "        self.stack = contextlib.AsyncExitStack()\n"
            "        self.stack.push_async_callback(self.client.aclose)\n",
        ),
        (CLOSE, "        await self.stack.aclose()\n"),
    ),
    "a function that makes it": changed(SOLUTION, (CLASS, "class Service:"))
    + """

def Assistant(url):
    return Service(url)
""",
    "functools.partial": changed(
        SOLUTION,
        (CLASS, "class Service:"),
        ("def __init__(self, url)", "def __init__(self, timeout, url)"),
        (MAKE, MAKE.replace("10", "timeout")),
    )
    + """
import functools
Assistant = functools.partial(Service, 10)
""",
    "an SDK": SDK
    + """
class Assistant:
    def __init__(self, url):
        self.sdk = openai.AsyncOpenAI(base_url=url, api_key="any")

    async def ask(self, question):
        await self.sdk.chat.completions.create(**body("mock-moderator", question))
        reply = await self.sdk.chat.completions.create(**body("gpt-5", question))
        return reply.choices[0].message.content

    async def close(self):
        await self.sdk.close()
""",
    "two SDK clients that share a pool": SDK
    + """
class Assistant:
    def __init__(self, url):
        self.sdk = openai.AsyncOpenAI(base_url=url, api_key="any")

    async def ask(self, question):
        fast = self.sdk.with_options(timeout=5)
        await fast.chat.completions.create(**body("mock-moderator", question))
        reply = await self.sdk.chat.completions.create(**body("gpt-5", question))
        return reply.choices[0].message.content

    async def close(self):
        await self.sdk.close()
""",
    "a synchronous client in threads": """
import asyncio, httpx

class Assistant:
    def __init__(self, url):
        self.client = httpx.Client(base_url=url, timeout=10)

    def post(self, model, question):
        body = {"model": model, "messages": [{"role": "user", "content": question}]}
        reply = self.client.post("/chat/completions", json=body)
        return reply.json()["choices"][0]["message"]["content"]

    async def ask(self, question):
        await asyncio.to_thread(self.post, "mock-moderator", question)
        return await asyncio.to_thread(self.post, "gpt-5", question)

    async def close(self):
        self.client.close()
""",
    "asyncio's timeouts and a semaphore": changed(
        SOLUTION,
        ("import httpx\n", "import asyncio\n\nimport httpx\n"),
        (MAKE, MAKE + "        self.turns = asyncio.Semaphore(8)\n"),
        (ASK, f"        async with self.turns, asyncio.timeout(10):\n    {ASK}"),
    ),
}

RUNS = "your code runs to its end"
ANSWERED = "every question gets the model's answer to it"
ORDER = "every question is moderated, then sent to the model"
AT_ONCE = "the users do not wait for each other"
LOOP = "nothing blocks the event loop for long"
CLIENTS = "all questions share one client, or a few"
CONNECTIONS = "8 users at once need at most 8 connections"
CLOSED = "`close` closes every connection"

# The text, the only criterion that is not met, and what the message says.
WRONG = {
    "raises": (changed(SOLUTION, (MODERATE, "        1 / 0\n")), RUNS, "ZeroDivisionError"),
    "a `close` that is not async": (
        changed(SOLUTION, ("    async def close(self):\n" + CLOSE, "    def close(self): ...\n")),
        RUNS,
        "is not `async def`",
    ),
    "returns the moderator's text": (
        changed(
            SOLUTION,
            (MODERATE, MODERATE.replace("await", "opinion = await")),
            (ANSWER, ANSWER.replace("reply", "opinion")),
        ),
        ANSWERED,
        "the moderator's text",
    ),
    "returns nothing": (
        changed(SOLUTION, (ANSWER, ANSWER.replace("return ", ""))),
        ANSWERED,
        "None",
    ),
    "returns the first answer each time": (
        changed(
            SOLUTION,
            (MAKE, MAKE + "        self.known = {}\n"),
            (
                ANSWER,
                ANSWER.replace("return ", "text = ")
                + '        return self.known.setdefault("answer", text)\n',
            ),
        ),
        ANSWERED,
        "the answer to another question",
    ),
    "skips the moderator": (changed(SOLUTION, (MODERATE, "")), ORDER, "0 moderations"),
    "asks the model first": (
        changed(SOLUTION, (MODERATE, ""), (ASK, ASK + MODERATE)),
        ORDER,
        "32 of 32 were sent to the model before",
    ),
    "asks both at once": (
        changed(
            SOLUTION,
            ("import httpx\n", "import asyncio\n\nimport httpx\n"),
            (MODERATE, ""),
            (
                ASK,
                "        _, reply = await asyncio.gather(\n"
                '            self.post("mock-moderator", messages), self.post("gpt-5", messages)\n'
                "        )\n",
            ),
            ("max_connections=8, max_keepalive_connections=8", "max_connections=8"),
        ),
        ORDER,
        "before the moderator had answered",
    ),
    "moderates once per service": (
        changed(
            SOLUTION,
            (MAKE, MAKE + "        self.moderated = False\n"),
            (
                MODERATE,
                "        if not self.moderated:\n            self.moderated = True\n    "
                + MODERATE,
            ),
        ),
        ORDER,
        "saw 1 moderations and 32 questions",
    ),
    "one lock around all": (
        changed(
            SOLUTION,
            ("import httpx\n", "import asyncio\n\nimport httpx\n"),
            (MAKE, MAKE + "        self.lock = asyncio.Lock()\n"),
            (MODERATE + ASK, f"        async with self.lock:\n    {MODERATE}    {ASK}"),
        ),
        AT_ONCE,
        "at most 1 were moderated at once",
    ),
    "one connection": (
        changed(SOLUTION, ("max_connections=8", "max_connections=1")),
        AT_ONCE,
        "at most 1 were",
    ),
    "computes": (
        changed(
            SOLUTION,
            ("import httpx\n", "import time\n\nimport httpx\n"),
            (
                ANSWER,
                "        end = time.thread_time() + 0.09\n"
                "        while time.thread_time() < end:\n            pass\n" + ANSWER,
            ),
        ),
        LOOP,
        "(the loop computes there)",
    ),
    "sleeps": (
        changed(
            SOLUTION,
            ("import httpx\n", "import time\n\nimport httpx\n"),
            (ANSWER, "        time.sleep(0.1)\n" + ANSWER),
        ),
        LOOP,
        "time.sleep(0.1) (the loop waits there)",
    ),
    "makes clients that it does not use": (
        changed(
            SOLUTION,
            (MODERATE, "        client = httpx.AsyncClient(timeout=10)\n" + MODERATE),
        ),
        CLIENTS,
        "33 clients were made for 32 questions",
    ),
    "a client for each question on the same connections": (
        changed(
            SOLUTION,
            (MAKE, MAKE + "        self.transport = httpx.AsyncHTTPTransport(limits=limits)\n"),
            (POST, POST.replace("self.client", "httpx.AsyncClient(transport=self.transport)")),
            (CLOSE, CLOSE + CLOSE.replace("client", "transport")),
        ),
        CLIENTS,
        "65 clients were made for 32 questions",
    ),
    "keeps no connection": (
        changed(SOLUTION, ("max_keepalive_connections=8", "max_keepalive_connections=0")),
        CONNECTIONS,
        "64 connections for 64 requests (is a connection kept",
    ),
    "keeps too few connections": (
        changed(SOLUTION, ("max_keepalive_connections=8", "max_keepalive_connections=1")),
        CONNECTIONS,
        "connections for 64 requests",
    ),
    "asks for connections to be closed": (
        changed(SOLUTION, (POST, POST.replace("json=", 'headers={"connection": "close"}, json='))),
        CONNECTIONS,
        "64 connections for 64 requests (is a connection kept",
    ),
    "never closes": (changed(SOLUTION, (CLOSE, "        pass\n")), CLOSED, "stayed open"),
    "closes another client": (
        changed(SOLUTION, (CLOSE, CLOSE.replace("self.client", "httpx.AsyncClient()"))),
        CLOSED,
        "stayed open",
    ),
    "closes one of two": (
        changed(
            SOLUTION,
            (MAKE, MAKE + "        self.moderator = httpx.AsyncClient(limits=limits)\n"),
            (
                MODERATE,
                "        await self.moderator.post(\n"
                '            self.url, json={"model": "mock-moderator", "messages": messages}\n'
                "        )\n",
            ),
            ("max_connections=8", "max_connections=4"),
        ),
        CLOSED,
        "stayed open",
    ),
}


@pytest.mark.parametrize("text", table(RIGHT, ["the reference", "a client at module level"]))
def test_a_good_repair_passes(text: str, tmp_path: Path) -> None:
    assert unmet("02", text, tmp_path) == []


@pytest.mark.parametrize(
    ("text", "criterion", "found"),
    table(
        WRONG,
        [
            "a `close` that is not async",
            "returns the moderator's text",
            "asks the model first",
            "one connection",
            "computes",
            "makes clients that it does not use",
            "keeps too few connections",
            "never closes",
        ],
    ),
)
def test_a_mistake_is_named_alone(text: str, criterion: str, found: str, tmp_path: Path) -> None:
    lines = unmet("02", text, tmp_path)
    assert [line.partition(":")[0] for line in lines] == [f"FAIL {criterion}"], lines
    assert found in lines[0]


SYNCHRONOUS = """
import httpx

class Assistant:
    def __init__(self, url):
        self.client = httpx.Client(base_url=url, timeout=10)

    async def ask(self, question):
        for model in ("mock-moderator", "gpt-5"):
            body = {"model": model, "messages": [{"role": "user", "content": question}]}
            reply = self.client.post("/chat/completions", json=body)
        return reply.json()["choices"][0]["message"]["content"]

    async def close(self):
        self.client.close()
"""


def test_a_synchronous_client_is_the_mistake_of_lesson_01(tmp_path: Path) -> None:
    lines = unmet("02", SYNCHRONOUS, tmp_path)
    assert [line.partition(":")[0] for line in lines] == [f"FAIL {AT_ONCE}", f"FAIL {LOOP}"]
    assert 'self.client.post("/chat/completions", json=body)' in lines[1]


def test_the_starter_is_told_of_its_clients(tmp_path: Path) -> None:
    (starter,) = tagged(read_source(lesson("02")), "exercise")
    lines = unmet("02", starter.source, tmp_path)
    assert [line.partition(":")[0] for line in lines] == [
        f"FAIL {each}" for each in (CLIENTS, CONNECTIONS, CLOSED)
    ]
