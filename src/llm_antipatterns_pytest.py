"""A pytest plugin: the fixture ``mock_llm``, a provider for one test.

It stands outside ``helpers``, and imports that only for a test that asks for the fixture: pytest
loads it in every project of an environment, also in one that has a ``helpers`` of its own.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from helpers import MockLLM

_FIXED: dict[str, Any] = {"api_key": None, "tls": False}
"""What a server is told when it starts, and its default. Each combination has its own server."""
_CHANGEABLE: dict[str, Any] = {
    "profile": "instant",
    "speed": 1.0,
    "seed": 0,
    "answer_tokens": None,
    "limits": None,
    "faults": (),
    "finish_abandoned": False,
}


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "mock_llm(profile='instant', *, speed, seed, answer_tokens, limits, faults, "
        "finish_abandoned, api_key, tls): how the provider behind the fixture `mock_llm` behaves",
    )


@pytest.fixture
def mock_llm(request: pytest.FixtureRequest, _mock_llm_servers: _Servers) -> MockLLM:
    """A running mock LLM provider with empty books, set by the marker ``mock_llm``.

    The server is started once per session (with pytest-xdist: per worker) and reset for each test.
    """
    options = _FIXED | _CHANGEABLE | _marked(request.node)
    try:
        llm = _mock_llm_servers(**{name: options.pop(name) for name in _FIXED})
        _start_afresh(llm, options)
    except ValueError as error:
        pytest.fail(f"the marker mock_llm: {error}", pytrace=False)
    return llm


def _start_afresh(llm: MockLLM, options: dict[str, Any]) -> None:
    try:
        llm.start().configure(**options)
    except RuntimeError:  # the last test killed it
        llm.stop()
        llm.start().configure(**options)
    llm.reset()


_Servers = Callable[..., "MockLLM"]


@pytest.fixture(scope="session")
def _mock_llm_servers() -> Iterator[_Servers]:
    """Starts a server for each combination of `_FIXED`, once."""
    try:
        from helpers.mock_llm import MockLLM
    except ImportError:
        pytest.fail(
            "the fixture mock_llm needs the package `helpers` of llm-antipatterns, but another "
            "`helpers` hides it: rename that one, or use a server from `llm-antipatterns serve`",
            pytrace=False,
        )
    servers: dict[tuple[Any, ...], MockLLM] = {}
    with ExitStack() as running:

        def server(**fixed: Any) -> MockLLM:
            key = tuple(fixed.values())
            if key not in servers:
                servers[key] = running.enter_context(MockLLM(**fixed))
            return servers[key]

        yield server


def _marked(node: pytest.Item) -> dict[str, Any]:
    """The options of the test's markers: its own, then its class's, then its module's."""
    options: dict[str, Any] = {}
    for marker in node.iter_markers("mock_llm"):
        options = {**dict(zip(["profile"], marker.args, strict=False)), **marker.kwargs, **options}
        if len(marker.args) > 1:
            pytest.fail("the marker mock_llm takes all but the profile by name", pytrace=False)
    for name in options:
        if name not in _FIXED | _CHANGEABLE:
            near = difflib.get_close_matches(name, [*_FIXED, *_CHANGEABLE], 1)
            hint = f": did you mean {near[0]}?" if near else ""
            pytest.fail(f"the marker mock_llm has no option {name}{hint}", pytrace=False)
    return options
