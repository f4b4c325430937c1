"""A pytest plugin: the fixtures ``mock_llm``, a provider for one test, and ``llm_audit``.

It stands outside ``helpers``, and imports that only for a test that asks for the fixture: pytest
loads it in every project of an environment, also in one that has a ``helpers`` of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from helpers import MockLLM
    from helpers.audit import AuditReport


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "mock_llm(profile='instant', *, speed, seed, ...): the options of `helpers.MockLLM` with "
        "which the provider behind the fixture `mock_llm` runs; with environment=True the test's "
        "OPENAI_BASE_URL, OPENAI_API_KEY, ANTHROPIC_BASE_URL and ANTHROPIC_API_KEY lead to it",
    )


@pytest.fixture
def mock_llm(
    request: pytest.FixtureRequest, _mock_llm_servers: _Servers, monkeypatch: pytest.MonkeyPatch
) -> MockLLM:
    """A running mock LLM provider with an empty ledger, set by the marker ``mock_llm``.

    The server is started once per session (with pytest-xdist: per worker) and reset for each test.
    """
    options = _marked(request.node)
    in_environment = options.pop("environment", False)
    try:
        llm, changes = _mock_llm_servers(options)
        _start_afresh(llm, changes)
    except ValueError as error:
        pytest.fail(f"the marker mock_llm: {error}", pytrace=False)
    if in_environment:
        for name, value in _environment(llm).items():
            monkeypatch.setenv(name, value)
    return llm


class LlmAudit:
    """Audits of an application, for a test. What `AuditError` says fails the test."""

    def command(self, command: str | Sequence[str], **options: Any) -> AuditReport:
        """Audit a program; the arguments are those of `helpers.audit.audit_command`."""
        return self._run("audit_command", command, **options)

    def service(self, start: str | Sequence[str], **options: Any) -> AuditReport:
        """Audit a service; the arguments are those of `helpers.audit.audit_service`."""
        return self._run("audit_service", start, **options)

    def _run(self, name: str, *arguments: Any, **options: Any) -> AuditReport:
        try:
            from helpers import audit
        except ImportError:
            pytest.fail(
                "the fixture llm_audit needs the package `helpers` of llm-antipatterns, but "
                "another `helpers` hides it: rename that one, or use `llm-antipatterns audit`",
                pytrace=False,
            )
        try:
            report: AuditReport = getattr(audit, name)(*arguments, **options)
        except audit.AuditError as error:
            pytest.fail(f"the audit could not run: {error}", pytrace=False)
        return report


@pytest.fixture
def llm_audit() -> LlmAudit:
    """Audits of your own application::

    def test_our_batch_job(llm_audit):
        report = llm_audit.command("python batch.py", only="04,05")
        assert not report.failures
    """
    return LlmAudit()


def _environment(llm: MockLLM) -> dict[str, str]:
    """What leads the SDKs' clients to the server, which are made without arguments."""
    key = "sk-mock"
    return {
        "OPENAI_BASE_URL": llm.url,
        "OPENAI_API_KEY": key,
        "ANTHROPIC_BASE_URL": llm.url.removesuffix("/v1"),
        "ANTHROPIC_API_KEY": key,
    }


def _start_afresh(llm: MockLLM, options: dict[str, Any]) -> None:
    try:
        llm.start().configure(**options)
    except RuntimeError:  # the last test killed it
        llm.stop()
        llm.start().configure(**options)
    llm.reset()


_Servers = Callable[[dict[str, Any]], "tuple[MockLLM, dict[str, Any]]"]


@pytest.fixture(scope="session")
def _mock_llm_servers() -> Iterator[_Servers]:
    """Starts a server for each combination of the options that cannot change, once.

    It also returns the options that can change.
    """
    try:
        from helpers.mock_llm import MockLLM
        from helpers.mock_llm.settings.settings import Changes, Settings
    except ImportError:
        pytest.fail(
            "the fixture mock_llm needs the package `helpers` of llm-antipatterns, but another "
            "`helpers` hides it: rename that one, or use a server from `llm-antipatterns serve`",
            pytrace=False,
        )
    servers: dict[str, MockLLM] = {}
    with ExitStack() as running:

        def server(options: dict[str, Any]) -> tuple[MockLLM, dict[str, Any]]:
            settings = dict(Settings(**options))
            changes = {name: settings.pop(name) for name in Changes.model_fields}
            key = repr(settings)
            if key not in servers:
                servers[key] = running.enter_context(MockLLM(**settings))
            return servers[key], changes

        yield server


def _marked(node: pytest.Item) -> dict[str, Any]:
    """The options of the test's markers: its own, then its class's, then its module's."""
    options: dict[str, Any] = {}
    for marker in node.iter_markers("mock_llm"):
        options = {**dict(zip(["profile"], marker.args, strict=False)), **marker.kwargs, **options}
        if len(marker.args) > 1:
            pytest.fail("the marker mock_llm takes all but the profile by name", pytrace=False)
    return options
