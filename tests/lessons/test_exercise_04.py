"""Lesson 04's check: every good repair passes, and each mistake is named alone."""

from pathlib import Path

import pytest

from helpers.lessons.catalogue import lesson
from helpers.lessons.notebook import read_source, tagged
from tests.lessons.graded import changed, table, unmet

SOLUTION = lesson("04").solution.read_text("utf-8")
START = "    end = anyio.current_time() + budget\n"
MODERATED = '    await ask(client, url, "mock-moderator", question, end - anyio.current_time())\n'
LARGE = '        return await ask(client, url, "gpt-5", question, left - RESERVE)\n'
SMALL = (
    '        return await ask(client, url, "gpt-5-mini", question, end - anyio.current_time())\n'
)
HANDLE = "async def handle(client, url, question, budget):"
LIMIT = "        with anyio.fail_after(limit):\n"
POST = (
    '            reply = await client.post(f"{url}/chat/completions", json=body, timeout=limit)\n'
)
ANSWER = '    return reply.json()["choices"][0]["message"]["content"]\n'

# What most of the solutions below have in common; `post` has no limit.
POSTS = """
import asyncio, contextlib, functools, anyio, httpx

RESERVE = 0.8

class NoAnswerError(Exception): ...

async def post(client, url, model, question):
    body = {"model": model, "messages": [{"role": "user", "content": question}]}
    reply = await client.post(f"{url}/chat/completions", json=body, timeout=None)
    reply.raise_for_status()
    return reply.json()["choices"][0]["message"]["content"]
"""
NESTED = (
    POSTS
    + """
async def handle(client, url, question, budget):
    try:
        with anyio.fail_after(budget) as whole:
            await post(client, url, "mock-moderator", question)
            with contextlib.suppress(TimeoutError):
                with anyio.fail_after(whole.deadline - anyio.current_time() - RESERVE):
                    return await post(client, url, "gpt-4o", question)
            return await post(client, url, "gpt-4o-mini", question)
    except TimeoutError:
        raise NoAnswerError from None
"""
)

RIGHT = {
    "the reference": SOLUTION,
    "nested scopes": NESTED,
    "asyncio.timeout_at": POSTS
    + """
async def handle(client, url, question, budget):
    end = asyncio.get_running_loop().time() + budget
    try:
        async with asyncio.timeout_at(end):
            await post(client, url, "mock-moderator", question)
            try:
                async with asyncio.timeout_at(end - RESERVE):
                    return await post(client, url, "gpt-4o", question)
            except TimeoutError:
                return await post(client, url, "gpt-4o-mini", question)
    except TimeoutError:
        raise NoAnswerError from None
""",
    "asyncio.wait_for": POSTS
    + """
async def handle(client, url, question, budget):
    loop = asyncio.get_running_loop()
    end = loop.time() + budget
    try:
        await asyncio.wait_for(post(client, url, "mock-moderator", question), budget)
        large = post(client, url, "gpt-4o", question)
        try:
            return await asyncio.wait_for(large, end - loop.time() - RESERVE)
        except TimeoutError:
            small = post(client, url, "gpt-4o-mini", question)
            return await asyncio.wait_for(small, end - loop.time())
    except TimeoutError:
        raise NoAnswerError from None
""",
    "a task that is canceled": POSTS
    + """
async def within(seconds, call):
    task = asyncio.create_task(call)
    done, _ = await asyncio.wait([task], timeout=seconds)
    if done:
        return task.result()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    raise NoAnswerError

async def handle(client, url, question, budget):
    loop = asyncio.get_running_loop()
    end = loop.time() + budget
    await within(budget, post(client, url, "mock-moderator", question))
    try:
        return await within(end - loop.time() - RESERVE, post(client, url, "gpt-4o", question))
    except NoAnswerError:
        return await within(end - loop.time(), post(client, url, "gpt-4o-mini", question))
""",
    "a dataclass for the budget": POSTS
    + """
import time
from dataclasses import dataclass

@dataclass
class Budget:
    seconds: float

    def __post_init__(self):
        self.end = time.monotonic() + self.seconds

    @property
    def left(self):
        return self.end - time.monotonic()

async def ask(client, url, model, question, limit):
    with anyio.move_on_after(limit):
        return await post(client, url, model, question)
    raise NoAnswerError(model)

async def handle(client, url, question, budget):
    budget = Budget(budget)
    await ask(client, url, "mock-moderator", question, budget.left)
    try:
        return await ask(client, url, "gpt-4o", question, budget.left - RESERVE)
    except NoAnswerError:
        return await ask(client, url, "gpt-4o-mini", question, budget.left)
""",
    "an object that can be called, with a lock": NESTED.replace("def handle", "def answer")
    + """
import threading

class Handler:
    def __init__(self):
        self.lock = threading.Lock()

    async def __call__(self, *args):
        return await answer(*args)

handle = Handler()
""",
    "functools.partial": changed(NESTED, ("handle(client", "handle(reserve, client")).replace(
        "time() - RESERVE", "time() - reserve"
    )
    + "\nhandle = functools.partial(handle, RESERVE)\n",
    "the SDK over the client": """
import anyio, openai

class NoAnswerError(Exception): ...

async def ask(client, url, model, question, limit):
    sdk = openai.AsyncOpenAI(base_url=url, api_key="any", http_client=client, max_retries=0)
    messages = [{"role": "user", "content": question}]
    try:
        with anyio.fail_after(limit):
            reply = await sdk.chat.completions.create(model=model, messages=messages)
    except (TimeoutError, openai.APITimeoutError):
        raise NoAnswerError from None
    return reply.choices[0].message.content

async def handle(client, url, question, budget):
    end = anyio.current_time() + budget
    await ask(client, url, "mock-moderator", question, end - anyio.current_time())
    try:
        return await ask(client, url, "gpt-4o", question, end - anyio.current_time() - 0.8)
    except NoAnswerError:
        return await ask(client, url, "gpt-4o-mini", question, end - anyio.current_time())
""",
    "pydantic models": changed(
        NESTED,
        ("class NoAnswerError", "from pydantic import BaseModel\n\nclass NoAnswerError"),
        (
            "async def post",
            "class Message(BaseModel):\n    content: str\n\n"
            "class Choice(BaseModel):\n    message: Message\n\n"
            "class Reply(BaseModel):\n    choices: list[Choice]\n\nasync def post",
        ),
        (
            ANSWER,
            "    return Reply.model_validate_json(reply.content).choices[0].message.content\n",
        ),
    ),
    "a stream": changed(
        NESTED,
        (
            "    reply = await client.post("
            'f"{url}/chat/completions", json=body, timeout=None)\n'
            "    reply.raise_for_status()\n" + ANSWER,
            """
    import json
    text = ""
    body["stream"] = True
    url = f"{url}/chat/completions"
    async with client.stream("POST", url, json=body, timeout=None) as reply:
        async for line in reply.aiter_lines():
            if line.startswith("data: {"):
                for choice in json.loads(line[6:])["choices"]:
                    text += choice["delta"].get("content") or ""
    return text
""",
        ),
    ),
}

RUNS = "your code runs to its end"
CLIENT = "every request goes through the client that is passed in"
FINE = "nothing goes wrong"
SLOW = "the large model is slow"
HANGS = "the large model hangs"
DRIPS = "the large model drips"
SLOW_START = "the moderator is slow, the large model hangs"
BOTH_HANG = "both models hang"
MODERATOR_HANGS = "the moderator hangs"
MODERATED_FIRST = "the moderator answers before a model is called"
CANCELED = "a call that times out is canceled before the next call is made"
LOOP = "nothing blocks the event loop"
ANSWERS = (FINE, SLOW, HANGS, DRIPS, SLOW_START)

# The text, the only criteria that are not met, and what the first message says.
WRONG = {
    "raises": (changed(SOLUTION, (START, "    1 / 0\n" + START)), (RUNS,), "answer.py, line 25"),
    "exits": (
        changed(SOLUTION, (START, "    raise SystemExit(0)\n" + START)),
        (RUNS,),
        "SystemExit",
    ),
    "a client of its own": (
        changed(SOLUTION, (HANDLE, "async def answer(client, url, question, budget):"))
        + f"\n\n{HANDLE}\n    async with httpx.AsyncClient() as own:\n"
        "        return await answer(own, url, question, budget)\n",
        (CLIENT,),
        "an SDK takes it as `http_client`",
    ),
    "returns the moderator's text": (
        changed(
            SOLUTION,
            (MODERATED, MODERATED.replace("await", "opinion = await")),
            (LARGE, LARGE.replace("return ", "") + "        return opinion\n"),
        ),
        (FINE, SLOW),
        "the moderator's text",
    ),
    "returns the reply": (
        changed(SOLUTION, (ANSWER, "    return reply\n")),
        ANSWERS,
        "of type Response",
    ),
    "two seconds, whatever the budget is": (
        changed(SOLUTION, (START, START.replace("budget", "2.0"))),
        (SLOW,),
        "the small model was called too",
    ),
    "two seconds at most": (
        changed(SOLUTION, (START, START.replace("budget", "min(budget, 2.0)"))),
        (SLOW,),
        "the small model was called too",
    ),
    "two point six seconds, whatever the budget is": (
        changed(SOLUTION, (START, START.replace("budget", "2.6"))),
        (HANGS, DRIPS, SLOW_START, BOTH_HANG, MODERATOR_HANGS),
        "the small model was called too late",
    ),
    "a third each": (
        changed(
            SOLUTION,
            (MODERATED, MODERATED.replace("end - anyio.current_time()", "budget / 3")),
            (LARGE, LARGE.replace("left - RESERVE", "budget / 3")),
            (SMALL, SMALL.replace("end - anyio.current_time()", "budget / 3")),
        ),
        (SLOW, SLOW_START, BOTH_HANG, MODERATOR_HANGS),
        "the small model was called too",
    ),
    "half for the large model": (
        changed(SOLUTION, (LARGE, LARGE.replace("left - RESERVE", "left / 2"))),
        (SLOW,),
        "the small model was called too",
    ),
    "no reserve": (
        changed(SOLUTION, (LARGE, LARGE.replace("left - RESERVE", "left"))),
        (HANGS, DRIPS, SLOW_START, BOTH_HANG),
        "the small model was called too late",
    ),
    "the clock starts again after the moderator": (
        changed(SOLUTION, (MODERATED, MODERATED + START)),
        (SLOW_START,),
        "the small model was called too late",
    ),
    "a limit for each read": (
        changed(SOLUTION, (LIMIT, ""), (POST, POST.removeprefix("    "))),
        (DRIPS,),
        "should be given up at 1.2 s",
    ),
    "too little for the small model": (
        changed(SOLUTION, (SMALL, SMALL.replace("end - anyio.current_time()", "0.2"))),
        (HANGS, BOTH_HANG),
        "it raised NoAnswerError",
    ),
    "too little for the moderator": (
        changed(
            SOLUTION, (MODERATED, MODERATED.replace("end - anyio.current_time()", "budget / 4"))
        ),
        (SLOW_START, MODERATOR_HANGS),
        "",
    ),
    "only stops waiting": (
        changed(
            SOLUTION,
            ("import anyio\n", "import asyncio\n\nimport anyio\n"),
            (LIMIT, ""),
            (
                POST,
                "        call = client.post("
                'f"{url}/chat/completions", json=body, timeout=None)\n'
                "        async with asyncio.timeout(limit):\n"
                "            reply = await asyncio.shield(asyncio.create_task(call))\n",
            ),
        ),
        (CANCELED,),
        "was still open",
    ),
    "raises the timeout": (
        changed(
            SOLUTION,
            ("raise NoAnswerError(model) from error", "raise TimeoutError from error"),
            ("    except NoAnswerError:\n", "    except TimeoutError:\n"),
        ),
        (BOTH_HANG, MODERATOR_HANGS),
        "it raised TimeoutError",
    ),
    "makes an answer up": (
        changed(SOLUTION, (SMALL, '        return "I am sorry."\n')),
        (HANGS, DRIPS, SLOW_START, BOTH_HANG),
        "the small model was never called",
    ),
    "never raises": (
        changed(
            SOLUTION,
            (HANDLE, "async def answer(client, url, question, budget):"),
        )
        + f"\n\n{HANDLE}\n    try:\n        return await answer(client, url, question, budget)\n"
        "    except NoAnswerError:\n        return None\n",
        (BOTH_HANG, MODERATOR_HANGS),
        "it returned something",
    ),
    "gives up early": (
        changed(SOLUTION, (SMALL, SMALL.replace("end - anyio.current_time()", "min(0.35, left)"))),
        (BOTH_HANG,),
        "it gave up long before",
    ),
    "asks without the moderator's answer": (
        changed(
            SOLUTION,
            ("import anyio\n", "import asyncio\n\nimport anyio\n"),
            (
                MODERATED,
                f"    task = asyncio.create_task({MODERATED.strip().removeprefix('await ')})\n"
                "    task.add_done_callback(asyncio.Task.exception)\n",
            ),
        ),
        (MODERATOR_HANGS, MODERATED_FIRST),
        "a model was called without the moderator's answer",
    ),
    "asks both models": (
        changed(
            SOLUTION,
            ("import anyio\n", "import asyncio\n\nimport anyio\n"),
            (
                LARGE,
                '        small = ask(client, url, "gpt-5-mini", question, left)\n'
                "        spare = asyncio.create_task(small)\n" + LARGE,
            ),
            (SMALL, "        return await spare\n"),
        ),
        (FINE, SLOW, CANCELED),
        "the small model was called too",
    ),
    "sleeps": (
        changed(
            SOLUTION,
            ("import anyio\n", "import time\n\nimport anyio\n"),
            (SMALL, "        time.sleep(0.09)\n" + SMALL),
        ),
        (LOOP,),
        "time.sleep(0.09) (the loop waits there)",
    ),
}


@pytest.mark.parametrize("text", table(RIGHT, ["the reference", "asyncio.timeout_at"]))
def test_a_good_repair_passes(text: str, tmp_path: Path) -> None:
    assert unmet("04", text, tmp_path) == []


@pytest.mark.parametrize(
    ("text", "cases", "found"),
    table(
        WRONG,
        [
            "exits",
            "a client of its own",
            "returns the moderator's text",
            "two seconds at most",
            "the clock starts again after the moderator",
            "a limit for each read",
            "too little for the small model",
            "only stops waiting",
            "raises the timeout",
            "asks without the moderator's answer",
            "sleeps",
        ],
    ),
)
def test_only_the_mistake_is_named(
    text: str, cases: tuple[str, ...], found: str, tmp_path: Path
) -> None:
    lines = unmet("04", text, tmp_path)
    assert [line.partition(":")[0] for line in lines] == [f"FAIL {case}" for case in cases], lines
    assert found in lines[0]


def test_the_starter_misses_every_budget_that_matters(tmp_path: Path) -> None:
    (starter,) = tagged(read_source(lesson("04")), "exercise")
    lines = unmet("04", starter.source, tmp_path)
    named = [line.partition(":")[0].removeprefix("FAIL ") for line in lines]
    assert named == [HANGS, DRIPS, SLOW_START, BOTH_HANG]


def test_what_tasks_leave_behind_is_not_printed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert unmet("04", WRONG["only stops waiting"][0], tmp_path)
    assert "never retrieved" not in "".join(capfd.readouterr())
