"""Counting tokens as the provider does, with its own vocabulary, which ships with the package."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from binascii import a2b_base64
from codecs import getincrementaldecoder
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from helpers.mock_llm.model.shared_tokenizer import NotSharedError, ask
from helpers.processes import trim

if TYPE_CHECKING:
    import tiktoken

# The published hash, pattern and special tokens are those of tiktoken's own o200k_base
# (tiktoken_ext/openai_public.py). That constructor would download the vocabulary.
_SHA256 = "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d"
_CONTRACTION = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
_PATTERN = "|".join(
    [
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
        + _CONTRACTION,
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
        + _CONTRACTION,
        r"\p{N}{1,3}",
        r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",
        r"\s+",
    ]
)
_SPECIAL = {"<|endoftext|>": 199999, "<|endofprompt|>": 200018}

# A chat prompt is wrapped in special tokens whose ids are not published; the cookbook ("How to
# count tokens with tiktoken") says how many there are: 3 around each message, 1 before a name and
# 3 that begin the answer. Any ids serve that no text can have.
_OPEN, _MIDDLE, CLOSING, _NAME = -1, -2, -3, -4
PRIMING = [_OPEN, CLOSING, _MIDDLE]
"""What the answer begins with."""
NO_TEXT = [-5] * 85
"""As many as for an image at low detail (the provider's vision guide); taken for any part without
text."""

# tiktoken's pattern matcher overflows its stack, and panics, on some 100,000 blanks in a row, and
# its time grows faster than the length of a word: 14 s for 10 MB of one letter.
_STRETCH = 10_000
_ENDLESS = re.compile(rf"((?<!\s)\s{{{_STRETCH},}}|(?<![^ \t-\r\d])[^ \t-\r\d]{{{_STRETCH},}})")
# Characters below which the tokens of a text are remembered.
_SHORT = 500
_loading = threading.Lock()
_loaded: list[tiktoken.Encoding] = []


def encoding() -> tiktoken.Encoding:
    """``o200k_base``, loaded once per process: about 0.3 s and 46 MiB the first time."""
    if _loaded:
        return _loaded[0]
    with _loading:
        if not _loaded:
            _loaded.append(_load())
    return _loaded[0]


def _load() -> tiktoken.Encoding:
    import tiktoken

    class Encoding(tiktoken.Encoding):
        def __reduce__(self) -> tuple[Callable[[], tiktoken.Encoding], tuple[()]]:
            return encoding, ()

    loaded = Encoding(**_parts())
    # 37 MiB that only pickling would need: the encoder has a table of its own.
    loaded._mergeable_ranks = {}
    trim()
    loaded.encode_ordinary("ready")
    return loaded


def _parts() -> dict[str, Any]:
    """What makes the encoding. Raises RuntimeError if the vocabulary is damaged."""
    data = files("helpers.mock_llm").joinpath("data/o200k_base.tiktoken").read_bytes()
    if hashlib.sha256(data).hexdigest() != _SHA256:
        raise RuntimeError(
            "the tokenizer's vocabulary o200k_base.tiktoken is damaged; reinstall llm-antipatterns"
        )
    # The file lists "token rank" by rank, without a gap; the hash vouches for that.
    tokens = data.split()[::2]
    return {
        "name": "o200k_base",
        "pat_str": _PATTERN,
        "mergeable_ranks": dict(zip(map(a2b_base64, tokens), range(len(tokens)), strict=True)),
        "special_tokens": _SPECIAL,
    }


def offer() -> None:
    """Have ``tiktoken.get_encoding`` make it from here, where it would download the vocabulary."""
    import tiktoken.registry

    tiktoken.list_encoding_names()  # finds the constructors
    constructors = tiktoken.registry.ENCODING_CONSTRUCTORS
    if constructors is not None:
        constructors["o200k_base"] = _parts
    if _loaded:
        tiktoken.registry.ENCODINGS.setdefault("o200k_base", _loaded[0])


def encode(text: str) -> list[int]:
    """The tokens of a text; what looks like a special token is text like any other."""
    if len(text) < _STRETCH:
        return _encode_ordinary(text)
    tokens: list[int] = []
    for number, part in enumerate(_ENDLESS.split(text)):
        size = _STRETCH if number % 2 else len(part) or 1
        for start in range(0, len(part), size):
            tokens += _encode_ordinary(part[start : start + size])
    return tokens


def _encode_ordinary(text: str) -> list[int]:
    tokens: list[int] = _call("encode_ordinary", text)
    return tokens


def decode_bytes(tokens: list[int]) -> bytes:
    """The UTF-8 of tokens; it may end inside a character."""
    data: bytes = _call("decode_bytes", tokens)
    return data


def _call(method: str, argument: str | list[int]) -> Any:
    if not _loaded:
        with suppress(NotSharedError):
            return ask(method, argument)
    return getattr(encoding(), method)(argument)


def decode(tokens: list[int]) -> str:
    """The text of tokens; empty for those that do not exist."""
    try:
        return encoding().decode(tokens)
    except (KeyError, OverflowError):
        return ""


def pieces(text: str) -> list[str]:
    """The tokens of a text, as text.

    A character that takes several tokens comes with its last one; those before it are empty.
    """
    tokens = encoding().decode_tokens_bytes(encode(text))
    if text.isascii():
        return [token.decode() for token in tokens]
    decode = getincrementaldecoder("utf-8")().decode
    return [decode(token) for token in tokens]


def count_prompt_tokens(
    messages: Iterable[Mapping[str, Any]], tools: Iterable[Mapping[str, Any]] = ()
) -> int:
    """``usage.prompt_tokens`` of a chat request with these messages.

    The rule is the OpenAI cookbook's: 3 tokens per message, plus those of its role, name and
    content, plus 3. How tools and tool calls are counted is not published; they count as their
    JSON text, and a part that is not text as 85.
    """
    return len(prompt_tokens(messages, tools))


def prompt_tokens(
    messages: Iterable[Mapping[str, Any]], tools: Iterable[Mapping[str, Any]] = ()
) -> list[int]:
    """The prompt as the model reads it: tools first, since they are a stable prefix."""
    tokens = [token for tool in tools for token in json_tokens(tool)]
    for message in messages:
        tokens += message_opening(message["role"])
        tokens += _content(message.get("content"))
        if name := message.get("name"):
            tokens += [_NAME, *encode(name)]
        if calls := message.get("tool_calls"):
            tokens += json_tokens(calls)
        tokens.append(CLOSING)
    return tokens + PRIMING


@lru_cache(maxsize=16)
def message_opening(role: str) -> tuple[int, ...]:
    return _OPEN, *encode(role), _MIDDLE


@lru_cache(maxsize=1024)
def _short(text: str) -> list[int]:
    """For what comes again, as roles and system prompts do. 1,024 full ones take some 5 MiB."""
    return encode(text)


def _content(content: str | Iterable[Mapping[str, Any]] | None) -> list[int]:
    if isinstance(content, str):
        return _short(content) if len(content) < _SHORT else encode(content)
    tokens: list[int] = []
    for part in content or ():
        text = part.get("text")
        tokens += encode(text) if isinstance(text, str) else NO_TEXT
    return tokens


def json_tokens(value: object) -> list[int]:
    return encode(json.dumps(value, separators=(",", ":"), ensure_ascii=False))
