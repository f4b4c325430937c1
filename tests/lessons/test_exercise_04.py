"""Lesson 04's check: it finds each way to miss the budget, and passes both repairs."""

import asyncio
import contextlib
from typing import Any

import anyio
import httpx
import pytest

from helpers.lessons.exercise import grade
from helpers.lessons.exercises.criteria import MODERATOR
from helpers.lessons.exercises.exercise_04 import RESERVE


class NoAnswerError(Exception):
    """As a learner defines it, in a file of their own."""


async def post(client: httpx.AsyncClient, url: str, model: str, limit: float | None) -> str:
    body = {"model": model, "messages": [{"role": "user", "content": "Why?"}]}
    reply = await client.post(f"{url}/chat/completions", json=body, timeout=limit)
    reply.raise_for_status()
    content: str = reply.json()["choices"][0]["message"]["content"]
    return content


async def ask(client: httpx.AsyncClient, url: str, model: str, limit: float) -> str:
    try:
        with anyio.fail_after(limit):
            return await post(client, url, model, None)
    except TimeoutError:
        raise NoAnswerError from None


async def one_deadline_and_one_in_it(
    client: httpx.AsyncClient, url: str, question: str, budget: float
) -> str:
    """Nested scopes: the outer one ends what the inner ones leave."""
    try:
        with anyio.fail_after(budget) as whole:
            await post(client, url, MODERATOR, None)
            with contextlib.suppress(TimeoutError):
                with anyio.fail_after(whole.deadline - anyio.current_time() - RESERVE):
                    return await post(client, url, "gpt-4o", None)
            return await post(client, url, "gpt-4o-mini", None)
    except TimeoutError:
        raise NoAnswerError from None


async def in_asyncio(client: httpx.AsyncClient, url: str, question: str, budget: float) -> str:
    end = asyncio.get_running_loop().time() + budget
    try:
        async with asyncio.timeout_at(end):
            await post(client, url, MODERATOR, None)
            try:
                async with asyncio.timeout_at(end - RESERVE):
                    return await post(client, url, "gpt-4o", None)
            except TimeoutError:
                return await post(client, url, "gpt-4o-mini", None)
    except TimeoutError:
        raise NoAnswerError from None


async def the_budget_as_deadline_only(
    client: httpx.AsyncClient, url: str, question: str, budget: float
) -> str:
    """Nothing is late, but a large model that hangs uses up what the small one needs."""
    end = anyio.current_time() + budget
    await ask(client, url, MODERATOR, budget)
    try:
        return await ask(client, url, "gpt-4o", end - anyio.current_time())
    except NoAnswerError:
        return await ask(client, url, "gpt-4o-mini", end - anyio.current_time())


async def a_third_each(client: httpx.AsyncClient, url: str, question: str, budget: float) -> str:
    await ask(client, url, MODERATOR, budget / 3)
    try:
        return await ask(client, url, "gpt-4o", budget / 3)
    except NoAnswerError:
        return await ask(client, url, "gpt-4o-mini", budget / 3)


async def the_clock_starts_again(
    client: httpx.AsyncClient, url: str, question: str, budget: float
) -> str:
    """The time that the moderator took is not counted."""
    await ask(client, url, MODERATOR, budget)
    try:
        return await ask(client, url, "gpt-4o", budget - RESERVE)
    except NoAnswerError:
        return await ask(client, url, "gpt-4o-mini", RESERVE)


async def silence_only(client: httpx.AsyncClient, url: str, question: str, budget: float) -> str:
    """Limits that fit, each for a read."""
    end = anyio.current_time() + budget
    try:
        await post(client, url, MODERATOR, budget)
        try:
            return await post(client, url, "gpt-4o", end - anyio.current_time() - RESERVE)
        except httpx.TimeoutException:
            return await post(client, url, "gpt-4o-mini", end - anyio.current_time())
    except httpx.TimeoutException:
        raise NoAnswerError from None


async def stops_waiting_only(
    client: httpx.AsyncClient, url: str, question: str, budget: float
) -> str:
    """The large model's call goes on although its answer is no longer awaited."""
    end = anyio.current_time() + budget
    await ask(client, url, MODERATOR, budget)
    large = asyncio.create_task(post(client, url, "gpt-4o", None))
    done, _ = await asyncio.wait({large}, timeout=end - anyio.current_time() - RESERVE)
    if done:
        return large.result()
    return await ask(client, url, "gpt-4o-mini", end - anyio.current_time())


async def asks_both(client: httpx.AsyncClient, url: str, question: str, budget: float) -> str:
    await ask(client, url, MODERATOR, budget)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask, client, url, "gpt-4o", budget / 2)
        tasks.start_soon(ask, client, url, "gpt-4o-mini", budget / 2)
    return "some answer"


async def without_the_moderator(
    client: httpx.AsyncClient, url: str, question: str, budget: float
) -> str:
    try:
        return await ask(client, url, "gpt-4o", budget - RESERVE)
    except NoAnswerError:
        return await ask(client, url, "gpt-4o-mini", RESERVE)


async def gives_up_at_once(
    client: httpx.AsyncClient, url: str, question: str, budget: float
) -> str:
    raise NoAnswerError


async def makes_it_up(client: httpx.AsyncClient, url: str, question: str, budget: float) -> str:
    return "Because."


async def raises_the_timeout(
    client: httpx.AsyncClient, url: str, question: str, budget: float
) -> str:
    try:
        return await one_deadline_and_one_in_it(client, url, question, budget)
    except NoAnswerError:
        raise TimeoutError from None


def unmet(solution: Any) -> list[str]:
    return [c.what for c in asyncio.run(grade("04", solution)) if not c.met]


@pytest.mark.parametrize("solution", [one_deadline_and_one_in_it, in_asyncio])
def test_a_repair_passes(solution: Any) -> None:
    assert unmet(solution) == []


HANGS = "the large model hangs"
DRIPS = "the large model drips"
SLOW_START = "the moderator is slow, the large model hangs"
BOTH_HANG = "both models hang"


@pytest.mark.parametrize(
    ("solution", "cases"),
    [
        (the_budget_as_deadline_only, [HANGS, DRIPS, SLOW_START, BOTH_HANG]),
        (the_clock_starts_again, [SLOW_START]),
        (silence_only, [DRIPS]),
        (stops_waiting_only, ["a call that times out is canceled before the next call is made"]),
        (raises_the_timeout, [BOTH_HANG, "the moderator hangs"]),
    ],
)
def test_one_mistake_is_named_alone(solution: Any, cases: list[str]) -> None:
    assert [what.partition(":")[0].partition(",")[0] for what in unmet(solution)] == [
        case.partition(",")[0] for case in cases
    ]


@pytest.mark.parametrize(
    ("solution", "criterion"),
    [
        (a_third_each, "the large model is slow"),
        (a_third_each, SLOW_START),
        (asks_both, "nothing goes wrong"),
        (without_the_moderator, "the moderator answers before a model is called"),
        (without_the_moderator, "the moderator hangs"),
        (gives_up_at_once, "nothing goes wrong"),
        (gives_up_at_once, BOTH_HANG),
        (makes_it_up, "nothing goes wrong"),
        (makes_it_up, "the moderator answers before a model is called"),
        ("not a function", "`handle` is a function"),
    ],
)
def test_what_is_missing_is_named(solution: Any, criterion: str) -> None:
    assert any(what.startswith(criterion) for what in unmet(solution))
