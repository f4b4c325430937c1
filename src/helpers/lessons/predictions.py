"""A learner commits to a number before running; the figure shows it later."""

from __future__ import annotations

from typing import Any

from helpers.lessons import progress
from helpers.lessons.catalogue import lesson
from helpers.report import Prediction, quantity


class Predict:
    """A question about an arm; the answer, a number, is kept between sessions.

    In seconds (the default unit) it asks for the arm's makespan; any other unit names what the
    lesson counts: ``Predict("02", "How many …?", arm="wrong", unit="connections")``.

    It shows an input field in JupyterLab. An answer is not required: without one, ``made`` is None
    and figures leave the prediction out. Without widgets, ``.commit(1.5)`` does the same.
    """

    def __init__(self, number: str | int, question: str, *, arm: str, unit: str = "s") -> None:
        self._number = lesson(number).number
        self._question, self._arm, self._unit = question, arm, unit
        self._value = self._noted()

    def _noted(self) -> float | None:
        noted = progress.read(self._number)
        # Older versions kept one prediction per lesson, always in seconds.
        value = noted.get(self._key, noted.get("prediction") if self._unit == "s" else None)
        return value if isinstance(value, int | float) else None

    @property
    def _key(self) -> str:
        return f"prediction: {self._arm}, {self._unit}"

    @property
    def made(self) -> Prediction | None:
        """The prediction, for a figure; None if the learner has not made one."""
        return None if self._value is None else Prediction(self._arm, self._value, self._unit)

    def commit(self, value: object) -> None:
        """Remember the learner's number. Raises `ValueError` if it is not a number, or negative."""
        try:
            number = float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            raise ValueError(f"A prediction is a number, not {value!r}.") from None
        if not 0 <= number < float("inf"):
            raise ValueError(f"A prediction is a number from 0 up, not {value!r}.")
        self._value = number
        progress.note(self._number, self._key, number)

    def __repr__(self) -> str:
        answer = "no prediction yet" if self._value is None else f"you said {self._amount()}"
        return f"{self._question} ({answer})"

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, Any]:
        # Where widgets cannot be shown, as on a web page, the text is shown.
        return {**self._form()._repr_mimebundle_(), "text/plain": repr(self)}

    def _form(self) -> Any:
        import ipywidgets

        question = ipywidgets.HTML(f"<b>{self._question}</b>")
        field = ipywidgets.FloatText(
            value=self._value or 0.0,
            step=0.1 if self._unit == "s" else 1,
            layout=ipywidgets.Layout(width="8em"),
        )
        button = ipywidgets.Button(description="Commit", button_style="primary")
        said = ipywidgets.HTML("" if self._value is None else self._said())

        def commit(_: Any) -> None:
            try:
                self.commit(field.value)
            except ValueError as error:
                said.value = str(error)
            else:
                said.value = self._said()

        button.on_click(commit)
        unit = ipywidgets.Label(self._unit)
        return ipywidgets.VBox([question, ipywidgets.HBox([field, unit, button, said])])

    def _said(self) -> str:
        return f"You said {self._amount()}. Now run it."

    def _amount(self) -> str:
        value = self._value or 0.0
        # A time as it was typed; `quantity` would round it.
        return f"{value:g} s" if self._unit == "s" else quantity(value, self._unit)
