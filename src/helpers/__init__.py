"""LLM Anti-Patterns Lab: what a lesson needs, in one import. The names are in ``__init__.pyi``.

They are loaded when first used: an arm's process and the mock server need few of them, and would
otherwise wait for matplotlib.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
