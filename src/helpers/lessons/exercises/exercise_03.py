"""Lesson 03: a prompt builder that must stay within a token budget in any language."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from typing import Any, TypeAlias

import regex

from helpers.lab import run_arm
from helpers.lessons.exercise import Criterion, Exercise, Solution, ended
from helpers.mock_llm.tokens import count_prompt_tokens, decode_bytes, encode, offer

_Message: TypeAlias = dict[str, Any]

_SYSTEM = "You are the help desk of a parcel service."
_FIRST: _Message = {"role": "system", "content": _SYSTEM}
_TEXTS = {
    "English": "My parcel should have been here on Monday, and nobody can tell me where it is. ",
    "German": "Mein Päckchen müsste längst zugestellt sein, aber es läßt auf sich warten. ",
    "Chinese": "我的包裹星期一就应该送到了，可是没有人能告诉我它现在在哪里。",
    "Hindi": "मेरा पार्सल सोमवार को पहुँचना चाहिए था, और कोई नहीं बता सकता कि वह कहाँ है। ",
    "Korean": "제 소포는 월요일에 도착했어야 하는데, 지금 어디에 있는지 아무도 모릅니다. ",
    "emoji": "📦🚚👨‍👩‍👧‍👦👍🏽🇩🇪🧑🏾‍💻😡",
}
# As `tiktoken.get_encoding` would else download the vocabulary, which the package has.
offer()
# Tokens of the budget that may stay unused when the newest message is cut.
_SLACK = 8


@dataclass(frozen=True, slots=True)
class _Case:
    name: str
    history: list[_Message]
    budget: int

    @property
    def fitting(self) -> int:
        """How many of the newest messages fit uncut and without a gap."""
        counts = range(1, len(self.history) + 1)
        return sum(_tokens(self.history[-count:]) <= self.budget for count in counts)

    @property
    def is_possible(self) -> bool:
        return bool(self.fitting or _longest_beginning(self.history[-1]["content"], self.room))

    @property
    def room(self) -> int:
        """Tokens for the newest message's text, alone with the system prompt."""
        return self.budget - _tokens([{**self.history[-1], "content": ""}])


def _tokens(kept: Iterable[_Message]) -> int:
    """Tokens of the system prompt and these messages, as the server counts them."""
    return count_prompt_tokens([_FIRST, *kept])


def _conversation(text: str, *lengths: int) -> list[_Message]:
    """Question, answer, question, …: each is its number and the text, repeated that many times."""
    return [
        {"role": ("user", "assistant")[n % 2], "content": f"{n + 1}. {text * times}"}
        for n, times in enumerate(lengths)
    ]


def _cases() -> Iterator[_Case]:
    for language, text in _TEXTS.items():
        chat = _conversation(text, 2, 1, 20, 3, 1, 2, 1, 3, 1)
        without_the_long_one = [*chat[:2], *chat[3:]]
        yield _Case(f"{language}, all fit exactly", chat, _tokens(chat))
        yield _Case(f"{language}, four fit exactly", chat, _tokens(chat[-4:]))
        yield _Case(f"{language}, four but for a token", chat, _tokens(chat[-4:]) - 1)
        yield _Case(f"{language}, one in the middle is long", chat, _tokens(without_the_long_one))
        # Consecutive budgets, so that some of them end inside a character.
        long = _conversation(text, 1, 1, 5)
        alone = _tokens([{**long[-1], "content": ""}])
        for room in (1, *range(40, 56)):
            yield _Case(f"{language}, the newest is too long", long, alone + room)


def _impossible() -> Iterator[_Case]:
    """Budgets in which not even one character of the newest message fits."""
    family: _Message = {"role": "user", "content": "👨‍👩‍👧‍👦"}
    yield _Case("too small for the system prompt", [family], 8)
    yield _Case("too small for one character", [family], _tokens([{**family, "content": ""}]) + 3)


@dataclass(frozen=True, slots=True)
class _Built:
    """What the solution built for a case."""

    case: _Case
    prompt: Any = None
    raised: str = ""
    changed_history: bool = False
    """It changed the history that it received."""

    @property
    def kept(self) -> list[_Message]:
        messages: list[_Message] = self.prompt
        has_system = bool(messages) and messages[0]["role"] == "system"
        return messages[1:] if has_system else messages

    @property
    def pairs(self) -> list[tuple[_Message, _Message]]:
        """Each kept message with the one it should be, from the newest back."""
        return list(zip(reversed(self.kept), reversed(self.case.history), strict=False))


def _build_all(
    build: Solution, cases: list[_Case], impossible: list[_Case]
) -> tuple[list[_Built], list[_Built]]:
    """An arm: its own process can be ended when a solution loops forever."""
    built = []
    for case in cases:
        given = copy.deepcopy(case.history)
        try:
            prompt = copy.deepcopy(build(_SYSTEM, given, case.budget))
        except ValueError:
            built.append(_Built(case, raised="ValueError"))
        else:
            built.append(_Built(case, prompt, changed_history=given != case.history))
    return built, [_refused(build, case) for case in impossible]


def _refused(build: Solution, case: _Case) -> _Built:
    try:
        prompt = build(_SYSTEM, copy.deepcopy(case.history), case.budget)
    except ValueError:
        return _Built(case, raised="ValueError")
    except Exception as error:  # noqa: BLE001 - its type is what is graded
        return _Built(case, raised=type(error).__name__)
    return _Built(case, prompt)


async def _grade(build: Solution) -> list[Criterion]:
    run = await run_arm(_build_all, None, build, list(_cases()), list(_impossible()), name="build")
    if run.outcome != "returned":
        return [ended(run)]
    all_built, impossible = run.result
    built = [each for each in all_built if not each.raised]
    shape = _judge("it returns a list of messages", built, _shape)
    if not shape.met:
        return [ended(run), shape]
    return [
        ended(run),
        _judge("the system prompt comes first, uncut", built, _system),
        _judge("no prompt is over its budget, as the server counts", built, _budget),
        _judge("the newest messages follow, in order, without a gap", built, _order),
        _judge("every message that fits is there", built, _all_that_fit),
        _judge("only the newest message is ever cut, and only if it does not fit", built, _whole),
        _judge("a cut message keeps as much of its beginning as fits", built, _beginning),
        _judge("no character is cut in two", built, _characters),
        _judge(
            "it raises ValueError if not one character fits, and only then",
            [*impossible, *all_built],
            _refusal,
        ),
        _judge("the history that it receives is not changed", built, _unchanged),
    ]


def _judge(what: str, built: Iterable[_Built], problem: Callable[[_Built], str]) -> Criterion:
    """Met if no case has the problem; otherwise names the first case that has it."""
    for each in built:
        if found := problem(each):
            return Criterion(what, False, f"{found} ({each.case.name})")
    return Criterion(what, True)


def _shape(built: _Built) -> str:
    prompt = built.prompt
    if not isinstance(prompt, list):
        return f"it is a {type(prompt).__name__}"
    for message in prompt:
        if not isinstance(message, dict) or not {"role", "content"} <= message.keys():
            return "not every message is a dict with `role` and `content`"
        if not isinstance(message["role"], str) or not isinstance(message["content"], str):
            return "not every `role` and `content` is a text"
    return ""


def _system(built: _Built) -> str:
    return "" if built.prompt[:1] == [_FIRST] else "the first message is a different one"


def _budget(built: _Built) -> str:
    used = count_prompt_tokens(built.prompt)
    return f"{used} tokens in a budget of {built.case.budget}" if used > built.case.budget else ""


def _order(built: _Built) -> str:
    if not built.kept:
        return "the newest message is missing"
    if len(built.kept) > len(built.case.history):
        return "it returned more messages than it received"
    # What is left of a newest message that had to be cut is another criterion's.
    pairs = built.pairs if built.case.fitting else built.pairs[1:]
    in_order = all(_is_from(kept, given) for kept, given in pairs)
    return "" if in_order else "a message is in the wrong place"


def _is_from(kept: _Message, given: _Message) -> bool:
    """Uncut or cut; if a character was cut in two, the text may end with U+FFFD."""
    text = kept["content"].rstrip("\ufffd")
    return bool(kept["role"] == given["role"] and given["content"].startswith(text))


def _all_that_fit(built: _Built) -> str:
    kept, fitting = len(built.kept), built.case.fitting
    return f"{kept} messages were kept, {fitting} fit" if kept < fitting else ""


def _whole(built: _Built) -> str:
    newest_fits = built.case.fitting > 0
    pairs = built.pairs if newest_fits else built.pairs[1:]
    cut = any(_is_from(kept, given) and kept != given for kept, given in pairs)
    return "another message was cut" if cut else ""


def _beginning(built: _Built) -> str:
    if built.case.fitting or not built.kept:
        return ""  # nothing had to be cut, or another criterion reports it
    kept, text = built.kept[-1]["content"], built.case.history[-1]["content"]
    least = max(len(_longest_beginning(text, built.case.room - _SLACK)), 1)
    if not text.startswith(kept.rstrip("\ufffd")):
        return "the text that it kept is not the beginning"
    return f"it kept {len(kept)} code points, {least} fit" if len(kept) < least else ""


def _characters(built: _Built) -> str:
    for kept, given in built.pairs:
        text = kept["content"]
        if "\ufffd" in text:
            return "a text ends with half a character, decoded as U+FFFD"
        is_beginning = given["content"].startswith(text)
        if is_beginning and (cut := _cut_character(text, given["content"])):
            return f"“{cut}” was cut"
    return ""


def _cut_character(text: str, given: str) -> str:
    """The character of ``given`` inside which ``text`` ends; empty if it ends between two."""
    spans = (match.span() for match in regex.finditer(r"\X", given))
    return next((given[start:end] for start, end in spans if start < len(text) < end), "")


def _refusal(built: _Built) -> str:
    if built.case.is_possible:
        return f"it was raised, with room for {built.case.room} tokens" if built.raised else ""
    return "" if built.raised == "ValueError" else built.raised or "nothing was raised"


def _unchanged(built: _Built) -> str:
    return "it was changed" if built.changed_history else ""


@cache
def _longest_beginning(text: str, room: int) -> str:
    """The longest beginning of at most ``room`` tokens that ends a token and a character."""
    ends, tokens = _ends(text), encode(text)
    for count in range(min(room, len(tokens)), 0, -1):
        kept = decode_bytes(tokens[:count]).decode("utf-8", "ignore")
        if len(kept) in ends and len(encode(kept)) <= room:
            return kept
    return ""


def _ends(text: str) -> set[int]:
    """The ends of its grapheme clusters, what a reader sees as one character (Unicode Standard
    Annex 29). An emoji may have seven code points, a Hindi syllable four."""
    return set(accumulate(map(len, regex.findall(r"\X", text))))


EXERCISE = Exercise(
    function="build",
    grade=_grade,
    hints=(
        "Count as the server does: `count_prompt_tokens` takes a list of messages. Walk back from "
        "the newest message, and stop at the first one that does not fit: no gaps, no cut "
        "messages.",
        "Only one message may be cut: the newest, and only if it does not fit by itself. "
        "`encode(text)[:room]` is as much of it as fits, but its last token may end inside a "
        "character: Chinese characters and emoji often take several tokens. `characters(text)` "
        "lists those that you may cut between.",
        "Let `room` be the budget minus the tokens of the system prompt and of the newest message "
        "with an empty text. Try beginnings that consist of complete characters, longest first, "
        "until `len(encode(beginning)) <= room`. If none fits, raise ValueError.",
    ),
    explanation=(
        "A budget in tokens can only be kept by counting tokens, those of the chat format "
        "included: characters ÷ 4 is far off outside English. Tokens end inside characters, so "
        "the cut is made between characters, and counted again."
    ),
)
