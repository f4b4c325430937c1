"""A stall meter as a check in a test of one's own, as in lesson 01."""

import time
from collections.abc import Awaitable, Callable

import anyio
import pytest

from helpers import StallMeter


def the_loop_stays_free(my_handler: Callable[[], Awaitable[None]]) -> None:
    stalls = []  # type: ignore[var-annotated]
    with StallMeter(stalls.append) as meter:
        anyio.run(my_handler, backend_options={"loop_factory": meter.new_event_loop})
    assert not [stall for stall in stalls if stall.seconds > 0.05]


async def blocks() -> None:
    time.sleep(0.1)


async def rests() -> None:
    await anyio.sleep(0.1)


def test_it_fails_for_a_handler_that_blocks() -> None:
    with pytest.raises(AssertionError):
        the_loop_stays_free(blocks)


def test_it_passes_for_a_handler_that_does_not() -> None:
    the_loop_stays_free(rests)
