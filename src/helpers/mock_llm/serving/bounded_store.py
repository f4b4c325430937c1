"""A bounded memory of what clients had the provider keep."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import Generic, TypeVar

_Value = TypeVar("_Value")
_MOST = 1_000
# Of requests and answers, in all. A conversation's earlier parts are shared, not copied.
_MOST_BYTES = 16 * 1024 * 1024


class BoundedStore(Generic[_Value]):
    """Values by id. The oldest are forgotten first."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, tuple[_Value, int]] = OrderedDict()
        self._bytes = 0

    def keep(self, id: str, value: _Value, size: int) -> None:
        """``size`` in bytes. A value that has the id already is replaced."""
        self.forget(id)
        self._kept[id] = value, size
        self._bytes += size
        while len(self._kept) > _MOST or (self._bytes > _MOST_BYTES and len(self._kept) > 1):
            _, (_, freed) = self._kept.popitem(last=False)
            self._bytes -= freed

    def get(self, id: str) -> _Value | None:
        value, _ = self._kept.get(id, (None, 0))
        return value

    def forget(self, id: str) -> None:
        _, freed = self._kept.pop(id, (None, 0))
        self._bytes -= freed

    def clear(self) -> None:
        self._kept.clear()
        self._bytes = 0

    def newest_first(self) -> Iterator[_Value]:
        return (value for value, _ in reversed(self._kept.values()))
