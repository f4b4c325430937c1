"""The command ``llm-antipatterns``.

It stands outside ``helpers``, so that it can say so where another package of that name hides ours.
"""

import os
import sys


def main() -> None:
    """The entry point of the console script."""
    try:
        from helpers.cli import main as run

        run()
    except ImportError as error:
        if "helpers.cli" not in sys.modules and (error.name or "").startswith("helpers"):
            sys.exit(_hidden())
        if path := os.environ.get("PYTHONPATH"):
            sys.exit(
                f"{error}. PYTHONPATH={path} may hide what the course has installed: type "
                "`unset PYTHONPATH` and try again."
            )
        raise


def _hidden() -> str:
    import helpers

    place = getattr(helpers, "__file__", None) or ", ".join(helpers.__path__)
    return (
        f"Another package called helpers, {place}, hides the one of this course: remove its "
        "folder from PYTHONPATH, or start the command in another folder."
    )
