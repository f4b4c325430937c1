"""Lesson 03, part b: a history that is cut in steps, so that the provider's cache is used."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import httpx

from helpers.lab import Run, run_arm
from helpers.lessons.exercise import Criterion, Exercise, Solution, ended
from helpers.mock_llm import MockLLM
from helpers.mock_llm.tokens import count_prompt_tokens, offer

_Message: TypeAlias = dict[str, Any]

# As `tiktoken.get_encoding` would else download the vocabulary, which the package has.
offer()
_SYSTEM = "You are the help desk of a parcel service. Answer briefly."
_FIRST: _Message = {"role": "system", "content": _SYSTEM}
_TURNS = 20
_QUESTION = "My parcel should have been here on Monday, and nobody can say where it is. " * 4
_ANSWER = 120  # tokens
# Of the turns in which something has to go. A window that slides in each turn reaches 0, one that
# is cut in steps of eight messages three fifths.
_SHARE = 0.5
# Of the budget: what a prompt keeps at least when messages had to go.
_LEAST = 1 / 3
# Ten and fourteen turns fit.
_BUDGETS = (2_300, 3_000)


@dataclass(frozen=True, slots=True)
class _Case:
    history: list[_Message]
    budget: int
    is_tight: bool = False
    """Long messages: how much can be kept is not a matter of the solution."""

    @property
    def all_fit(self) -> bool:
        return _tokens(self.history) <= self.budget


@dataclass(frozen=True, slots=True)
class _Built:
    case: _Case
    prompt: Any
    again: Any = None
    """What came of the same history later, after all others."""
    changed_history: bool = False

    @property
    def kept(self) -> list[_Message]:
        messages: list[_Message] = self.prompt
        has_system = bool(messages) and messages[0]["role"] == "system"
        return messages[1:] if has_system else messages


def _tokens(kept: Iterable[_Message]) -> int:
    """Tokens of the system prompt and these messages, as the server counts them."""
    return count_prompt_tokens([_FIRST, *kept])


def _long_messages() -> list[_Case]:
    """Histories that are a token too long, and of which one or two messages fit."""
    cases = []
    for count in range(8, 18):
        history = [
            {"role": ("user", "assistant")[n % 2], "content": f"{n + 1}. {_QUESTION * 6}"}
            for n in range(count)
        ]
        budgets = (_tokens(history) - 1, _tokens(history[-1:]), _tokens(history[-2:]))
        cases += [_Case(history, budget, is_tight=True) for budget in budgets]
    return cases


def _converse(url: str, build: Solution, tight: list[_Case]) -> list[_Built]:
    """An arm. A conversation for each budget, then the histories with long messages."""
    built = []
    with httpx.Client(timeout=10, trust_env=False) as client:
        for budget in _BUDGETS:
            built += _conversation(client, url, build, budget)
    built += [_build(build, case) for case in tight]
    # From the newest back: what a solution remembers of earlier calls shows.
    again = [_build(build, each.case).prompt for each in built[::-1]]
    return [replace(each, again=later) for each, later in zip(built, again[::-1], strict=True)]


def _conversation(client: httpx.Client, url: str, build: Solution, budget: int) -> list[_Built]:
    built: list[_Built] = []
    history: list[_Message] = []
    for turn in range(1, _TURNS + 1):
        history.append({"role": "user", "content": f"{budget}, {turn}. {_QUESTION}"})
        built.append(_build(build, _Case(copy.deepcopy(history), budget)))
        body = {"model": "gpt-5-mini", "messages": built[-1].prompt}
        try:
            reply = client.post(f"{url}/chat/completions", json=body).raise_for_status()
        except (TypeError, ValueError, httpx.HTTPStatusError):
            break  # it is no prompt: another criterion says so
        history.append(reply.json()["choices"][0]["message"])
    return built


def _build(build: Solution, case: _Case) -> _Built:
    given = copy.deepcopy(case.history)
    # A copy, so that what the solution does to it later does not show.
    prompt = copy.deepcopy(build(_SYSTEM, given, case.budget))
    return _Built(case, prompt, changed_history=given != case.history)


async def _grade(build: Solution) -> list[Criterion]:
    async with MockLLM("instant", answer_tokens=_ANSWER) as llm:
        run = await run_arm(
            _converse, llm, build, _long_messages(), name="build_in_steps", limit=30
        )
    if run.outcome != "returned":
        return [ended(run)]
    built: list[_Built] = run.result
    shape = _judge("it returns a list of messages", built, _shape)
    if not shape.met:
        return [ended(run), shape]
    return [
        ended(run),
        _judge("the system prompt comes first, uncut", built, _system),
        _judge("no prompt is over its budget, as the server counts", built, _budget),
        _judge("the newest message is always there, uncut", built, _newest),
        _judge("the messages before it follow in order, whole, without a gap", built, _order),
        _judge("as long as the whole history fits, all of it is kept", built, _all),
        _judge("after a cut, at least a third of the budget is used", built, _enough),
        _judge("the same history gives the same prompt", built, _stateless),
        _judge("the history that it receives is not changed", built, _unchanged),
        _cached(run, built),
    ]


def _judge(what: str, built: Iterable[_Built], problem: Callable[[_Built], str]) -> Criterion:
    """Met if no prompt has the problem; otherwise names the first that has it."""
    for each in built:
        if found := problem(each):
            messages = f"{len(each.case.history)} messages, budget {each.case.budget}"
            return Criterion(what, False, f"{found} ({messages})")
    return Criterion(what, True)


def _shape(built: _Built) -> str:
    if not isinstance(built.prompt, list):
        return f"it is a {type(built.prompt).__name__}"
    for message in built.prompt:
        if not isinstance(message, dict) or not {"role", "content"} <= message.keys():
            return "not every message is a dict with `role` and `content`"
        if not isinstance(message["role"], str) or not isinstance(message["content"], str):
            return "not every `role` and `content` is a text"
    return ""


def _system(built: _Built) -> str:
    return "" if built.prompt[:1] == [_FIRST] else "the first message is a different one"


def _budget(built: _Built) -> str:
    used = count_prompt_tokens(built.prompt)
    return f"{used} tokens" if used > built.case.budget else ""


def _newest(built: _Built) -> str:
    newest = built.case.history[-1]
    return "" if newest in built.prompt else "it is missing, or was changed"


def _order(built: _Built) -> str:
    history, kept = built.case.history, built.kept
    if history[-1] not in kept:
        return ""  # another criterion says so
    in_order = kept == history[-len(kept) :]
    return "" if in_order else "a message is in the wrong place, missing or changed"


def _all(built: _Built) -> str:
    kept, given = len(built.kept), len(built.case.history)
    return f"{kept} of {given} were kept" if built.case.all_fit and kept < given else ""


def _enough(built: _Built) -> str:
    if built.case.all_fit or built.case.is_tight:
        return ""
    used = count_prompt_tokens(built.prompt)
    return f"{used} tokens are used" if used < _LEAST * built.case.budget else ""


def _stateless(built: _Built) -> str:
    return "" if built.prompt == built.again else "it gave another one later"


def _unchanged(built: _Built) -> str:
    return "it was changed" if built.changed_history else ""


def _cached(run: Run, built: list[_Built]) -> Criterion:
    """Counted by the server, over the turns of which the whole history is over its budget."""
    what = "once messages have to go, half of the tokens still come from the cache"
    cut = [
        request for request, each in zip(run.requests, built, strict=False) if not each.case.all_fit
    ]
    tokens = sum(request.prompt_tokens or 0 for request in cut)
    cached = sum(request.cached_tokens or 0 for request in cut)
    found = f"{cached:,} of {tokens:,} did"
    return Criterion(what, cached >= _SHARE * tokens, found)


EXERCISE = Exercise(
    function="build_in_steps",
    grade=_grade,
    hints=(
        "The cache knows beginnings. So the first message that you keep has to stay the same for "
        "several turns: drop several messages at once, and then none for a while.",
        "No memory is needed for that. If the first kept message may only be number 0, 8, 16, … "
        "of the history, it stays the same until the budget forces it to the next of these.",
        "Try `history[start:]` for `start` in `range(0, len(history), 8)`, and take the first that "
        "fits. If none does, because messages are long, drop them one by one, but never the "
        "newest.",
    ),
    explanation=(
        "A prompt whose first message moves in every turn is new to the cache from there on. If "
        "the first message can only move in steps, most turns merely append to a prompt that the "
        "server has read. Because the steps are counted from the beginning of the history, the "
        "same history always gives the same prompt, in every process."
    ),
)
