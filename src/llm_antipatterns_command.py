"""The command ``llm-antipatterns``.

It stands outside ``helpers``, so that it can say so where another package of that name hides ours.
"""

import os
import sys
from importlib.machinery import PathFinder


def main() -> None:
    """The entry point of the console script."""
    if place := _hiding():
        _say_hidden(place)
    try:
        from helpers.cli import main as run

        run()
    except KeyboardInterrupt:  # while it imports: later, the command itself says so
        sys.exit(130)
    except ImportError as error:
        if path := os.environ.get("PYTHONPATH"):
            sys.exit(
                f"{error}. PYTHONPATH={path} may hide what the course has installed: type "
                f"`{_unset()}` and try again."
            )
        raise


def _hiding() -> str | None:
    """Another module or package called helpers, which Python would import instead of ours."""
    # Without importing it: it may do anything.
    spec = PathFinder.find_spec("helpers")
    if spec is None or spec.origin is None:
        return None
    ours = os.path.join(os.path.dirname(os.path.abspath(__file__)), "helpers", "__init__.py")
    return None if os.path.realpath(spec.origin) == os.path.realpath(ours) else spec.origin


def _say_hidden(place: str) -> None:
    sentence = f"{place} hides the course's package helpers. "
    if path := os.environ.get("PYTHONPATH"):
        sentence += f"It comes from PYTHONPATH={path}. Type: {_unset()}"
    else:
        sentence += "Start the command in another folder, or rename it."
    if sys.argv[1:2] != ["doctor"]:
        sys.exit(sentence)
    print(f"FAIL helpers: {sentence}")
    sys.exit(1)


def _unset() -> str:
    return "Remove-Item Env:PYTHONPATH" if os.name == "nt" else "unset PYTHONPATH"
