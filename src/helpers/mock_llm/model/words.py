"""The model's answers: deterministic sentences of words that are one token each.

A word that is one token, written after a space, stays one token wherever it stands in the text, so
that the tokens of the whole answer are the chunks it was sent in.
"""

from __future__ import annotations

import hashlib
import struct

_LIST = """\
act after all along around art ask away balance base bear because become begin behind best between
big book both box bridge bright brown business call carry case change check city clear code cold
color come complete copy corner count course cover create cross current cut dark data day design
different down drive dry edge effect empty end enough enter event example face fall fast field
fine fire first fish floor flow food four fresh friend from game general give glass gold grand
great ground half hand happy have hear heat heavy hill home horse hot hour inside island join jump
king know land large last late leave letter life light long low main make many map matter may
measure mind money moon more most mountain much music must near next note notice number object
office often only out over pattern piece plan plant play port position power present product
program rain raise rate reach read real reason record result return rich road rock roll room round
rule run save school science sea season second see seed set seven shape sharp ship single six
sleep slow smooth some song soon sound space special speed square stand start state station stay
still stone study such sun surface table take tall teach team tell test than that thing think this
those three through top total trade travel try under until use value very view village voice wall
want water way week west wheel when while white whole wild will wind window winter wire wish with
word world young"""

WORDS = _LIST.split()
"""256 English words, each one token of ``o200k_base`` after a space, also with a capital letter."""
_FOREIGN_LIST = """\
café crème déjà façade fiancé résumé garçon señor niño año über Zürich Köln São España été même
très père première 世界 日本 東京 水 火 山 한국 мир 🙂 😀 👍 ✅"""
FOREIGN_WORDS = _FOREIGN_LIST.split()
"""Words and signs of two to four bytes a letter, each one token after a space: where bytes are
delivered one by one, their characters are split."""


# Tokens of an answer, where no other length is asked for.
_LENGTHS = range(24, 65)
# Tokens of a sentence, with its full stop.
_SENTENCE = range(6, 14)
_INSIDE = [" " + word for word in WORDS]
_FOREIGN = [" " + word for word in FOREIGN_WORDS]
_FIRST = [" " + word.title() for word in WORDS]


def prompt_digest(tokens: list[int], seed: int, choice: int = 0) -> bytes:
    """What an answer depends on: the prompt, the server's seed and which choice it is."""
    data = struct.pack(f"<qq{len(tokens)}i", seed % 2**63, choice, *tokens)
    return hashlib.blake2b(data, digest_size=16).digest()


def answer(digest: bytes, length: int | None = None, room: int | None = None) -> list[str]:
    """The tokens of an answer: ``length`` of them, or a number that depends on the digest.

    ``room``: where an answer that is longer will be cut. Little more than that is written.
    """
    count = _LENGTHS[digest[0] % len(_LENGTHS)] if length is None else length
    if room is not None:
        count = min(count, room + _SENTENCE.stop)
    # Every byte of a hash as long as the answer picks one of the 256 words.
    choice = hashlib.shake_128(digest).digest(count)
    tokens = [_INSIDE[byte] for byte in choice]
    start, end = 0, _SENTENCE[choice[0] % len(_SENTENCE)] - 1
    while end < count - 2:
        tokens[start] = _FIRST[choice[start]]
        tokens[end] = "."
        if start == 0 or choice[end] % 2:
            place = start + 1 + choice[start] % (end - start - 2)
            tokens[place] = _FOREIGN[choice[place] % len(_FOREIGN)]
        start = end + 1
        end = start + _SENTENCE[choice[start - 1] % len(_SENTENCE)] - 1
    tokens[start] = _FIRST[choice[start]]
    if count > start + 1:
        tokens[-1] = "."
    tokens[0] = tokens[0].lstrip()
    return tokens
