"""LLM Anti-Patterns Lab: what a lesson needs, in one import. The names are in ``__init__.pyi``.

They are loaded when first used: an arm's process and the mock server need few of them, and would
otherwise wait for matplotlib. A name that needs an extra raises ImportError with the line to
install it.
"""

import lazy_loader

from helpers.extras import what_to_install

_load, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name):  # type: ignore[no-untyped-def] # the stub has the types
    try:
        return _load(name)
    except ModuleNotFoundError as error:
        if sentence := what_to_install(error, f"helpers.{name}"):
            raise ImportError(sentence, name=error.name) from error
        raise
