"""The command ``llm-antipatterns scan``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, NoReturn

import typer

# What the command needs is imported when it runs, so that `--help` does not wait for it.


def scan(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH", help="Files and folders; files that git ignores are left out."
        ),
    ],
    format_: Annotated[
        Literal["text", "json", "sarif", "github"],
        typer.Option("--format", help="How the findings are written."),
    ] = "text",
    output: Annotated[
        Path | None, typer.Option(help="The file to write to, instead of standard output.")
    ] = None,
) -> None:
    """Find likely mistakes in Python, notebooks and Rust, without running the code.

    A comment `lap: ignore[LAP01] reason`, on the same line or alone on the line above, suppresses a
    finding. The exit status is 0 without findings, 1 with findings, and 2 if the scan could not
    run.
    """
    from helpers.audit.scan import scanner
    from helpers.audit.scan.engine import EngineError
    from helpers.audit.scan.formats import FORMATS

    try:
        report = scanner.scan(paths)
        text = FORMATS[format_](report)
        if output:
            output.write_text(text, "utf-8")
        else:
            typer.echo(text, nl=False)
    except OSError as error:
        _fail(f"{str(error.filename or repr(''))[:200]}: {error.strerror or error}.")
    except (EngineError, ValueError) as error:
        _fail(str(error))
    notes = report.notes if report.files else (*report.notes, "There is no Python or Rust file.")
    for note in notes:
        typer.echo(note, err=True)
    raise typer.Exit(1 if report.findings else 0)


def _fail(sentence: str) -> NoReturn:
    typer.echo(sentence, err=True)
    raise typer.Exit(2)
