"""A learner commits to a number before running: it is drawn on the figure later."""

from __future__ import annotations

from typing import Any

from helpers.lessons import progress
from helpers.lessons.catalogue import lesson


class Predict:
    """A question with a number for an answer, kept from one session to the next.

    Shows an input field in JupyterLab. Nobody has to answer: ``value`` is then None, and figures
    leave the prediction out. Without widgets, ``.commit(1.5)`` does the same.
    """

    def __init__(self, number: str | int, question: str, *, unit: str) -> None:
        self._number = lesson(number).number
        self.question, self.unit = question, unit
        value = progress.read(self._number).get("prediction")
        self.value: float | None = value if isinstance(value, int | float) else None

    def commit(self, value: float) -> None:
        """Remember the learner's number. Raises `ValueError` if it is not one, or below zero."""
        try:
            number = float(value)
        except (TypeError, ValueError):
            raise ValueError(f"A prediction is a number, not {value!r}.") from None
        if not 0 <= number < float("inf"):
            raise ValueError(f"A prediction is a number from 0 up, not {value!r}.")
        self.value = number
        progress.note(self._number, "prediction", number)

    def __repr__(self) -> str:
        answer = "no prediction yet" if self.value is None else f"{self.value:g} {self.unit}"
        return f"{self.question} ({answer})"

    def _ipython_display_(self) -> None:
        from IPython.display import display

        display(self._form())

    def _form(self) -> Any:
        import ipywidgets

        question = ipywidgets.HTML(f"<b>{self.question}</b>")
        field = ipywidgets.FloatText(
            value=self.value or 0.0, step=0.1, layout=ipywidgets.Layout(width="8em")
        )
        button = ipywidgets.Button(description="Commit", button_style="primary")
        said = ipywidgets.HTML("" if self.value is None else self._said())

        def commit(_: Any) -> None:
            try:
                self.commit(field.value)
            except ValueError as error:
                said.value = str(error)
            else:
                said.value = self._said()

        button.on_click(commit)
        unit = ipywidgets.Label(self.unit)
        return ipywidgets.VBox([question, ipywidgets.HBox([field, unit, button, said])])

    def _said(self) -> str:
        return f"You said {self.value:g} {self.unit}. Now run it."
