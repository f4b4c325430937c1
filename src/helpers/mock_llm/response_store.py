"""Stored responses: conversations go on from them, and clients read them again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from helpers.mock_llm.errors import ApiError

_MOST = 1_000
_MOST_BYTES = 64 * 1024 * 1024
"""Of request and answer, in all. A conversation's earlier items are shared, not copied."""


@dataclass(slots=True)
class StoredResponse:
    body: bytes
    """As it was answered."""
    input: list[dict[str, Any]]
    """The items of its request, each with an id."""
    conversation: list[dict[str, Any]]
    """All items up to its output: what the next response begins with."""
    size: int


class ResponseStore:
    """The oldest responses are forgotten first."""

    def __init__(self) -> None:
        self._responses: OrderedDict[str, StoredResponse] = OrderedDict()
        self._bytes = 0

    def clear(self) -> None:
        self._responses.clear()
        self._bytes = 0

    def keep(self, id: str, response: StoredResponse) -> None:
        self._responses[id] = response
        self._bytes += response.size
        while len(self._responses) > _MOST or (
            self._bytes > _MOST_BYTES and len(self._responses) > 1
        ):
            _, oldest = self._responses.popitem(last=False)
            self._bytes -= oldest.size

    def find(self, id: str) -> StoredResponse:
        """Raises ApiError (404)."""
        if id not in self._responses:
            raise ApiError(404, f"Response with id '{id[:200]}' not found.")
        return self._responses[id]

    def delete(self, id: str) -> None:
        """Raises ApiError (404)."""
        self._bytes -= self.find(id).size
        del self._responses[id]

    def conversation(self, id: str | None) -> list[dict[str, Any]]:
        """The items that a response goes on from. Raises ApiError (400)."""
        if id is None:
            return []
        if id not in self._responses:
            raise ApiError(
                400,
                f"Previous response with id '{id[:200]}' not found.",
                param="previous_response_id",
                code="previous_response_not_found",
            )
        return self._responses[id].conversation

    def resolve(self, items: Iterator[dict[str, Any]]) -> list[dict[str, Any]]:
        """The items, with those in place of the references to them. Raises ApiError (404)."""
        return [self._item(item) if item["type"] == "item_reference" else item for item in items]

    def _item(self, reference: dict[str, Any]) -> dict[str, Any]:
        for response in reversed(self._responses.values()):
            for item in response.conversation:
                if item.get("id") == reference["id"]:
                    return item
        raise ApiError(404, f"Item with id '{reference['id'][:200]}' not found.", param="input")
