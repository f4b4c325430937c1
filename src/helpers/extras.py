"""Says what to install where a part of the package needs an extra."""

from __future__ import annotations

import importlib.util

INSTALL_COURSE = "pip install 'llm-antipatterns[course]'"
# What the extra `course` installs and every lesson needs.
_COURSE = ("jupyterlab", "ipykernel", "ipywidgets", "matplotlib", "nbclient", "jupytext")


def require_course() -> None:
    """Raises `ModuleNotFoundError` for what is missing of the extra ``course``."""
    for name in _COURSE:
        if importlib.util.find_spec(name) is None:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def what_to_install(error: ModuleNotFoundError, what: str) -> str | None:
    """A sentence for an import that failed; None if it was one of the package's own modules."""
    missing = (error.name or "").partition(".")[0]
    if missing in ("", "helpers"):
        return None
    return f"{what} needs {missing}, which comes with the course: {INSTALL_COURSE}"
