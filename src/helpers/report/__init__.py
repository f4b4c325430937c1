"""Shows a `Run` or a `Comparison`: figure, table, live view, verdict. It never makes one.

The names are in ``__init__.pyi``. They are loaded when first used: an audit's report draws a
timeline without matplotlib.
"""

import lazy_loader

# Each has its module's name, and would be the module for those who import that first.
from helpers.report.table import table as table
from helpers.report.verdict import verdict as verdict

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
