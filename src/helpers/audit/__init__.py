"""The lab's measurements, applied to any application.

A **scenario** says how the provider behaves, a **driver** uses the application meanwhile, a
**check** turns what was recorded into a verdict with evidence, and **reports** show it.

The names are in ``__init__.pyi`` and are loaded when first used: every command imports
``helpers.audit.command``, but only an audit needs the rest.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
