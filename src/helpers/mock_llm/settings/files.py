"""Settings in a YAML or TOML file."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from helpers.mock_llm.settings.limits import Limits
from helpers.mock_llm.settings.options import wording_of
from helpers.mock_llm.settings.script import Rule
from helpers.mock_llm.settings.settings import Settings

# YAML 1.1 reads 12:30:45 as a number: 45,045.
_BASE_60 = re.compile(r"[-+]?[0-9]+(:[0-5]?[0-9])+(\.[0-9]*)?")
_KINDS = (".yaml", ".yml", ".toml")
# The most that a YAML file may hold: levels, and values with those that aliases repeat.
_DEPTH, _VALUES = 20, 10_000


def read_config(path: Path) -> dict[str, Any]:
    """The options of `Settings` in a file, by name, checked.

    Raises ValueError: one sentence that names the file, the option and what it must be.
    """
    try:
        config = _read(path)
        settings = Settings(**config)
    except TypeError:
        raise ValueError(f"{path}: the names of settings must be text") from None
    except RecursionError:
        raise ValueError(f"{path}: the file is nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return {name: getattr(settings, name) for name in config}


def read_script(path: Path) -> Sequence[Rule]:
    """The rules in a file: a list, or a list called ``script``. Raises ValueError: one sentence."""
    try:
        rules = read_values(path, "a script", (".json", *_KINDS))
        if isinstance(rules, dict) and rules.keys() == {"script"}:
            rules = rules["script"]
        return Settings(script=rules).script
    except RecursionError:
        raise ValueError(f"{path}: the file is nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def read_values(path: Path, what: str, kinds: tuple[str, ...]) -> Any:
    """What a file holds, as plain values; ``kinds`` are endings of its name, such as ``.yaml``.

    Raises ValueError, and RecursionError for JSON that is nested too deeply.
    """
    kind = path.suffix.lower()
    if kind not in kinds:
        names = f"{', '.join(kinds[:-1])} or {kinds[-1]}"
        raise ValueError(f"the name of {what} file must end in {names}")
    try:
        text = path.read_text("utf-8")
    except UnicodeDecodeError:
        raise ValueError("the file is not UTF-8 text: save it as such") from None
    except OSError as error:
        raise ValueError(f"the file cannot be read: {error.strerror}") from None
    if kind == ".json":
        return json.loads(text)
    return tomllib.loads(text) if kind == ".toml" else _read_yaml(text)


def _read(path: Path) -> dict[str, Any]:
    config = read_values(path, "a settings", _KINDS)
    if not isinstance(config, dict):
        raise ValueError("the file must hold settings by name, such as `profile: small`")
    for option, field in Limits.model_fields.items():
        for name in {option, wording_of(field).flag} & config.keys():
            raise ValueError(f"{name} belongs in limits, as in `limits: {{{option}: …}}`")
    return config


def _read_yaml(text: str) -> Any:
    import yaml  # the other commands need not wait for it

    try:
        _check_events(yaml.parse(text, yaml.SafeLoader))
        return yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark else ""
        problem = " ".join(str(getattr(error, "problem", error)).split())
        raise ValueError(f"not valid YAML{where}: {problem}") from None


def _check_events(events: Any) -> None:
    """An alias counts as all it stands for; otherwise a few lines could mean billions."""
    import yaml

    count = 0
    parents: list[tuple[str | None, int]] = []
    sizes: dict[str | None, int] = {}
    for event in events:
        count += 1
        if isinstance(event, yaml.AliasEvent):
            if any(anchor == event.anchor for anchor, _ in parents):
                raise ValueError(f"the alias *{event.anchor} refers to itself")
            count += sizes.get(event.anchor, 0)
        elif isinstance(event, yaml.CollectionStartEvent):
            parents.append((event.anchor, count))
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, start = parents.pop()
            sizes[anchor] = count - start
        elif isinstance(event, yaml.ScalarEvent):
            sizes[event.anchor] = 1
            if event.implicit[0] and _BASE_60.fullmatch(event.value):
                raise ValueError(f"YAML reads {event.value[:100]} as a number: put it in quotes")
        if len(parents) > _DEPTH:
            raise ValueError(f"the file is nested more than {_DEPTH} levels deep")
        if count > _VALUES:
            raise ValueError(f"the file holds more than {_VALUES} values, with what aliases repeat")
