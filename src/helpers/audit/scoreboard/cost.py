"""What a day of conversations costs, from the tokens of one."""

from __future__ import annotations

from helpers.mock_llm.records.ledger import Ledger

CONVERSATIONS = 1_000
"""A day's, each like the one that is measured."""
INPUT, CACHED, OUTPUT = 0.25, 0.025, 2.00
"""Dollars per million tokens of gpt-5-mini, the chatbot's model: OpenAI's prices as listed in
github/docs, ``data/tables/copilot/models-and-pricing.yml``, and in Azure's list of 2026-06-15."""
# No dollar signs: between two of them, JupyterLab sets mathematics.
PRICE = (
    f"at the prices of gpt-5-mini in June 2026: {INPUT:.2f} USD for input, {CACHED:.3f} USD for "
    f"cached input and {OUTPUT:.2f} USD for output, per million tokens"
)


def cost_of_a_day(conversation: Ledger) -> float:
    """Dollars."""
    prompt = sum(request.prompt_tokens or 0 for request in conversation.requests)
    cached = sum(request.cached_tokens or 0 for request in conversation.requests)
    output = sum(request.completion_tokens or 0 for request in conversation.requests)
    price = (prompt - cached) * INPUT + cached * CACHED + output * OUTPUT
    return CONVERSATIONS * price / 1e6
