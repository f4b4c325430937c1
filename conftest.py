"""Tests and nbval keep their own progress: never a contributor's."""

import os
import tempfile
from pathlib import Path

import pytest


def pytest_configure(config: pytest.Config) -> None:
    home = tempfile.TemporaryDirectory()
    config.add_cleanup(home.cleanup)
    os.environ["LLM_ANTIPATTERNS_HOME"] = home.name


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.suffix == ".ipynb":
            item.add_marker(pytest.mark.xdist_group(item.path.stem))
