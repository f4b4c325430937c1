"""Stored responses: conversations go on from them, and clients read them again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from helpers.mock_llm.serving.bounded_store import BoundedStore
from helpers.mock_llm.serving.errors import ApiError


@dataclass(slots=True)
class StoredResponse:
    body: bytes
    """As it was answered."""
    input: list[dict[str, Any]]
    """The items of its request, each with an id."""
    conversation: list[dict[str, Any]]
    """All items up to its output: what the next response begins with."""
    size: int
    """Bytes of the whole conversation, about."""


class ResponseStore(BoundedStore[StoredResponse]):
    def find(self, id: str) -> StoredResponse:
        """Raises ApiError (404)."""
        response = self.get(id)
        if response is None:
            raise ApiError(404, f"Response with id '{id[:200]}' not found.")
        return response

    def previous(self, id: str | None) -> StoredResponse | None:
        """The response that another goes on from. Raises ApiError (400)."""
        response = None if id is None else self.get(id)
        if id is not None and response is None:
            raise ApiError(
                400,
                f"Previous response with id '{id[:200]}' not found.",
                param="previous_response_id",
                code="previous_response_not_found",
            )
        return response

    def resolve(self, items: Iterator[dict[str, Any]]) -> list[dict[str, Any]]:
        """The items, with those in place of the references to them. Raises ApiError (404)."""
        return [self._item(item) if item["type"] == "item_reference" else item for item in items]

    def _item(self, reference: dict[str, Any]) -> dict[str, Any]:
        for response in self.newest_first():
            for item in response.conversation:
                if item.get("id") == reference["id"]:
                    return item
        raise ApiError(404, f"Item with id '{reference['id'][:200]}' not found.", param="input")
