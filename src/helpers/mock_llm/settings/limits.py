"""What each key may ask of each model."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from helpers.mock_llm.settings.options import Options, Wording

RetryAfter = Literal["seconds", "date", "ms", "none"]


class Limits(Options):
    """Rate limits and quota of each key. Raises ValueError for an invalid value.

    Each limit is a bucket that starts full and refills continuously. Before waiting for a
    slot, a request takes 1 from the request bucket, and its tokens from the token bucket.

    On OpenAI's routes these are its prompt and longest answer (``max_tokens`` per choice), or
    without such a limit what the answer takes. OpenAI's rate limits guide
    counts ``max_tokens`` too; its estimate from the number of characters is not published, so ours
    are the true tokens.

    On Anthropic's routes it takes its prompt, without the tokens read from the cache, from the
    bucket for input. The bucket for output must hold a token, and afterwards pays for those
    generated, if need be on credit; ``max_tokens`` does not count. Source: the Claude API
    reference, "Rate limits".

    Failed requests count: a request that is wrong, or refused for its tokens, still takes 1 from
    the bucket of the requests. One that finds less than 1 there takes nothing.
    """

    requests_per_minute: Annotated[
        float | None, Field(gt=0, description="Requests per minute."), Wording(flag="rpm")
    ] = None
    tokens_per_minute: Annotated[
        float | None, Field(gt=0, description="Tokens per minute."), Wording(flag="tpm")
    ] = None
    input_tokens_per_minute: Annotated[
        float | None,
        Field(
            gt=0,
            description="Anthropic's input tokens per minute; by default the tokens per minute.",
        ),
        Wording(flag="itpm"),
    ] = None
    output_tokens_per_minute: Annotated[
        float | None,
        Field(gt=0, description="Anthropic's output tokens per minute."),
        Wording(flag="otpm"),
    ] = None
    burst_requests: Annotated[
        float | None, Field(ge=1, description="Largest burst; by default a minute's requests.")
    ] = None
    burst_tokens: Annotated[
        float | None, Field(ge=1, description="Largest burst; by default a minute's tokens.")
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
