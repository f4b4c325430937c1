"""Shows a `Run` or a `Comparison`: figure, table, live view, verdict. It never makes one.

Figures are loaded when first used: the rest works without matplotlib.
"""

from typing import TYPE_CHECKING

import lazy_loader

from helpers.lab.run import Snapshot
from helpers.report.formatting import number, percent, quantity, seconds, sentence
from helpers.report.live import LiveView
from helpers.report.outputs import Sink
from helpers.report.panes import Panes
from helpers.report.table import Table, table
from helpers.report.verdict import Claim, VerdictFailed, at_least, at_most, equals, verdict

if TYPE_CHECKING:
    from helpers.report.figures.charts import bars, lines
    from helpers.report.figures.figure import figure
    from helpers.report.figures.picture import Picture
    from helpers.report.figures.prediction import Prediction
else:
    __getattr__, _, _ = lazy_loader.attach(
        __name__,
        submod_attrs={
            "figures.charts": ["bars", "lines"],
            "figures.figure": ["figure"],
            "figures.picture": ["Picture"],
            "figures.prediction": ["Prediction"],
        },
    )

__all__ = [
    "Claim",
    "LiveView",
    "Panes",
    "Picture",
    "Prediction",
    "Sink",
    "Snapshot",
    "Table",
    "VerdictFailed",
    "at_least",
    "at_most",
    "bars",
    "equals",
    "figure",
    "lines",
    "number",
    "percent",
    "quantity",
    "seconds",
    "sentence",
    "table",
    "verdict",
]
