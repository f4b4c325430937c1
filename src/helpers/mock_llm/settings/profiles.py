"""How fast the model is: a latency profile, and five with names."""

from __future__ import annotations

import math
import sys
from typing import Annotated

from pydantic import Field

from helpers.mock_llm.settings.options import Options, Wording, shorten


class Profile(Options):
    """The latency model of one provider.

    A request waits for a decode slot, then for its first token, then one token at a time::

        TTFT = queue + base + uncached_prompt_tokens / prefill_rate + thinking_tokens / decode_rate
        token k is due at first_token + k / decode_rate

    Raises ValueError for an invalid value.
    """

    base: Annotated[
        float,
        Field(ge=0, description="Seconds around a near-empty prompt: network, routing, queueing."),
        Wording(unit="seconds"),
    ] = 0.0
    prefill_rate: Annotated[
        float,
        Field(
            gt=0,
            allow_inf_nan=True,
            description="Prompt tokens read per second; tokens in the prefix cache take no time.",
        ),
        Wording(unit="tokens a second"),
    ] = math.inf
    decode_rate: Annotated[
        float,
        Field(gt=0, allow_inf_nan=True, description="Tokens written per second for each request."),
        Wording(unit="tokens a second"),
    ] = math.inf
    slots: Annotated[
        int,
        Field(ge=1, description="Requests served at once; the others wait in order of arrival."),
    ] = sys.maxsize
    jitter: Annotated[
        float,
        Field(
            ge=0,
            lt=1,
            description="Share of `base` and of the token gap by which a time may be off.",
        ),
    ] = 0.0
    thinking_tokens: Annotated[
        int,
        Field(ge=0, description="Hidden reasoning tokens, billed, before the first visible token."),
    ] = 0
    context_window: Annotated[
        int | None,
        Field(
            ge=1,
            description="Prompt and answer tokens that fit in one request, where that is less "
            "than the model's own context window.",
        ),
    ] = None

    def faster(self, speed: float) -> Profile:
        """The same provider with every time divided by ``speed``."""
        times = {
            "base": self.base / speed,
            "prefill_rate": self.prefill_rate * speed,
            "decode_rate": self.decode_rate * speed,
        }
        return Profile(**{**dict(self), **times})


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


def find_profile(profile: object) -> str | Profile:
    """The name of a profile, or one made of its fields. Raises ValueError naming the choices."""
    if isinstance(profile, dict):
        return Profile(**profile)
    if isinstance(profile, Profile):
        return profile
    if not isinstance(profile, str):
        raise ValueError(
            f"profile must be a name or the fields of a Profile, not {shorten(profile)}"
        )
    if profile not in PROFILES:
        choices = ", ".join(PROFILES)
        raise ValueError(
            f"no profile is called {shorten(profile)}; there are {choices}, or a Profile"
        )
    return profile
