"""The command ``llm-antipatterns``."""

from __future__ import annotations

import errno
import inspect
import io
import os
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, get_args, get_origin

import typer
from pydantic.fields import FieldInfo

from helpers.audit.command import audit
from helpers.audit.scan.command import scan
from helpers.classroom.command import open_room
from helpers.extras import require_course, what_to_install
from helpers.mock_llm.settings.faults import KINDS, Fault, parse_fault
from helpers.mock_llm.settings.limits import Limits
from helpers.mock_llm.settings.options import Options, wording_of
from helpers.mock_llm.settings.script import Rule
from helpers.mock_llm.settings.settings import Changes, Settings

app = typer.Typer(
    help="A course on the mistakes people make when they build on large language models.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("class")(open_room)
app.command()(audit)
app.command()(scan)
CHATBOT = ("09", "9")
Number = Annotated[str, typer.Argument(metavar="NN", help="The lesson's number, such as 01.")]

# Each command imports what it needs, so that `serve` and `--help` do not wait for Jupyter.


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    options_metavar="[FOLDER] [JUPYTERLAB'S OPTIONS]",
)
def lab(context: typer.Context) -> None:
    """Open your copy of the course in JupyterLab, and make it first if it is missing.

    FOLDER defaults to the copy that contains the current directory, or else to
    llm-antipatterns-course (in a clone, to course).
    """
    require_course()
    from helpers.lessons.course.delivery import init
    from helpers.lessons.environment import clean_environment, problems
    from helpers.lessons.kernel import jupyterlab_options

    chosen, options = _lab_arguments(context.args)
    folder, course = _course_folder(chosen), _packaged_course()
    there = (each for each in _paths(options) if each not in course.files)
    if missing := [each for each in there if not os.path.exists(folder / each)]:
        _fail(f"There is no file or folder {_short(missing[0])} in {folder}.")
    made = not os.path.lexists(folder)
    delivered = _delivered(init, folder, course)
    if made:
        typer.echo(f"Your copy of the course is in {folder}.", err=True)
        _say_how_to_ignore(folder)
    if any(each.fate == "older" and each.name.endswith(".ipynb") for each in delivered):
        typer.echo("There are newer lessons: `llm-antipatterns update` brings them.", err=True)
    obstacles = problems()
    if obstacles:
        typer.echo(
            "Something in this environment would stop a lesson, but the course works around it: "
            "`llm-antipatterns doctor` says what it is.",
            err=True,
        )
    first = f"{_lesson('00').stem}.ipynb"
    own = [f"--LabApp.default_url=/lab/tree/{first}", *jupyterlab_options()]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        own.append("--allow-root")  # containers; JupyterLab still listens on loopback only
    command = [sys.executable, "-m", "jupyterlab", *own, *options]
    environment = clean_environment() if obstacles else dict(os.environ)
    os.chdir(folder)
    if os.name == "posix":
        # Ctrl-C then reaches JupyterLab alone.
        os.execve(command[0], command, environment)  # noqa: S606
    import subprocess

    raise typer.Exit(subprocess.run(command, env=environment, check=False).returncode)


def _lab_arguments(arguments: list[str]) -> tuple[str | None, list[str]]:
    """The folder, which is the first argument that is neither an option nor its value, and the
    others, which are JupyterLab's."""
    paths = [each for each in _paths(arguments) if not each.endswith(".ipynb")]
    if not paths:
        return None, arguments
    others = list(arguments)
    others.remove(paths[0])
    return paths[0], others


def _paths(arguments: list[str]) -> list[str]:
    """The arguments that are neither options nor their values, as in ``--port 8889``."""
    return [
        each
        for before, each in pairwise(["", *arguments])
        if not each.startswith("-")
        and ("=" in before or not before.startswith("--") or before in _FLAGS)
    ]


# The options without a value that people most often pass to JupyterLab.
_FLAGS = ("--no-browser", "--debug", "--allow-root")
Folder = Annotated[str | None, typer.Argument(metavar="FOLDER", show_default=False)]


@app.command()
def init(folder: Folder = None) -> None:
    """Make your copy of the course.

    FOLDER defaults to the copy that contains the current directory, or else to
    llm-antipatterns-course (in a clone, to course).

    What is already in the folder stays as it is. `llm-antipatterns update` brings newer lessons.
    """
    from helpers.lessons.course.delivery import init as deliver

    chosen = _course_folder(folder)
    for each in _delivered(deliver, chosen, _packaged_course()):
        typer.echo(each)
    typer.echo(f"Your copy of the course is in {chosen}. Go there, and run: llm-antipatterns lab")
    _say_how_to_ignore(chosen)


def _say_how_to_ignore(folder: Path) -> None:
    from helpers.lessons.course.repository import ignore_hint

    if hint := ignore_hint(folder):
        typer.echo(hint, err=True)


@app.command()
def update(folder: Folder = None) -> None:
    """Bring your copy of the course up to date, and say what happens to each file.

    FOLDER defaults to the copy that contains the current directory, or else to
    llm-antipatterns-course (in a clone, to course).

    What you have changed or run stays, and the new version is put next to it.
    """
    from helpers.lessons.course.delivery import update as deliver

    chosen = _existing_course(folder)
    delivered = _delivered(deliver, chosen, _packaged_course())
    typer.echo(f"Your copy of the course in {chosen}:")
    for each in delivered:
        typer.echo(each)


def _course_folder(chosen: str | None) -> Path:
    from helpers.lessons.course.folder import course_folder

    if chosen is None:
        return course_folder()
    if not chosen:
        _fail("FOLDER must not be empty.")
    return Path(os.path.realpath(chosen))


def _existing_course(chosen: str | None = None) -> Path:
    from helpers.lessons.course.folder import MANIFEST, existing_course

    if chosen is not None:
        folder = _course_folder(chosen)
        if not os.path.isfile(folder / MANIFEST):
            _fail(
                f"There is no copy of the course in {_short(folder)}: make one with "
                "`llm-antipatterns init FOLDER`."
            )
        return folder
    try:
        return existing_course()
    except FileNotFoundError as error:
        _fail(error)


def _packaged_course() -> Any:
    from helpers.lessons.course.packaged import packaged_course

    try:
        return packaged_course()
    except OSError as error:
        _fail(error)


def _delivered(deliver: Callable[[Path, Any], list[Any]], folder: Path, course: Any) -> list[Any]:
    try:
        return deliver(folder, course)
    except KeyboardInterrupt:
        _fail("Interrupted. Nothing is lost: run the same command again to finish.", status=130)
    except (OSError, ValueError) as error:
        _fail_in(folder, error)


def _fail_in(folder: Path, error: Exception) -> NoReturn:
    """Say what is wrong with a folder rather than with a file that only we know."""
    from helpers.lessons.environment import existing_part

    place = existing_part(folder)
    if not place.is_dir():
        _fail(f"{_short(place)} is a file: choose another FOLDER.")
    if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        _fail(
            f"Nothing can be written to {_short(place)}: {error.strerror}. Allow it, or make a "
            "copy of the course elsewhere, for example with "
            "`llm-antipatterns init ~/llm-antipatterns-course`."
        )
    _fail(error)


@app.command()
def run(number: Number) -> None:
    """Run one lesson without a browser, and print its table and its verdict.

    The lesson is the notebook in your copy of the course, or the original if you have no copy. The
    exit status is 0 only if the verdict holds; then the lesson counts as run.
    """
    require_course()
    from nbclient.exceptions import CellExecutionError

    from helpers.lessons import notebook
    from helpers.lessons.course.running import lesson_to_run
    from helpers.lessons.kernel import KernelError
    from helpers.lessons.progress import note_now

    lesson = _lesson(number)
    failed = None
    try:
        with lesson_to_run(lesson) as (book, folder):
            book = notebook.up_to_the_verdict(book)
            notebook.execute(book, folder, _show_progress)
    except CellExecutionError as error:
        failed = f"{error.ename}: {error.evalue}"
    except (KernelError, OSError, ValueError) as error:
        _fail(error)
    typer.echo("", err=True)
    for tag in ("table", "verdict"):
        typer.echo("".join(notebook.text_of(cell) for cell in notebook.tagged(book, tag)))
    if failed:
        typer.echo(failed, err=True)
        raise typer.Exit(1)
    note_now(lesson.number, "verdict")


def _show_progress(done: int, total: int) -> None:
    typer.echo(f"\rcell {done} of {total} ", nl=False, err=True)


_CREDIT = (
    "The columns of the CSV are name, lesson, title, exercise, solved (yes or no), solved_on (a "
    "date), predictions_made and predictions_right. The name, also on the certificate, is the "
    "value of LLM_ANTIPATTERNS_NAME. A cell that a spreadsheet would take for a formula begins "
    "with an apostrophe.\n\nA class: llm-antipatterns progress --csv class/*"
)
_EXAMPLES = f"""Examples

llm-antipatterns serve --profile medium --speed 10

llm-antipatterns serve --rpm 60 --tpm 100000 --retry-after ms

llm-antipatterns serve --fault "503 first=3 retry_after=2" --fault "cut share=0.1 after_tokens=20"

llm-antipatterns serve --config provider.yaml --seed 7

Faults: {", ".join(KINDS)}.

Besides the API, the port serves /metrics for Prometheus and, with the printed token, /_mock/ledger
and /_mock/events. Open /_mock/view#TOKEN in a browser to see all that live.
"""
_SERVE_PORT = 8010
_PANELS: dict[str | None, type[Options]] = {
    None: Settings,
    "The model": Changes,
    "Rate limits, per key and model": Limits,
}


def _option(name: str, field: FieldInfo, panel: str | None) -> inspect.Parameter:
    """A field of the settings as an option of the command line."""
    kind, flag = field.annotation, f"--{wording_of(field).flag or name.replace('_', '-')}"
    if get_origin(kind) is not Literal:
        kind = next(iter(get_args(kind)), kind)  # float | None is a float here
    default = {"port": _SERVE_PORT}.get(name, field.default)
    option = typer.Option(
        f"{flag}/{flag.replace('--', '--no-', 1)}" if kind is bool else flag,
        help=field.description,
        rich_help_panel=panel,
        show_default=False if default is None or default is False else str(default),
    )
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind, option]
    )


def _takes_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the fields of the settings as options, before its own."""
    made = [
        _option(name, field, panel)
        for panel, options in _PANELS.items()
        for name, field in options.model_fields.items()
        if name not in ("limits", "faults", "script", "models")
        and not (panel is None and name in Changes.model_fields)
    ]
    own = list(inspect.signature(command, eval_str=True).parameters.values())[:-1]
    vars(command)["__signature__"] = inspect.Signature([*made, *own])
    return command


@app.command(epilog=_EXAMPLES)
@_takes_settings
def serve(
    *,
    config: Annotated[
        Path | None,
        typer.Option(
            help="A .yaml or .toml file with any of these settings, and a profile's own fields. "
            "Options override it."
        ),
    ] = None,
    fault: Annotated[
        list[str] | None,
        typer.Option(
            rich_help_panel="Faults",
            help="What goes wrong, such as 'cut share=0.1'; may be repeated. A fault's options: "
            f"{', '.join(name for name in Fault.model_fields if name != 'kind')}.",
        ),
    ] = None,
    script: Annotated[
        Path | None,
        typer.Option(
            rich_help_panel="The model",
            help="A .yaml, .toml or .json file with answers by rules, such as "
            "'- {last_message: weather, call: {name: get_weather}}'. A rule's options: "
            f"{', '.join(field.alias or name for name, field in Rule.model_fields.items())}.",
        ),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(help="An additional model name, of your choice; may be repeated."),
    ] = None,
    **options: Any,
) -> None:
    """Run the mock LLM server in the foreground until Ctrl-C.

    It listens on 127.0.0.1 only and ends with the process that started it.
    """
    from helpers.mock_llm.server import serve_forever
    from helpers.mock_llm.settings.files import read_config, read_script

    try:
        settings = {"port": _SERVE_PORT} | (read_config(config) if config else {})
        given = {name: value for name, value in options.items() if value is not None}
        limits = {name: given.pop(name) for name in Limits.model_fields.keys() & given.keys()}
        if limits:
            given["limits"] = dict(settings.get("limits") or {}) | limits
        if fault:
            given["faults"] = [parse_fault(text) for text in fault]
        if script:
            given["script"] = read_script(script)
        if model:
            given["models"] = model
        serve_forever(**Settings(**settings | given).to_json())
    except ValueError as error:
        _fail(error)


@app.command()
def doctor() -> None:
    """Check whether this machine can run the course: one line per check, with the remedy."""
    from helpers.lessons.doctor import doctor as examine

    healthy = True
    for finding in examine():
        typer.echo(finding)
        healthy = healthy and finding.ok
    raise typer.Exit(0 if healthy else 1)


@app.command()
def check(
    number: Number,
    file: Annotated[Path, typer.Argument(help="The .py file or notebook with your solution.")],
) -> None:
    """Grade the solution of an exercise.

    The exit status is 0 if the exercise is solved, 1 if it is not or cannot be graded, and 2 if
    there is no such lesson or file.
    """
    from helpers.lessons.exercise import announce, exercise
    from helpers.lessons.exercises.grading import grade_file
    from helpers.lessons.exercises.solution import UngradableError

    file = _in_the_course(file)
    try:
        if number not in CHATBOT:
            exercise(number)
        _look_at(file)
    except (OSError, ValueError) as error:
        _fail(error)
    if number in CHATBOT:
        raise typer.Exit(_check_chatbot(file))
    try:
        criteria = grade_file(number, file)
    except (UngradableError, OSError) as error:
        _fail(error, status=1)
    solved = announce(number, criteria, "Change the file and run the command again.")
    raise typer.Exit(0 if solved else 1)


def _check_chatbot(file: Path) -> int:
    """Lesson 09's exercise is an application: the scoreboard grades it."""
    from helpers.audit.scoreboard import scoreboard

    if file.suffix != ".py":
        _fail(f"{_short(file)} is not a .py file: lesson 09 grades the chatbot, not the notebook.")
    return 0 if scoreboard(file).is_repaired else 1


def _in_the_course(file: Path) -> Path:
    """The file; a file that is only in the learner's copy may be named without its folder."""
    from helpers.lessons.course.folder import course_folder

    there = course_folder() / file
    return there if os.path.isfile(there) and not os.path.lexists(file) else file


def _look_at(file: Path) -> None:
    """Raises `ValueError` or `OSError` unless the file can be graded and read."""
    if file.suffix not in (".py", ".ipynb"):
        raise ValueError(f"{_short(file)} is neither a .py file nor an .ipynb notebook.")
    if file.is_dir():
        raise ValueError(f"{_short(file)} is a folder, not a file.")
    with file.open("rb"):
        pass


@app.command(epilog=_CREDIT)
def progress(
    folders: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="FOLDER",
            show_default=False,
            help="With --csv: the progress of these learners instead of your own. Each folder is "
            "what LLM_ANTIPATTERNS_HOME names for a learner; its own name is the learner's.",
        ),
    ] = None,
    csv: Annotated[
        bool, typer.Option("--csv", help="Print a line for each lesson, as CSV in UTF-8.")
    ] = False,
    certificate: Annotated[
        str | None,
        typer.Option(
            metavar="FILE.html",
            help="Write a page to keep, with the lessons you have solved; an earlier one is "
            "replaced, any other file stays.",
        ),
    ] = None,
) -> None:
    """Show how far you have come, and how good your predictions were."""
    from helpers.lessons.course_map import CourseMap

    if folders and not csv:
        _fail("FOLDER is for --csv: your own progress needs none.")
    if csv and certificate is not None:
        _fail("Choose either --csv or --certificate.")
    try:
        if csv:
            typer.echo(_credit(folders or []), nl=False)
        elif certificate is not None:
            _save_certificate(certificate)
        else:
            typer.echo(repr(CourseMap()))
    except OSError as error:
        _fail(error)


def _credit(folders: list[str]) -> bytes:
    """The same bytes on any machine, whatever its terminal's encoding."""
    from helpers.lessons.progress import load
    from helpers.lessons.records.credit import collected, table
    from helpers.lessons.records.record import learner_name, record

    if "" in folders:
        _fail("FOLDER must not be empty.")
    found = [collected(Path(folder)) for folder in folders]
    return table(found or [(learner_name(), record(load))]).encode("utf-8", "replace")


def _save_certificate(name: str) -> None:
    from helpers.lessons.progress import load
    from helpers.lessons.records.certificate import render, save
    from helpers.lessons.records.record import learner_name, record

    if not name:
        _fail("FILE.html must not be empty.")
    save(Path(name), render(record(load), learner_name()))
    typer.echo(f"Your certificate is {Path(name).resolve()}. Nothing was sent anywhere.")


@app.command()
def reset(number: Number) -> None:
    """Restore a lesson's original notebook, and forget your progress in it.

    A copy of your notebook is kept in the same folder.
    """
    from helpers.lessons.course.reset import reset as restore

    lesson, folder = _lesson(number), _existing_course()
    try:
        restored = restore(lesson, folder)
    except (OSError, ValueError) as error:
        _fail_in(folder, error)
    typer.echo(restored)


def _lesson(number: str) -> Any:
    from helpers.lessons.catalogue import lesson

    try:
        return lesson(number)
    except (ValueError, FileNotFoundError) as error:
        _fail(error)


def _fail(error: Exception | str, status: int = 2) -> NoReturn:
    """Print one sentence and exit; 2 is also the status for a wrong option."""
    if isinstance(error, OSError) and error.strerror:
        error = f"{_short(error.filename or 'The command')}: {error.strerror}."
    typer.echo(error, err=True)
    raise typer.Exit(status)


def _short(path: object) -> str:
    text = str(path) if str(path).isprintable() and str(path) else repr(str(path))
    return f"{text[:200]}…" if len(text) > 200 else text


def main() -> None:
    """The entry point of the console script."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal may know ASCII only
    try:
        os.getcwd()
    except FileNotFoundError:
        typer.echo("The current directory was deleted: go to another one with `cd`.", err=True)
        sys.exit(2)
    try:
        app()
    except ModuleNotFoundError as error:
        sentence = what_to_install(error, "This command")
        if sentence is None:
            raise
        typer.echo(sentence, err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
