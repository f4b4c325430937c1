"""A fake LLM provider, run as a process of its own."""

from helpers.mock_llm.faults import Fault
from helpers.mock_llm.ledger import Connection, Ledger, Request
from helpers.mock_llm.limits import Limits
from helpers.mock_llm.process import MockLLM
from helpers.mock_llm.profiles import PROFILES, Profile

__all__ = ["PROFILES", "Connection", "Fault", "Ledger", "Limits", "MockLLM", "Profile", "Request"]
