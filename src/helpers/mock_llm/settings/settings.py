"""Server settings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from helpers.mock_llm.settings.faults import Fault
from helpers.mock_llm.settings.limits import Limits
from helpers.mock_llm.settings.options import Options, Wording
from helpers.mock_llm.settings.profiles import PROFILES, Profile, find_profile
from helpers.mock_llm.settings.script import Script


class Changes(Options):
    """What can change while the server runs."""

    profile: Annotated[str | Profile, BeforeValidator(find_profile)] = Field(
        default="instant",
        kw_only=False,
        description=f"How fast the model is: {', '.join(PROFILES)}; in Python and in files also "
        "the fields of a `Profile`.",
    )
    speed: Annotated[
        float,
        Field(gt=0, description="Divides the profile's times and the limits' minutes."),
        Wording(must="more than 0 (1 is real time, 10 is ten times faster)"),
    ] = 1.0
    seed: Annotated[int, Field(description="Seeds answers, jitter, faults.")] = 0
    answer_tokens: Annotated[
        int | None,
        Field(
            ge=1,
            le=1_000_000,
            description="Length of every answer; by default it depends on the prompt.",
        ),
    ] = None
    limits: Annotated[
        Annotated[Limits, Field(strict=False)] | None,
        Field(description="Rate limits and quota of each key."),
        Wording(must="limits by name"),
    ] = None
    faults: Annotated[
        Sequence[Annotated[Fault, Field(strict=False)]],
        AfterValidator(tuple),
        Field(description="What goes wrong, and for which requests."),
        Wording(must="a list of faults, each with its kind"),
    ] = ()
    script: Script = ()
    finish_abandoned: Annotated[
        bool, Field(description="Keep generating, and billing, after the client disconnects.")
    ] = False

    @model_validator(mode="after")
    def _times_remain_times(self) -> Self:
        _ = self.scaled_profile
        return self

    @property
    def scaled_profile(self) -> Profile:
        """The profile, its times divided by ``speed``."""
        profile = self.profile if isinstance(self.profile, Profile) else PROFILES[self.profile]
        return profile.faster(self.speed)


class Settings(Changes):
    """All settings of a server. Raises ValueError, in one sentence, for an invalid value."""

    api_key: Annotated[
        str | None,
        # What a header can hold.
        Field(pattern=r"^[!-~]+$", description="Refuse requests without this key."),
        Wording(must="letters, digits, and ASCII punctuation, or None to require no key"),
    ] = None
    models: Annotated[
        Sequence[Annotated[str, Field(pattern=r"^[\w./:@+-]+$", max_length=200)]],
        AfterValidator(tuple),
        Field(description="Further names of models, which may be any."),
        Wording(must="a list of names of letters, digits and . / : @ + - _", flag="model"),
    ] = ()
    lenient: Annotated[
        bool, Field(description="Ignore parameters that the provider does not know.")
    ] = False
    tls: Annotated[
        bool, Field(description="Accept https as well; `ca_file` is what clients have to trust.")
    ] = False
    port: Annotated[int, Field(ge=0, le=65535, description="0 takes any free port.")] = 0
