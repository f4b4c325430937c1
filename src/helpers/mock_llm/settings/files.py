"""Settings as people write them: in a YAML or TOML file, and faults on a command line."""

from __future__ import annotations

import difflib
import math
import tomllib
from collections.abc import Collection
from dataclasses import fields
from pathlib import Path
from typing import Any

from helpers.mock_llm.settings.faults import Fault
from helpers.mock_llm.settings.limits import Limits
from helpers.mock_llm.settings.profiles import Profile, find_profile
from helpers.mock_llm.settings.settings import Settings

_FAULT_VALUES = {
    "share": float,
    "first": int,
    "every": int,
    "model": str,
    "after_tokens": int,
    "interval": float,
    "retry_after": float,
}


def read_config(path: Path) -> dict[str, Any]:
    """The settings in a file: ``port``, and the arguments of `Settings`, as plain values.

    Raises ValueError: one sentence that names the file, the setting and what it must be.
    """
    try:
        config = _read(path)
        _check(config)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return config


def _read(path: Path) -> dict[str, Any]:
    kind = path.suffix.lower()
    if kind not in (".yaml", ".yml", ".toml"):
        raise ValueError("the name of a settings file must end in .yaml, .yml or .toml")
    try:
        text = path.read_text("utf-8")
    except UnicodeDecodeError:
        raise ValueError("the file is not UTF-8 text: save it as such") from None
    except OSError as error:
        raise ValueError(f"the file cannot be read: {error.strerror}") from None
    config = tomllib.loads(text) if kind == ".toml" else _read_yaml(text)
    if not isinstance(config, dict):
        raise ValueError("the file must hold settings by name, such as `profile: small`")
    return config


def _read_yaml(text: str) -> Any:
    import yaml  # only who has such a file waits for it

    try:
        return yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark else ""
        problem = " ".join(str(getattr(error, "problem", error)).split())
        raise ValueError(f"not valid YAML{where}: {problem}") from None


def _check(config: dict[str, Any]) -> None:
    _check_names(config, {"port", *_names(Settings)}, "")
    port = config.get("port", 0)
    if type(port) is not int or not 0 <= port <= 65535:
        raise ValueError(f"port must be from 0 (any free one) to 65535, not {port!r}")
    if "profile" in config:
        _check_profile(config["profile"])
    for name, kind in (("limits", Limits), ("faults", Fault)):
        for where, table in _tables(name, config.get(name)):
            _check_names(table, _names(kind), f"{where}: ")
            _build(kind, table, where)
    Settings(**{name: value for name, value in config.items() if name != "port"})


def _check_profile(profile: Any) -> None:
    if isinstance(profile, str):
        find_profile(profile)
        return
    if not isinstance(profile, dict):
        raise ValueError(f"profile must be a name or the fields of a Profile, not {profile!r}")
    _check_names(profile, _names(Profile), "profile: ")
    for name, value in profile.items():
        if type(value) not in (int, float) or math.isnan(value):
            raise ValueError(f"profile: {name} must be a number, not {value!r}")
    _build(Profile, profile, "profile")


def _tables(name: str, value: Any) -> list[tuple[str, dict[str, Any]]]:
    """Each table of ``limits`` (one) or ``faults`` (a list of them), and where it is."""
    if value is None:
        return []
    tables = value if name == "faults" else [value]
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        shape = "a list of faults, each with its kind" if name == "faults" else "limits by name"
        raise ValueError(f"{name} must be {shape}, not {value!r}")
    if name == "limits":
        return [(name, value)]
    return [(f"fault {number}", table) for number, table in enumerate(tables, start=1)]


def _build(kind: Any, table: dict[str, Any], where: str) -> None:
    if kind is Fault and "kind" not in table:
        raise ValueError(f"{where}: needs a kind, such as `kind: cut`")
    try:
        kind(**table)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{where}: {error}") from None


def parse_fault(text: str) -> Fault:
    """A fault in one line, such as ``cut share=0.1 after_tokens=3 between=5:20``.

    Raises ValueError.
    """
    kind, *options = text.replace(";", " ").split() or [""]
    values: dict[str, Any] = {}
    for option in options:
        name, sign, value = option.partition("=")
        _check_names([name], _names(Fault) - {"kind"}, f"fault {kind}: ")
        if not sign:
            raise ValueError(f"fault {kind}: {name} needs a value, such as {name}=3")
        values[name] = _fault_value(kind, name, value)
    try:
        return Fault(kind=kind, **values)
    except ValueError as error:
        raise ValueError(f"fault {kind}: {error}") from None


def _fault_value(kind: str, name: str, value: str) -> Any:
    try:
        if name == "between":
            start, _, end = value.partition(":")
            return float(start), float(end)
        return _FAULT_VALUES[name](value)
    except ValueError:
        shape = "two times in seconds, such as 5:20" if name == "between" else "a number"
        raise ValueError(f"fault {kind}: {name} must be {shape}, not {value!r}") from None


def _check_names(given: Collection[Any], known: Collection[str], where: str) -> None:
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, 1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(sorted(known))}"
            raise ValueError(f"{where}there is no setting {name!r}: {hint}")


def _names(kind: Any) -> set[str]:
    return {field.name for field in fields(kind)}
