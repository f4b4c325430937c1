"""A fake LLM provider, run as a process of its own. The names are in ``__init__.pyi``.

They are loaded when first used: the server process needs none of what starts and reads it.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
