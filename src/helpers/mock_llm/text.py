"""The model's answers: deterministic sentences of words that are one token each.

A word that is one token, written after a space, stays one token wherever it stands in the text, so
that the tokens of the whole answer are the chunks it was sent in.
"""

from __future__ import annotations

import hashlib
import random
import struct
from itertools import accumulate, repeat, takewhile

_LIST = """\
able above across act add after again agent air all along also always among amount answer any area
around art ask away back balance base bear because become before begin behind best better between
big board body book both box bridge bright bring brown build business buy call can carry case
center certain change check child choose city class clear close cloud code cold color come common
complete control copy corner count course cover create cross current cut dark data day deep design
detail different direct do does door down draw drive drop dry early earth east easy edge effect
empty end energy enough enter even event every example face fact fall far farm fast field figure
fill final find fine fire first fish five floor flow follow food form found four free fresh friend
from front full game garden general give glass go gold good grand great green ground group grow
half hand happy hard have head hear heart heat heavy high hill hold home horse hot hour house idea
inside island join jump keep key kind king know lake land language large last late lead learn
leave left letter level life light line list little live long look low machine main make many map
mark market matter may measure meet method middle mind minute model money month moon more morning
most mountain move much music must name near need never new next night north note notice number
object ocean off offer office often old once only open order other out over own page paper part
party pass past path pattern people picture piece place plain plan plant play point port position
power present press problem process product program pull push question quick quiet rain raise
range rate reach read ready real reason record red rest result return rich right ring rise river
road rock roll room round rule run safe same save say school science sea season second see seed
sentence set seven shape share sharp she ship short should show side sign silver simple single six
size sky sleep slow small smooth snow soft some song soon sound south space speak special speed
spring square stand star start state station stay step still stone stop store story street strong
study such sugar summer sun surface table take talk tall teach team tell ten test than that the
then there they thing think this those three through time together top total touch town track
trade train travel tree true try turn two under unit until use value very view village voice wait
walk wall want warm watch water wave way week well west wheel when where while white whole wide
wild will wind window winter wire wish with wonder wood word work world write year yellow yes
young"""

WORDS = _LIST.split()
"""English words that are one token of ``o200k_base`` after a space, also with a capital letter."""

_LENGTHS = range(24, 65)
"""Tokens of an answer when nobody asked for another length."""
_SENTENCE = range(6, 14)


def digest(tokens: list[int], seed: int, choice: int = 0) -> int:
    """What an answer depends on: the prompt, the server's seed and which choice it is."""
    data = struct.pack(f"<qq{len(tokens)}i", seed & (2**63 - 1), choice, *tokens)
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big")


def answer(of: int, length: int | None = None) -> list[str]:
    """The tokens of an answer: ``length`` of them, or a number that depends on the digest."""
    rng = random.Random(of)  # noqa: S311
    count = rng.choice(_LENGTHS) if length is None else length
    tokens = [" " + word for word in rng.choices(WORDS, k=count)]
    sentences = accumulate(rng.choice(_SENTENCE) for _ in repeat(None))
    start = 0
    for end in takewhile(lambda end: end < count - 2, sentences):
        tokens[start] = tokens[start].title()
        tokens[end] = "."
        start = end + 1
    tokens[start] = tokens[start].title()
    if count > start + 1:
        tokens[-1] = "."
    tokens[0] = tokens[0].lstrip()
    return tokens
