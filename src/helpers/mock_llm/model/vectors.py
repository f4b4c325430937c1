"""Vectors for texts: the same text has the same one, texts that share words have near ones."""

from __future__ import annotations

import hashlib
import math
import re
import struct
from array import array
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from operator import mul

_FEATURE = re.compile(r"\w+|[^\w\s]")
# Dimensions that a feature is added to, or taken from.
_PLACES = 8
# The weight of three letters of a word, relative to the word: "cats" is near "cat".
_TRIGRAM = 0.25
# What a byte of the whole text's hash adds, so that word order is not lost altogether.
_NOISE = [1e-3 * (byte - 127.5) / 127.5 for byte in range(256)]


def vector(text: str, size: int, dimensions: int) -> array[float]:
    """The first ``dimensions`` of a vector of ``size``, brought to length 1, in single precision.

    A bag of words with hashed signs (Weinberger et al., "Feature Hashing for Large Scale Multitask
    Learning", ICML 2009). Longer words weigh more, since short ones say little about the topic.
    """
    whole = hashlib.shake_128(text.encode("utf-8", "replace")).digest(size)
    values = [_NOISE[byte] for byte in whole]
    for feature, weight in _features(text):
        for place in _places(feature):
            if place < 0:
                values[~place % size] -= weight
            else:
                values[place % size] += weight
    del values[dimensions:]
    length = math.sqrt(math.fsum(map(mul, values, values)))
    return array("f", [value / length for value in values])


def _features(text: str) -> Iterator[tuple[str, float]]:
    for word, count in Counter(_FEATURE.findall(text.lower())).items():
        weight = min(len(word), 6) / 6 * (1 + math.log(count))
        yield word, weight
        padded = f" {word} "
        for start in range(len(word) if len(word) > 1 else 0):
            yield padded[start : start + 3], _TRIGRAM * weight


@lru_cache(maxsize=20_000)
def _places(feature: str) -> tuple[int, ...]:
    """Dimensions, as ``~dimension`` where the feature counts against it."""
    digest = hashlib.shake_128(feature.encode("utf-8", "replace")).digest(_PLACES * 4)
    return struct.unpack(f"<{_PLACES}i", digest)
