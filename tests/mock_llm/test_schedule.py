"""The scheduler's laws: tokens on an absolute schedule, slots in the order they were asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.mock_llm import Profile
from helpers.mock_llm.model.latency import Schedule, Slots

rates = st.floats(1, 1e5)


def plan(profile: Profile, *, uncached: int = 0, seed: int = 0, number: int = 1) -> Schedule:
    return Schedule.plan(
        profile, slot=100.0, uncached_tokens=uncached, thinking_tokens=0, seed=seed, number=number
    )


@given(base=st.floats(0, 10), prefill=rates, decode=rates, uncached=st.integers(0, 10**6))
def test_ttft_is_base_and_prefill_and_tokens_follow_at_the_decode_rate(
    base: float, prefill: float, decode: float, uncached: int
) -> None:
    schedule = plan(Profile(base=base, prefill_rate=prefill, decode_rate=decode), uncached=uncached)
    first = 100.0 + base + uncached / prefill
    assert schedule.times(4) == pytest.approx([first + k / decode for k in range(4)])


@given(
    jitter=st.floats(0, 0.99),
    decode=rates,
    count=st.integers(1, 300),
    seed=st.integers(0, 2**31),
    number=st.integers(1, 2**31),
)
def test_jitter_keeps_the_order_and_never_adds_up(
    jitter: float, decode: float, count: int, seed: int, number: int
) -> None:
    profile = Profile(base=1.0, decode_rate=decode, jitter=jitter)
    schedule = plan(profile, seed=seed, number=number)
    times = schedule.times(count)
    assert times == sorted(times)
    gap = 1 / decode
    for k, time in enumerate(times):
        assert abs(time - schedule.first_token - k * gap) <= gap * jitter / 2 + 1e-9
    assert times == plan(profile, seed=seed, number=number).times(count)


Step = tuple[str, int]
steps = st.lists(
    st.tuples(st.sampled_from(["take", "give back", "give up", "resize"]), st.integers(0, 9)),
    max_size=60,
)


@given(count=st.integers(1, 5), steps=steps)
def test_slots_are_never_lost_nor_given_twice_and_go_in_order(
    count: int, steps: list[Step]
) -> None:
    asyncio.run(_follow(count, steps))


async def _follow(count: int, steps: list[Step]) -> None:
    slots = Slots(count)
    holders = 0
    waiting: list[asyncio.Future[None]] = []

    def granted() -> int:
        """Those who wait are served from the front."""
        served = 0
        while waiting and waiting[0].done():
            assert not waiting.pop(0).cancelled()
            served += 1
        assert not any(turn.done() for turn in waiting)
        return served

    for step, number in steps:
        actions: dict[str, Callable[[], None]] = {
            "give back": slots.give_back if holders else lambda: None,
            "resize": lambda number=number: slots.resize(number + 1),  # type: ignore[misc]
            "give up": lambda number=number: _give_up(waiting, number),  # type: ignore[misc]
        }
        if step == "take":
            turn = slots.take()
            holders += turn is None
            if turn is not None:
                waiting.append(turn)
        else:
            holders -= step == "give back" and holders > 0
            actions[step]()
        count = number + 1 if step == "resize" else count
        holders += granted()
        assert not waiting or holders >= count, "someone waits although a slot is free"
        if step == "take":
            assert holders <= count or turn is not None, "more slots were given than there are"


def _give_up(waiting: list[asyncio.Future[None]], number: int) -> None:
    if waiting:
        waiting.pop(number % len(waiting)).cancel()
