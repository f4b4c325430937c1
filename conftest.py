"""Tests and nbval keep their own progress: never a contributor's."""

import os
import tempfile
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def _own_progress() -> Iterator[None]:
    with tempfile.TemporaryDirectory() as home:
        os.environ["LLM_ANTIPATTERNS_HOME"] = home
        yield
