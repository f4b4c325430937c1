"""Lesson 03: counted in tokens, cut between characters."""

import regex

from helpers.mock_llm.tokens import count_prompt_tokens, encode


def characters(text):
    """What a reader sees as characters: an emoji may be several code points."""
    return regex.findall(r"\X", text)


def build(system, history, budget):
    first, newest = {"role": "system", "content": system}, history[-1]
    if count_prompt_tokens([first, newest]) > budget:
        empty = {**newest, "content": ""}
        room = budget - count_prompt_tokens([first, empty])
        return [first, {**newest, "content": beginning(newest["content"], room)}]
    kept = []
    for message in reversed(history):
        if count_prompt_tokens([first, message, *kept]) > budget:
            break
        kept.insert(0, message)
    return [first, *kept]


def beginning(text, room):
    """The longest beginning of whole characters that is at most `room` tokens."""
    whole = characters(text)
    for count in range(len(whole), 0, -1):
        kept = "".join(whole[:count])
        if len(encode(kept)) <= room:
            return kept
    raise ValueError(f"Not one character fits into {room} tokens.")
