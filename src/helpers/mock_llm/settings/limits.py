"""What each key may ask of each model."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from helpers.mock_llm.settings.options import Options, Wording

RetryAfter = Literal["seconds", "date", "ms", "none"]


class Limits(Options):
    """Rate limits and quota of each key. Raises ValueError for a value that cannot be.

    A bucket begins full and refills continuously. A request takes 1 from the first and its tokens
    from the second, before it waits for a slot: its prompt and the most that it may answer
    (``max_tokens``, for each choice), or without such a limit what the answer will take. OpenAI's
    rate limits guide counts ``max_tokens`` too; its estimate from the number of characters is not
    published, so ours are the true tokens.

    Failed requests count: also one that is wrong, or refused for its tokens, takes 1 from the first
    bucket. One that finds less than 1 there takes nothing.
    """

    requests_per_minute: Annotated[
        float | None, Field(gt=0, description="Requests per minute."), Wording(flag="rpm")
    ] = None
    tokens_per_minute: Annotated[
        float | None, Field(gt=0, description="Tokens per minute."), Wording(flag="tpm")
    ] = None
    burst_requests: Annotated[
        float | None, Field(ge=1, description="Requests at once; by default those of a minute.")
    ] = None
    burst_tokens: Annotated[
        float | None, Field(ge=1, description="Tokens at once; by default those of a minute.")
    ] = None
    quota_tokens: Annotated[
        int | None,
        Field(ge=0, description="Lifetime quota: prompt and answer tokens, across models."),
    ] = None
    retry_after: Annotated[
        RetryAfter,
        Field(
            description="How a 429 says when to come back: Retry-After in whole seconds or as an "
            "HTTP date, retry-after-ms (needed for waits below a second), or not at all."
        ),
    ] = "seconds"

    @model_validator(mode="after")
    def _refills_each_bucket(self) -> Self:
        for kind in ("requests", "tokens"):
            if getattr(self, f"burst_{kind}") and not getattr(self, f"{kind}_per_minute"):
                raise ValueError(f"burst_{kind} needs {kind}_per_minute, which refills the bucket")
        return self
