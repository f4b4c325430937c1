"""The tokenizer is the provider's, and no text breaks it."""

from __future__ import annotations

import pytest

from helpers.mock_llm.model.tokens import pieces
from helpers.mock_llm.model.words import FOREIGN_WORDS, WORDS, answer, prompt_digest
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


def test_foreign_words_are_one_token_each_and_several_bytes() -> None:
    for word in FOREIGN_WORDS:
        assert len(encode(" " + word)) == 1
        assert not word.isascii()


def test_a_sentence_or_two_have_a_foreign_word() -> None:
    """So that a client which decodes each chunk by itself is found out: anomalyco/opencode#39694,
    mastra-ai/mastra#20224, danielmiessler/Fabric#2203."""
    for choice in range(200):
        text = "".join(answer(prompt_digest([1, 2, 3], 0, choice), 40))
        foreign = [word for word in text.replace(".", "").split() if not word.isascii()]
        assert 1 <= len(foreign) <= 8


def test_a_room_cuts_the_answer_and_does_not_change_it() -> None:
    for choice in range(50):
        digest = prompt_digest([1, 2, 3], 0, choice)
        whole = answer(digest, 500)
        for room in (1, 7, 100, 499):
            assert answer(digest, 500, room)[:room] == whole[:room]


@pytest.mark.parametrize("text", ["日本 😀", "🇳🇴 é", "👩‍👩‍👧‍👦", "plain"])
def test_a_character_comes_with_its_last_token(text: str) -> None:
    found = pieces(text)
    assert len(found) == len(encode(text))
    assert "".join(found) == text


@pytest.mark.parametrize("length", [1, 2, 3, 7, 24, 500, None])
def test_answers_are_as_many_tokens_as_pieces(length: int | None) -> None:
    for choice in range(50):
        pieces = answer(prompt_digest([1, 2, 3], 0, choice), length)
        assert len(encode("".join(pieces))) == len(pieces)
        assert length is None or len(pieces) == length
