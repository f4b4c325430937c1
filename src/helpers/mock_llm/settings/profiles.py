"""How fast the model is: a latency profile, and five with names."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """The latency model of one provider.

    A request waits for a decode slot, then for its first token, then one token at a time::

        TTFT = queue + base + uncached_prompt_tokens / prefill_rate + thinking_tokens / decode_rate
        token k is due at first_token + k / decode_rate

    Raises ValueError for a value that cannot be.
    """

    base: float = 0.0
    """Seconds around a near-empty prompt: network, routing, scheduling."""
    prefill_rate: float = math.inf
    """Prompt tokens read per second, those found in the prefix cache not counted."""
    decode_rate: float = math.inf
    """Tokens written per second for each request."""
    slots: int = sys.maxsize
    """Requests served at once; those above wait in arrival order."""
    jitter: float = 0.0
    """Share of ``base`` and of the token gap by which a time may be off, 0 to below 1."""
    thinking_tokens: int = 0
    """Hidden reasoning tokens written, and billed, before the first visible one."""
    context_window: int | None = None
    """Prompt and answer tokens that fit in one request, where that is less than the model's own
    context window; None leaves it at that."""

    def __post_init__(self) -> None:
        if not 0 <= self.base < math.inf:
            raise ValueError(f"base must be 0 or more seconds, not {self.base!r}")
        for name in ("prefill_rate", "decode_rate"):
            if not getattr(self, name) > 0:
                raise ValueError(
                    f"{name} must be more than 0 tokens a second, not {getattr(self, name)!r}"
                )
        for name, least in (("slots", 1), ("thinking_tokens", 0), ("context_window", 1)):
            value = getattr(self, name)
            if name == "context_window" and value is None:
                continue
            if not isinstance(value, int) or value < least:
                raise ValueError(
                    f"{name} must be a whole number of at least {least}, not {value!r}"
                )
        if not 0 <= self.jitter < 1:
            raise ValueError(f"jitter must be a share from 0 to below 1, not {self.jitter!r}")

    def faster(self, speed: float) -> Profile:
        """The same provider with every time divided by ``speed``."""
        return replace(
            self,
            base=self.base / speed,
            prefill_rate=self.prefill_rate * speed,
            decode_rate=self.decode_rate * speed,
        )


PROFILES: dict[str, Profile] = {
    "instant": Profile(),
    "small": Profile(base=0.3, prefill_rate=30_000, decode_rate=150, slots=64, jitter=0.2),
    "medium": Profile(base=0.8, prefill_rate=12_000, decode_rate=60, slots=48, jitter=0.2),
    "large": Profile(base=1.2, prefill_rate=5_000, decode_rate=45, slots=32, jitter=0.2),
    "reasoning": Profile(
        base=1.2, prefill_rate=5_000, decode_rate=45, slots=32, jitter=0.2, thinking_tokens=240
    ),
}
"""``instant`` never waits. The others stand for model classes of about 8, 70 and 400 billion
parameters. They are derived ranges, not a measurement of one provider: their middle values are
ours, from published figures that differ by a factor of 2 to 4. Only medium's prefill rate rests on
measurements (NVIDIA's NIM performance tables and Millstone's H200 figures agree on 12,000 to 13,000
tokens a second); small and large scale it by size. The numbers of slots are of the order at which
those tables show queueing begin. 240 thinking tokens are about 5 s, within the 2 to 15 s that
reasoning models take before their first visible token.
"""


def find_profile(profile: str | Profile | dict[str, Any]) -> Profile:
    """A profile by its name or by its fields. Raises ValueError naming the choices."""
    if isinstance(profile, Profile):
        return profile
    if isinstance(profile, dict):
        try:
            return Profile(**profile)
        except TypeError as error:
            raise ValueError(f"not the fields of a Profile: {error}") from None
    if profile not in PROFILES:
        choices = ", ".join(PROFILES)
        raise ValueError(f"no profile is called {profile!r}; there are {choices}, or a Profile")
    return PROFILES[profile]
