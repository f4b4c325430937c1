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


def get_ipython() -> Any:
    """The notebook's shell, or None. Importing IPython for it would take 0.1 s in every process."""
    module = sys.modules.get("IPython.core.getipython")
    return module.get_ipython() if module else None


def widget_view(widget: Any) -> dict[str, Any]:
    """The MIME bundle that shows a widget. Only ipywidgets 8 makes one, and Colab has 7."""
    view = {"version_major": 2, "version_minor": 0, "model_id": widget.model_id}
    return {"application/vnd.jupyter.widget-view+json": view}


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
    if hasattr(get_ipython(), "kernel"):
        return _cell_outputs()
    return (_rewrite_line if sys.stdout.isatty() else _nowhere), _last_line


def say_in_vs_code(text: str) -> None:
    """Print how to go on without widgets: VS Code loads them from the internet, and where it cannot
    it shows an error in their place, not their text."""
    if "__vsc_ipynb_file__" in vars(sys.modules["__main__"]):
        print(text)


def _cell_outputs() -> tuple[Sink, Sink]:
    """Two outputs of the running cell. Each frame replaces the one before it, but the last is shown
    below an emptied one: a front end that replaces nothing has it, too."""
    from IPython.display import display

    handle: Any = None  # IPython's own functions have no types
    first = ""
    new_output: Any = display

    def show(page: str, text: str) -> None:
        nonlocal handle, first
        if handle is None:
            first = page
            handle = new_output(_bundle(page, text), raw=True, display_id=True)
        else:
            handle.update(_bundle(page, text), raw=True)

    def show_last(page: str, text: str) -> None:
        if handle is None or page == first:
            show(page, text)
        else:
            new_output(_bundle(page, text), raw=True)
            handle.update(_bundle("", ""), raw=True)

    return show, show_last


def _bundle(page: str, text: str) -> dict[str, str]:
    return {"text/html": page, "text/plain": text}


def _rewrite_line(page: str, text: str) -> None:
    # \x1b[K clears the rest of a longer line.
    print(f"\r{text}\x1b[K", end="", flush=True)


def _nowhere(page: str, text: str) -> None:
    """A file or a pipe gets only the last frame."""


def _last_line(page: str, text: str) -> None:
    print(f"\r{text}\x1b[K" if sys.stdout.isatty() else text)
