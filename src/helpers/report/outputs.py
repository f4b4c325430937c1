"""Where the live view's frames go: under the running cell, or to the terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeAlias

from IPython.core.getipython import get_ipython
from IPython.display import display

Sink: TypeAlias = Callable[[str, str], None]
"""Takes a frame as HTML and as a line of plain text."""


_chosen: ContextVar[Sink | None] = ContextVar("sink", default=None)


@contextmanager
def showing_in(sink: Sink) -> Iterator[None]:
    """Every live view made meanwhile shows itself in this sink: a panel is no running cell."""
    token = _chosen.set(sink)
    try:
        yield
    finally:
        _chosen.reset(token)


def default_sinks() -> tuple[Sink, Sink]:
    """The sink for the frames, and the one for the last frame."""
    if chosen := _chosen.get():
        return chosen, chosen
    if hasattr(get_ipython(), "kernel"):
        cell = _cell_output()
        return cell, cell
    return (_rewrite_line if sys.stdout.isatty() else _nowhere), _last_line


def _cell_output() -> Sink:
    """An output of the running cell. The first frame makes it, the others replace it."""
    handle: Any = None  # IPython's own functions have no types
    new_output: Any = display

    def show(page: str, text: str) -> None:
        nonlocal handle
        bundle = {"text/html": page, "text/plain": text}
        if handle is None:
            handle = new_output(bundle, raw=True, display_id=True)
        else:
            handle.update(bundle, raw=True)

    return show


def _rewrite_line(page: str, text: str) -> None:
    # \x1b[K clears what a longer line left behind.
    print(f"\r{text}\x1b[K", end="", flush=True)


def _nowhere(page: str, text: str) -> None:
    """A file or a pipe gets the last frame only."""


def _last_line(page: str, text: str) -> None:
    print(f"\r{text}\x1b[K" if sys.stdout.isatty() else text)
