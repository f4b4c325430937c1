"""A learner commits to a number before running; the figure shows it later."""

from __future__ import annotations

import math
import sys
from typing import Any

from helpers.lessons import progress, workshop
from helpers.lessons.catalogue import lesson
from helpers.report import Prediction, number, quantity, seconds
from helpers.report.outputs import say_in_vs_code, widget_view


class Predict:
    """A question about an arm; the answer, a number, is kept between sessions.

    In seconds (the default unit) it asks for the arm's makespan; any other unit names what the
    lesson counts: ``Predict("02", "How many …?", arm="wrong", unit="connections")``.

    It shows an input field in JupyterLab. An answer is not required: without one, ``made`` is None
    and figures leave the prediction out. Without widgets, ``.commit(1.5)`` does the same.
    ``.reveal(run.makespan)`` compares it with what was measured.
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
        return f"{progress.PREDICTION}{self._arm}, {self._unit}"

    @property
    def made(self) -> Prediction | None:
        """The prediction, for a figure; None if the learner has not made one."""
        return None if self._value is None else Prediction(self._arm, self._value, self._unit)

    def commit(self, value: object) -> None:
        """Remember the learner's number. Raises `ValueError` if it is not a number, or negative."""
        try:
            said = float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            if value in ("", None):
                raise ValueError("A prediction is a number: enter one.") from None
            raise ValueError(f"A prediction is a number such as 1.5, not {value!r}.") from None
        if not 0 <= said < float("inf"):
            raise ValueError(f"A prediction is a number from 0 up, not {value!r}.")
        self._value = said
        progress.note(self._number, self._key, said)
        workshop.send_prediction(self._number, self._question, self._unit, said)

    def reveal(self, measured: float) -> None:
        """Print how the prediction compares: "You said 8 connections. It was 32." """
        workshop.send_measured(self._number, self._question, self._unit, float(measured))
        self._note_outcome(float(measured))
        if self._value is None:
            print(f"It was {quantity(measured, self._unit)}.")
        else:
            was = seconds(measured) if self._unit == "s" else number(measured)
            print(f"You said {self._amount(self._value)}. It was {was}.")

    def _note_outcome(self, measured: float) -> None:
        """Once: after it, a number is no prediction, and no number counts as none made in time."""
        key = f"{progress.OUTCOME}{self._arm}, {self._unit}"
        if math.isfinite(measured) and key not in progress.read(self._number):
            progress.note(self._number, key, {"said": self._value, "was": measured})

    def __repr__(self) -> str:
        if self._value is not None:
            return f"{self._question} (you said {self._amount(self._value)})"
        # An example would be read as a hint.
        return f"{self._question} Without widgets, commit in code: {self._name()}.commit(…)"

    def _name(self) -> str:
        """The learner's name for it."""
        names = vars(sys.modules["__main__"]).items()
        return next((name for name, value in names if value is self and name[0] != "_"), "guess")

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, Any]:
        # Where widgets cannot be shown, as on a web page, the text is shown.
        say_in_vs_code(repr(self))
        try:
            form = widget_view(self._form())
        except ImportError:
            form = {}
        return {**form, "text/plain": repr(self)}

    def _form(self) -> Any:
        import ipywidgets

        question = ipywidgets.HTML(f"<b>{self._question}</b>")
        # Text: a field for numbers cannot be empty, and an empty one suggests no answer.
        field = ipywidgets.Text(
            value="" if self._value is None else f"{self._value:.15g}",
            placeholder="your number",
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
        return f"You said {self._amount(self._value or 0.0)}. Now run the next cell."

    def _amount(self, value: float) -> str:
        # A time as it was typed; `quantity` would round it.
        return f"{value:g} s" if self._unit == "s" else quantity(value, self._unit)
