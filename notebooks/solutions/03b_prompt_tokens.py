"""Lesson 03, part b: the history is cut in steps."""

from helpers.mock_llm.tokens import count_prompt_tokens

STEP = 8  # messages


def build_in_steps(system, history, budget):
    first, newest = {"role": "system", "content": system}, len(history) - 1
    # In steps while that is possible, one by one where messages are long.
    starts = [*range(0, newest + 1, STEP), *range(newest + 1)]
    for start in starts:
        prompt = [first, *history[start:]]
        if count_prompt_tokens(prompt) <= budget:
            return prompt
    raise ValueError("Not even the newest message fits.")
