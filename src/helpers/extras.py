"""Says what to install where a part of the package needs an extra."""

from __future__ import annotations

INSTALL_COURSE = "pip install 'llm-antipatterns[course]'"


def what_to_install(error: ModuleNotFoundError, what: str) -> str | None:
    """A sentence for an import that failed; None if it was one of the package's own modules."""
    missing = (error.name or "").partition(".")[0]
    if missing in ("", "helpers"):
        return None
    return f"{what} needs {missing}, which comes with the course: {INSTALL_COURSE}"
