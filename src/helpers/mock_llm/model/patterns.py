"""Texts that match a regular expression, as JSON schemas have them (ECMA 262).

The expressions that schemas really use: literals, classes, groups, alternatives, repetitions and
anchors. Nothing is ever matched against an expression, so that none can take long.
"""

from __future__ import annotations

import random
import string
from collections.abc import Callable
from typing import TypeAlias

_Make: TypeAlias = Callable[[random.Random], str]

_ALL = string.ascii_letters + string.digits + "-_.,:;!?@#%&+=/ "
_CLASSES = {
    "d": string.digits,
    "w": string.ascii_letters + string.digits + "_",
    "s": " ",
}
_CONTROLS = {"n": "\n", "r": "\r", "t": "\t", "f": "\f", "v": "\v", "0": "\0"}
# Characters of a pattern, and the least number of repetitions of a part.
_MAX_PATTERN = 2_000
# Repetitions and repeated characters in a text, in all.
_MAX_TEXT = 10_000
# Groups within groups.
_MAX_GROUPS = 50


class PatternError(ValueError):
    """An expression that is malformed, or of a kind that is not supported."""


def matching(pattern: str, rng: random.Random, spare: range = range(7)) -> str:
    """A text that matches. Raises PatternError.

    ``spare``: how many repetitions there may be beyond the least.
    """
    if len(pattern) > _MAX_PATTERN:
        raise PatternError("it is too long")
    parser = _Parser(pattern, spare)
    make = parser.alternatives()
    if parser.rest():
        raise PatternError("unbalanced parenthesis")
    return make(rng)


class _Parser:
    def __init__(self, pattern: str, spare: range) -> None:
        self._pattern = pattern
        self._spare = spare
        self._depth = 0
        self._left = _MAX_TEXT
        self._at = 0

    def rest(self) -> str:
        return self._pattern[self._at :]

    def _peek(self) -> str:
        return self._pattern[self._at : self._at + 1]

    def _take(self) -> str:
        if self._at >= len(self._pattern):
            raise PatternError("unexpected end of the pattern")
        self._at += 1
        return self._pattern[self._at - 1]

    def alternatives(self) -> _Make:
        branches = [self._sequence()]
        while self._peek() == "|":
            self._take()
            branches.append(self._sequence())
        return branches[0] if len(branches) == 1 else lambda rng: rng.choice(branches)(rng)

    def _sequence(self) -> _Make:
        parts: list[_Make] = []
        while self._peek() not in ("", "|", ")"):
            parts.append(self._repeated(self._atom()))
        return lambda rng: "".join([part(rng) for part in parts])

    def _atom(self) -> _Make:
        char = self._take()
        if char in "^$":
            return lambda rng: ""
        if char == "(":
            return self._group()
        if char == "[":
            return _one_of(self._class())
        if char == ".":
            return _one_of(_ALL)
        if char == "\\":
            if self._peek() in ("b", "B"):
                raise PatternError("word boundaries are not supported")
            return _one_of(self._escape())
        if char in "*+?{":
            raise PatternError(f"nothing to repeat at position {self._at - 1}")
        return lambda rng: char

    def _group(self) -> _Make:
        self._depth += 1
        if self._depth > _MAX_GROUPS:
            raise PatternError("too many groups within groups")
        if self._peek() == "?":
            self._take()
            kind = self._take()
            if kind == "P":  # as Python writes a named group
                kind = self._take()
            if kind == "<" and self._peek() not in ("=", "!"):
                while self._take() != ">":
                    pass
            elif kind != ":":
                raise PatternError("look-around is not supported")
        make = self.alternatives()
        if self._take() != ")":
            raise PatternError("unterminated group")
        self._depth -= 1
        return make

    def _class(self) -> str:
        negated = self._peek() == "^"
        if negated:
            self._take()
        chars = ""
        while (char := self._take()) != "]":
            first = self._escape() if char == "\\" else char
            if self._peek() == "-" and self._pattern[self._at + 1 : self._at + 2] not in ("", "]"):
                self._take()
                last = self._escape() if self._peek() == "\\" and self._take() else self._take()
                first = _between(first, last)
            chars += first
        return "".join(sorted(set(_ALL) - set(chars))) if negated else chars

    def _escape(self) -> str:
        char = self._take()
        if char.lower() in _CLASSES:
            chars = _CLASSES[char.lower()]
            return chars if char.islower() else "".join(sorted(set(_ALL) - set(chars)))
        if char in "ux":
            digits = "".join(self._take() for _ in range(4 if char == "u" else 2))
            try:
                return chr(int(digits, 16))
            except ValueError:
                raise PatternError(f"bad escape \\{char}{digits}") from None
        if char in _CONTROLS:
            return _CONTROLS[char]
        if char.isalnum():
            raise PatternError(f"the escape \\{char} is not supported")
        return char

    def _repeated(self, make: _Make) -> _Make:
        least, most = self._bounds()
        if (least, most) == (1, 1):
            return make
        if least > _MAX_PATTERN:
            raise PatternError("too many repetitions")

        def repeat(rng: random.Random) -> str:
            count = least + rng.choice(self._spare)
            text = ""
            for _ in range(count if most is None else min(count, most)):
                piece = make(rng)
                self._left -= 1 + len(piece)
                if self._left < 0:
                    raise PatternError("its texts are too long")
                text += piece
            return text

        return repeat

    def _bounds(self) -> tuple[int, int | None]:
        bounds: tuple[int, int | None] = (1, 1)
        char = self._peek()
        if char in ("*", "+", "?") and char:
            self._take()
            bounds = {"*": (0, None), "+": (1, None), "?": (0, 1)}[char]
        elif char == "{":
            self._take()
            inside = ""
            while (char := self._take()) != "}":
                inside += char
            low, comma, high = inside.partition(",")
            if not low.isdecimal() or (high and not high.isdecimal()) or len(inside) > 12:
                raise PatternError(f"bad repetition {{{inside[:12]}}}")
            bounds = (int(low), (int(high) if high else None) if comma else int(low))
            if bounds[1] is not None and bounds[1] < bounds[0]:
                raise PatternError(f"bad repetition {{{inside}}}")
        else:
            return bounds
        if self._peek() in ("?", "+") and self._peek():  # lazy or possessive: the same texts
            self._take()
        return bounds


def _one_of(chars: str) -> _Make:
    if not chars:
        raise PatternError("an empty class matches nothing")
    return lambda rng: rng.choice(chars)


def _between(first: str, last: str) -> str:
    if len(first) != 1 or len(last) != 1 or not first <= last:
        raise PatternError(f"bad range {first}-{last}"[:40])
    # Printable ASCII where the range has any, so that texts stay readable.
    low, high = ord(first), ord(last)
    if low <= 126 and high >= 32:
        low, high = max(low, 32), min(high, 126)
    return "".join(map(chr, range(low, min(high, low + 128) + 1)))
