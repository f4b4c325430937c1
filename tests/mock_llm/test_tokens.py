"""The tokenizer is the provider's, and no text breaks it."""

from __future__ import annotations

import pytest

from helpers.mock_llm.model.words import WORDS, answer, prompt_digest
from helpers.mock_llm.tokens import count_prompt_tokens, encode, encoding


def test_the_encoding_is_o200k_base() -> None:
    """Known tokens, from tiktoken's own tests and the cookbook."""
    assert encoding().name == "o200k_base"
    assert encoding().n_vocab == 200_019
    assert encoding().encode("hello world") == [24912, 2375]
    assert encoding().encode("<|endoftext|>", allowed_special="all") == [199999]
    assert encoding() is encoding()


def test_the_cookbooks_example_is_counted_as_there() -> None:
    """ "How to count tokens with tiktoken": 124 prompt tokens by gpt-4o's own count."""
    jargon = "system"
    example = [
        (
            None,
            "You are a helpful, pattern-following assistant that translates corporate jargon "
            "into plain English.",
        ),
        ("example_user", "New synergies will help drive top-line growth."),
        ("example_assistant", "Things working well together will increase revenue."),
        (
            "example_user",
            "Let's circle back when we have more bandwidth to touch base on "
            "opportunities for increased leverage.",
        ),
        ("example_assistant", "Let's talk later when we're less busy about how to do better."),
    ]
    messages = [
        {"role": jargon, "content": content} | ({"name": name} if name else {})
        for name, content in example
    ]
    messages.append(
        {
            "role": "user",
            "content": "This late pivot means we don't have time to boil the ocean for the client "
            "deliverable.",
        }
    )
    assert count_prompt_tokens(messages) == 124


@pytest.mark.parametrize(
    "text",
    ["<|endoftext|>", "\ud800", " " * 300_000, "\n" * 300_000, "a" * 300_000, "^ " * 50_000, "\0"],
    ids=lambda text: repr(text[:3]),
)
def test_any_text_can_be_counted(text: str) -> None:
    assert encode(text)


def test_words_are_one_token_each_wherever_they_stand() -> None:
    assert len(set(WORDS)) == 256
    for word in WORDS:
        for written in (" " + word, " " + word.title(), word.title()):
            assert len(encode(written)) == 1


@pytest.mark.parametrize("length", [1, 2, 3, 7, 24, 500, None])
def test_answers_are_as_many_tokens_as_pieces(length: int | None) -> None:
    for choice in range(50):
        pieces = answer(prompt_digest([1, 2, 3], 0, choice), length)
        assert len(encode("".join(pieces))) == len(pieces)
        assert length is None or len(pieces) == length
