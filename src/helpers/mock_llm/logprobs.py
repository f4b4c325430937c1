"""How likely the model says its tokens were, and what it might have said instead."""

from __future__ import annotations

import json
import math
import random

from helpers.mock_llm.text import WORDS

_ALTERNATIVES = [" " + word for word in WORDS]
_SURE = 0.9
"""Share of the tokens that were the likeliest; the others were the second."""


def token_logprobs(tokens: list[str], alternatives: int) -> list[str]:
    """For each token the JSON of its log probability and of the likeliest ``alternatives``.

    Invented, but possible: they fall from the likeliest on, and their probabilities add up to at
    most 1. The same tokens always have the same.
    """
    return [_token(index, token, alternatives) for index, token in enumerate(tokens)]


def _token(index: int, token: str, alternatives: int) -> str:
    rng = random.Random(f"{index} {token}")  # noqa: S311
    count = max(alternatives, 2)
    others = [other for other in rng.sample(_ALTERNATIVES, count) if other != token][: count - 1]
    ranked = [token, *others]
    if rng.random() > _SURE:
        ranked[:2] = ranked[1], ranked[0]
    likely = list(zip(ranked, _falling(rng, count), strict=False))
    own = next(logprob for other, logprob in likely if other == token)
    top = [_entry(other, logprob) for other, logprob in likely[:alternatives]]
    return json.dumps(_entry(token, own) | {"top_logprobs": top}, separators=(",", ":"))


def _falling(rng: random.Random, count: int) -> list[float]:
    """Logarithms of probabilities of which each is less than what the ones before it leave."""
    left, logs = 0.999, []
    for _ in range(count):
        share = rng.uniform(0.55, 0.95)
        logs.append(math.log(left * share))
        left *= 1 - share
    return logs


def _entry(token: str, logprob: float) -> dict[str, object]:
    return {"token": token, "logprob": round(logprob, 8), "bytes": list(token.encode())}
