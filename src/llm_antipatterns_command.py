"""The command ``llm-antipatterns``.

It stands outside ``helpers``, so that it can say so where another package of that name hides ours.
"""

import sys


def main() -> None:
    """The entry point of the console script."""
    try:
        from helpers.cli import main as run
    except ImportError as error:
        if error.name is None or not error.name.startswith("helpers"):
            raise
        import helpers

        place = getattr(helpers, "__file__", None) or ", ".join(helpers.__path__)
        sys.exit(
            f"Another package called helpers, {place}, hides the one of this course: remove its "
            "folder from PYTHONPATH, or start the command in another folder."
        )
    run()
