"""The command ``llm-antipatterns``."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

app = typer.Typer(
    help="A course on the mistakes people make when they build on large language models.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
Number = Annotated[str, typer.Argument(metavar="NN", help="The lesson's number, such as 01.")]

# Each command imports what it needs: `serve` and `--help` would else wait for Jupyter's packages.


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def lab(context: typer.Context) -> None:
    """Open JupyterLab on the lessons. Options of JupyterLab's own are passed on to it."""
    start = _lesson("00").notebook
    options = [f"--LabApp.default_url=/lab/tree/{start.name}"]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        options.append("--allow-root")  # containers; JupyterLab still listens on loopback only
    command = [sys.executable, "-m", "jupyterlab", *options, *context.args]
    os.chdir(start.parent)
    if os.name == "posix":
        os.execv(command[0], command)  # noqa: S606 - Ctrl-C then reaches JupyterLab alone
    import subprocess

    raise typer.Exit(subprocess.run(command, check=False).returncode)


@app.command()
def run(number: Number) -> None:
    """Run one lesson without a browser, and print its table and its verdict.

    The exit status is 0 only if the verdict holds.
    """
    from nbclient.exceptions import CellExecutionError

    from helpers.lessons import notebook

    lesson = _lesson(number)
    book = notebook.read_source(lesson)
    if not notebook.tagged(book, "verdict"):
        _fail(f"Lesson {lesson.number} has no verdict: open it with `llm-antipatterns lab`.")
    book = notebook.up_to_the_verdict(book)
    failed = None
    try:
        notebook.execute(book, lesson.notebook.parent, _show_progress)
    except CellExecutionError as error:
        failed = f"{error.ename}: {error.evalue}"
    typer.echo("", err=True)
    for tag in ("table", "verdict"):
        typer.echo("".join(notebook.text_of(cell) for cell in notebook.tagged(book, tag)))
    if failed:
        typer.echo(failed, err=True)
        raise typer.Exit(1)


def _show_progress(done: int, total: int) -> None:
    typer.echo(f"\rcell {done} of {total} ", nl=False, err=True)


@app.command()
def serve(
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8010,
    profile: Annotated[
        str, typer.Option(help="instant, small, medium, large or reasoning.")
    ] = "instant",
    speed: Annotated[float, typer.Option(help="Divides all times of the profile.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Of the answers and the jitter.")] = 0,
    answer_tokens: Annotated[int | None, typer.Option(help="Length of every answer.")] = None,
    api_key: Annotated[str | None, typer.Option(help="Refuse requests without this key.")] = None,
    tls: Annotated[
        bool, typer.Option("--tls", help="Take https as well; prints the CA certificate's path.")
    ] = False,
) -> None:
    """Run the mock LLM server in the foreground until Ctrl-C.

    It listens on 127.0.0.1 only and ends with the process that started it.
    """
    from helpers.mock_llm.serve import serve_forever

    try:
        serve_forever(
            port=port,
            profile=profile,
            speed=speed,
            seed=seed,
            api_key=api_key,
            answer_tokens=answer_tokens,
            tls=tls,
        )
    except ValueError as error:
        _fail(error)


@app.command()
def doctor() -> None:
    """Can this machine run the course? One line each, with the remedy."""
    from helpers.lessons.doctor import doctor as examine

    well = True
    for finding in examine():
        typer.echo(finding)
        well = well and finding.ok
    raise typer.Exit(0 if well else 1)


@app.command()
def check(
    number: Number,
    file: Annotated[Path, typer.Argument(help="A Python file with the exercise's function.")],
) -> None:
    """Grade the solution of an exercise; the exit status is 0 only if it is solved."""
    from helpers.lessons.exercise import grade, load_solution

    lesson = _lesson(number)
    try:
        criteria = asyncio.run(grade(lesson.number, load_solution(lesson.number, file)))
    except (ValueError, TypeError) as error:
        _fail(error)
    for criterion in criteria:
        typer.echo(criterion)
    raise typer.Exit(0 if all(criterion.met for criterion in criteria) else 1)


@app.command()
def progress() -> None:
    """How far you have come."""
    from helpers.lessons.course_map import CourseMap

    typer.echo(repr(CourseMap()))


@app.command()
def reset(number: Number) -> None:
    """Start a lesson afresh: its notebook as it came, your progress in it forgotten.

    Your copy of the notebook is kept beside it.
    """
    from helpers.lessons.reset import reset as start_afresh

    kept = start_afresh(_lesson(number))
    typer.echo(f"Lesson {number} is as it came. Your copy is kept as {kept.name}.")


def _lesson(number: str) -> Any:
    from helpers.lessons.catalogue import lesson

    try:
        return lesson(number)
    except (ValueError, FileNotFoundError) as error:
        _fail(error)


def _fail(error: Exception | str) -> NoReturn:
    """One sentence and exit status 2, as for a wrong option."""
    typer.echo(error, err=True)
    raise typer.Exit(2)


if __name__ == "__main__":
    app()
