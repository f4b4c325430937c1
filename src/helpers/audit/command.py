"""The command ``llm-antipatterns audit``."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

if TYPE_CHECKING:
    from helpers.audit.outcome import AuditReport

_SERVICE, _REPORTS = "A service", "Reports"


def audit(
    command: Annotated[
        list[str] | None,
        typer.Argument(metavar="-- COMMAND…", help="A program that calls the model by itself."),
    ] = None,
    start: Annotated[
        str,
        typer.Option(help="The service's command; $PORT is a free port.", rich_help_panel=_SERVICE),
    ] = "",
    app: Annotated[
        str,
        typer.Option(
            help="The service's address, such as http://127.0.0.1:$PORT.", rich_help_panel=_SERVICE
        ),
    ] = "",
    chat: Annotated[
        str,
        typer.Option(
            help="How a user asks, such as "
            """'POST /chat {"session": "$SESSION", "message": "$MESSAGE"}'.""",
            rich_help_panel=_SERVICE,
        ),
    ] = "",
    stream: Annotated[
        bool,
        typer.Option("--stream", help="The service streams its answers.", rich_help_panel=_SERVICE),
    ] = False,
    answer: Annotated[
        str,
        typer.Option(
            metavar="JSON_PATH",
            help="Dotted keys of the answer, such as choices.0.text; by default the whole body.",
            rich_help_panel=_SERVICE,
        ),
    ] = "",
    health: Annotated[
        str,
        typer.Option(metavar="PATH", help="The service's health route.", rich_help_panel=_SERVICE),
    ] = "",
    deadline: Annotated[
        float, typer.Option(help="Seconds within which a user must have an answer or an error.")
    ] = 30.0,
    only: Annotated[str, typer.Option(help="Lessons or ids of checks, such as 04,05.")] = "",
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", rich_help_panel=_REPORTS)
    ] = None,
    junit_file: Annotated[
        Path | None, typer.Option("--junit", metavar="FILE", rich_help_panel=_REPORTS)
    ] = None,
    markdown_file: Annotated[
        Path | None, typer.Option("--markdown", metavar="FILE", rich_help_panel=_REPORTS)
    ] = None,
    html_file: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", rich_help_panel=_REPORTS)
    ] = None,
    expected_failures: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="YAML: checks that may fail, each with its id and the reason.",
            rich_help_panel=_REPORTS,
        ),
    ] = None,
) -> None:
    """Run your application against the mock provider, and say which of the mistakes it makes.

    Give either a program, after two dashes, or a service, with --start, --app and --chat. The
    application finds the provider through OPENAI_BASE_URL, ANTHROPIC_BASE_URL or
    AZURE_OPENAI_ENDPOINT.

    The exit status is 0 if every failure was expected, 1 if a check failed unexpectedly or an
    expected failure has passed, and 2 if the audit could not run.
    """
    # Imported here, so that other commands do not wait for it.
    from helpers.audit.api import audit_command, audit_service, to_stderr
    from helpers.audit.errors import AuditError
    from helpers.audit.reports import html, json, junit, markdown, text
    from helpers.audit.reports.files import must_be_writable, write

    files: list[tuple[Path | None, Callable[[AuditReport], str]]] = [
        (json_file, json.render),
        (junit_file, junit.render),
        (markdown_file, markdown.render),
        (html_file, html.render),
    ]
    signal.signal(signal.SIGTERM, _end)
    try:
        for path, _ in files:
            if path is not None:
                must_be_writable(path)
        expected = {} if expected_failures is None else _read(expected_failures)
        if command:
            _refuse_with_a_command(start, app, chat, stream, answer, health)
            report = audit_command(
                command, deadline=deadline, only=only, expected=expected, progress=to_stderr
            )
        else:
            _require(start, app, chat)
            report = audit_service(
                start,
                app,
                chat,
                stream=stream,
                answer=answer,
                health=health,
                deadline=deadline,
                only=only,
                expected=expected,
                progress=to_stderr,
            )
        for path, render in files:
            if path is not None:
                write(path, render(report))
    except (AuditError, OSError, RuntimeError) as error:
        _fail(error, json_file)
    width = shutil.get_terminal_size((100, 24)).columns
    color = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    typer.echo(text.render(report, width=width, color=color), nl=False)
    raise typer.Exit(0 if report.verdict == "pass" else 1)


def _read(path: Path) -> dict[str, str]:
    from helpers.audit.checks.table import IDS
    from helpers.audit.errors import AuditError
    from helpers.audit.expected_failures import read_expected_failures

    try:
        return read_expected_failures(path, IDS)
    except ValueError as error:
        raise AuditError(str(error)) from None


def _refuse_with_a_command(*options: str | bool) -> None:
    from helpers.audit.errors import AuditError

    if any(options):
        raise AuditError(
            "Give either a program after --, or a service with --start, --app and --chat, but not "
            "both."
        )


def _require(start: str, app: str, chat: str) -> None:
    from helpers.audit.errors import AuditError

    missing = [
        name
        for name, value in {"--start": start, "--app": app, "--chat": chat}.items()
        if not value
    ]
    if len(missing) == 3:
        raise AuditError(
            "There is nothing to audit: give a program after --, or a service with --start, --app "
            "and --chat, which `llm-antipatterns audit --help` explains."
        )
    if missing:
        raise AuditError(f"A service needs --start, --app and --chat: {missing[0]} is missing.")


def _fail(error: Exception, json_file: Path | None) -> NoReturn:
    from helpers.audit.reports import json
    from helpers.audit.reports.files import write

    typer.echo(str(error), err=True)
    if json_file is not None:
        with contextlib.suppress(OSError):  # the sentence above says what is wrong
            write(json_file, json.render_error(error))
    raise typer.Exit(2)


def _end(*_: object) -> NoReturn:
    raise SystemExit(128 + signal.SIGTERM)
