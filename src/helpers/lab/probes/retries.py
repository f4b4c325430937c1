"""Refuses one client, and counts what it does: does it come back early, does it ever give up?"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Literal, NamedTuple, TypeAlias

import anyio
import httpx

from helpers.mock_llm import Fault, Limits, MockLLM

Ask: TypeAlias = Callable[[httpx.AsyncClient, str, str], Awaitable[Any]]
"""``ask(client, url, question)``, with retries of its own."""
_Form: TypeAlias = Literal["seconds", "date", "ms"]
_FORMS: tuple[_Form, ...] = ("seconds", "date", "ms")
# Seconds that the refusal asks for.
_TOLD = 1.0
# Seconds by which a coarse clock may wake too soon.
_EARLY = 0.01
# Seconds after which a client that still waits is ended.
_LIMIT = 30.0
_BUCKET = 20


class Burnt(NamedTuple):
    """What three hopeless questions cost."""

    requests: int
    left: int
    """Of the 20 requests in the bucket."""


async def came_early(ask: Ask) -> list[str]:
    """Forms of Retry-After ("seconds", "date", "ms") in which the retry came too early.

    The client asks one question in each, and is refused once. Raises `TimeoutError` if it still
    waits after 30 s, `ValueError` if it does not try again.
    """
    early: list[str] = []
    refusal = Fault(kind="rate_limit_exceeded", first=1, retry_after=_TOLD)
    async with MockLLM() as llm, httpx.AsyncClient(timeout=10) as client:
        for form in _FORMS:
            llm.configure(faults=[refusal], limits=Limits(retry_after=form))
            llm.reset()
            with anyio.fail_after(_LIMIT):
                await ask(client, llm.url, "Hello?")
            arrivals = [request.arrival for request in llm.ledger().requests]
            if len(arrivals) < 2:
                raise ValueError("The client did not try again.")
            # From arrival to arrival: the server said how long after the first of them.
            if arrivals[1] - arrivals[0] < _TOLD - _EARLY:
                early.append(form)
    return early


async def hopeless(ask: Ask) -> Burnt:
    """Three questions that will never be answered: a spent quota, a 400, a prompt over the limit.

    The bucket of requests gains next to nothing, so that what is left in it is exact. Raises
    `TimeoutError` if the client still waits after 30 s.
    """
    limits = Limits(requests_per_minute=0.01, burst_requests=_BUCKET, tokens_per_minute=1000)
    left = _BUCKET
    async with MockLLM(limits=limits) as llm:
        for fault in ("insufficient_quota", "400", None):
            headers = {"x-mock-fault": fault} if fault else {}
            question = "Hello?" if fault else "Hello? " * 1000
            async with httpx.AsyncClient(timeout=10, headers=headers) as client:
                try:
                    with anyio.fail_after(_LIMIT):
                        await ask(client, llm.url, question)
                except httpx.HTTPStatusError as error:
                    left = int(error.response.headers["x-ratelimit-remaining-requests"])
        return Burnt(len(llm.ledger().requests), left)
