"""Workers: real processes with a memory of their own, that end when they should."""

import asyncio
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import psutil
import pytest

from helpers.lab import WorkerError, Workers
from helpers.lab.worker_process import Ask
from helpers.mock_llm import MockLLM

seen: list[str] = []


async def count(ask: Ask, session: str, text: str) -> str:
    """How many turns this process has seen."""
    seen.append(text)
    print("a word from the worker " * 500)
    return str(len(seen))


async def ask_the_model(ask: Ask, session: str, text: str) -> str:
    return await ask([{"role": "system", "content": session}, {"role": "user", "content": text}])


async def breaks(ask: Ask, session: str, text: str) -> str:
    raise ZeroDivisionError(f"{session} by zero")


class Unbuildable:
    """Arrives as an exception: it is pickled as a call that raises."""

    def __reduce__(self) -> Any:
        return int, ("not a number",)


@pytest.fixture
def children() -> Iterator[None]:
    """Whatever a test starts has ended with it."""
    before = set(psutil.Process().children(recursive=True))
    yield
    servers = {each for each in psutil.Process().children() if "helpers.forking" in each.cmdline()}
    left = set(psutil.Process().children(recursive=True)) - before - servers
    _, alive = psutil.wait_procs(left, timeout=10)
    assert alive == []


pytestmark = pytest.mark.usefixtures("children")


def test_turns_go_round_and_memories_are_apart() -> None:
    async def talk() -> list[str]:
        async with Workers(count, "http://127.0.0.1:1/v1", 2) as service:
            return [await service.send("s", "Hello?") for _ in range(5)]

    assert asyncio.run(talk()) == ["1", "1", "2", "2", "3"]


def test_a_killed_worker_says_so_and_a_started_one_remembers_nothing() -> None:
    async def talk() -> list[str]:
        async with Workers(count, "http://127.0.0.1:1/v1") as service:
            answers = [await service.send("s", "Hello?") for _ in range(2)]
            await service.kill(0)
            with pytest.raises(WorkerError, match=r"Worker 0 is dead: start it again"):
                await service.send("s", "Hello?")
            await service.start(0)
            return [*answers, await service.send("s", "Hello?")]

    assert asyncio.run(talk()) == ["1", "2", "1"]


def test_a_worker_that_died_by_itself_is_named() -> None:
    async def talk() -> None:
        async with Workers(count, "http://127.0.0.1:1/v1") as service:
            (worker,) = workers()
            worker.kill()
            worker.wait(10)
            with pytest.raises(WorkerError, match="Worker 0 did not answer"):
                await service.send("s", "Hello?")

    asyncio.run(talk())


def test_the_model_is_asked_and_the_server_counts_messages() -> None:
    async def talk(llm: MockLLM) -> str:
        async with Workers(ask_the_model, llm.url) as service:
            return await service.send("Be brief.", "Hello?")

    with MockLLM(answer_tokens=4) as llm:
        answer = asyncio.run(talk(llm))
        (request,) = llm.ledger().requests
    assert answer.endswith(".")
    assert request.messages == 2


@pytest.mark.parametrize(
    ("handle", "sentence"),
    [
        (breaks, r"Worker 0 raised ZeroDivisionError in breaks, line \d+: s by zero"),
        (lambda: None, r"Worker 0 raised TypeError"),
        (Unbuildable(), r"could not be rebuilt in its own process"),
    ],
)
def test_mistakes_in_the_code_get_one_sentence(handle: Any, sentence: str) -> None:
    async def talk() -> None:
        async with Workers(handle, "http://127.0.0.1:1/v1", 2) as service:
            await service.send("s", "Hello?")

    with pytest.raises(WorkerError, match=sentence):
        asyncio.run(talk())


def test_code_that_cannot_be_sent_is_refused_at_once() -> None:
    with pytest.raises(TypeError, match="cannot be sent to a worker process"):
        Workers(threading.Lock(), "")  # type: ignore[arg-type]


@pytest.mark.parametrize("after", [0.0, 0.05, 0.2, 0.6])
def test_a_cancelled_start_leaves_no_process(after: float) -> None:
    async def talk() -> None:
        async with Workers(count, "http://127.0.0.1:1/v1", 3):
            await asyncio.sleep(60)

    async def cancel() -> None:
        task = asyncio.create_task(talk())
        await asyncio.sleep(after)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    start = time.monotonic()
    asyncio.run(cancel())
    assert time.monotonic() - start < 30


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"host": "localhost:1234"}, 200),
        ({"host": "app.localhost", "origin": "http://app.localhost:3000"}, 200),
        ({"origin": "http://127.0.0.1:8888"}, 200),
        ({"host": "rebound.test"}, 400),
        ({"origin": "http://evil.test"}, 403),
        ({"origin": "http://localhost.evil.test"}, 403),
        ({"origin": "null"}, 403),
    ],
)
def test_a_web_page_from_elsewhere_is_refused(headers: dict[str, str], status: int) -> None:
    async def talk() -> int:
        async with Workers(count, "http://127.0.0.1:1/v1"), httpx.AsyncClient() as client:
            (port,) = {each.laddr.port for each in listening()}
            turn = {"session": "s", "text": "Hello?"}
            reply = await client.post(f"http://127.0.0.1:{port}", json=turn, headers=headers)
            return reply.status_code

    assert asyncio.run(talk()) == status


def workers() -> list[psutil.Process]:
    family = psutil.Process().children(recursive=True)
    return [each for each in family if each.name().startswith("lab.worker")]


def listening() -> list[Any]:
    sockets = [connection for each in workers() for connection in each.net_connections("tcp")]
    return [each for each in sockets if each.status == psutil.CONN_LISTEN]


class Noisy:
    """Prints while it is rebuilt, before the worker is ready."""

    def __reduce__(self) -> Any:
        return eval, ("print('a word too early') or __import__('helpers.lab').lab.noise_floor",)


def test_what_the_code_prints_is_not_taken_for_an_answer() -> None:
    async def talk() -> str:
        async with Workers(Noisy(), "http://127.0.0.1:1/v1") as service:  # type: ignore[arg-type]
            return await service.send("s", "Hello?")

    with pytest.raises(WorkerError, match="Worker 0 raised TypeError"):
        asyncio.run(talk())
