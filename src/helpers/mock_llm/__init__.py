"""A fake LLM provider, run as a process of its own."""

from helpers.mock_llm.client import MockLLM
from helpers.mock_llm.records.ledger import Connection, Ledger, Request
from helpers.mock_llm.settings.faults import Fault
from helpers.mock_llm.settings.limits import Limits
from helpers.mock_llm.settings.profiles import PROFILES, Profile

__all__ = ["PROFILES", "Connection", "Fault", "Ledger", "Limits", "MockLLM", "Profile", "Request"]
