"""A panel with a slider or two that runs real arms on click."""

from __future__ import annotations

import asyncio
import html
from collections.abc import Awaitable, Callable
from typing import Any

from helpers.lab import ArmError


class WhatIf:
    """Sliders for the parameters of an experiment, a button, and the result under them.

    ``experiment(**values)`` is a coroutine function that runs arms and returns something that
    shows itself as HTML, such as ``table(comparison)``. ``sliders`` names its parameters, each
    with its lowest, highest and first value: ``WhatIf(experiment, calls=(1, 24, 12))``.
    """

    def __init__(
        self, experiment: Callable[..., Awaitable[Any]], **sliders: tuple[int, int, int]
    ) -> None:
        import ipywidgets

        self._experiment = experiment
        self._sliders = {
            name: ipywidgets.IntSlider(
                value=first, min=low, max=high, description=name, continuous_update=False
            )
            for name, (low, high, first) in sliders.items()
        }
        self._button = ipywidgets.Button(description="Run the arms", button_style="primary")
        self._button.on_click(lambda _: self._start())
        self._result = ipywidgets.HTML("")
        self._task: asyncio.Task[None] | None = None
        controls = [*self._sliders.values(), self._button]
        self.form = ipywidgets.VBox([ipywidgets.HBox(controls), self._result])

    def __repr__(self) -> str:
        names = ", ".join(self._sliders)
        return f"A panel to change {names}: open the lesson in JupyterLab to use it."

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, Any]:
        # Where no widget can be shown, a page on the web for one, the text is.
        return {**self.form._repr_mimebundle_(), "text/plain": repr(self)}

    def _start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self.run())

    async def run(self) -> None:
        """Run the experiment with the sliders' values, as a click does."""
        self._button.disabled = True
        self._result.value = "running …"
        try:
            values = {name: slider.value for name, slider in self._sliders.items()}
            shown = await self._experiment(**values)
            self._result.value = shown._repr_mimebundle_()[0]["text/html"]
        except (ArmError, OSError, RuntimeError) as error:
            self._result.value = html.escape(str(error))
        finally:
            self._button.disabled = False
