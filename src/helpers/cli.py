"""The command ``llm-antipatterns``."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from nbclient.exceptions import CellExecutionError

from helpers.lessons import catalogue, notebook, progress
from helpers.lessons.course_map import CourseMap
from helpers.lessons.exercise import grade, load_solution
from helpers.mock_llm import PROFILES
from helpers.mock_llm.serve import serve_forever

app = typer.Typer(
    help="A course on the mistakes people make when they build on large language models.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
Number = Annotated[str, typer.Argument(metavar="NN", help="The lesson's number, such as 01.")]


@app.command()
def lab() -> None:
    """Open JupyterLab on the lessons."""
    start = os.path.relpath(_lesson("00").notebook)
    folder = str(catalogue.notebooks_folder())
    os.chdir(folder)
    options = [f"--ServerApp.root_dir={folder}", f"--LabApp.default_url=/lab/tree/{start}"]
    os.execv(sys.executable, [sys.executable, "-m", "jupyterlab", *options])  # noqa: S606


@app.command()
def run(number: Number) -> None:
    """Run one lesson without a browser; exit status 0 only if its verdict holds."""
    lesson = _lesson(number)
    source = notebook.read_source(lesson)
    ...


@app.command()
def serve(
    port: Annotated[int, typer.Option(help="0 takes a free one.")] = 8010,
    profile: Annotated[str, typer.Option(help=f"One of {', '.join(PROFILES)}.")] = "instant",
    speed: Annotated[float, typer.Option(help="Divides all times of the profile.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Of the answers and the jitter.")] = 0,
    answer_tokens: Annotated[int | None, typer.Option(help="Length of each answer.")] = None,
    api_key: Annotated[str | None, typer.Option(help="Refuse requests without this key.")] = None,
) -> None:
    """Run the mock LLM server in the foreground until Ctrl-C."""
    ...


def _lesson(number: str) -> catalogue.Lesson:
    try:
        return catalogue.lesson(number)
    except (ValueError, FileNotFoundError) as error:
        _fail(error)


def _fail(error: Exception | str) -> NoReturn:
    typer.echo(error, err=True)
    raise typer.Exit(2)
