"""What the provider plays, and how it treats each user."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from helpers.mock_llm.settings.profiles import Profile

WORDS = (
    "wave moon stone river cloud forest winter summer garden bridge window mountain island silver "
    "copper yellow purple orange paper music piano guitar rocket planet castle dragon tiger salmon "
    "pepper lemon bread butter candle mirror carpet pillow basket hammer ladder engine wheel anchor"
)
"""The model's answer where it must be recognized at the application's edge: each word is one token
of ``o200k_base``."""
_FEW = 8
"""Tokens after which an answer breaks off."""


@dataclass(frozen=True, slots=True)
class Treatment:
    """How the provider treats the requests of one user."""

    fault: str = ""
    """As in the header ``x-mock-fault``."""
    next_fault: str = ""
    """What every second call meets in place of it, counted over the users of the kind."""
    text: str = ""
    """The model's answer; by default it is generated."""
    longest: int | None = None
    """Tokens after which the model stops."""
    attempts: int | None = None
    """Only this many attempts of each call meet the fault; by default all."""
    calls: int | None = None
    """Only this many of the user's calls do; by default all."""
    final: bool = False
    """The answer says ``x-should-retry: false``, as the providers' do where no retry helps."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """One thing that the provider plays."""

    name: str
    description: str
    profile: Profile = field(default_factory=Profile)
    users: Mapping[str, Treatment] = field(default_factory=lambda: {"user": Treatment()})
    """By the user's kind. A program is run once for each of them."""
    waits: bool = False
    """It takes long but uses little processor time: others can be played meanwhile."""
    is_brief: bool = False
    """A service's first user asks once: that shows whether all is well."""


_ANSWERED = Treatment(text=WORDS)
_STEADY = Profile(base=0.05)

STEADY = Scenario(
    "steady",
    "The provider is healthy; one user has a long conversation, or the program runs once.",
    _STEADY,
)
CROWD = Scenario(
    "crowd", "The model thinks for a second; eight users ask at the same time.", Profile(base=1.0)
)
TLS = Scenario("tls", "As steady, over https; six questions, one after the other.", _STEADY)
SILENCE = Scenario(
    "silence",
    "The provider hangs for some users and drips for one; for the others it is healthy.",
    _STEADY,
    {
        "hang": Treatment("hang"),
        "drip": Treatment("drip; interval=0.25"),
        "starve": Treatment("hang", calls=1),
    },
    waits=True,
)
LIMITED = Scenario(
    "limited",
    "The first attempt of each call gets 429, with Retry-After: 2 and 1 in turn; four users.",
    _STEADY,
    {
        "limited": Treatment(
            "rate_limit_exceeded; retry_after=2",
            "rate_limit_exceeded; retry_after=1",
            attempts=1,
        )
    },
    waits=True,
)
OVERLOADED = Scenario(
    "overloaded",
    "Every request gets 503 without Retry-After; ten users, shortly after one another.",
    _STEADY,
    {"overloaded": Treatment("503")},
)
PERMANENT = Scenario(
    "permanent",
    "Errors that no retry fixes: 400, 401, 404 and insufficient_quota.",
    _STEADY,
    {
        "request": Treatment("400", final=True),
        "key": Treatment("401", final=True),
        "model": Treatment("404", final=True),
        "quota": Treatment("insufficient_quota", final=True),
    },
)
DOWN = Scenario(
    "down",
    "The provider is down: it drops every connection; six users, one after the other.",
    _STEADY,
    {"down": Treatment("refuse")},
    waits=True,
)
RESTART = Scenario("restart", "The service is killed and started again between two turns.", _STEADY)
WORKERS = Scenario(
    "workers", "Two processes of the service; each answers one turn of a conversation.", _STEADY
)
STREAM = Scenario(
    "stream",
    "The model writes 20 tokens a second; one user reads on, one leaves after the first words.",
    Profile(base=0.1, decode_rate=20),
    {"reader": _ANSWERED, "leaver": _ANSWERED},
    waits=True,
)
BROKEN = Scenario(
    "broken",
    "Incomplete answers: cut, without a finish reason, too long for the limit, with an "
    "error after status 200, and with malformed JSON; and one that is complete.",
    _STEADY,
    {
        "whole": _ANSWERED,
        "cut": Treatment(f"cut; after_tokens={_FEW}", text=WORDS),
        "unfinished": Treatment("no_finish", text=WORDS),
        "length": Treatment(text=WORDS, longest=16),
        "error": Treatment(f"error_event; after_tokens={_FEW}", text=WORDS),
        "json": Treatment(f"malformed_json; after_tokens={_FEW}", text=WORDS),
    },
)
SIBLING = Scenario(
    "sibling",
    "The model thinks for a second; one use goes well, in another the first call gets 400.",
    Profile(base=1.0),
    {"family": _ANSWERED, "sibling": Treatment("400", text=WORDS, calls=1, final=True)},
)

SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        *(STEADY, CROWD, TLS, SILENCE, LIMITED, OVERLOADED, PERMANENT, DOWN),
        *(RESTART, WORKERS, STREAM, BROKEN, SIBLING),
    )
}
FOR_PROGRAMS = (*(STEADY, TLS, SILENCE, LIMITED, OVERLOADED, PERMANENT, DOWN, BROKEN, SIBLING),)
"""A program itself chooses what it asks; the other scenarios need users."""
