"""What a day of conversations costs, from the tokens of one."""

from __future__ import annotations

from helpers.mock_llm.records.ledger import Ledger

CONVERSATIONS = 1_000
"""A day's, each like the one that is measured: 24 turns."""
INPUT, CACHED, OUTPUT = 1.00, 0.05, 5.00
"""Dollars per million tokens: those of GPT-6.1 Terra on 2026-10-26, as an example."""
# No dollar signs: between two of them, JupyterLab sets mathematics.
PRICE = (
    f"at {INPUT:.2f} USD for input, {CACHED:.2f} USD for cached input and {OUTPUT:.2f} USD for "
    "output, per million tokens (GPT-6.1 Terra, 2026-10-26)"
)


def cost_of_a_day(conversation: Ledger) -> float:
    """Dollars."""
    prompt = sum(request.prompt_tokens or 0 for request in conversation.requests)
    cached = sum(request.cached_tokens or 0 for request in conversation.requests)
    output = sum(request.completion_tokens or 0 for request in conversation.requests)
    price = (prompt - cached) * INPUT + cached * CACHED + output * OUTPUT
    return CONVERSATIONS * price / 1e6
