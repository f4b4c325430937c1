"""The probes count what a chat handler keeps, loses and never forgets."""

import asyncio
import time

import pytest

from helpers.lab import at_once, forgotten
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


@pytest.mark.parametrize(("handle", "visitors"), [(keeps_all, 0), (writes_back, 0), (forgets, 7)])
def test_forgotten(handle: Handle, visitors: int) -> None:
    assert asyncio.run(forgotten(handle, 0)) == visitors


def test_forgotten_lets_the_service_forget_when_the_time_is_over() -> None:
    start = time.monotonic()
    assert asyncio.run(forgotten(keeps_all, 0.1, expire)) == 4
    assert time.monotonic() - start >= 0.1
