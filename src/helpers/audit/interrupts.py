"""Waiting that Ctrl-C always ends."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from typing import TypeVar

_T = TypeVar("_T")
_SECONDS = 0.2


def result(future: Future[_T]) -> _T:
    """The result of a future, like ``future.result()``, but an interrupt is never missed.

    Python handles a signal between two bytecodes. One that arrives just before a wait without a
    timeout begins is handled only after that wait.
    """
    return results([future])[0]


def results(futures: Iterable[Future[_T]]) -> list[_T]:
    """All their results, in the order given; raises the first exception as soon as there is one."""
    futures = [*futures]
    while True:
        done, others = wait(futures, _SECONDS, FIRST_EXCEPTION)
        failed = [future for future in done if future.exception() is not None]
        if failed or not others:
            return [future.result() for future in failed or futures]
