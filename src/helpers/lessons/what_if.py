"""A panel with sliders that runs real arms on a click."""

from __future__ import annotations

import asyncio
import contextlib
import html
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from helpers.report.outputs import say_in_vs_code, showing_in, widget_view

_FITTING = "width: 0; min-width: 100%; overflow-x: auto"


class WhatIf:
    """Sliders for the parameters of an experiment, a button, and the result below them.

    ``experiment(**values)`` is a coroutine function that runs arms and returns something that a
    notebook can show: a table, a figure, bars or lines. ``sliders`` names its parameters, each with
    its lowest, highest and initial value, and optionally its step. Integers make a slider of
    integers: ``WhatIf(experiment, calls=(1, 24, 12), share=(0.0, 0.5, 0.1))``.

    While the arms run, the panel shows them live; it also shows what the experiment raises.
    """

    def __init__(
        self, experiment: Callable[..., Awaitable[Any]], **sliders: Sequence[float]
    ) -> None:
        self._experiment = experiment
        self._first = {name: first for name, (_, _, first, *_) in sliders.items()}
        self.form: Any = None
        # Without ipywidgets, `repr` says how to go on in code.
        with contextlib.suppress(ImportError):
            self._make_form(sliders)

    def _make_form(self, sliders: dict[str, Sequence[float]]) -> None:
        import ipywidgets

        self._sliders = {name: _slider(name, *values) for name, values in sliders.items()}
        self._button = ipywidgets.Button(description="Run the arms", button_style="primary")
        self._button.on_click(lambda _: self._start())
        self._stop = ipywidgets.Button(description="Stop", disabled=True)
        self._stop.on_click(lambda _: self._cancel())
        self._result = ipywidgets.HTML("")
        self._task: asyncio.Task[None] | None = None
        controls = ipywidgets.HBox(
            [*self._sliders.values(), self._button, self._stop],
            layout=ipywidgets.Layout(flex_flow="row wrap"),
        )
        self.form = ipywidgets.VBox([controls, self._result])

    def __repr__(self) -> str:
        name = getattr(self._experiment, "__name__", "experiment")
        values = ", ".join(f"{slider}={first:g}" for slider, first in self._first.items())
        return f"Sliders are shown in JupyterLab. Without widgets, run: await {name}({values})"

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, Any]:
        # Where widgets cannot be shown, as on a web page, the text is shown.
        say_in_vs_code(repr(self))
        form = {} if self.form is None else widget_view(self.form)
        return {**form, "text/plain": repr(self)}

    def _start(self) -> None:
        # A second click may already be on its way when the first one disables the button.
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self.run())

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.get_loop().call_soon_threadsafe(self._task.cancel)

    async def run(self) -> None:
        """Run the experiment with the values of the sliders, as a click does."""
        self._running(True)
        self._result.value = "running …"
        values = {name: slider.value for name, slider in self._sliders.items()}
        try:
            with showing_in(self._show):
                self._show(_page(await self._experiment(**values)))
        except asyncio.CancelledError:
            self._result.value = "Stopped."
            raise
        except Exception as error:  # noqa: BLE001 - without a cell, only the panel shows it
            self._result.value = html.escape(str(error) or type(error).__name__)
        finally:
            self._running(False)

    def _running(self, now: bool) -> None:
        self._button.disabled, self._stop.disabled = now, not now

    def _show(self, page: str, text: str = "") -> None:
        # No wider than the panel: a picture shrinks, a table scrolls.
        self._result.value = f'<div style="{_FITTING}">{page}</div>'


def _slider(name: str, low: float, high: float, first: float, step: float | None = None) -> Any:
    import ipywidgets

    whole = all(isinstance(value, int) for value in (low, high, first, step or 1))
    kind = ipywidgets.IntSlider if whole else ipywidgets.FloatSlider
    return kind(
        value=first,
        min=low,
        max=high,
        step=step or (1 if whole else (high - low) / 20),
        description=name.replace("_", " "),
        style={"description_width": "initial"},
        continuous_update=False,
    )


def _page(shown: Any) -> str:
    """What a notebook would show for it, as HTML."""
    for method in ("_repr_mimebundle_", "_repr_html_"):
        show = getattr(shown, method, None)
        found = show() if show else None
        bundle = found[0] if isinstance(found, tuple) else found
        page = bundle.get("text/html") if isinstance(bundle, dict) else bundle
        if page:
            return str(page)
    return "" if shown is None else f"<pre>{html.escape(repr(shown))}</pre>"
