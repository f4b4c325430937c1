"""Which model names exist: any that follows a current family, so that no list goes stale."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qs

from helpers.mock_llm.serving.errors import ApiError, unknown_model
from helpers.mock_llm.serving.exchange import Exchange
from helpers.mock_llm.serving.validation import is_count

_FAMILIES = re.compile(
    r"(ft:)?(gpt-|chatgpt-|codex-|o\d|claude-|text-embedding-|mock-)[\w.:-]*"
    r"|(ft:)?(davinci|babbage)-002[\w.:-]*",
    re.ASCII,
)
_LEGACY = re.compile(r"(ft:)?(gpt-3\.5-turbo-instruct|davinci-002|babbage-002)")
_ANTHROPIC = ("claude-", "mock-")
_EMBEDDING = ("text-embedding-", "mock-")
_LISTED = {
    "gpt-4o": "openai",
    "gpt-4o-mini": "openai",
    "gpt-4.1-mini": "openai",
    "gpt-5": "openai",
    "o3": "openai",
    "claude-opus-5-5": "anthropic",
    "claude-sonnet-5-5": "anthropic",
    "claude-haiku-5-5": "anthropic",
    "text-embedding-3-small": "openai",
    "text-embedding-3-large": "openai",
    "mock-1": "mock",
}
# 2025-01-01: a fixed date, so that the list is the same in every run.
_CREATED = 1_735_689_600


@lru_cache(maxsize=256)
def check_model(name: str) -> str:
    """The name. Raises ApiError (404) for a model of no known family."""
    if len(name) > 200 or not _FAMILIES.fullmatch(name):
        raise unknown_model(name[:200])
    return name


def check_text_model(name: str, path: str, deployment: str | None = None) -> str:
    """The name. Raises ApiError (404), also for a model that does not write in conversations.

    ``deployment``: of Azure's, which may have any name.
    """
    if deployment is not None:
        return deployment
    if check_model(name).startswith("text-embedding-") or _LEGACY.match(name):
        raise ApiError(
            404,
            f"This is not a chat model and thus not supported in the {path} endpoint.",
            param="model",
        )
    return name


def check_completion_model(name: str, deployment: str | None = None) -> str:
    """The name. Raises ApiError (404), also for a model that only writes in conversations."""
    if deployment is not None:
        return deployment
    if not _LEGACY.match(check_model(name)) and not name.startswith("mock-"):
        raise ApiError(
            404,
            "This is a chat model and not supported in the v1/completions endpoint. Did you mean "
            "to use v1/chat/completions?",
            param="model",
        )
    return name


def check_anthropic_model(name: str) -> str:
    """The name. Raises ApiError (404) for a model that Anthropic does not have."""
    if not name.startswith(_ANTHROPIC):
        raise unknown_model(name[:200])
    return check_model(name)


def check_embedding_model(name: str, deployment: str | None = None) -> str:
    """The name. Raises ApiError (404, or 403 for a model that writes text)."""
    if deployment is not None:
        return deployment
    if not check_model(name).startswith(_EMBEDDING):
        raise ApiError(403, "You are not allowed to generate embeddings from this model")
    return name


async def list_models(further: Sequence[str], exchange: Exchange) -> None:
    """``further``: names that this server has besides."""
    if exchange.dialect.provider == "anthropic":
        query = parse_qs(exchange.query.decode("latin-1"))
        await exchange.reply(200, _anthropic_page(further, query))
    else:
        cards = [_card(name) for name in dict.fromkeys([*_LISTED, *further])]
        await exchange.reply(200, json.dumps({"object": "list", "data": cards}).encode())


async def show_model(further: Sequence[str], exchange: Exchange) -> None:
    name = exchange.path.removeprefix("/v1/models/")
    if exchange.dialect.provider == "anthropic":
        card = _anthropic_card(name if name in further else check_anthropic_model(name))
    else:
        card = _card(name if name in further else check_model(name))
    await exchange.reply(200, json.dumps(card).encode())


def _card(name: str) -> dict[str, Any]:
    owner = _LISTED.get(name, "mock")
    return {"id": name, "object": "model", "created": _CREATED, "owned_by": owner}


def _anthropic_page(further: Sequence[str], query: dict[str, list[str]]) -> bytes:
    names = [name for name in _LISTED if name.startswith(_ANTHROPIC)]
    names += [name for name in further if name not in names]
    [limit], [after], [before] = (
        query.get(key, [default])[:1]
        for key, default in (("limit", "20"), ("after_id", ""), ("before_id", ""))
    )
    if not is_count(limit, 1000):
        raise ApiError(400, "limit: Input should be a valid integer from 1 to 1000")
    rest = names[names.index(after) + 1 :] if after in names else names
    rest = rest[: rest.index(before)] if before in rest else rest
    page = rest[-int(limit) :] if before else rest[: int(limit)]
    fields = {
        "data": [_anthropic_card(name) for name in page],
        "has_more": len(page) < len(rest),
        "first_id": page[0] if page else None,
        "last_id": page[-1] if page else None,
    }
    return json.dumps(fields).encode()


def _anthropic_card(name: str) -> dict[str, Any]:
    return {
        "type": "model",
        "id": name,
        "display_name": name.replace("-", " ").title(),
        "created_at": "2025-01-01T00:00:00Z",
        "lifecycle": "active",
    }
