"""Which model names exist: any that follows a current family, so that no list goes stale."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import Any

from helpers.mock_llm.errors import unknown_model

_FAMILIES = re.compile(r"(gpt-|o\d|claude-|text-embedding-|mock-)[\w.:-]*", re.ASCII)
_LISTED = {
    "gpt-4o": "openai",
    "gpt-4o-mini": "openai",
    "gpt-4.1-mini": "openai",
    "gpt-5": "openai",
    "o3": "openai",
    "claude-sonnet-4-5": "anthropic",
    "text-embedding-3-small": "openai",
    "mock-1": "mock",
}
_CREATED = 1_735_689_600
"""2025-01-01: a fixed date, so that the list is the same in every run."""


@lru_cache(maxsize=256)
def check_model(name: str) -> str:
    """The name. Raises ApiError (404) for a model of no known family."""
    if len(name) > 200 or not _FAMILIES.fullmatch(name):
        raise unknown_model(name[:200])
    return name


def model_card(name: str) -> bytes:
    return json.dumps(_card(check_model(name))).encode()


def model_list() -> bytes:
    return json.dumps({"object": "list", "data": [_card(name) for name in _LISTED]}).encode()


def _card(name: str) -> dict[str, Any]:
    owner = _LISTED.get(name, "mock")
    return {"id": name, "object": "model", "created": _CREATED, "owned_by": owner}
