"""What a server is told when it starts, and may be told again while it runs."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

from helpers.mock_llm.settings.faults import Fault, find_faults
from helpers.mock_llm.settings.limits import Limits, find_limits
from helpers.mock_llm.settings.profiles import Profile, find_profile


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Raises ValueError, in one sentence, for a value that cannot be."""

    profile: Profile = field(default_factory=Profile)
    speed: float = 1.0
    seed: int = 0
    api_key: str | None = None
    answer_tokens: int | None = None
    limits: Limits | None = None
    faults: tuple[Fault, ...] = ()
    finish_abandoned: bool = False
    tls: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "profile", find_profile(self.profile))
        object.__setattr__(self, "limits", find_limits(self.limits))
        object.__setattr__(self, "faults", find_faults(self.faults))
        if not _is_number(self.speed) or not 0 < self.speed < math.inf:
            raise ValueError(
                f"speed must be more than 0 (1 is real time, 10 is ten times faster), "
                f"not {self.speed!r}"
            )
        self.profile.faster(self.speed)  # its times must remain times
        if not _is_whole(self.seed):
            raise ValueError(f"seed must be a whole number, not {self.seed!r}")
        if self.answer_tokens is not None and (
            not _is_whole(self.answer_tokens) or self.answer_tokens < 1
        ):
            raise ValueError(
                f"answer_tokens must be a whole number of at least 1, not {self.answer_tokens!r}"
            )
        if self.api_key is not None and (not isinstance(self.api_key, str) or not self.api_key):
            raise ValueError("api_key must be a non-empty string, or None to require no key")

        if not isinstance(self.finish_abandoned, bool):
            raise ValueError(
                f"finish_abandoned must be True or False, not {self.finish_abandoned!r}"
            )
        if not isinstance(self.tls, bool):
            raise ValueError(f"tls must be True or False, not {self.tls!r}")

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return _is_whole(value) or isinstance(value, float)
