"""How tests are grouped, and a home for what they write: never the contributor's own."""

from __future__ import annotations

import atexit
import os
import re
import signal
import tempfile
from typing import Any

import pytest

# Which of `make test`, `make slow` and `make browser` runs a test; see CONTRIBUTING.md.
GROUPS = {
    # Asserts how fast something is, or what happens first.
    "timed": (
        "tests/lab/",
        "tests/lessons/test_check_in_a_notebook.py",
        "tests/lessons/test_exercise_",
        "tests/lessons/test_kernel.py",
        "tests/lessons/test_what_if.py",
        "tests/mock_llm/test_latency.py",
        "tests/mock_llm/test_process.py",
        "tests/report/test_panes.py",
        "tests/test_cli.py::test_the_doctor_says_ok",
    ),
    # Takes longer than a contributor should wait.
    "slow": ("tests/mock_llm/test_fuzz.py", "tests/mock_llm/test_soak.py"),
    "browser": ("tests/browser/",),
}


def pytest_configure(config: pytest.Config) -> None:
    # Not a fixture: nbval uses none. Removed at exit, when IPython has written its last line.
    home = tempfile.TemporaryDirectory()
    atexit.register(home.cleanup)
    os.environ["LLM_ANTIPATTERNS_HOME"] = home.name
    os.environ["IPYTHONDIR"] = home.name
    _end_with_signals()


def _end_with_signals() -> None:
    """Children inherit what is ignored, as SIGHUP is under nohup and SIGINT in the background."""
    for name in ("SIGINT", "SIGHUP", "SIGQUIT"):
        handler = signal.default_int_handler if name == "SIGINT" else signal.SIG_DFL
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for marker, tests in GROUPS.items():
            if item.nodeid.startswith(tests):
                item.add_marker(marker)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give each worker one test at a time, but the cells of a notebook to one worker.

    Lessons run in three queues, so that at most three of them are measured at the same time.
    """
    # The plugin is optional. Its --dist=loadgroup groups nothing with pytest 9.2: issue 1386.
    from xdist.scheduler import LoadScopeScheduling

    class LessonScheduling(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            lesson = re.search(r"\b(\d\d)_\w+(\.ipynb|\])", nodeid)
            return f"lessons, queue {int(lesson[1]) % 3}" if lesson else nodeid

    return LessonScheduling(config, log)
