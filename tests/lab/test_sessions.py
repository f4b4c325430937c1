"""The probes count what a chat handler keeps, loses and never forgets."""

import asyncio
import time

import pytest

from helpers.lab import at_once, deserted
from helpers.lab.worker_process import Ask, Handle, Messages

kept: dict[str, Messages] = {}


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


async def keeps_all(ask: Ask, session: str, text: str) -> str:
    history = kept.setdefault(session, [])
    answer = await ask([*history, user(text)])
    history += [user(text), {"role": "assistant", "content": answer}]
    return answer


async def writes_back(ask: Ask, session: str, text: str) -> str:
    history = [*kept.get(session, []), user(text)]
    answer = await ask(history)
    kept[session] = [*history, {"role": "assistant", "content": answer}]
    return answer


async def forgets(ask: Ask, session: str, text: str) -> str:
    return await ask([user(text)])


async def expire() -> None:
    for session in list(kept)[::2]:
        del kept[session]


@pytest.fixture(autouse=True)
def _empty() -> None:
    kept.clear()


@pytest.mark.parametrize(("handle", "turns"), [(keeps_all, 2), (writes_back, 1), (forgets, 0)])
def test_at_once(handle: Handle, turns: int) -> None:
    for _ in range(20):
        assert asyncio.run(at_once(handle)) == turns


@pytest.mark.parametrize(("handle", "known"), [(keeps_all, 7), (writes_back, 7), (forgets, 0)])
def test_deserted(handle: Handle, known: int) -> None:
    assert asyncio.run(deserted(handle, 0)) == known


def test_deserted_lets_the_service_forget_when_the_time_is_over() -> None:
    start = time.monotonic()
    assert asyncio.run(deserted(keeps_all, 0.1, expire)) == 3
    assert time.monotonic() - start >= 0.1
