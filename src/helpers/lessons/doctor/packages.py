"""Whether the packages that lessons import are installed, and nothing hides them."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from helpers.extras import INSTALL_COURSE
from helpers.lessons import environment
from helpers.lessons.doctor.answers import Note
from helpers.report.outputs import get_ipython

REINSTALL = f"Install the course again: {INSTALL_COURSE}"
_BASE = ("httpx", "anyio", "tiktoken")
# What every lesson needs of the course.
_LESSONS = ("matplotlib", "ipykernel")
# What `run` and `lab` need. Only the first is imported: JupyterLab takes a second.
_COMMANDS = ("nbclient", "jupyterlab", "jupytext")
_COURSE = (*_LESSONS, *_COMMANDS)
_SDKS = ("openai", "anthropic")
# The first that builds editable installs as pyproject.toml asks for.
_OLDEST_PIP = (21, 3)


def required() -> str:
    """Raises RuntimeError for a package that is missing, or cannot be imported."""
    # A notebook that is open needs neither, in Colab for example.
    commands = () if hasattr(get_ipython(), "kernel") else _COMMANDS
    missing = _missing((*_BASE, *_LESSONS, *commands))
    without_course = _is_without_course()
    if missing and not without_course:
        raise RuntimeError(f"{_listed(missing)} missing: {INSTALL_COURSE}")
    with environment.writable_folders():
        for name in _BASE if without_course else (*_BASE, *_LESSONS, *commands[:1]):
            _import(name)
    if without_course:
        return Note(
            "enough for the mock server, the pytest fixture, audit and scan. The lessons need "
            f"more: {INSTALL_COURSE}"
        )
    shown = (*commands[1:2], *_BASE, "matplotlib")
    return ", ".join(f"{name} {_version(name)}" for name in shown)


def _missing(names: Sequence[str]) -> list[str]:
    return [name for name in names if importlib.util.find_spec(name) is None]


def _is_without_course() -> bool:
    """Whether the package was installed without the extra: nothing of it is here."""
    return _missing((*_BASE, *_COURSE)) == list(_COURSE)


def _import(name: str) -> None:
    try:
        importlib.import_module(name)
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1].filename
        raise RuntimeError(
            f"{name} cannot be imported ({type(error).__name__}: {error}; {place}): "
            f"{_remedy(place)}"
        ) from error


def _remedy(place: str) -> str:
    given = [each for each in os.environ.get("PYTHONPATH", "").split(os.pathsep) if each]
    hiding = [each for each in given if Path(place).is_relative_to(os.path.abspath(each))]
    for obstacle in environment.python_variables():
        if "PYTHONPATH" in obstacle.instead:
            return str(obstacle)
    if hiding:
        remedy = environment.unset_variable("PYTHONPATH")
        return f"it comes from PYTHONPATH={os.environ['PYTHONPATH']}. Type: {remedy}"
    return f"{INSTALL_COURSE} --force-reinstall"


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "of an unknown version"


def _listed(names: list[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} and {last} are" if others else f"{last} is"


def widgets() -> str:
    """Without widgets, lessons show text instead of input fields and sliders."""
    if _missing(("ipywidgets",)):
        if _is_without_course():
            return "they come with the course"
        return Note(
            "ipywidgets is missing, so instead of input fields and sliders you will see code to "
            "type. To see them: pip install ipywidgets"
        )
    return f"ipywidgets {_version('ipywidgets')}"


def sdks() -> str:
    """The model providers' own clients, which only a few sections use."""
    if missing := _missing(_SDKS):
        if _is_without_course():
            return "they come with the course"
        return Note(
            f'{_listed(missing)} missing; only the sections "In your SDK" need '
            f"{'it' if len(missing) == 1 else 'them'}: pip install {' '.join(missing)}"
        )
    return ", ".join(f"{name} {_version(name)}" for name in _SDKS)


def helpers() -> str:
    """Raises RuntimeError if another package called helpers hides the course's in notebooks."""
    ours = Path(__file__).parents[2]
    # A kernel looks for modules in its notebook's folder before it looks at installed packages.
    for candidate in (Path.cwd() / "helpers.py", Path.cwd() / "helpers" / "__init__.py"):
        if candidate.exists() and candidate.resolve().parent != ours:
            path = candidate if candidate.name == "helpers.py" else candidate.parent
            renamed = path.with_name(f"my_helpers{path.suffix}")
            raise RuntimeError(
                f"{path} hides the course's package helpers from notebooks in this folder. "
                f"Rename it: mv '{path}' '{renamed}'"
            )
    others = sorted(
        name
        for name in importlib.metadata.packages_distributions().get("helpers", [])
        if name != "llm-antipatterns"
    )
    if others:
        raise RuntimeError(
            f"{_listed(others)} installed in {sys.prefix}, with another package called helpers: "
            f"pip uninstall {' '.join(others)} && {INSTALL_COURSE} --force-reinstall --no-deps"
        )
    return "the course's own"


def pip() -> str:
    """An old pip cannot update the course; lessons run without pip."""
    try:
        version = importlib.metadata.version("pip")
    except importlib.metadata.PackageNotFoundError:
        return "not in this environment; lessons do not need it"
    if tuple(int(part) for part in version.split(".")[:2] if part.isdecimal()) < _OLDEST_PIP:
        return Note(
            f"pip {version} in {sys.prefix} is too old to update the course: "
            f"{sys.executable} -m pip install --upgrade pip"
        )
    return version
