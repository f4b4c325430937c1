"""A fake LLM provider, run as a process of its own."""

from helpers.mock_llm.ledger import Connection, Ledger, Request

__all__ = ["Connection", "Ledger", "Request"]
