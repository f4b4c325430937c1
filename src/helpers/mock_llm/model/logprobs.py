"""How likely the model says its tokens were, and what it might have said instead."""

from __future__ import annotations

import json
import math
import random
from functools import lru_cache

from helpers.mock_llm.model.words import WORDS

_ALTERNATIVES = [" " + word for word in WORDS]
# Share of the tokens that were the likeliest; the others were the second.
_SURE = 0.9


def token_logprobs(tokens: list[str], alternatives: int) -> list[str]:
    """For each token the JSON of its log probability and of the likeliest ``alternatives``.

    Invented, but possible: they fall from the likeliest on, and their probabilities add up to less
    than 1. The same tokens always have the same, also those of an answer that was cut.
    """
    rng = random.Random(tokens[0] if tokens else "")  # noqa: S311
    return [_token(token, alternatives, rng) for token in tokens]


def _token(token: str, alternatives: int, rng: random.Random) -> str:
    ranked = [token, *_others(token, max(alternatives, 2), rng)]
    logprobs = _falling(len(ranked), rng)
    rank = 0 if rng.random() < _SURE else 1
    ranked[0], ranked[rank] = ranked[rank], ranked[0]
    top = [_entry(other, logprob) for other, logprob in zip(ranked, logprobs, strict=True)]
    own = top[rank].removesuffix("}")
    return f'{own},"top_logprobs":[{",".join(top[:alternatives])}]}}'


def _others(token: str, count: int, rng: random.Random) -> list[str]:
    start, step = rng.randrange(256), rng.randrange(1, 256, 2)  # an odd step comes to all words
    words = [_ALTERNATIVES[(start + step * k) % 256] for k in range(count)]
    return [word for word in words if word != token][: count - 1]


def _falling(count: int, rng: random.Random) -> list[float]:
    """Logarithms of probabilities of which each is less than what the ones before it leave."""
    left, logs = 0.999, []
    for _ in range(count):
        share = 0.55 + 0.4 * rng.random()
        logs.append(math.log(left * share))
        left *= 1 - share
    return logs


def _entry(token: str, logprob: float) -> str:
    before, after = _around(token)
    return f"{before}{logprob:.8f}{after}"


@lru_cache(maxsize=4096)
def _around(token: str) -> tuple[str, str]:
    """The JSON of a token before its log probability, and after it."""
    return (
        f'{{"token":{json.dumps(token, ensure_ascii=False)},"logprob":',
        f',"bytes":{list(token.encode())}}}',
    )
