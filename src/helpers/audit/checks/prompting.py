"""Lesson 03: what is in the prompts, and how much of it is paid for again?"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from statistics import median

from helpers.audit.checks.finding import Finding, found, not_seen, plural
from helpers.audit.prompts import Prompt
from helpers.audit.recording import Call, Recording

_FRONT = 1_000
# If two prompts share a shorter text, that may be chance.
_SHARED = 200
_LEAST_SHARE = 0.5
_CACHEABLE = 1_024 + 128
_LEAST_CACHED = 0.3
_FEW_TURNS = 12
# Tokens above which few applications would set their bound.
_ABOVE_BUDGETS = 40_000
_TIME = re.compile(r"\b(\d{1,2}):(\d{2})(?::\d{2})?\b")
_CHANGING = re.compile(
    r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b|\b\d{10,16}(?:\.\d+)?\b|"
    r"\b\d{1,2}:\d{2}(?::\d{2}(?:\.\d+)?)?\b|\b[0-9a-f]{32}\b",
    re.IGNORECASE,
)


def prefix(recording: Recording) -> Finding:
    shares = []
    for before, after in pairwise(_prompts(recording)):
        repeated = _repeated(before, after)
        if repeated >= _SHARED:
            shares.append(min(1.0, _common(before.text, after.text) / repeated))
    if len(shares) < 2:
        return not_seen(
            "Too few prompts repeated text from the one before: there is no prefix to keep.",
            pairs=len(shares),
        )
    share = median(shares)
    return found(
        share >= _LEAST_SHARE,
        f"Of what a prompt repeats from the one before, {share:.0%} is unchanged at its "
        f"beginning (the median of {len(shares)} pairs).",
        pairs=len(shares),
        prefix_share=round(share, 3),
    )


def cached(recording: Recording) -> Finding:
    calls = [call for call in recording.calls if call.request.status == 200]
    requests = [after.request for before, after in pairwise(calls) if _could_cache(before, after)]
    if len(requests) < 2:
        return not_seen(
            f"Fewer than three prompts had {_CACHEABLE:,} tokens, from which on a provider caches, "
            "in common.",
            prompts=len(requests),
        )
    tokens = sum(request.prompt_tokens or 0 for request in requests)
    hits = sum(request.cached_tokens or 0 for request in requests)
    return found(
        hits / tokens >= _LEAST_CACHED,
        f"Of {tokens:,} prompt tokens in {plural(len(requests), 'long prompt')}, {hits:,} "
        f"({hits / tokens:.0%}) came from the provider's cache.",
        prompts=len(requests),
        prompt_tokens=tokens,
        cached_tokens=hits,
    )


def _could_cache(before: Call, after: Call) -> bool:
    """Whether so many tokens of the one prompt are in the other that a provider caches them."""
    one, other = before.sent.prompt, after.sent.prompt
    if one is None or other is None:
        return False
    share = _repeated(one, other) / max(1, len(other.text))
    return share * (after.request.prompt_tokens or 0) >= _CACHEABLE


def growth(recording: Recording) -> Finding:
    calls = [call for call in recording.calls if call.request.prompt_tokens and call.sent.prompt]
    turns = [_turns(call) for call in calls]
    asked = max((turn for each in _prompts(recording) for _, turn in each.markers), default=0)
    if max(turns, default=0) < 2:
        return not_seen("No prompt held an earlier turn: there is no history that could grow.")
    if asked < _FEW_TURNS:
        return not_seen(
            f"The conversation ended after {plural(asked, 'turn')}: too few to see a bound."
        )
    first, final = calls[0].request.prompt_tokens or 0, calls[-1].request.prompt_tokens or 0
    evidence = f"From turn 1 to turn {asked}, the prompt went from {first:,} to {final:,} tokens"
    counted = {
        "turns": asked,
        "turns_in_the_last_prompt": turns[-1],
        "first_prompt_tokens": first,
        "last_prompt_tokens": final,
    }
    if turns[-1] < asked:
        return found(True, f"{evidence}; the last one held {turns[-1]} turns.", **counted)
    evidence = f"{evidence} and held every turn: no bound seen up to {final:,} tokens."
    if final < _ABOVE_BUDGETS:
        return not_seen(evidence, **counted)
    return found(False, evidence, **counted)


def clock(recording: Recording) -> Finding:
    prompts = [prompt for prompt in _prompts(recording) if len(prompt.messages) > 1]
    if len(prompts) < 2:
        return not_seen(
            "Fewer than two prompts had a system prompt or a history before the question."
        )
    fronts = [prompt.text[: min(_FRONT, len(_front(prompt)))] for prompt in prompts]
    ticking = sum(_ticks(before, after) for before, after in pairwise(fronts))
    ticking += sum(_is_now(front) for front in fronts)
    match = next((_CHANGING.search(front) for front in fronts if _CHANGING.search(front)), None)
    if not ticking:
        return found(
            True,
            f"No clock or random id is at the front of {plural(len(prompts), 'prompt')}.",
            prompts=len(prompts),
        )
    what = f" ({match[0]})" if match else ""
    return found(
        False,
        f"The front of the prompt changes with a clock or a random id{what}: nothing after it can "
        "be cached.",
        prompts=len(prompts),
        place=match.start() if match else None,
    )


def limit(recording: Recording) -> Finding:
    prompts = _prompts(recording)
    if not prompts:
        return not_seen("No request had a prompt that could be read.")
    without = sum(prompt.limit is None for prompt in prompts)
    return found(
        without < len(prompts) / 2,
        f"{without} of {plural(len(prompts), 'request')} set no limit on the answer's tokens.",
        requests=len(prompts),
        without_limit=without,
    )


def _prompts(recording: Recording) -> list[Prompt]:
    return [call.sent.prompt for call in recording.calls if call.sent.prompt is not None]


def _turns(call: Call) -> int:
    return len(set(call.sent.prompt.markers)) if call.sent.prompt else 0


def _front(prompt: Prompt) -> str:
    """Everything before the last message."""
    last = prompt.messages[-1][1]
    return prompt.text[: len(prompt.text) - len(last)]


def _repeated(before: Prompt, after: Prompt) -> int:
    """Characters of one prompt's messages that are in the other too, ignoring clocks and ids."""
    there = {_masked(text) for _, text in after.messages}
    return sum(len(text) for _, text in before.messages if _masked(text) in there)


def _masked(text: str) -> str:
    return _CHANGING.sub("#", text)


def _common(before: str, after: str) -> int:
    for place, (one, other) in enumerate(zip(before, after, strict=False)):
        if one != other:
            return place
    return min(len(before), len(after))


def _ticks(before: str, after: str) -> bool:
    """Whether two beginnings first differ in a clock or an id."""
    place = _common(before, after)
    return any(
        match.start() <= place < match.end() and match[0] not in before
        for match in _CHANGING.finditer(after)
    )


def _is_now(front: str) -> bool:
    """Whether it has the time of day: a clock without seconds may not change during the audit."""
    clocks = (datetime.now(UTC), datetime.now().astimezone())
    now = {
        (f"{time.hour}:{time.minute:02}", f"{time.hour % 12 or 12}:{time.minute:02}")
        for clock in clocks
        for time in (clock - timedelta(minutes=minutes) for minutes in range(3))
    }
    said = {f"{int(match[1])}:{match[2]}" for match in _TIME.finditer(front)}
    return any(said & set(pair) for pair in now)
