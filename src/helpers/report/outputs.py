"""Where the live view's frames go: below the running cell, or to the terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeAlias

# takes a frame as HTML and as a line of plain text
Sink: TypeAlias = Callable[[str, str], None]

_chosen: ContextVar[Sink | None] = ContextVar("sink", default=None)


@contextmanager
def showing_in(sink: Sink) -> Iterator[None]:
    """Every live view made in the ``with`` block uses this sink: a panel is not a running cell."""
    token = _chosen.set(sink)
    try:
        yield
    finally:
        _chosen.reset(token)


def default_sinks() -> tuple[Sink, Sink]:
    """Return the sink for all frames but the last, and the one for the last."""
    if chosen := _chosen.get():
        return chosen, chosen
    if _in_a_kernel():
        cell = _cell_output()
        return cell, cell
    return (_rewrite_line if sys.stdout.isatty() else _nowhere), _last_line


def _in_a_kernel() -> bool:
    try:
        from IPython.core.getipython import get_ipython
    except ImportError:
        return False
    return hasattr(get_ipython(), "kernel")


def _cell_output() -> Sink:
    """An output of the running cell: the first frame creates it, the others replace it."""
    from IPython.display import display

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
    # \x1b[K clears the rest of a longer line.
    print(f"\r{text}\x1b[K", end="", flush=True)


def _nowhere(page: str, text: str) -> None:
    """A file or a pipe gets only the last frame."""


def _last_line(page: str, text: str) -> None:
    print(f"\r{text}\x1b[K" if sys.stdout.isatty() else text)
