"""When the model writes: a queue for decode slots, and a schedule for the tokens."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from dataclasses import dataclass

from helpers.mock_llm.settings.profiles import Profile


class Slots:
    """Decode slots, given out in the order they were asked for."""

    def __init__(self, count: int) -> None:
        self._free = count
        self._count = count
        self._queue: deque[asyncio.Future[None]] = deque()

    def take(self) -> asyncio.Future[None] | None:
        """Take a slot: at once (None), or when the future is done.

        Whoever gives up waiting cancels the future; a slot that was granted must be given back.
        """
        if self._free > 0 and not self._queue:
            self._free -= 1
            return None
        turn = asyncio.get_running_loop().create_future()
        self._queue.append(turn)
        return turn

    def give_back(self) -> None:
        self._free += 1
        self._grant()

    def resize(self, count: int) -> None:
        """Change how many there are; those in use above the new number run out."""
        self._free += count - self._count
        self._count = count
        self._grant()

    def _grant(self) -> None:
        while self._free > 0 and self._queue:
            turn = self._queue.popleft()
            if not turn.done():
                self._free -= 1
                turn.set_result(None)


@dataclass(slots=True)
class Schedule:
    """The times of one answer's tokens, in seconds of ``time.perf_counter()``.

    Every token's time is computed from the first one's, never from the one before, so that lateness
    does not add up.
    """

    first_token: float
    gap: float
    jitter: float
    rng: random.Random | None

    @classmethod
    def plan(
        cls,
        profile: Profile,
        *,
        slot: float,
        uncached_tokens: int,
        thinking_tokens: int,
        seed: int,
        number: int,
    ) -> Schedule:
        """The schedule of the ``number``-th request since the last reset."""
        rng = random.Random(seed * 1_000_003 + number) if profile.jitter else None  # noqa: S311
        base = profile.base
        if rng is not None:
            base *= 1 + profile.jitter * rng.uniform(-1, 1)
        gap = 1 / profile.decode_rate
        prefill = uncached_tokens / profile.prefill_rate
        return cls(slot + base + prefill + thinking_tokens * gap, gap, profile.jitter, rng)

    def times(self, count: int) -> list[float]:
        """When each of ``count`` tokens is due, always in order: jitter is below one gap."""
        if not self.gap:
            return [self.first_token] * count
        times = [self.first_token + self.gap * k for k in range(count)]
        if self.rng is not None:
            width, draw = self.gap * self.jitter, self.rng.random
            times[1:] = [time + width * (draw() - 0.5) for time in times[1:]]
        return times
