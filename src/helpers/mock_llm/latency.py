"""When the model writes: a queue for decode slots, and a schedule for the tokens."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from helpers.mock_llm.profiles import Profile


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
    rng: random.Random

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
        rng = random.Random(seed * 1_000_003 + number)  # noqa: S311
        base = profile.base * (1 + profile.jitter * rng.uniform(-1, 1))
        prefill = uncached_tokens / profile.prefill_rate
        gap = 1 / profile.decode_rate
        first = slot + base + prefill + thinking_tokens * gap
        return cls(first, gap, profile.jitter, rng)

    def times(self, count: int) -> Iterator[float]:
        """When each of ``count`` tokens is due, always in order: jitter is below one gap."""
        yield self.first_token
        for k in range(1, count):
            yield self.first_token + self.gap * (k + self.jitter * (self.rng.random() - 0.5))
