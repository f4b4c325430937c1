"""What the environment has that would stop a lesson, and how the course works around it.

Lessons only talk to servers on this machine: they need no proxy and no authority's certificates,
only a temporary folder with a short path.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import re
import shlex
import shutil
import ssl
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path

import httpx

_PROXIES = {"http_proxy", "https_proxy", "all_proxy", "no_proxy"}
_SHORT = "/tmp"  # noqa: S108 - where a folder is made, mkdtemp chooses its name
# Bytes. With a name in it, a longer folder leaves too little of the 103 that a socket's path may
# have on macOS (107 on Linux).
_LONGEST_FOLDER = 60
_FEW_FILES, _ENOUGH_FILES = 1024, 4096
_POWERSHELL = os.name == "nt"
_HOME = "USERPROFILE" if os.name == "nt" else "HOME"


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Something that would stop a lesson."""

    what: str
    """The variable or path with its value, and what it does."""
    remedy: str
    """What to type to remove it."""
    instead: Mapping[str, str | None]
    """What lessons get instead: the variables to set, and those to remove (None)."""

    def __str__(self) -> str:
        return f"{self.what}. To fix this: {self.remedy}"


def problems() -> list[str]:
    """One sentence, with the remedy, for each obstacle that `clean_environment` works around."""
    return [str(obstacle) for obstacle in _obstacles()]


def clean_environment() -> dict[str, str]:
    """The environment for processes that run lessons."""
    # Both spellings: the lower one wins where both are set. Only * also disables SOCKS proxies.
    changed: dict[str, str | None] = {"NO_PROXY": "*", "no_proxy": "*"}
    for obstacle in _obstacles():
        changed |= obstacle.instead
    kept = {name: value for name, value in os.environ.items() if name not in changed}
    return kept | {name: value for name, value in changed.items() if value is not None}


def set_variable(name: str, value: str) -> str:
    """The command that sets a variable, for PowerShell or a POSIX shell."""
    if _POWERSHELL:
        return f'$env:{name} = "{value}"'
    return f"export {name}={shlex.quote(value)}"


def unset_variable(name: str) -> str:
    """The command that removes a variable."""
    return f"Remove-Item Env:{name}" if _POWERSHELL else f"unset {name}"


def home_remedy() -> str:
    """What to type if nothing can be written to the home folder."""
    return f"{set_variable(_HOME, 'FOLDER')}, with a folder that you may write to"


def clean_this_process() -> None:
    """Let this process's own clients and arms work, even in a kernel that neither `lab` nor `run`
    has started."""
    for obstacle in (*proxies(), *certificates()):
        _apply(obstacle.instead)
    allow_open_files()


@contextmanager
def writable_folders() -> Iterator[None]:
    """Let matplotlib and IPython be imported without complaints where they cannot write.

    They make no home folder either, where there is none.
    """
    instead = {name: value for each in jupyter_folders() for name, value in each.instead.items()}
    if not os.path.isdir(os.path.expanduser("~")):
        instead |= {name: _place_for(name) for name in ("IPYTHONDIR", "MPLCONFIGDIR")}
    before = {name: os.environ.get(name) for name in instead}
    _apply(instead)
    try:
        yield
    finally:
        _apply(before)


def _apply(variables: Mapping[str, str | None]) -> None:
    for name, value in variables.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value


def proxies() -> list[Obstacle]:
    """Variables that send requests for 127.0.0.1 to a proxy, or that httpx cannot read."""
    given = {name: value for name, value in os.environ.items() if name.lower() in _PROXIES}
    given = {name: value for name, value in sorted(given.items()) if value}
    hosts = "127.0.0.1,localhost"
    try:
        httpx.Client(verify=False).close()  # noqa: S501 - it connects to nothing
    except (ImportError, ValueError, httpx.InvalidURL) as error:  # no SOCKS; not an address
        what = f"{_shown(given)}: httpx cannot use this ({str(error).split('.')[0]})"
        hosts += ",*"  # only this keeps httpx from reading the others
    else:
        names = [name for name in given if name.lower() != "no_proxy"]
        if not names or urllib.request.proxy_bypass("127.0.0.1"):
            return []
        what = f"{_shown(given)}: requests for 127.0.0.1 would go to a proxy"
        if no_proxy := [value for name, value in given.items() if name.lower() == "no_proxy"]:
            what += f"; httpx finds no 127.0.0.1 in {' or '.join(no_proxy)}"
    return [Obstacle(what, _bypass(hosts), {"NO_PROXY": "*", "no_proxy": "*"})]


def _bypass(hosts: str) -> str:
    """The command that adds hosts to those that need no proxy."""
    # If both spellings are set, the lower one wins.
    name = "no_proxy" if "no_proxy" in os.environ else "NO_PROXY"
    if not os.environ.get(name):
        return set_variable(name, hosts)
    if _POWERSHELL:
        return set_variable(name, f"$env:{name},{hosts}")
    return f'export {name}="${name},{hosts}"'


def _shown(variables: Mapping[str, str]) -> str:
    """As in a shell, without a proxy's password."""
    shown = (f"{name}={value}" for name, value in variables.items())
    return " and ".join(re.sub(r"//[^/@\s]*@", "//…@", each) for each in shown)


def certificates() -> list[Obstacle]:
    """Variables that name certificates that are missing or cannot be read."""
    return [
        _unset(name, f"{name}={os.environ[name]}: {why}")
        for name, examine in _CERTIFICATES.items()
        if os.environ.get(name) and (why := examine(os.environ[name]))
    ]


def _unset(name: str, what: str) -> Obstacle:
    return Obstacle(what, unset_variable(name), {name: None})


def _no_bundle(path: str) -> str:
    try:
        ssl.create_default_context(cafile=path)
    except ssl.SSLError:
        return "there are no certificates in it"
    except OSError as error:
        return error.strerror or "it cannot be read"
    return ""


def _no_folder(path: str) -> str:
    if not os.path.isdir(path):
        return "there is no such folder"
    return "" if os.access(path, os.R_OK | os.X_OK) else "it cannot be read"


def _no_file_or_folder(path: str) -> str:
    return _no_folder(path) if os.path.isdir(path) else _no_bundle(path)


_CERTIFICATES: dict[str, Callable[[str], str]] = {
    "SSL_CERT_FILE": _no_bundle,
    "SSL_CERT_DIR": _no_folder,
    "REQUESTS_CA_BUNDLE": _no_file_or_folder,
    "CURL_CA_BUNDLE": _no_file_or_folder,
}


def temporary_folder() -> list[Obstacle]:
    """Variables whose folder takes no temporary files, or is too long for a socket's path."""
    found = []
    for name in ("TMPDIR", "TEMP", "TMP"):
        folder = os.environ.get(name)
        if not folder:
            continue
        if why := _no_place(folder):
            found.append(_unset(name, f"{name}={folder}: {why}"))
        elif os.name == "posix" and len(os.fsencode(folder)) > _LONGEST_FOLDER:
            why = f"{len(os.fsencode(folder))} characters are too many for the path of a socket"
            found.append(
                Obstacle(f"{name}={folder}: {why}", f"export {name}={_SHORT}", _short(name))
            )
    return found


def _short(name: str) -> dict[str, str | None]:
    return {name: _SHORT} if not _no_place(_SHORT) else {}


def _no_place(folder: str) -> str:
    """Why no file can be made in this folder."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            return ""
    except OSError as error:
        return error.strerror or "no file can be made in it"


def python_variables() -> list[Obstacle]:
    """Variables that change what Python imports or runs first."""
    found = []
    if startup := os.environ.get("PYTHONSTARTUP"):
        what = f"PYTHONSTARTUP={startup} would run in every kernel"
        found.append(_unset("PYTHONSTARTUP", what))
    entries = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    for entry in entries:
        if hidden := _hidden_by(entry):
            what = f"PYTHONPATH={os.environ['PYTHONPATH']}: {entry} hides {', '.join(hidden)}"
            kept = os.pathsep.join(each for each in entries if each != entry)
            found.append(Obstacle(what, unset_variable("PYTHONPATH"), {"PYTHONPATH": kept or None}))
    return found


def _hidden_by(entry: str) -> list[str]:
    """The packages that this process imported from a folder, and that are elsewhere as well."""
    folder = os.path.abspath(entry)
    others = [each for each in sys.path if os.path.abspath(each) != folder]
    files = {name: getattr(module, "__file__", None) for name, module in sys.modules.items()}
    loaded = {name for name, file in files.items() if file and Path(file).is_relative_to(folder)}
    names = {name.partition(".")[0] for name in loaded} - {"__main__", "helpers"}
    return sorted(name for name in names if PathFinder.find_spec(name, others))


def jupyter_folders() -> list[Obstacle]:
    """Folders in which JupyterLab, IPython and matplotlib cannot write."""
    found: list[Obstacle] = []
    home = os.path.expanduser("~")
    homeless: dict[str, str | None] = {}
    for name, folder in _folders().items():
        if not (why := _not_writable(folder)):
            continue
        instead = {name: _place_for(name)}
        if os.environ.get(name) or not _no_place(home):
            made = f"export {name}=$(mktemp -d)"
            remedy = set_variable(name, "FOLDER") if _POWERSHELL else made
            found.append(Obstacle(f"{name}={folder}: {why}", remedy, instead))
        else:
            homeless |= instead
    if homeless:
        found.append(Obstacle(f"{_HOME}={home}: {_not_writable(home)}", home_remedy(), homeless))
    return found


def _folders() -> dict[str, str]:
    """The folders, by the variable that sets each of them."""
    try:
        from jupyter_core import paths
    except ImportError:  # it comes with the course
        return {}
    home = os.path.expanduser("~")
    config = os.environ.get("XDG_CONFIG_HOME") or f"{home}/.config"
    return {
        "JUPYTER_CONFIG_DIR": paths.jupyter_config_dir(),
        "JUPYTER_DATA_DIR": paths.jupyter_data_dir(),
        "JUPYTER_RUNTIME_DIR": paths.jupyter_runtime_dir(),
        "IPYTHONDIR": os.environ.get("IPYTHONDIR") or f"{home}/.ipython",
        "MPLCONFIGDIR": os.environ.get("MPLCONFIGDIR") or f"{config}/matplotlib",
    }


def _not_writable(folder: str) -> str:
    """Why a folder, which need not exist yet, cannot be made or written to."""
    place = existing_part(Path(folder))
    if not place.is_dir():
        return f"{place} is not a folder"
    return "" if not (why := _no_place(str(place))) else f"{why}: {place}"


def existing_part(folder: Path) -> Path:
    """The folder, or else the nearest of its parents that exists."""
    return next(each for each in (folder, *folder.parents) if os.path.exists(each) or not each.name)


def has_no_home() -> bool:
    """Whether nothing can be written to the home folder, nor can it be made."""
    return bool(_not_writable(os.path.expanduser("~")))


def _place_for(name: str) -> str:
    folder = os.path.join(_own_folder(), name.lower())
    os.makedirs(folder, exist_ok=True)
    return folder


@functools.cache
def _own_folder() -> str:
    """A folder with a short path, removed when this process ends unless it becomes JupyterLab."""
    base = None if not temporary_folder() else _SHORT
    folder = tempfile.mkdtemp(prefix="llm-antipatterns-", dir=base)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def kernels() -> list[Obstacle]:
    """A kernel `python3` that is not this environment's, although this environment has one."""
    try:
        from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel
    except ImportError:
        return []
    try:
        with writable_folders():
            spec = KernelSpecManager().get_kernel_spec("python3")
    except NoSuchKernel:
        return []
    if not spec.argv or _is_this_python(spec.argv[0]):
        return []
    what = f"the kernel python3 of {spec.resource_dir} starts {spec.argv[0]}, not {sys.executable}"
    data = os.path.join(sys.prefix, "share", "jupyter")
    if not _has_kernel(data):
        return [Obstacle(what, f"{sys.executable} -m ipykernel install --sys-prefix", {})]
    search = os.pathsep.join(filter(None, [data, os.environ.get("JUPYTER_PATH")]))
    return [Obstacle(what, "jupyter kernelspec remove python3", {"JUPYTER_PATH": search})]


def _is_this_python(program: str) -> bool:
    major, minor = sys.version_info[:2]
    # jupyter_client replaces these names with its own interpreter.
    if program in ("python", f"python{major}", f"python{major}.{minor}"):
        return True
    # The folder: in a virtual environment, the program itself is a link to another one.
    try:
        return os.path.samefile(os.path.dirname(program), os.path.dirname(sys.executable))
    except OSError:
        return False


def _has_kernel(data: str) -> bool:
    try:
        spec = json.loads(Path(data, "kernels", "python3", "kernel.json").read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return _is_this_python(spec["argv"][0])


def allow_open_files() -> tuple[int, int] | None:
    """Raise a low limit of open files as far as this process may.

    Returns the limit before and after; None where there is no such limit.
    """
    if sys.platform == "win32":
        return None
    import resource

    before, ceiling = resource.getrlimit(resource.RLIMIT_NOFILE)
    if before == resource.RLIM_INFINITY:
        return None
    after = before
    if before < _FEW_FILES:
        unlimited = ceiling == resource.RLIM_INFINITY
        after = _ENOUGH_FILES if unlimited else min(ceiling, _ENOUGH_FILES)
        resource.setrlimit(resource.RLIMIT_NOFILE, (after, ceiling))
    return before, after


def _obstacles() -> Iterator[Obstacle]:
    for find in (
        proxies,
        certificates,
        temporary_folder,
        python_variables,
        jupyter_folders,
        kernels,
    ):
        yield from find()
